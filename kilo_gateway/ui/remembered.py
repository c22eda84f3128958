"""Parts of pages that are made once for the same values.

Most of what a page shows is what it showed a moment ago, and making it is most of a page's work. A part is a function
of its values alone, so whatever it depends on is in the key; that holds only for values that cannot change, and that
are equal only when all that they hold is. Others are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, wraps
from typing import Any, Final, ParamSpec
from uuid import UUID

from django.utils.safestring import SafeString

# Of each kind of part, in each process; the rows of a table are the largest, at about a kilobyte.
KEPT: Final = 4096
_PLAIN: Final = (str, int, float, type(None), date, timedelta, Decimal, UUID)

P = ParamSpec("P")


def remembered(make: Callable[P, SafeString]) -> Callable[P, SafeString]:
    """Keep what the function makes, by its arguments and their types: a text that is markup is not one that is not.

    Raises:
        TypeError: an argument can change, or is not compared by all that it holds.
    """

    @wraps(make)
    def checked(*args: Any, **given: Any) -> SafeString:
        for value in (*args, *given.values()):
            _require_value(value)
        return make(*args, **given)

    return lru_cache(maxsize=KEPT, typed=True)(checked)  # type: ignore[return-value]  # it takes what `make` does


def _require_value(value: object) -> None:
    if isinstance(value, (tuple, frozenset)):
        _require_values(value)
    elif is_dataclass(value) and getattr(value, "__dataclass_params__").frozen:  # noqa: B009 - the stubs leave it out
        _require_values(getattr(value, field.name) for field in fields(value))
    elif not isinstance(value, _PLAIN):
        raise TypeError(f"a part cannot be kept by a {type(value).__name__}")


def _require_values(inner: Iterable[object]) -> None:
    for value in inner:
        # Within another value nobody compares the types, so one text could be taken for the other.
        if isinstance(value, SafeString):
            raise TypeError("a part cannot be kept by a value with markup in it")
        _require_value(value)
