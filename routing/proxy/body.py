"""The request body as data: parsed once, strictly, and edited without rebuilding what the client sent.

A body is parsed one level deep by hand and below that by the standard library's decoder, so that the place of each
top-level value in the text is known: changing `model` is a splice, and every other byte arrives upstream as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.strict_json import DECODER

MAX_DEPTH = 128
_SPACE = re.compile(r"[ \t\n\r]*")
# A key without escapes, with the colon behind it and the space around that.
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
_SEPARATOR = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")
_encode = json.JSONEncoder(ensure_ascii=False).encode
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def invalid_request(message: str) -> GatewayError:
    """400: the body is not what the API expects."""
    return GatewayError(ErrorType.INVALID_REQUEST, 400, message)


class JsonBody:
    """A JSON object: its top-level values, and its text with the edits made so far.

    Raises:
        GatewayError: 400 `invalid_request` for anything that is not a JSON object in UTF-8 with unique keys, finite
            numbers, whole characters and at most 128 levels. Two parsers that read one body differently are how a
            check is passed by what the upstream never sees, so what is ambiguous is refused.
    """

    __slots__ = ("_edits", "_insert_at", "_spans", "_text", "values")

    def __init__(self, raw: bytes) -> None:
        try:
            self._text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise invalid_request("The body is not UTF-8.") from None
        self.values: dict[str, Any] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._edits: dict[str, str] = {}
        try:
            self._parse()
        except RecursionError:
            raise invalid_request(f"The body is nested more than {MAX_DEPTH} levels deep.") from None
        except ValueError as error:
            raise invalid_request(f"The body is not a JSON object: {_reason(error)}.") from None
        self._check_depth()
        self._check_characters()

    def _parse(self) -> None:
        text, decode, values = self._text, DECODER.raw_decode, self.values
        position = self._after_space(0)
        if text[position : position + 1] != "{":
            raise ValueError("it does not start with {")
        self._insert_at = position + 1
        position = self._after_space(position + 1)
        closed = text[position : position + 1] == "}"
        if closed:
            position = self._after_space(position + 1)
        while not closed:
            # Nearly every key is plain, and one match reads it with its colon.
            plain = _PLAIN_KEY.match(text, position)
            key, start = (plain[1], plain.end()) if plain else self._key(position)
            value, end = decode(text, start)
            if key in values:
                raise ValueError("an object has the same key twice")
            values[key], self._spans[key] = value, (start, end)
            separator = _SEPARATOR.match(text, end)
            if separator is None:
                raise ValueError(f"a comma or }} is expected at character {self._after_space(end)}")
            closed = separator[1] == "}"
            position = separator.end()
        if position != len(text):
            raise ValueError("something follows the object")

    def _key(self, position: int) -> tuple[str, int]:
        """A key with escapes in it, and where its value begins; or what is wrong there."""
        text = self._text
        if text[position : position + 1] != '"':
            raise ValueError(f"a key is expected at character {position}")
        key, position = DECODER.raw_decode(text, position)
        position = self._after_space(position)
        if text[position : position + 1] != ":":
            raise ValueError(f"a colon is expected at character {position}")
        return key, self._after_space(position + 1)

    def _after_space(self, position: int) -> int:
        match = _SPACE.match(self._text, position)
        return match.end() if match else position

    def _check_depth(self) -> None:
        if self._text.count("[") + self._text.count("{") <= MAX_DEPTH:
            return
        level: list[Any] = [self.values]
        for _ in range(MAX_DEPTH):
            level = [child for parent in level for child in _children(parent)]
            if not level:
                return
        raise invalid_request(f"The body is nested more than {MAX_DEPTH} levels deep.")

    def _check_characters(self) -> None:
        if not _SURROGATE_ESCAPE.search(self._text):
            return
        try:
            json.dumps(self.values, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise invalid_request("The body has half of a character (a lone surrogate).") from None

    def copy(self) -> JsonBody:
        """Another one that can be edited without this one; the values themselves are shared."""
        copy = object.__new__(JsonBody)
        copy._text, copy._spans, copy._insert_at = self._text, self._spans, self._insert_at
        copy.values, copy._edits = self.values.copy(), self._edits.copy()
        return copy

    def replace(self, key: str, value: Any) -> None:
        """Give a top-level key another value, or add it."""
        self.values[key] = value
        self._edits[key] = _encode(value)

    def encode(self) -> bytes:
        """The body as it goes upstream: the client's text with the edits, everything else to the byte."""
        text = self._text
        replaced = [(self._spans[key], new) for key, new in self._edits.items() if key in self._spans]
        for (start, end), new in sorted(replaced, reverse=True):
            text = f"{text[:start]}{new}{text[end:]}"
        added = [f"{json.dumps(key)}:{new}" for key, new in self._edits.items() if key not in self._spans]
        if added:
            tail = "," if self._spans else ""
            text = f"{text[: self._insert_at]}{','.join(added)}{tail}{text[self._insert_at :]}"
        return text.encode("utf-8")

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """The object at a top-level key; empty when there is none.

        Raises:
            GatewayError: 400 when something else is there.
        """
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise invalid_request(f'"{key}" must be an object.')
        return value


def _children(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [child for child in children if isinstance(child, (dict, list))]


def _reason(error: ValueError) -> str:
    """What the parser found, without the text around it: a body may hold what must not be shown or logged."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at character {error.pos}"
    text = str(error)
    return "a number has too many digits" if "integer string conversion" in text else text
