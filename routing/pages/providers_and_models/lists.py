"""The policy's two lists as one person sees them: every row with its state, and which of them are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from routing.catalog.index import CatalogProvider
from routing.domain.policy import policy_in_force
from routing.domain.settings import RoutingSettings
from routing.domain.types import ENTERPRISE
from routing.pages.providers_and_models.draft import Draft, Policy
from routing.pages.providers_and_models.forms import FilterForm
from routing.pages.providers_and_models.rows import ModelRow, ProviderRow, Rows
from routing.pages.wording import UNKNOWN

NO_PROVIDER = "no allowed provider"
ROUTER = "refused under a policy"


@dataclass(frozen=True, slots=True)
class Listed:
    """A row.

    Attributes:
        row: What the catalog says of it.
        was: Whether it is allowed as stored.
        why_not: Why a model that is not denied cannot be used all the same.
    """

    row: ModelRow | ProviderRow
    key: str
    is_allowed: bool
    was: bool
    is_known: bool
    is_shown: bool
    why_not: str = ""

    @property
    def is_changed(self) -> bool:
        return self.is_allowed != self.was


@dataclass(frozen=True, slots=True)
class Lists:
    """Both lists, and the words with which the form says what it showed."""

    models: list[Listed]
    providers: list[Listed]
    draft: Draft

    @property
    def shown_models(self) -> str:
        return " ".join(one.key for one in self.models)

    @property
    def were_denied(self) -> str:
        return " ".join(one.key for one in self.models if not one.was)

    @property
    def shown_providers(self) -> str:
        return " ".join(one.key for one in self.providers)

    @property
    def were_allowed(self) -> str:
        stored = self.draft.stored.allowed
        return "*" if stored is None else " ".join(stored)

    @property
    def allowed_models(self) -> int:
        return sum(one.is_allowed for one in self.models)

    @property
    def unusable_models(self) -> int:
        """Those that are not denied, and have no allowed provider."""
        return sum(one.why_not == NO_PROVIDER for one in self.models)

    @property
    def models_shown(self) -> int:
        return sum(one.is_shown for one in self.models)

    @property
    def providers_shown(self) -> int:
        return sum(one.is_shown for one in self.providers)

    @property
    def allowed_providers(self) -> int:
        return sum(one.is_allowed for one in self.providers)


def lists_of(rows: Rows, draft: Draft, filters: FilterForm) -> Lists:
    """All rows of the catalog, and those that the policy names and the catalog does not."""
    return Lists(list(_models(rows, draft, filters)), list(_providers(rows, draft, filters)), draft)


def _models(rows: Rows, draft: Draft, filters: FilterForm) -> Iterator[Listed]:
    now, before = draft.policy.denied_ids, draft.stored.denied_ids
    in_force = policy_in_force(ENTERPRISE, RoutingSettings(None, None, draft.policy.allowed, now))
    unknown = [_unknown_model(one) for one in sorted((now | before) - rows.models.keys())]
    for row in (*rows.models.values(), *unknown):
        allowed, was = row.id not in now, row.id not in before
        shown = filters.shows(row.words, row.marks, allowed=allowed, changed=allowed != was, of_model=True)
        known = row.id in rows.models
        why_not = _why_not(row, draft.policy, in_force=in_force) if allowed and known else ""
        yield Listed(row, row.id, allowed, was, known, shown, why_not)


def _unknown_model(model_id: str) -> ModelRow:
    return ModelRow(model_id, "", model_id, (), UNKNOWN, UNKNOWN, UNKNOWN, (), (), is_router=False)


def _why_not(row: ModelRow, policy: Policy, *, in_force: bool) -> str:
    if row.is_router and in_force:
        return ROUTER
    return "" if any(map(policy.allows_provider, row.providers)) else NO_PROVIDER


def _providers(rows: Rows, draft: Draft, filters: FilterForm) -> Iterator[Listed]:
    now, before = draft.policy, draft.stored
    unknown = [
        ProviderRow(CatalogProvider(slug, slug), 0, ())
        for slug in sorted({*(now.allowed or ()), *(before.allowed or ())} - rows.providers.keys())
    ]
    for row in (*rows.providers.values(), *unknown):
        slug = row.provider.slug
        allowed, was = now.allows_provider(slug), before.allows_provider(slug)
        shown = filters.shows(row.words, row.marks, allowed=allowed, changed=allowed != was, of_model=False)
        yield Listed(row, slug, allowed, was, slug in rows.providers, shown)
