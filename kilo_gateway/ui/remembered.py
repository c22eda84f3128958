"""Parts of pages that are made once for the same values.

Most of what a page shows is what it showed a moment ago, and making it is most of a page's work. A part is a function
of its values alone, so whatever it depends on is in the key: a copy of each value, with its type and all that it holds,
written so that nothing else is equal to it. A value that could hold more than it shows is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import wraps
from operator import attrgetter
from threading import Lock
from types import NoneType
from typing import Any, Final, ParamSpec
from uuid import UUID

from django.utils.functional import Promise
from django.utils.safestring import SafeString

# In each process, with the keys. The pages that one person turns over take about a megabyte.
KEPT_BYTES: Final = 16 * 1024 * 1024
# About what a process needs for an entry besides what it holds.
_ENTRY_BYTES: Final = 200
# What is larger is made each time, so that a few large ones do not drive out all others.
_LARGEST_SHARE: Final = 64

P = ParamSpec("P")


class KeptParts:
    """Texts by their keys, of at most so many bytes together; what was not asked for lately goes first.

    There are two halves. What is found moves to the recent one, and when that is full the older one is dropped. So
    finding something takes no lock, as all threads do it all the time.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._recent: dict[Hashable, SafeString] = {}
        self._older: dict[Hashable, SafeString] = {}
        self._recent_bytes = 0
        self._adding = Lock()

    def find(self, key: Hashable) -> SafeString | None:
        """The text that was kept for this key."""
        text = self._recent.get(key)
        if text is None and (text := self._older.get(key)) is not None:
            self.keep(key, text)
        return text

    def keep(self, key: Hashable, text: SafeString) -> None:
        """Keep a text, unless it is large."""
        size = _ENTRY_BYTES + sys.getsizeof(text) + _size(key)
        if size > self._most_bytes // _LARGEST_SHARE:
            return
        with self._adding:
            if key in self._recent:
                return
            if self._recent_bytes + size > self._most_bytes // 2:
                self._older, self._recent, self._recent_bytes = self._recent, {}, 0
            self._recent[key] = text
            self._recent_bytes += size


kept_parts: Final = KeptParts(KEPT_BYTES)


def remembered(make: Callable[P, SafeString]) -> Callable[P, SafeString]:
    """Keep what the function makes, by its arguments.

    Raises:
        TypeError: an argument may hold more than it shows, such as a row of the database.
    """

    @wraps(make)
    def found_or_made(*args: P.args, **given: P.kwargs) -> SafeString:
        key = (make, tuple(given), key_of((*args, *given.values())))
        text = kept_parts.find(key)
        if text is None:
            text = make(*args, **given)
            kept_parts.keep(key, text)
        return text

    return found_or_made


def remembered_for_each(
    rows: Iterable[object], make: Callable[[object], SafeString], *, beside: tuple[object, ...]
) -> list[SafeString]:
    """What the function makes of each of many rows.

    Args:
        beside: What else that depends on, the name of the template first.

    Raises:
        TypeError: as `remembered`.
    """
    key_beside = key_of(beside)
    texts = []
    for row in rows:
        kind = type(row)
        maker = _key_maker(kind)
        key = (key_beside, kind, row if maker is None else maker(row))
        text = kept_parts.find(key)
        if text is None:
            text = make(row)
            kept_parts.keep(key, text)
        texts.append(text)
    return texts


# ---------------------------------------------------------------- keys


class _Shape:
    """The types of some values, one after the other; there is one shape for the same types."""

    __slots__ = ("makers",)

    def __init__(self, kinds: tuple[type, ...]) -> None:
        found = [(at, _key_maker(kind)) for at, kind in enumerate(kinds)]
        # For those that are not their own key.
        self.makers = [(at, maker) for at, maker in found if maker is not None]


# Lists of different lengths have different shapes. When there are too many all begin anew, and no key is found again.
_MOST_SHAPES: Final = 1024
_shapes: Final[dict[tuple[type, ...], _Shape]] = {}


def key_of(values: tuple[object, ...]) -> tuple[Hashable, ...]:
    """What only the same values have. About two microseconds for a row of a table.

    Raises:
        TypeError: one of them may hold more than it shows.
    """
    kinds = tuple(map(type, values))
    shape = _shapes.get(kinds) or _new_shape(kinds)
    if not shape.makers:
        return shape, values
    inner: list[Any] = [*values]
    for at, maker in shape.makers:
        inner[at] = maker(inner[at])
    return shape, *inner


def _new_shape(kinds: tuple[type, ...]) -> _Shape:
    shape = _Shape(kinds)
    if len(_shapes) >= _MOST_SHAPES:
        _shapes.clear()
    # Of two threads the second one takes the shape of the first.
    return _shapes.setdefault(kinds, shape)


def _key_of_moment(moment: datetime) -> Hashable:
    # Equal ones can be told in different zones.
    return moment if moment.tzinfo is UTC else (moment.isoformat(), moment.fold, moment.tzname())


def _key_of_set(values: frozenset[object]) -> Hashable:
    return frozenset([key_of((value,)) for value in values])


def _key_of_list(values: list[object]) -> Hashable:
    return key_of(tuple(values))


def _key_of_dict(values: dict[object, object]) -> Hashable:
    return key_of((*values, *values.values()))


def _key_of_promise(promise: Promise) -> Hashable:
    return key_of((str(promise),))


# How values are written, by their types. Of those with None, two that are equal are the same in all that can be seen.
_key_makers: Final[dict[type, Callable[[Any], Hashable] | None]] = {
    **dict.fromkeys((str, SafeString, int, bool, NoneType, date, timedelta, UUID)),
    tuple: key_of,
    list: _key_of_list,
    dict: _key_of_dict,
    frozenset: _key_of_set,
    datetime: _key_of_moment,
    # 1.5 and 1.50 are equal, and so are the two zeros.
    Decimal: str,
    float: repr,
}


def _key_maker(kind: type) -> Callable[[Any], Hashable] | None:
    try:
        return _key_makers[kind]
    except KeyError:
        return _key_makers.setdefault(kind, _new_key_maker(kind))


def _new_key_maker(kind: type) -> Callable[[Any], Hashable] | None:
    if issubclass(kind, Enum):
        return None
    if issubclass(kind, Promise):
        return _key_of_promise
    # A named tuple; one of a class without `__slots__` may hold more than its items.
    if issubclass(kind, tuple) and not kind.__dictoffset__:
        return key_of
    # What is not frozen, or is derived from a dataclass without being one, may hold more than the fields.
    if is_dataclass(kind) and "__dataclass_params__" in vars(kind) and _is_frozen(kind):
        names = [field.name for field in fields(kind)]
        if len(names) > 1:
            values_of = attrgetter(*names)
            return lambda value: key_of(values_of(value))
        return lambda value: key_of(tuple([getattr(value, name) for name in names]))
    raise TypeError(f"a part cannot be kept by a {kind.__name__}")


def _is_frozen(kind: type) -> bool:
    return bool(getattr(kind, "__dataclass_params__").frozen)  # noqa: B009 - the stubs leave it out


def _size(key: object) -> int:
    """How much a key takes. What several keys share counts for each of them."""
    inner: Iterable[object] = key if isinstance(key, (tuple, frozenset)) else ()
    return sys.getsizeof(key) + sum(map(_size, inner))
