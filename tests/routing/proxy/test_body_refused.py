"""What the request body must not be, and what is near to it and accepted."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.proxy.body import MAX_DEPTH, JsonBody
from tests.routing.proxy.bodies import objects, refusal, thorough

# ---------------------------------------------------------------- the same key twice


@pytest.mark.parametrize(
    "raw",
    [
        '{"model":"a","model":"b"}',
        '{"model":"a","model":"a"}',
        '{"model":"a","x":1,"model":"b"}',
        '{"model":"a","\\u006dodel":"b"}',
        '{"\\u006Dodel":"a","\\u006dodel":"b"}',
        '{"model":"a","mod\\u0065l":"b"}',
        '{"":1,"":2}',
        '{"é":1,"\\u00e9":2}',
        '{"😀":1,"\\ud83d\\ude00":2}',
        '{"a/b":1,"a\\/b":2}',
        '{"a":{"b":1,"b":2}}',
        '{"a":{"b":1,"\\u0062":2}}',
        '{"a":[{"b":1},{"b":1,"b":1}]}',
        '{"messages":[{"content":[{"type":"text","type":"image"}]}]}',
        '{"provider":{"only":["a"],"only":["b"]}}',
    ],
)
def test_a_key_twice_is_refused_wherever_it_is(raw: str) -> None:
    assert json.loads(raw)  # which is what makes it dangerous
    assert refusal(raw.encode()) == "The body is not a JSON object: an object has the same key twice."


@pytest.mark.parametrize(
    "raw",
    [
        '{"a":{"x":1},"b":{"x":1}}',
        '{"a":{"a":{"a":1}}}',
        '{"a":[{"a":1},{"a":1}]}',
        '{"model":"a","Model":"b"}',
        '{"\\u00e9":1,"e\\u0301":2}',
    ],
)
def test_keys_that_only_look_alike_are_accepted(raw: str) -> None:
    assert JsonBody(raw.encode()).values == json.loads(raw)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("shape", ['{"a":%s}', '{"a":[%s]}', '{"a":{"b":[1,%s]}}'])
def test_what_is_no_number_in_json_is_refused(shape: str, number: str) -> None:
    assert refusal((shape % number).encode()) == f"The body is not a JSON object: {number} is not JSON."


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1E+400", "1.0e309", "9" * 310 + ".0", "1" + "0" * 400 + "e0"])
@pytest.mark.parametrize("shape", ['{"a":%s}', '{"a":[{"b":%s}]}'])
def test_a_number_that_would_be_infinite_is_refused(shape: str, number: str) -> None:
    assert refusal((shape % number).encode()) == "The body is not a JSON object: a number is too large."


def test_the_largest_finite_number_is_accepted() -> None:
    body = JsonBody(b'{"a":1.7976931348623157e308,"b":-1.7976931348623157e308,"c":1e-999,"d":-0.0}')
    assert body.get("a") == sys.float_info.max
    assert (body.get("b"), body.get("c")) == (-sys.float_info.max, 0.0)
    assert math.copysign(1, body.get("d")) == -1


@pytest.mark.parametrize("digits", [4_301, 5_000, 100_000])
@pytest.mark.parametrize("shape", ['{"a":%s}', '{"a":-%s}', '{"a":[[%s]]}'])
def test_an_integer_of_thousands_of_digits_is_refused(shape: str, digits: int) -> None:
    message = refusal((shape % ("7" * digits)).encode())
    assert message == "The body is not a JSON object: a number has too many digits."


def test_an_integer_of_many_digits_stays_exact() -> None:
    raw = b'{"a":%s}' % (b"7" * 4_000)
    assert JsonBody(raw).get("a") == int("7" * 4_000)
    assert JsonBody(raw).encode() == raw


@pytest.mark.parametrize(
    "number", ["01", "-01", "+1", ".5", "1.", "1.e2", "1e", "1e+", "-", "--1", "0x10", "1_000", "1,5", "٣", "1f", "nan"]
)
def test_malformed_numbers_are_refused(number: str) -> None:
    refusal(f'{{"a":{number}}}'.encode())
    refusal(f'{{"a":[{number}]}}'.replace("1,5", "1.5.1").encode())


# ---------------------------------------------------------------- characters

LONE = ["\\ud800", "\\uD800", "\\udBff", "\\udc00", "\\uDFFF", "\\ud83d x", "\\ude00\\ud83d", "\\ud83d\\ud83d"]
LONE += ["\\ud83d\\u0041", "\\ud83d\\\\ude00", "x\\uDbFf", "\\ud83d\\ude00\\ude00"]


@pytest.mark.parametrize("lone", LONE)
@pytest.mark.parametrize(
    "shape", ['{"a":"%s"}', '{"%s":1}', '{"a":[{"b":["%s"]}]}', '{"a":{"b":{"%s":1}}}', '{"model":"%s"}']
)
def test_half_of_a_character_is_refused(shape: str, lone: str) -> None:
    raw = shape % lone
    json.loads(raw)
    assert refusal(raw.encode()) == "The body has half of a character (a lone surrogate)."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\ud83d\\ude00", "😀"),
        ("\\uD83D\\uDE00", "😀"),
        ("\\uD83d\\udE00", "😀"),
        ("\\ud800\\udc00", "\U00010000"),
        ("\\udbff\\udfff", "\U0010ffff"),
        ("\\\\ud800", "\\ud800"),
        ("\\\\\\ud83d\\ude00", "\\😀"),
        ("\\ud7ff\\ue000", "\ud7ff\ue000"),
        ("\\u0000", "\x00"),
        ("\\uffff", "\uffff"),
    ],
)
def test_whole_characters_are_accepted_however_they_are_written(text: str, value: str) -> None:
    raw = f'{{"a":"{text}","{text}":1}}'.encode()
    body = JsonBody(raw)
    assert body.values == {"a": value, value: 1}
    body.replace("model", "x")
    assert body.encode().endswith(raw[1:])


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"\xff"}',
        b'{"a":"\x80"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}',
        b'{"\xe9":1}',
        b"\xff\xfe{\x00}\x00",
        '{"a":"é"}'.encode("latin-1"),
    ],
)
def test_what_is_not_utf_8_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "The body is not UTF-8."


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_other_encodings_of_unicode_are_refused(encoding: str) -> None:
    """The standard library would guess them; an upstream may guess otherwise."""
    raw = '{"model":"x"}'.encode(encoding)
    json.loads(raw)
    refusal(raw)


@pytest.mark.parametrize("character", ["\x00", "\x01", "\n", "\t", "\x1f"])
def test_control_characters_inside_a_text_are_refused(character: str) -> None:
    refusal(f'{{"a":"{character}"}}'.encode())
    refusal(f'{{"{character}":1}}'.encode())


# ---------------------------------------------------------------- depth


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """A body of this many levels, its own object included."""
    return ('{"a":' + opening * (depth - 1) + "1" + closing * (depth - 1) + "}").encode()


SHAPES = [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")]


@pytest.mark.parametrize(("opening", "closing"), SHAPES[:2])
def test_the_deepest_body_that_is_accepted(opening: str, closing: str) -> None:
    assert MAX_DEPTH == 128
    raw = nested(MAX_DEPTH, opening, closing)
    assert JsonBody(raw).values == json.loads(raw)
    assert refusal(nested(MAX_DEPTH + 1, opening, closing)) == "The body is nested more than 128 levels deep."


@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 300, 700])
@pytest.mark.parametrize(("opening", "closing"), SHAPES)
def test_a_deeper_one_is_refused(opening: str, closing: str, depth: int) -> None:
    assert refusal(nested(depth, opening, closing)) == "The body is nested more than 128 levels deep."


@pytest.mark.parametrize("depth", [1_500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), SHAPES)
def test_one_too_deep_for_the_parser_is_refused_with_the_same_words(opening: str, closing: str, depth: int) -> None:
    assert refusal(nested(depth, opening, closing)) == "The body is nested more than 128 levels deep."
    # Without its end it is no object at all, and still not an error of ours.
    refusal(nested(depth, opening, closing)[: depth // 2])


@pytest.mark.parametrize(("depth", "accepted"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_the_depth_is_found_wherever_it_is(depth: int, accepted: bool) -> None:
    deep = nested(depth - 1).decode()
    wide = ",".join(['{"x":[{"y":[]}]}'] * 50)
    for raw in (f'{{"a":[{wide}],"b":{deep}}}', f'{{"b":{deep},"a":[{wide}]}}'):
        if accepted:
            assert JsonBody(raw.encode()).values == json.loads(raw)
        else:
            refusal(raw.encode())


def test_what_is_wide_or_only_has_brackets_in_its_texts_is_not_deep() -> None:
    for value in ([[]] * 5_000, [{}] * 5_000, "[" * 5_000, ["{[" * 500] * 10, [[[{"a": [1]}]]] * 1_000):
        raw = json.dumps({"a": value, "model": "x"}).encode()
        assert JsonBody(raw).values == json.loads(raw)


# ---------------------------------------------------------------- what is no object

GARBAGE = [
    b"",
    b" ",
    b"\n\t",
    b"null",
    b"true",
    b"1",
    b'"model"',
    b"[]",
    b'[{"model":"x"}]',
    b"{",
    b"}",
    b"{}}",
    b"{}{}",
    b"{} {}",
    b'{"a":1}x',
    b'{"a":1}\x00',
    b'{"a":1},',
    b'{"a":1}\xc2\xa0',
    b'\xc2\xa0{"a":1}',
    b"\x0b{}",
    b"{}\x0c",
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b"{,}",
    b'{,"a":1}',
    b'{"a":1 "b":2}',
    b'{"a":1;"b":2}',
    b'{"a"=1}',
    b'{"a"::1}',
    b'{"a":1',
    b'{"a":1,',
    b'{"a":1,"b"',
    b'{"a":1,"b":',
    b'{"a',
    b'{"a":"',
    b'{"a":"x',
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b"{null:1}",
    b'{["a"]:1}',
    b'{"a":tru}',
    b'{"a":True}',
    b'{"a":None}',
    b'{"a":undefined}',
    b'{"a":[1,]}',
    b'{"a":[1 2]}',
    b'{"a":{"b":1,}}',
    b"{\"a\":'b'}",
    b'{"a":1}//',
    b'/**/{"a":1}',
    b'{"a":1/**/}',
    b'{"a":"\\x41"}',
    b'{"a":"\\u12"}',
    b'{"a":"\\u12g4"}',
    b'{"a":"\\u+123"}',
    b'{"a":"\\U0041"}',
    b'{"a":"\\"}',
    b'\xef\xbb\xbf{"a":1}',
    b"model=x&stream=true",
    b"--boundary\r\nContent-Disposition: form-data\r\n\r\n{}",
]


@pytest.mark.parametrize("raw", GARBAGE)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    assert refusal(raw).startswith("The body is not a JSON object: ")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[]", "it does not start with {"),
        (b"", "it does not start with {"),
        (b'{"a":tru}', "expecting value at character 5"),
        (b'{"a":[1,]}', "expecting value at character 8"),
        (b'{"a":"\\x41"}', "invalid \\escape at character 6"),
        (b'{"a"  1}', "a colon is expected at character 6"),
        (b'{"a":1 "b":2}', "a comma or } is expected at character 7"),
        (b'{"a":1,}', "a key is expected at character 7"),
        (b"{'a':1}", "a key is expected at character 1"),
        (b"{} x", "something follows the object"),
    ],
)
def test_the_refusal_says_what_and_where(raw: bytes, reason: str) -> None:
    assert refusal(raw) == f"The body is not a JSON object: {reason}."


def test_the_refusal_of_a_body_does_not_repeat_it() -> None:
    """A body may hold what must not be shown or logged."""
    canary = "sk-canary-7f3a9c51d2e8"
    for raw in (
        f'{{"a":"{canary}",}}',
        f'{{"{canary}":1,"{canary}":2}}',
        f'{{"a":{canary}}}',
        f'{{"a":"{canary}\n"}}',
        f'{{"a":"{canary}\\ud800"}}',
        f'{{"a":1}}{canary}',
        canary,
    ):
        assert "canary" not in refusal(raw.encode())


@thorough
@given(st.sampled_from(GARBAGE), objects)
def test_garbage_stays_garbage_inside_an_object(raw: bytes, value: dict[str, Any]) -> None:
    """A value that the standard library does not read is refused at any depth."""
    body = b'{"a":%s,"b":[%s]}' % (json.dumps(value).encode(), raw)
    try:
        json.loads(body)
    except ValueError:
        refusal(body)
