"""The request body: what is accepted, and that an edit changes nothing but its value."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kilo_gateway.api_errors import ErrorType, GatewayError
from routing.proxy.body import JsonBody
from tests.routing.proxy.bodies import keys, objects, same, texts, thorough, values


def test_it_works() -> None:
    raw = '{ "model": "kilo-auto/org",\n  "messages": [{"role": "user", "content": "né"}] }'.encode()
    body = JsonBody(raw)
    assert body.values == {"model": "kilo-auto/org", "messages": [{"role": "user", "content": "né"}]}
    assert body.encode() == raw
    body.replace("model", "anthropic/claude-sonnet-5")
    assert body.get("model") == "anthropic/claude-sonnet-5"
    assert body.encode() == raw.replace(b"kilo-auto/org", b"anthropic/claude-sonnet-5")


# ---------------------------------------------------------------- any JSON object


class Writer(random.Random):
    """Writes a value as JSON, with whatever space and spelling JSON leaves open, by a number."""

    def space(self) -> str:
        return "".join(self.choices(" \t\r\n", k=self.choice([0, 0, 1, 3])))

    def text(self, text: str) -> str:
        return f'"{"".join(map(self.character, text))}"'

    def character(self, character: str) -> str:
        """Any character may be escaped, one beyond the basic plane as a pair, in either case."""
        if character == "/" and self.random() < 0.5:
            return "\\/"
        if character not in '"\\' and character >= " " and self.random() < 0.6:
            return character
        units = character.encode("utf-16-be")
        codes = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
        return "".join(f"\\u{self.choice([code, code.upper()])}" for code in codes)

    def value(self, value: Any) -> str:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return f"[{self.joined(map(self.value, value))}]"
        if isinstance(value, dict):
            members = (
                f"{self.text(key)}{self.space()}:{self.space()}{self.value(inner)}" for key, inner in value.items()
            )
            return f"{{{self.joined(members)}}}"
        return json.dumps(value)

    def joined(self, parts: Iterable[str]) -> str:
        return ",".join(f"{self.space()}{part}{self.space()}" for part in parts) or self.space()


def spelled(value: dict[str, Any], number: int) -> tuple[dict[str, Any], str]:
    writer = Writer(number)
    return value, f"{writer.space()}{writer.value(value)}{writer.space()}"


spelled_objects = st.builds(spelled, objects, st.integers(0, 10_000))


@thorough
@given(objects, st.booleans(), st.sampled_from([None, 1, "\t"]), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_any_object_is_read_as_the_standard_library_reads_it(
    value: dict[str, Any], ascii_only: bool, indent: Any, separators: tuple[str, str]
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent, separators=separators)
    body = JsonBody(text.encode())
    assert same(body.values, json.loads(text))
    assert body.encode() == text.encode()


@thorough
@given(spelled_objects)
def test_any_spelling_of_an_object_is_read_as_the_standard_library_reads_it(
    written: tuple[dict[str, Any], str],
) -> None:
    value, text = written
    body = JsonBody(text.encode())
    assert same(body.values, json.loads(text))
    assert same(body.values, value)
    assert body.encode() == text.encode()


# ---------------------------------------------------------------- edits


def around(raw: bytes, key: str) -> tuple[bytes, bytes]:
    """What stands before and behind a top-level value, found without the code under test."""
    text = raw.decode()
    decoder, before = json.JSONDecoder(), text.index("{") + 1
    while True:
        name, end = decoder.raw_decode(text, skipped(text, before))
        start = skipped(text, skipped(text, end) + 1)
        _, end = decoder.raw_decode(text, start)
        if name == key:
            return text[:start].encode(), text[end:].encode()
        before = skipped(text, end) + 1


def skipped(text: str, position: int) -> int:
    while text[position] in " \t\r\n":
        position += 1
    return position


@thorough
@given(spelled_objects, values, st.integers(0, 5))
def test_a_replaced_value_is_all_that_changes(written: tuple[dict[str, Any], str], new: Any, which: int) -> None:
    value, text = written
    assume(value)
    key = sorted(value)[which % len(value)]
    before, after = around(text.encode(), key)
    body = JsonBody(text.encode())
    body.replace(key, new)
    encoded = body.encode()
    assert same(json.loads(encoded), {**value, key: new})
    assert encoded == before + json.dumps(new, ensure_ascii=False).encode() + after
    assert same(body.values, json.loads(encoded))


@thorough
@given(spelled_objects, texts, values)
def test_an_added_value_is_all_that_is_added(written: tuple[dict[str, Any], str], key: str, new: Any) -> None:
    value, text = written
    assume(key not in value)
    body = JsonBody(text.encode())
    body.replace(key, new)
    encoded = body.encode()
    assert json.loads(encoded) == {**value, key: new}
    brace = text.index("{") + 1
    assert encoded.startswith(text[:brace].encode())
    assert encoded.endswith(text[brace:].encode())


@thorough
@given(spelled_objects, st.dictionaries(keys, values, max_size=4), st.dictionaries(keys, values, max_size=2))
def test_several_edits_at_once_and_one_after_the_other(
    written: tuple[dict[str, Any], str], first: dict[str, Any], then: dict[str, Any]
) -> None:
    value, text = written
    body = JsonBody(text.encode())
    for key, new in [*first.items(), *then.items()]:
        body.replace(key, new)
        assert body.get(key) == new
    encoded = body.encode()
    assert encoded == body.encode()
    assert json.loads(encoded) == {**value, **first, **then} == body.values
    # What comes out is a body again, so nothing was added twice.
    assert JsonBody(encoded).encode() == encoded


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"model":"x"}', '{"model":"NEW"}'),
        ('{"model":null}', '{"model":"NEW"}'),
        ('{"model":["model"]}', '{"model":"NEW"}'),
        ('{"model":{"model":"model"},"a":"model"}', '{"model":"NEW","a":"model"}'),
        ('{"a":{"model":"x"},"model":"x"}', '{"a":{"model":"x"},"model":"NEW"}'),
        ('{"a":"\\"model\\":\\"x\\"","model":"x"}', '{"a":"\\"model\\":\\"x\\"","model":"NEW"}'),
        ('{"\\u006dodel":"x"}', '{"\\u006dodel":"NEW"}'),
        ('{"\\u006D\\u006F\\u0064\\u0065\\u006C" : 1 }', '{"\\u006D\\u006F\\u0064\\u0065\\u006C" : "NEW" }'),
        (' {\n"model"\t:\r\n"x"\n} \n', ' {\n"model"\t:\r\n"NEW"\n} \n'),
        ('{"a":1e2,"model":1.50,"b":[ 1 ,2]}', '{"a":1e2,"model":"NEW","b":[ 1 ,2]}'),
        ('{"ä":"é€😀","model":"ö","z":"\\u00e9"}', '{"ä":"é€😀","model":"NEW","z":"\\u00e9"}'),
        ("{}", '{"model":"NEW"}'),
        ("{ }", '{"model":"NEW" }'),
        ('{ "a" : 1 }', '{"model":"NEW", "a" : 1 }'),
        ('{"Model":"x"}', '{"model":"NEW","Model":"x"}'),
    ],
)
def test_where_the_model_is_found(raw: str, expected: str) -> None:
    body = JsonBody(raw.encode())
    body.replace("model", "NEW")
    assert body.encode() == expected.encode()


def test_an_edit_is_written_as_utf_8_and_escaped_where_it_must_be() -> None:
    body = JsonBody(b'{"model":"x"}')
    body.replace("model", 'a"b\\c\nd/é/😀/\x7f')
    assert body.encode() == '{"model":"a\\"b\\\\c\\nd/é/😀/\x7f"}'.encode()


def test_numbers_outside_an_edit_keep_their_spelling() -> None:
    raw = b'{"a":1.10,"b":1E2,"c":-0,"d":0.1000000000000000055511151231257827,"model":"x","e":123456789012345678901234}'
    body = JsonBody(raw)
    body.replace("model", "y")
    assert body.encode() == raw.replace(b'"x"', b'"y"')


# ---------------------------------------------------------------- beside the standard library

FRAGMENTS = ["{", "}", "[", "]", ",", ":", '"', "a", '"a"', '"model"', "1", "-", ".", "e9", "true", "null", " ", "\n"]
FRAGMENTS += ["\\", "\\u006d", "\\ud83d", "\\ude00", "NaN", "0", "\ufeff", "\x00", "é", "1e999", '{"a":', "[]", "{}"]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)


def judged(raw: bytes) -> dict[str, Any] | None:
    """What a body is read as; None when it is refused, by an error of ours and no other."""
    try:
        return JsonBody(raw).values
    except GatewayError:
        return None


@settings(thorough, max_examples=800)
@given(
    st.one_of(
        fragments.map(str.encode),
        fragments.map(lambda text: f'{{"a":{text}}}'.encode()),
        fragments.map(lambda text: f'{{"model":"x",{text}}}'.encode()),
        st.binary(max_size=30),
        st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")),
    )
)
@example(b'{"a":1,"a":1}')
def test_what_is_accepted_is_what_the_standard_library_reads(raw: bytes) -> None:
    found = judged(raw)
    if found is not None:
        assert same(found, json.loads(raw))
        assert JsonBody(raw).encode() == raw
    elif raw[:1] == b"{" and is_plain(raw):
        pytest.fail("refused without a reason")


def is_plain(raw: bytes) -> bool:
    """Whether the standard library reads an object that has nothing of what we refuse on purpose."""
    doubtful = False

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubtful
        doubtful |= len({key for key, _ in pairs}) != len(pairs)
        return dict(pairs)

    try:
        value = json.loads(raw.decode(), object_pairs_hook=unique)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return isinstance(value, dict) and not doubtful


@thorough
@given(spelled_objects, st.data())
def test_a_body_that_was_damaged_is_read_as_the_standard_library_reads_it(
    written: tuple[dict[str, Any], str], data: st.DataObject
) -> None:
    raw = bytearray(written[1].encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(raw) - 1)))
        way = data.draw(st.integers(0, 2))
        if way == 0:
            del raw[at : at + 1]
        elif way == 1:
            raw[at:at] = data.draw(st.sampled_from(FRAGMENTS)).encode()
        else:
            raw[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
    found = judged(bytes(raw))
    if found is not None:
        assert same(found, json.loads(bytes(raw)))
    elif raw[:1] == b"{":
        assert not is_plain_utf_8(bytes(raw))


def is_plain_utf_8(raw: bytes) -> bool:
    try:
        return is_plain(raw)
    except UnicodeDecodeError:
        return False


# ---------------------------------------------------------------- reading values


def test_what_is_not_there_is_none_and_an_empty_object() -> None:
    body = JsonBody(b'{"a":null,"b":{"c":1},"d":[],"e":"x","f":0,"g":false}')
    assert body.get("missing") is None
    assert body.mapping("missing") == body.mapping("a") == {}
    assert body.mapping("b") == {"c": 1}
    for key in "defg":
        with pytest.raises(GatewayError, match=f'"{key}" must be an object') as caught:
            body.mapping(key)
        assert (caught.value.error_type, caught.value.status) == (ErrorType.INVALID_REQUEST, 400)


def test_a_large_body_is_read_in_its_length() -> None:
    """Thirty thousand messages, and an edit: nothing in it is quadratic."""
    messages = [{"role": "user", "content": f'line {number} é \\ "quoted" [{{'} for number in range(30_000)]
    raw = json.dumps({"messages": messages, "model": "x", "tools": [{"a": [1]}] * 1_000}).encode()
    body = JsonBody(raw)
    assert body.values["messages"] == messages
    body.replace("model", "y")
    assert body.encode() == raw.replace(b'"model": "x"', b'"model": "y"')
