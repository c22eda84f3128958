"""What a request may cost at most, and which limit refuses it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilo_gateway.api_kinds import ApiKind
from routing.domain.cost import TokenCounts, cost_microdollars
from routing.domain.spending import (
    Allowance,
    Period,
    Scope,
    dollars,
    largest_cost,
    most_output_tokens,
    used_up,
    usual_output_tokens,
)
from routing.domain.types import CatalogModel, Pricing

PRICING = Pricing(prompt=Decimal("0.000003"), completion=Decimal("0.000015"), cache_write=Decimal("0.00000375"))


def allowance(spent: int, reserved: int = 0, limit: int = 100) -> Allowance:
    return Allowance(Scope.MEMBER, Period.DAY, limit, spent, reserved)


CHAT, RESPONSES, MESSAGES = ApiKind.CHAT_COMPLETIONS, ApiKind.RESPONSES, ApiKind.MESSAGES


def model(context_length: int | None = None, max_output_tokens: int | None = None) -> CatalogModel:
    return CatalogModel(
        "lab/scout", "Scout", PRICING, context_length=context_length, max_output_tokens=max_output_tokens
    )


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        ({}, 8192),
        ({"max_tokens": 1000}, 1000),
        ({"max_tokens": 1000.0}, 1000),
        ({"max_completion_tokens": 3000, "max_tokens": 1000}, 3000),
        ({"max_output_tokens": 10}, 8192),
        ({"max_tokens": 100, "n": 4}, 400),
        ({"max_tokens": 100, "n": 4.0}, 400),
        ({"max_tokens": 10**30}, 200_000),
        ({"max_tokens": 1e300}, 200_000),
        ({"max_tokens": 1, "n": 10**30}, 128),
        ({"max_tokens": 7, "n": "many"}, 7),
        ({"max_tokens": 0}, 200_000),
        ({"max_tokens": -5}, 200_000),
        ({"max_tokens": 0.5}, 200_000),
        ({"max_tokens": "1"}, 200_000),
        ({"max_tokens": True}, 200_000),
        ({"max_tokens": None, "n": None}, 8192),
    ],
)
def test_what_a_chat_completion_asks_for(asked: dict[str, Any], tokens: int) -> None:
    assert usual_output_tokens(asked, CHAT, None) == tokens


@pytest.mark.parametrize(
    ("api_kind", "asked", "tokens"),
    [
        (RESPONSES, {"max_output_tokens": 10}, 10),
        (RESPONSES, {"max_tokens": 10, "n": 9}, 8192),
        (MESSAGES, {"max_tokens": 10}, 10),
        (MESSAGES, {"max_tokens": 10, "n": 9}, 10),
        (MESSAGES, {"max_completion_tokens": 10}, 8192),
    ],
)
def test_each_api_has_names_of_its_own(api_kind: ApiKind, asked: dict[str, Any], tokens: int) -> None:
    assert usual_output_tokens(asked, api_kind, None) == tokens


@pytest.mark.parametrize(
    ("known", "asked", "tokens"),
    [
        (model(100_000, 16_000), {"max_tokens": 10**30}, 16_000),
        (model(100_000, 16_000), {"max_tokens": "many"}, 16_000),
        (model(100_000, 16_000), {"max_tokens": 10**30, "n": 2}, 32_000),
        (model(100_000, 16_000), {"max_tokens": 500}, 500),
        (model(1_000_000, 384_000), {"max_tokens": 10**30}, 384_000),
        (model(100_000, 4000), {}, 4000),
        (model(32_000), {"max_tokens": 10**30}, 32_000),
        (model(32_000, 64_000), {"max_tokens": 10**30}, 32_000),
        (model(2_000_000), {"max_tokens": 10**30}, 200_000),
        (model(), {"max_tokens": 10**30}, 200_000),
    ],
)
def test_no_answer_is_longer_than_its_model_writes(known: CatalogModel, asked: dict[str, Any], tokens: int) -> None:
    assert usual_output_tokens(asked, CHAT, known) == tokens


@pytest.mark.parametrize(
    ("known", "asked", "tokens"),
    [
        (model(200_000, 64_000), {}, 64_000),
        (model(200_000, 64_000), {"n": 2}, 128_000),
        (model(32_000), {"max_tokens": None}, 32_000),
        (model(100_000, 4000), {}, 4000),
        (model(200_000, 64_000), {"max_tokens": 500, "n": 3}, 1500),
        (None, {}, 200_000),
    ],
)
def test_an_answer_of_any_length_can_be_as_long_as_its_model_writes(
    known: CatalogModel | None, asked: dict[str, Any], tokens: int
) -> None:
    assert most_output_tokens(asked, CHAT, known) == tokens


@pytest.mark.parametrize(
    ("body_bytes", "context_length", "input_tokens"),
    [(2000, None, 1000), (2001, None, 1001), (2000, 1000, 1000), (2000, 999, 999), (32 * 1024**2, 200_000, 200_000)],
)
def test_largest_cost(body_bytes: int, context_length: int | None, input_tokens: int) -> None:
    amount = largest_cost(PRICING, body_bytes=body_bytes, output_tokens=10, context_length=context_length)
    assert amount == ceil(input_tokens * 3.75) + 150


@pytest.mark.parametrize("pricing", [None, Pricing(), Pricing(prompt=Decimal(1)), Pricing(completion=Decimal(1))])
def test_an_unknown_price_reserves_nothing(pricing: Pricing | None) -> None:
    assert largest_cost(pricing, body_bytes=2000, output_tokens=10, context_length=None) == 0


@given(
    body_bytes=st.integers(1, 10**7),
    tokens_in=st.integers(0, 5 * 10**6),
    written=st.integers(0, 5 * 10**6),
    out=st.integers(0, 200_000),
    context_length=st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_it_is_never_less_than_the_cost(
    body_bytes: int, tokens_in: int, written: int, out: int, context_length: int | None
) -> None:
    most = min(body_bytes // 2, context_length or body_bytes)
    counts = TokenCounts(input=min(tokens_in, most), output=out, cache_write=0)
    counts = TokenCounts(counts.input, out, 0, min(written, counts.input or 0))
    cost = cost_microdollars(counts, PRICING)
    assert cost is not None
    assert largest_cost(PRICING, body_bytes=body_bytes, output_tokens=out, context_length=context_length) >= cost


class TestUsedUp:
    def test_nothing_limits(self) -> None:
        assert used_up([]) is None
        assert used_up([allowance(99), allowance(50, 49)]) is None

    def test_what_is_spent_comes_before_what_is_held(self) -> None:
        held, spent = allowance(50, 50), allowance(100)
        assert used_up([allowance(0), held]) is held
        assert used_up([held, spent]) is spent
        assert (held.left, spent.left, allowance(200).left) == (50, 0, 0)

    def test_nothing_passes_a_limit_of_nothing(self) -> None:
        assert used_up([allowance(0, 0, 0)]) is not None


class TestPeriods:
    @pytest.mark.parametrize(
        ("moment", "day", "month", "tomorrow", "next_month"),
        [
            ("2026-11-23T11:00", "2026-11-23", "2026-11-01", "2026-11-24", "2026-12-01"),
            ("2026-12-31T23:59", "2026-12-31", "2026-12-01", "2027-01-01", "2027-01-01"),
            ("2028-02-29T00:00", "2028-02-29", "2028-02-01", "2028-03-01", "2028-03-01"),
            ("2026-01-31T12:00", "2026-01-31", "2026-01-01", "2026-02-01", "2026-02-01"),
        ],
    )
    def test_it_works(self, moment: str, day: str, month: str, tomorrow: str, next_month: str) -> None:
        at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        assert (Period.DAY.start(at), Period.MONTH.start(at)) == (date.fromisoformat(day), date.fromisoformat(month))
        assert Period.DAY.reset_at(at) == datetime.fromisoformat(tomorrow).replace(tzinfo=UTC)
        assert Period.MONTH.reset_at(at) == datetime.fromisoformat(next_month).replace(tzinfo=UTC)

    def test_days_are_those_of_utc(self) -> None:
        at = datetime(2026, 12, 1, 1, tzinfo=timezone(timedelta(hours=2)))
        assert Period.DAY.start(at) == date(2026, 11, 30)
        assert Period.MONTH.start(at) == date(2026, 11, 1)


@pytest.mark.parametrize(
    ("microdollars", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (10_000, "$0.01"),
        (1_500_000, "$1.50"),
        (-1_500_000, "-$1.50"),
        (12_345_678, "$12.345678"),
        (10**12, "$1,000,000.00"),
    ],
)
def test_dollars(microdollars: int, text: str) -> None:
    assert dollars(microdollars) == text
