from __future__ import annotations

import copy
import dataclasses
import hmac
import io
import json
import logging
import pickle
import pprint
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilo_gateway.secret import MASK, Secret

CANARY = "sk-canary-7f3a9c51d2e8"


def test_it_works() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert secret.last_four == "d2e8"
    assert secret == Secret(CANARY)
    assert secret != Secret(CANARY + "x")


@dataclasses.dataclass(frozen=True)
class Holder:
    secret: Secret


def log_line(secret: Secret) -> str:
    stream = io.StringIO()
    logger = logging.Logger("canary")  # noqa: LOG001 (one that no other test sees)
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("value %s %r", secret, {"key": secret})
    return stream.getvalue()


def traceback_with_locals(secret: Secret) -> str:
    try:
        raise RuntimeError(secret)
    except RuntimeError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@pytest.mark.parametrize(
    "shown",
    [
        repr,
        str,
        ascii,
        format,
        pprint.pformat,
        log_line,
        traceback_with_locals,
        lambda secret: f"{secret}{secret!r}{secret:>40}{secret:.3}",
        lambda secret: "%s %r %.4s" % (secret, secret, secret),  # noqa: UP031 (as logging formats)
        lambda secret: repr([secret, {"key": secret}, (secret,)]),
        lambda secret: repr(Holder(secret)),
        lambda secret: repr(dataclasses.asdict(Holder(secret))),
        lambda secret: json.dumps({"key": secret}, default=str),
        lambda secret: repr(copy.copy(secret)) + repr(copy.deepcopy(secret)),
    ],
)
def test_is_masked_wherever_it_is_shown(shown: object) -> None:
    assert callable(shown)
    output = shown(Secret(CANARY))
    assert "canary" not in output
    assert CANARY[-4:] not in output
    assert MASK in output or MASK[:3] in output


def test_the_mask_does_not_tell_the_length() -> None:
    assert repr(Secret("a")) == repr(Secret("a" * 1000))
    assert str(Secret("a")) == str(Secret("a" * 1000))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(Secret(CANARY), protocol)
    assert "canary" not in str(caught.value)


def test_does_not_hand_out_its_state() -> None:
    with pytest.raises(TypeError):
        Secret(CANARY).__getstate__()
    with pytest.raises(TypeError):
        vars(Secret(CANARY))


def test_is_not_json() -> None:
    with pytest.raises(TypeError, match="not JSON serializable") as caught:
        json.dumps({"key": Secret(CANARY)})
    assert "canary" not in str(caught.value)


def test_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(CANARY))


def test_does_not_change() -> None:
    secret = Secret(CANARY)
    with pytest.raises(AttributeError):
        secret.text = "other"
    with pytest.raises(AttributeError):
        secret._Secret__text = "other"
    with pytest.raises(AttributeError):
        del secret._Secret__text  # type: ignore[attr-defined]
    assert secret.reveal() == CANARY


def test_a_copy_is_itself() -> None:
    secret = Secret(CANARY)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"key": [secret]})["key"][0] is secret


def test_is_made_of_text_only() -> None:
    with pytest.raises(TypeError) as caught:
        Secret(CANARY.encode())  # type: ignore[arg-type]
    assert str(caught.value) == "a secret is made of text, not of bytes"


def test_is_not_equal_to_its_text() -> None:
    assert Secret(CANARY) != CANARY
    assert Secret(CANARY) != None  # noqa: E711 (the comparison is what is tested)


def test_equality_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def recording(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr("kilo_gateway.secret.hmac.compare_digest", recording)
    assert Secret("one") != Secret("two")
    assert compared == [(b"one", b"two")]


@given(st.text(st.characters(exclude_categories=[])), st.text(st.characters(exclude_categories=[])))
def test_equality_is_that_of_the_texts(left: str, right: str) -> None:
    assert Secret(left) == Secret(left)
    assert (Secret(left) == Secret(right)) == (left == right)
    assert bool(Secret(left)) == bool(left)


@pytest.mark.parametrize(
    ("text", "shown"), [("", ""), ("abcd", ""), ("abcdefg", ""), ("abcdefgh", "efgh"), ("sk-12345678", "5678")]
)
def test_a_short_secret_shows_nothing(text: str, shown: str) -> None:
    assert Secret(text).last_four == shown
