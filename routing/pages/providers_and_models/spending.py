"""Spending limits for hosted models, in dollars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpResponse, QueryDict

from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.people_selectors import members_of
from organizations.permissions import Ability
from routing.domain.spending import dollars
from routing.pages.providers_and_models.forms import Dollars, dollars_typed
from routing.pages.providers_and_models.standing import SECTION
from routing.services.spending_limits import SpendingLimits, spending_limits_set
from routing.spending_selectors import Limits, MemberState, SpendingState, account_state, spending_state


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is spent of one limit of the organization."""

    told: str
    spent: str
    limit: str
    percent: int | None

    @property
    def tone(self) -> str:
        percent = self.percent or 0
        return "danger" if percent >= 100 else "warning" if percent >= 80 else "ok"


def gauges(state: SpendingState) -> list[Gauge]:
    """What the organization has spent in the present day and month, beside its limits."""
    pairs = (
        ("today", state.spent.day, state.organization.day),
        ("this month", state.spent.month, state.organization.month),
    )
    return [
        Gauge(
            told,
            dollars(spent),
            "" if limit is None else dollars(limit),
            None if limit is None else min(100, spent * 100 // limit if limit else 100),
        )
        for told, spent, limit in pairs
    ]


def gauges_of(page: Page) -> list[Gauge]:
    """For whoever may see them; one query."""
    if not page.can[Ability.MANAGE_SPENDING]:
        return []
    return gauges(account_state(page.organization.pk, datetime.now(UTC)))


class SpendingForm(forms.Form):
    """The limits of the organization, of each member, and of members with limits of their own. All may be blank."""

    is_filter = True

    organization_day = Dollars(label="A day")
    organization_month = Dollars(label="A month")
    member_day = Dollars(label="A day")
    member_month = Dollars(label="A month")
    new_member = forms.ChoiceField(label="Member", required=False)
    new_day = Dollars(label="A day")
    new_month = Dollars(label="A month")

    def __init__(self, own: list[MemberState], others: list[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["new_member"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type
        field.choices = [("", "Choose a member"), *others]
        self._own = own
        for state in own:
            self.fields[f"day_{state.user_id}"] = Dollars(label=f"{state.email}: a day")
            self.fields[f"month_{state.user_id}"] = Dollars(label=f"{state.email}: a month")
            self.fields[f"end_{state.user_id}"] = forms.BooleanField(
                label=f"{state.email}: end the own limits", required=False
            )

    @property
    def own_rows(self) -> Iterator[tuple[MemberState, list[forms.BoundField]]]:
        for state in self._own:
            yield state, [self[f"{name}_{state.user_id}"] for name in ("day", "month", "end")]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        given = [name for name in ("new_day", "new_month") if cleaned.get(name) is not None]
        if given and not cleaned.get("new_member"):
            self.add_error("new_member", "Choose whose limits these are.")
        return cleaned

    def limits(self) -> SpendingLimits:
        """All limits, as the service takes them."""
        given = self.cleaned_data
        members = {
            state.user_id: Limits(given[f"day_{state.user_id}"], given[f"month_{state.user_id}"])
            for state in self._own
            if not given[f"end_{state.user_id}"]
        }
        if given["new_member"]:
            members[UUID(given["new_member"])] = Limits(given["new_day"], given["new_month"])
        return SpendingLimits(
            organization=Limits(given["organization_day"], given["organization_month"]),
            each_member=Limits(given["member_day"], given["member_month"]),
            members=members,
        )


@organization_page(SECTION, requires=Ability.MANAGE_SPENDING)
def spending_limits(request: PageRequest, page: Page) -> HttpResponse:
    """What may be spent in a day and a month. Four queries."""
    state = spending_state(page.organization.pk, datetime.now(UTC))
    own = [member for member in state.members if member.own_limits is not None]
    taken = {member.user_id for member in own}
    others = [
        (str(row.user_id), row.user.email) for row in members_of(page.organization.pk) if row.user_id not in taken
    ]
    form = SpendingForm(own, others, _posted(request, state), initial=_initial(state))
    if request.method == "POST" and form.is_valid():
        with page.refusals(form, now=lambda: _initial(spending_state(page.organization.pk, datetime.now(UTC)))):
            spending_limits_set(organization_id=page.organization.pk, acting=page.acting(), limits=form.limits())
            return page.done("The spending limits were saved.", to=page.url(SECTION))
    context = {
        "form": form,
        "gauges": gauges(state),
        "balance": None if state.balance is None else dollars(state.balance),
        "others": others,
    }
    return page.render("providers_and_models/spending.html", context)


def _posted(request: PageRequest, state: SpendingState) -> QueryDict | None:
    """What was posted. A member who got limits of his own since the form was opened keeps them."""
    if request.method != "POST":
        return None
    posted = request.POST.copy()
    for name, amount in _initial(state).items():
        posted.setdefault(name, dollars_typed(amount))
    return posted


def _initial(state: SpendingState) -> dict[str, int | None]:
    initial = {
        "organization_day": state.organization.day,
        "organization_month": state.organization.month,
        "member_day": state.each_member.day,
        "member_month": state.each_member.month,
    }
    for member in state.members:
        if member.own_limits is not None:
            initial[f"day_{member.user_id}"] = member.own_limits.day
            initial[f"month_{member.user_id}"] = member.own_limits.month
    return initial
