"""JSON that every parser reads alike and that the database can hold."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

MAX_DEPTH = 32
# PostgreSQL's text cannot hold NUL, and half of a surrogate pair is no character.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class NotStrictJson(ValueError):
    """What is wrong with the text, in words that may be shown."""


def parse(raw: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        NotStrictJson: it is not JSON, or has a key twice, NaN or an infinity, a number that is too large, a character
            that cannot be stored, or more than 32 levels.
    """
    try:
        value = DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise NotStrictJson("it is not UTF-8") from None
    except RecursionError:
        raise NotStrictJson(f"it has more than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise NotStrictJson(f"{error.msg} at character {error.pos}") from None
    except NotStrictJson:
        raise
    except ValueError:
        # The interpreter's limit on the digits of a whole number.
        raise NotStrictJson("a number is too large") from None
    _check(value)
    return value


def _check(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        for child in level:
            if isinstance(child, str) and _UNSTORABLE.search(child):
                raise NotStrictJson("it has a character that cannot be stored (NUL or a lone surrogate)")
        level = [part for child in level for part in _parts(child)]
        if not level:
            return
    raise NotStrictJson(f"it has more than {MAX_DEPTH} levels")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotStrictJson("an object has the same key twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise NotStrictJson("a number is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise NotStrictJson(f"{name} is not JSON")


# Refuses a key that is there twice, NaN, infinities and what is as large as one.
DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)
