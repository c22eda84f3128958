from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilo_gateway.strict_json import MAX_DEPTH, NotStrictJson, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(VALUES)
def test_it_reads_what_everybody_writes(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert parse(text.encode()) == value


@given(st.binary())
def test_whatever_comes_is_read_or_refused(raw: bytes) -> None:
    try:
        value = parse(raw)
    except NotStrictJson:
        return
    json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "at character 0"),
        (b"\xff", "UTF-8"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'[{"a": 1, "\\u0061": 1}]', "twice"),
        (b"NaN", "not JSON"),
        (b"-Infinity", "not JSON"),
        (b"1e400", "too large"),
        (b"9" * 5000, "too large"),
        (b'"\\u0000"', "cannot be stored"),
        (b'{"\\ud800": 1}', "cannot be stored"),
        (b'[["\\udfff"]]', "cannot be stored"),
        (b"[" * 100_000, "levels"),
        (b"[" * MAX_DEPTH + b"[]" + b"]" * MAX_DEPTH, "levels"),
    ],
)
def test_what_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(NotStrictJson, match=says):
        parse(raw)


def test_as_deep_as_it_may_be() -> None:
    deepest = b"[" * (MAX_DEPTH - 1) + b"1" + b"]" * (MAX_DEPTH - 1)
    assert parse(deepest) == json.loads(deepest)


def test_what_it_refuses_is_not_quoted() -> None:
    with pytest.raises(NotStrictJson) as raised:
        parse(b'{"api_key": "sk-canary", ')
    assert "canary" not in str(raised.value)
