"""What a request is taken to have cost when its upstream does not tell."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.domain.cost import TokenCounts
from routing.domain.estimates import Expected, estimated_input, with_estimates

EXPECTED = Expected(1000, 50)


@pytest.mark.parametrize(
    ("told", "text_bytes", "input_tokens", "output_tokens"),
    [
        (TokenCounts(), 0, 1000, 0),
        (TokenCounts(), 1, 1000, 1),
        (TokenCounts(), 40, 1000, 10),
        (TokenCounts(input=7), 40, 7, 10),
        (TokenCounts(input=7, output=3), 40, 7, 13),
        (TokenCounts(input=7, output=3), 0, 7, 3),
        (TokenCounts(), 10**9, 1000, 50),
    ],
)
def test_what_was_told_stays(told: TokenCounts, text_bytes: int, input_tokens: int, output_tokens: int) -> None:
    counts = with_estimates(told, EXPECTED, text_bytes, was_left=True)
    assert (counts.input, counts.output) == (input_tokens, output_tokens)
    assert (counts.cache_read, counts.cache_write, counts.reasoning) == (None, None, None)


@pytest.mark.parametrize(
    ("told", "was_left", "expected"),
    [
        (TokenCounts(), False, TokenCounts()),
        (TokenCounts(input=7), False, TokenCounts(input=7)),
        (TokenCounts(), True, TokenCounts(input=1000, output=0)),
        (TokenCounts(input=7), True, TokenCounts(input=7, output=0)),
        (TokenCounts(output=3), False, TokenCounts(input=1000, output=3)),
        (TokenCounts(input=7, output=3), True, TokenCounts(input=7, output=3)),
    ],
)
def test_without_a_word_it_depends_on_who_ended_it(told: TokenCounts, was_left: bool, expected: TokenCounts) -> None:
    assert with_estimates(told, EXPECTED, 0, was_left=was_left) == expected


def test_a_file_is_not_taken_for_text() -> None:
    image = base64.b64encode(random.Random(7).randbytes(300_000))
    body = b'{"image_url": {"url": "data:image/png;base64,' + image + b'"}}' + b"x" * 400
    assert estimated_input(body, None) == 1600 + (len(body) - len(image) + 3) // 4
    assert estimated_input(body, 200) == 200
    assert estimated_input(body.replace(b"base64", b"base32"), None) == (len(body) + 3) // 4


@given(st.integers(0, 10**6), st.one_of(st.none(), st.integers(1, 10**6)))
def test_text_is_a_token_for_four_bytes_up_to_what_the_model_takes(size: int, context_length: int | None) -> None:
    tokens = estimated_input(b" " * size, context_length)
    assert tokens == min((size + 3) // 4, context_length or size)
