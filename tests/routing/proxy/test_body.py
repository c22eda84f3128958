"""The request body: what is accepted, what is refused, and that an edit changes nothing but its value."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from kilo_gateway.api_errors import ErrorType, GatewayError
from routing.proxy.body import MAX_DEPTH, JsonBody

# A busy machine is no reason to fail.
thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refusal(raw: bytes) -> str:
    """The message with which a body is refused."""
    with pytest.raises(GatewayError) as caught:
        JsonBody(raw)
    assert (caught.value.error_type, caught.value.status) == (ErrorType.INVALID_REQUEST, 400)
    return caught.value.message


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: the same types throughout, so that 1, 1.0 and true differ, and -0.0 is not 0.0."""
    return repr(one) == repr(other)


def test_it_works() -> None:
    raw = '{ "model": "kilo-auto/org",\n  "messages": [{"role": "user", "content": "né"}] }'.encode()
    body = JsonBody(raw)
    assert body.values == {"model": "kilo-auto/org", "messages": [{"role": "user", "content": "né"}]}
    assert body.encode() == raw
    body.replace("model", "anthropic/claude-sonnet-5")
    assert body.get("model") == "anthropic/claude-sonnet-5"
    assert body.encode() == raw.replace(b"kilo-auto/org", b"anthropic/claude-sonnet-5")


# ---------------------------------------------------------------- any JSON object

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
shallow = scalars | st.lists(scalars, max_size=4) | st.dictionaries(texts, scalars, max_size=4)
deeper = shallow | st.lists(shallow, max_size=4) | st.dictionaries(texts, shallow, max_size=4)
values = deeper | st.lists(deeper, max_size=2)
keys = st.sampled_from(["model", "Model", "provider", "stream", "", "mod\u0435l", "\x00", '"', "\\"]) | texts
objects = st.dictionaries(keys, values, max_size=6)


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
