"""What is set up for an organization, and how it is, as the cards at the top say it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from organizations.models import Plan
from organizations.pages.frame import NEEDS_ENTERPRISE, Page, Permit
from organizations.permissions import Ability
from routing.domain.policy import policy_in_force
from routing.domain.settings import RoutingSettings, state_of
from routing.domain.types import ORGANIZATION_AUTO
from routing.pages.providers_and_models.forms import COLLECTION, COLLECTION_TOLD
from routing.selectors import Offer
from routing.services.health import RouteHealth, offered_health

SECTION: Final = "providers-and-models"
SHOWN_BROKEN: Final = 5


def behavior_of(settings: RoutingSettings) -> str:
    """How clients start, in the word of the management API."""
    if settings.default_model == ORGANIZATION_AUTO:
        return "auto"
    return "specific" if settings.default_model else "global"


@dataclass(frozen=True, slots=True)
class DefaultCard:
    """How clients start, and the targets that are stored, in force or not.

    Attributes:
        behavior: In the word of the management API.
        fallback: None when nothing is set up.
        broken: The first of the broken ones, of `broken_count`.
    """

    behavior: str
    default_model: str
    is_enabled: bool
    fallback: RouteHealth | None
    routes: int
    broken: tuple[RouteHealth, ...]
    broken_count: int
    broken_title: str


@dataclass(frozen=True)
class Standing:
    """What is set up besides the lists, and how it is."""

    offer: Offer
    page: Page

    @property
    def behavior(self) -> str:
        return behavior_of(self.offer.settings)

    @property
    def default_model(self) -> str:
        return self.offer.settings.default_model or ""

    @property
    def is_enabled(self) -> bool:
        return state_of(self.offer.plan, self.offer.settings).enabled

    @cached_property
    def health(self) -> list[RouteHealth]:
        return offered_health(self.offer)

    @property
    def routes(self) -> int:
        return sum(bool(one.slug) for one in self.health)

    @property
    def broken(self) -> list[RouteHealth]:
        return [one for one in self.health if one.code]

    @property
    def broken_title(self) -> str:
        return "One target is broken" if len(self.broken) == 1 else f"{len(self.broken)} targets are broken"

    @property
    def fallback(self) -> RouteHealth | None:
        return next((one for one in self.health if not one.slug), None)

    @property
    def card(self) -> DefaultCard:
        """What the first card says."""
        broken = self.broken
        return DefaultCard(
            behavior=self.behavior,
            default_model=self.default_model,
            is_enabled=self.is_enabled,
            fallback=self.fallback,
            routes=self.routes,
            broken=tuple(broken[:SHOWN_BROKEN]),
            broken_count=len(broken),
            broken_title=self.broken_title,
        )

    @property
    def collection(self) -> str:
        return dict(COLLECTION).get(self.offer.settings.data_collection or "", "")

    @property
    def collection_told(self) -> str:
        return COLLECTION_TOLD.get(self.offer.settings.data_collection or "", "")

    @property
    def policy_in_force(self) -> bool:
        return policy_in_force(self.offer.plan, self.offer.settings)

    @property
    def edit_policy(self) -> Permit:
        """Whether this person may change the lists."""
        if self.offer.plan != Plan.ENTERPRISE:
            return Permit(NEEDS_ENTERPRISE)
        return self.page.can[Ability.CONFIGURE_ROUTING]
