"""What is different between two versions of an organization's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that changed; the path names it, for example `org_auto_model.routes.code`. None is also "absent"."""

    path: str
    before: Any
    after: Any


def settings_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Everything that differs, by path in alphabetical order; objects are compared key by key, lists as a whole."""
    return sorted(_walk("", before, after), key=lambda difference: difference.path)


def _walk(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in before.keys() | after.keys():
            inner = f"{path}.{key}" if path else str(key)
            yield from _walk(inner, before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif isinstance(before, Mapping) and after is _ABSENT:
        yield from _walk(path, before, {})
    elif isinstance(after, Mapping) and before is _ABSENT:
        yield from _walk(path, {}, after)
    elif before != after:
        yield Difference(path, None if before is _ABSENT else before, None if after is _ABSENT else after)
