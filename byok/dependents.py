"""What depends on a key: the routes that lead to its provider.

Routing stands above this app. It says what it knows through `Routing`, which it registers when the process starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from kilo_gateway.api_errors import ErrorType, GatewayError
from organizations.models import Organization


class DependentKind(StrEnum):
    """Where a model is named."""

    ROUTE = "route"
    FALLBACK = "fallback"
    DEFAULT_MODEL = "default_model"


@dataclass(frozen=True, slots=True)
class Dependent:
    """Something stored that names a model of a provider; `slug` is the mode's, and blank for what is no route."""

    kind: DependentKind
    slug: str
    target: str

    def as_entry(self) -> dict[str, str]:
        """The same as JSON values."""
        return {"kind": self.kind.value, "slug": self.slug, "target": self.target}


class Routing(Protocol):
    """What routing tells about an organization whose row the caller has read, or locked."""

    def dependents(self, organization: Organization) -> Mapping[str, Sequence[Dependent]]:
        """By what stands before the slash of a target, be it a provider's id or not. No query."""

    def broken(self, organization: Organization, provider_id: str) -> Sequence[Dependent]:
        """The dependents of one provider that would be refused today, in force or not. Two queries, three with
        providers of its own, and none where nothing leads there.
        """

    def note_broken(self, organization: Organization) -> None:
        """Write an audit row for each route in force that has just broken. Under the lock, after the change."""


_registered: list[Routing] = []


def register(routing: Routing) -> None:
    """Called once, when the process starts."""
    _registered[:] = [routing]


def byok_dependents(organization: Organization, provider_id: str) -> list[Dependent]:
    """The routes by slug, then the fallback and the default model, that name a model of this provider. No query.

    All that are stored, in force or not: one that lies dormant would be broken when it comes back.
    """
    return list(all_byok_dependents(organization).get(provider_id, ()))


def all_byok_dependents(organization: Organization) -> Mapping[str, Sequence[Dependent]]:
    """The same for every provider at once, by its id; one without dependents is absent. No query."""
    (routing,) = _registered
    return routing.dependents(organization)


def broken_byok_dependents(organization: Organization, provider_id: str) -> list[Dependent]:
    """Those of `byok_dependents` that would be refused today: without a key, or by a list of models without theirs."""
    (routing,) = _registered
    return list(routing.broken(organization, provider_id))


def require_confirmation(dependents: Sequence[Dependent], *, told: str, confirmed: bool) -> None:
    """Refuse a change that would break what depends on it, unless it was confirmed.

    Args:
        told: What is about to happen, as the beginning of a sentence.

    Raises:
        GatewayError: 409 `routes_would_break`, with the dependents in `broken`.
    """
    if confirmed or not dependents:
        return
    names = ", ".join(f'"{dependent.slug}"' if dependent.slug else _WORDS[dependent.kind] for dependent in dependents)
    raise GatewayError(
        ErrorType.CONFLICT,
        409,
        f"{told} would break what leads to its models: {names}. Requests for them would be refused. "
        "Change them first, or confirm with confirm_broken_routes.",
        code="routes_would_break",
        details={"broken": [dependent.as_entry() for dependent in dependents]},
    )


_WORDS = {
    DependentKind.ROUTE: "a route",
    DependentKind.FALLBACK: "the fallback",
    DependentKind.DEFAULT_MODEL: "the default model",
}


def note_broken_routes(organization: Organization) -> None:
    """Tell routing that the keys or the own providers of a locked organization have changed."""
    (routing,) = _registered
    routing.note_broken(organization)
