"""A model policy in the making: what the form changes of what is stored, and nothing else.

The form says which rows it showed and how they were, so that only what somebody ticked or unticked is a change. What
the form did not show, or what another person changed meanwhile, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from django.http import QueryDict

from organizations.pages.frame import Difference
from routing.domain.settings import normalized_model_id

EVERY, SELECTED = "every", "selected"
ALL_ALLOWED: Final = "*"
MOST_DIFFERENCES: Final = 50
SCOPE_CONTRADICTED: Final = (
    "You unticked providers while every provider was allowed. Now only the ticked ones are: look at it, and save again."
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The two lists; no allow list means every provider, also those to come."""

    allowed: tuple[str, ...] | None
    denied: tuple[str, ...]

    @classmethod
    def stored(cls, state: Mapping[str, Any]) -> Policy:
        """From `model_policy_state`."""
        allowed = state["provider_allow_list"]
        return cls(None if allowed is None else tuple(allowed), tuple(state["model_deny_list"]))

    @property
    def denied_ids(self) -> frozenset[str]:
        return frozenset(map(normalized_model_id, self.denied))

    def allows_provider(self, slug: str) -> bool:
        return self.allowed is None or slug in self.allowed


@dataclass(frozen=True, slots=True)
class Draft:
    """What is stored, and what it becomes.

    Attributes:
        error: Why the form contradicts itself; blank when it does not.
        differences: What another person changed since the form was opened, beside what it says.
    """

    stored: Policy
    policy: Policy
    error: str = ""
    differences: tuple[Difference, ...] = field(default=())

    @property
    def is_change(self) -> bool:
        return self.policy != self.stored

    @property
    def changes(self) -> int:
        """How many rows differ, and one for the choice between every provider and some."""
        models = len(self.stored.denied_ids ^ self.policy.denied_ids)
        before, after = self.stored.allowed, self.policy.allowed
        if before is None or after is None:
            return models + (before != after)
        return models + len(set(before) ^ set(after))


def unchanged(stored: Policy) -> Draft:
    """What a form shows first."""
    return Draft(stored, stored)


def posted_draft(stored: Policy, form: QueryDict, known_providers: Iterable[str]) -> Draft:
    """What a posted form makes of the stored policy."""
    models, differing_models = _models(stored, form)
    providers, error, differing_providers = _providers(stored, form, known_providers)
    draft = Draft(stored, Policy(providers, models), error)
    return replace(draft, differences=(*differing_models, *differing_providers)[:MOST_DIFFERENCES])


def _words(form: QueryDict, name: str) -> list[str]:
    return form.get(name, "").split()


def _models(stored: Policy, form: QueryDict) -> tuple[tuple[str, ...], list[Difference]]:
    shown, were, ticked = _words(form, "shown"), set(_words(form, "were_denied")), set(form.getlist("model"))
    allow_again = {one for one in shown if one in were and one in ticked}
    deny = [one for one in shown if one not in were and one not in ticked]
    now = stored.denied_ids
    kept = [one for one in stored.denied if normalized_model_id(one) not in allow_again]
    differences = [
        Difference(one, _told(one in ticked), _told(one not in now)) for one in shown if (one in were) != (one in now)
    ]
    return (*kept, *(one for one in deny if one not in now)), differences


def _providers(
    stored: Policy, form: QueryDict, known: Iterable[str]
) -> tuple[tuple[str, ...] | None, str, list[Difference]]:
    shown, ticked = _words(form, "shown_providers"), set(form.getlist("provider"))
    were_all = form.get("were_allowed", ALL_ALLOWED) == ALL_ALLOWED
    were = set(shown) if were_all else set(_words(form, "were_allowed"))
    differences = [
        Difference(one, _told(one in ticked), _told(stored.allows_provider(one)))
        for one in shown
        if (one in were) != stored.allows_provider(one)
    ]
    removed = {one for one in shown if one in were and one not in ticked}
    if form.get("scope") != SELECTED:
        error = SCOPE_CONTRADICTED if were_all and removed else ""
        base: Iterable[str] = known
        return (None, error, differences) if not error else (_without(base, removed), error, differences)
    base = known if stored.allowed is None else stored.allowed
    added = [
        one for one in shown if one not in were and one in ticked and not (stored.allowed and one in stored.allowed)
    ]
    return (*_without(base, removed), *added), "", differences


def _without(base: Iterable[str], removed: set[str]) -> tuple[str, ...]:
    return tuple(one for one in base if one not in removed)


def _told(is_allowed: object) -> str:
    return "allowed" if is_allowed else "denied"
