"""The page itself: what is set, the policy's two lists, and saving them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib import messages
from django.http import HttpResponse
from django_htmx.http import reswap, retarget

from organizations.pages.frame import LAYOUTS, MAIN, WHOLE_PAGE, Page, PageRequest, organization_page
from organizations.permissions import Ability
from routing.pages.providers_and_models.draft import Draft, Policy, posted_draft, unchanged
from routing.pages.providers_and_models.forms import FilterForm
from routing.pages.providers_and_models.lists import lists_of
from routing.pages.providers_and_models.rows import Rows, rows_of
from routing.pages.providers_and_models.section import Around, section, unfiltered_section
from routing.pages.providers_and_models.spending import gauges_of
from routing.pages.providers_and_models.standing import SECTION, Standing
from routing.pages.targets import offered
from routing.services.model_policy import PolicyEffects, model_policy_effects, model_policy_set
from routing.settings_selectors import model_policy_state

TEMPLATE: Final = "providers_and_models/page.html"
TABS: Final = ("models", "providers")


@organization_page(SECTION)
def providers_and_models(request: PageRequest, page: Page) -> HttpResponse:
    """Everything, with the lists narrowed by the filters. Two queries, four with providers of its own."""
    standing = Standing(offered(page.organization), page)
    rows = rows_of(standing.offer.index)
    stored = Policy.stored(model_policy_state(page.organization))
    if request.method != "POST":
        return _shown(page, standing, rows, unchanged(stored))
    page.require(Ability.CONFIGURE_ROUTING)
    draft = posted_draft(stored, request.POST, rows.providers)
    if request.POST.get("do") == "filter":
        return _shown(page, standing, rows, draft, status=200)
    return _saved(page, standing, rows, draft)


def _saved(page: Page, standing: Standing, rows: Rows, draft: Draft) -> HttpResponse:
    """Save the draft, unless something has to be said before."""
    effects = None
    if draft.error:
        page.refusal = draft.error
        return _shown(page, standing, rows, draft)
    with page.refusals():
        arguments: dict[str, Any] = {
            "organization_id": page.organization.pk,
            "acting": page.acting(),
            "provider_allow_list": draft.policy.allowed,
            "model_deny_list": draft.policy.denied,
        }
        effects = model_policy_effects(**arguments)
        confirmed = page.request.POST.get("confirm") == "yes" and not effects.is_refused
        if confirmed or effects.is_harmless or not draft.is_change:
            return _done(page, draft, arguments)
    if page.conflict is not None:
        page.conflict = replace(page.conflict, differences=draft.differences)
    return _shown(page, standing, rows, draft, effects=effects)


def _done(page: Page, draft: Draft, arguments: dict[str, Any]) -> HttpResponse:
    to = f"{page.url(SECTION)}?tab={_tab(page)}"
    if not draft.is_change:
        messages.info(page.request, "Nothing was changed.")
        return page.go(to)
    model_policy_set(**arguments)
    return page.done("The model policy was saved.", to=to)


def _tab(page: Page) -> str:
    given = page.request.POST.get("tab") or page.request.GET.get("tab")
    return given if given in TABS else TABS[0]


def _shown(
    page: Page,
    standing: Standing,
    rows: Rows,
    draft: Draft,
    *,
    effects: PolicyEffects | None = None,
    status: int | None = None,
) -> HttpResponse:
    """The page with a draft. With HTMX a refusal of it is the part above the lists alone, which keep what is ticked."""
    if page.request.method == "POST" and page.request.htmx and effects is not None:
        return page.render("providers_and_models/answer.html", {"effects": effects})
    filters = _filters(page, rows)
    lists = lists_of(rows, draft, filters)
    around = Around(
        organization_id=page.organization.pk,
        tab=_tab(page),
        is_enterprise=page.is_enterprise,
        is_in_force=standing.policy_in_force,
        refused=standing.edit_policy.reason,
    )
    drawn = section(lists, around, filters) if filters else unfiltered_section(lists, around)
    catalog = standing.offer.catalog
    context: dict[str, Any] = {
        "standing": standing,
        "effects": effects,
        "lists": lists,
        "policy_before": drawn.before,
        "policy_after": drawn.after,
        "gauges": gauges_of(page),
        "catalog": catalog,
        "catalog_is_stale": catalog.is_stale(datetime.now(UTC)),
        "layout": LAYOUTS[MAIN] if page.request.htmx else WHOLE_PAGE,
    }
    response = page.render(TEMPLATE, context, status=status)
    return reswap(retarget(response, f"#{MAIN}"), "outerHTML") if page.request.htmx else response


def _filters(page: Page, rows: Rows) -> FilterForm | None:
    """None where nobody has set any."""
    given = page.request.POST or page.request.GET
    return FilterForm(rows.modalities, given) if given.keys() - {"tab"} else None
