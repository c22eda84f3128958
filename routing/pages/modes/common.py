"""What the pages about modes have in common."""

from __future__ import annotations

from typing import Final

from organizations.pages.frame import Page, Permit
from organizations.permissions import Ability
from routing.catalog.cache import CatalogUnreadable
from routing.pages.targets import TargetGroup, target_choices
from routing.selectors import offer_to

# The hidden field with the state of the mode that a form shows.
SEEN: Final = "seen"
ROUTED: Final = "It has a route. "


def may_take_route(page: Page, *, has_route: bool) -> Permit:
    """Whether the person may do what moves or removes a mode's route, if it has one."""
    permit = page.can[Ability.CONFIGURE_ROUTING]
    return Permit(ROUTED + permit.reason) if has_route and not permit else Permit()


def target_groups(page: Page) -> list[TargetGroup]:
    """What a route may lead to, for whoever may choose it: one query, or three. Empty while nobody knows."""
    if not page.setup:
        return []
    try:
        return target_choices(offer_to(page.organization))
    except CatalogUnreadable:
        return []
