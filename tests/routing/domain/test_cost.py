"""What a request cost: the three ways of counting tokens, and exact money."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.domain.cost import (
    MAX_TOKENS,
    TokenCounts,
    cost_microdollars,
    from_anthropic,
    from_openai_chat,
    from_openai_responses,
)
from routing.domain.types import Pricing

READERS = [from_openai_chat, from_openai_responses, from_anthropic]

# US dollars per token, as of a Claude Sonnet.
SONNET = Pricing(Decimal("0.000003"), Decimal("0.000015"), Decimal("0.0000003"), Decimal("0.00000375"))


def per_million(prompt: str, completion: str) -> Pricing:
    return Pricing(Decimal(prompt).scaleb(-6), Decimal(completion).scaleb(-6))


# ------------------------------------------------------------------ counts


def test_chat_counts_cached_tokens_within_the_input() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 50,
        "total_tokens": 1050,
        "prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    assert from_openai_chat(usage) == TokenCounts(1000, 50, 600, 100, 20)


def test_chat_reads_the_cache_hits_of_older_dialects() -> None:
    assert from_openai_chat({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}).cache_read == 4
    assert from_openai_chat({"prompt_tokens": 9, "cached_tokens": 3}).cache_read == 3


def test_responses_count_cached_tokens_within_the_input() -> None:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 50,
        "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 20},
    }
    assert from_openai_responses(usage) == TokenCounts(1000, 50, 600, 0, 20)


def test_messages_count_cached_tokens_beside_the_input_and_are_brought_into_it() -> None:
    usage = {
        "input_tokens": 300,
        "output_tokens": 50,
        "cache_read_input_tokens": 600,
        "cache_creation_input_tokens": 100,
        "output_tokens_details": {"thinking_tokens": 20},
    }
    assert from_anthropic(usage) == TokenCounts(1000, 50, 600, 100, 20)


def test_messages_without_a_sum_of_cache_writes_add_them_up() -> None:
    usage = {"input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}}
    assert from_anthropic(usage) == TokenCounts(input=6, cache_write=5)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("usage", [None, [], "usage", 7, {}, {"prompt_tokens": None}, {"input_tokens": "12"}])
def test_what_is_malformed_counts_as_not_said(read: Any, usage: Any) -> None:
    assert read(usage) == TokenCounts()


@pytest.mark.parametrize("count", [-1, 1.5, True, "7", MAX_TOKENS + 1, 10**30, None, {}])
def test_a_count_that_is_none_is_not_said(count: Any) -> None:
    assert from_openai_chat({"prompt_tokens": count}).input is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "cached_tokens", "cache_creation",
        "prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details",
        "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens", "thinking_tokens",
    ]
)  # fmt: skip


@settings(deadline=None)
@given(usage=JSON | st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON)))
def test_reading_never_raises_and_gives_only_storable_counts(usage: Any) -> None:
    for read in READERS:
        counts = read(usage)
        for name in TokenCounts.__slots__:
            count = getattr(counts, name)
            assert count is None or (type(count) is int and 0 <= count <= MAX_TOKENS)
        cost = cost_microdollars(counts, Pricing(Decimal(100), Decimal(100), Decimal(100), Decimal(100)))
        assert cost is None or 0 <= cost < 2**63


# ------------------------------------------------------------------ cost


def test_each_kind_of_token_has_its_price() -> None:
    counts = TokenCounts(input=1000, output=50, cache_read=600, cache_write=100, reasoning=20)
    # 300 * 3 + 600 * 0.3 + 100 * 3.75 + 50 * 15, in microdollars
    assert cost_microdollars(counts, SONNET) == 900 + 180 + 375 + 750


def test_cached_tokens_without_a_price_cost_what_input_costs() -> None:
    counts = TokenCounts(input=1000, output=0, cache_read=600, cache_write=100)
    assert cost_microdollars(counts, per_million("2", "10")) == 2000


@pytest.mark.parametrize(
    ("prompt_per_million", "tokens", "expected"),
    [("0.5", 1, 1), ("0.4", 1, 0), ("0.49", 1, 0), ("1.5", 1, 2), ("2.5", 1, 3), ("0.1", 15, 2), ("0.1", 14, 1)],
)
def test_halves_round_up(prompt_per_million: str, tokens: int, expected: int) -> None:
    assert cost_microdollars(TokenCounts(tokens, 0), per_million(prompt_per_million, "0")) == expected


@pytest.mark.parametrize(
    ("counts", "pricing", "expected"),
    [
        (TokenCounts(10, 10), Pricing(None, Decimal(1)), None),
        (TokenCounts(10, 10), Pricing(Decimal(1), None), None),
        (TokenCounts(10, 0), Pricing(Decimal(1), None), 10_000_000),
        (TokenCounts(0, 10), Pricing(None, Decimal(1)), 10_000_000),
        (TokenCounts(None, 10), Pricing(Decimal(1), Decimal(1)), None),
        (TokenCounts(10, None), Pricing(Decimal(1), Decimal(1)), None),
        (TokenCounts(), Pricing(), None),
        # A free model is free however much it said.
        (TokenCounts(), Pricing(Decimal(0), Decimal(0)), 0),
        # All input came from the cache, whose price is known.
        (TokenCounts(10, 0, cache_read=10), Pricing(None, None, Decimal(1)), 10_000_000),
        (TokenCounts(10, 0, cache_read=10), Pricing(None, None, None, Decimal(1)), None),
    ],
)
def test_what_is_unknown_makes_the_cost_unknown_and_never_zero(
    counts: TokenCounts, pricing: Pricing, expected: int | None
) -> None:
    assert cost_microdollars(counts, pricing) == expected


def test_more_cached_tokens_than_input_are_believed() -> None:
    assert cost_microdollars(TokenCounts(5, 0, cache_read=10), per_million("1", "1")) == 10


TOKENS = st.integers(0, MAX_TOKENS)
PRICES = st.decimals(0, 100, places=30)


@settings(deadline=None)
@given(tokens=st.tuples(TOKENS, TOKENS, TOKENS, TOKENS), prices=st.tuples(PRICES, PRICES, PRICES, PRICES))
def test_the_cost_is_exact(tokens: tuple[int, ...], prices: tuple[Decimal, ...]) -> None:
    uncached, output, read, write = tokens
    exact = sum(count * Fraction(price) for count, price in zip(tokens, prices, strict=True)) * 1_000_000
    counts = TokenCounts(uncached + read + write, output, read, write)
    assert cost_microdollars(counts, Pricing(*prices)) == int(exact + Fraction(1, 2))


@settings(deadline=None)
@given(counts=st.builds(TokenCounts, TOKENS, TOKENS, TOKENS | st.none(), TOKENS | st.none()), more=TOKENS)
def test_more_output_never_costs_less(counts: TokenCounts, more: int) -> None:
    longer = TokenCounts(counts.input, (counts.output or 0) + more, counts.cache_read, counts.cache_write)
    less, dearer = cost_microdollars(counts, SONNET), cost_microdollars(longer, SONNET)
    assert less is not None
    assert dearer is not None
    assert less <= dearer
