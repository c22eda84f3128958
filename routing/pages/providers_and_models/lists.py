"""The policy's two lists as one person sees them: every row with its state, and which of them are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from routing.catalog.index import CatalogProvider
from routing.domain.policy import policy_in_force
from routing.domain.settings import RoutingSettings
from routing.domain.types import ENTERPRISE
from routing.pages.providers_and_models.draft import Draft, Policy
from routing.pages.providers_and_models.forms import FilterForm, Narrowing
from routing.pages.providers_and_models.rows import ModelRow, ProviderRow, Rows
from routing.pages.wording import UNKNOWN

KEPT: Final = 8
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


@dataclass(frozen=True, eq=False)
class Lists:
    """Both lists, and the words with which the form says what it showed. Shared by all threads, as `Rows` is."""

    rows: Rows
    models: tuple[Listed, ...]
    providers: tuple[Listed, ...]
    draft: Draft

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.rows.modalities

    @cached_property
    def shown_models(self) -> str:
        return " ".join(one.key for one in self.models)

    @cached_property
    def were_denied(self) -> str:
        return " ".join(one.key for one in self.models if not one.was)

    @cached_property
    def shown_providers(self) -> str:
        return " ".join(one.key for one in self.providers)

    @property
    def were_allowed(self) -> str:
        stored = self.draft.stored.allowed
        return "*" if stored is None else " ".join(stored)

    @cached_property
    def unknown_providers(self) -> tuple[str, ...]:
        """Those that are allowed as stored and that the catalog does not know, so that they allow nothing today."""
        return tuple(one.key for one in self.providers if one.was and not one.is_known)

    @cached_property
    def allowed_models(self) -> int:
        return sum(one.is_allowed for one in self.models)

    @cached_property
    def unusable_models(self) -> int:
        """Those that are not denied, and have no allowed provider."""
        return sum(one.why_not == NO_PROVIDER for one in self.models)

    @cached_property
    def models_shown(self) -> int:
        return sum(one.is_shown for one in self.models)

    @cached_property
    def providers_shown(self) -> int:
        return sum(one.is_shown for one in self.providers)

    @cached_property
    def allowed_providers(self) -> int:
        return sum(one.is_allowed for one in self.providers)


def lists_of(rows: Rows, draft: Draft, filters: FilterForm | None = None) -> Lists:
    """All rows of the catalog, and those that the policy names and the catalog does not."""
    return _lists(rows, draft.stored, draft.policy, filters.narrowing if filters else Narrowing(()))


@lru_cache(maxsize=KEPT)
def _lists(rows: Rows, stored: Policy, policy: Policy, narrowing: Narrowing) -> Lists:
    models, providers = _models(rows, stored, policy, narrowing), _providers(rows, stored, policy, narrowing)
    return Lists(rows, tuple(models), tuple(providers), Draft(stored, policy))


def _models(rows: Rows, stored: Policy, policy: Policy, narrowing: Narrowing) -> Iterator[Listed]:
    now, before = policy.denied_ids, stored.denied_ids
    in_force = policy_in_force(ENTERPRISE, RoutingSettings(None, None, policy.allowed, now))
    unknown = [_unknown_model(one) for one in sorted((now | before) - rows.models.keys())]
    for row in (*rows.models.values(), *unknown):
        allowed, was = row.id not in now, row.id not in before
        shown = narrowing.shows(row.words, row.marks, allowed=allowed, changed=allowed != was, of_model=True)
        known = row.id in rows.models
        why_not = _why_not(row, policy, in_force=in_force) if allowed and known else ""
        yield Listed(row, row.id, allowed, was, known, shown, why_not)


def _unknown_model(model_id: str) -> ModelRow:
    return ModelRow(model_id, "", model_id, (), UNKNOWN, UNKNOWN, UNKNOWN, (), (), is_router=False)


def _why_not(row: ModelRow, policy: Policy, *, in_force: bool) -> str:
    if row.is_router and in_force:
        return ROUTER
    return "" if any(map(policy.allows_provider, row.providers)) else NO_PROVIDER


def _providers(rows: Rows, before: Policy, now: Policy, narrowing: Narrowing) -> Iterator[Listed]:
    unknown = [
        ProviderRow(CatalogProvider(slug, slug), 0, ())
        for slug in sorted({*(now.allowed or ()), *(before.allowed or ())} - rows.providers.keys())
    ]
    for row in (*rows.providers.values(), *unknown):
        slug = row.provider.slug
        allowed, was = now.allows_provider(slug), before.allows_provider(slug)
        shown = narrowing.shows(row.words, row.marks, allowed=allowed, changed=allowed != was, of_model=False)
        yield Listed(row, slug, allowed, was, slug in rows.providers, shown)
