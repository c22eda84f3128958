"""What differs between two versions of the routing settings, as people read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from routing.domain.diff import Difference
from routing.domain.types import ORGANIZATION_AUTO

_ROUTES: Final = "org_auto_model.routes"
_LABELS: Final = {
    "default_model": "Default model",
    "org_auto_model": "Organization Auto",
    "org_auto_model.fallback_model": "Fallback",
    "provider_allow_list": "Allowed providers",
    "model_deny_list": "Denied models",
    "data_collection": "Data collection",
}
_ABSENT: Final = {
    "default_model": "the installation's default",
    "org_auto_model": "not set up",
    "provider_allow_list": "every provider",
    "data_collection": "not set",
}
_NONE: Final = "none"
MOST_LISTED: Final = 200


@dataclass(frozen=True, slots=True)
class Told:
    """One difference: a value before and after or, for two lists, what was added and removed.

    Attributes:
        label: What it is.
        slug: Of the mode, for a route; else blank.
        is_model: Whether the values are ids.
    """

    label: str
    before: str
    after: str
    slug: str = ""
    is_model: bool = False
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def is_list(self) -> bool:
        return bool(self.added or self.removed)


def told(differences: Iterable[Difference]) -> list[Told]:
    """In the order in which an admin thinks of them: what is on, routes, fallback, policy, the rest."""
    order = ["default_model", "org_auto_model", _ROUTES, *list(_LABELS)[2:]]
    found = [(_place(order, difference.path), one) for difference in differences for one in _told(difference)]
    return [one for _, one in sorted(found, key=lambda pair: (pair[0], pair[1].slug))]


def _place(order: list[str], path: str) -> int:
    kind = _ROUTES if path.startswith(f"{_ROUTES}.") else path
    return order.index(kind) if kind in order else len(order)


def _told(difference: Difference) -> Iterator[Told]:
    path, before, after = difference.path, difference.before, difference.after
    if path.startswith(f"{_ROUTES}."):
        slug = path.removeprefix(f"{_ROUTES}.")
        yield Told("Route", _text(before, _NONE), _text(after, _NONE), slug=slug, is_model=True)
        return
    label, absent = _LABELS.get(path, path), _ABSENT.get(path, _NONE)
    if path == "model_deny_list":
        before, after = before or [], after or []
    if isinstance(before, list) and isinstance(after, list):
        was, now = [str(one) for one in before], [str(one) for one in after]
        added = tuple(one for one in now if one not in set(was))
        removed = tuple(one for one in was if one not in set(now))
        if added or removed:
            yield Told(label, "", "", is_model=True, added=added[:MOST_LISTED], removed=removed[:MOST_LISTED])
            return
    is_model = path in {"default_model", "org_auto_model.fallback_model"}
    yield Told(label, _text(before, absent), _text(after, absent), is_model=is_model)


def _text(value: Any, absent: str) -> str:
    if value is None:
        return absent
    if isinstance(value, list):
        return ", ".join(str(one) for one in value[:MOST_LISTED]) or _NONE
    if value == {}:
        return "no routes"
    return "Organization Auto" if value == ORGANIZATION_AUTO else str(value)
