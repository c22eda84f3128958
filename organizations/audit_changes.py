"""What the audit log keeps of a change, brought to what a person reads: field by field, before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a value; `is_changed` when only this side has it."""

    text: str
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """A field before and after; a side without a part had no value.

    Attributes:
        is_list: Each part is an item of a list.
        is_long: A part has more than one line.
    """

    name: str
    before: tuple[Part, ...]
    after: tuple[Part, ...]
    is_list: bool = False
    is_long: bool = False


def changed_fields(changes: object) -> list[Changed]:
    """The fields in their order; of an object that changed, its own fields one by one."""
    if not isinstance(changes, Mapping):
        return []
    found = []
    for name, pair in changes.items():
        before, after = pair if isinstance(pair, list) and len(pair) == 2 else (None, pair)
        found.extend(_fields(str(name), before, after))
    return found


def _fields(name: str, before: Any, after: Any) -> list[Changed]:
    if any(isinstance(value, Mapping) and value for value in (before, after)) and all(
        value is None or isinstance(value, Mapping) for value in (before, after)
    ):
        was, became = before or {}, after or {}
        inner = [key for key in {**was, **became} if was.get(key) != became.get(key)]
        return [one for key in inner for one in _fields(f"{name} · {key}", was.get(key), became.get(key))]
    if all(value is None or isinstance(value, list) for value in (before, after)) and (before, after) != (None, None):
        return [Changed(name, _items(before, after), _items(after, before), is_list=True)]
    old, new = _single(before), _single(after)
    return [Changed(name, old, new, is_long=any("\n" in part.text for part in old + new))]


def _single(value: Any) -> tuple[Part, ...]:
    return () if value is None else (Part(_text(value), is_changed=True),)


def _items(of: list[Any] | None, other: list[Any] | None) -> tuple[Part, ...]:
    if of is None:
        return ()
    return tuple(Part(_text(item), is_changed=item not in (other or [])) for item in of) or (Part("none"),)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value or "blank"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, indent=2)
