"""What a request may cost at most, and which limit refuses it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.domain.cost import TokenCounts, cost_microdollars
from routing.domain.spending import Allowance, Period, Scope, dollars, largest_cost, used_up
from routing.domain.types import Pricing

PRICING = Pricing(prompt=Decimal("0.000003"), completion=Decimal("0.000015"), cache_write=Decimal("0.00000375"))


def allowance(spent: int, reserved: int = 0, limit: int = 100) -> Allowance:
    return Allowance(Scope.MEMBER, Period.DAY, limit, spent, reserved)


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        ({}, 8192),
        ({"max_tokens": 1000}, 1000),
        ({"max_completion_tokens": 3000, "max_tokens": 1000}, 3000),
        ({"max_output_tokens": 10}, 10),
        ({"max_tokens": 100, "n": 4}, 400),
        ({"max_tokens": 10**30}, 200_000),
        ({"max_tokens": 1, "n": 10**30}, 128),
        ({"max_tokens": -5}, 8192),
        ({"max_tokens": "many"}, 8192),
        ({"max_tokens": True}, 8192),
        ({"max_tokens": None, "n": None}, 8192),
    ],
)
def test_largest_cost(asked: dict[str, Any], tokens: int) -> None:
    assert largest_cost(PRICING, body_bytes=2000, asked=asked) == 3750 + tokens * 15


@pytest.mark.parametrize("pricing", [None, Pricing(), Pricing(prompt=Decimal(1)), Pricing(completion=Decimal(1))])
def test_an_unknown_price_reserves_nothing(pricing: Pricing | None) -> None:
    assert largest_cost(pricing, body_bytes=2000, asked={}) == 0


@given(
    body_bytes=st.integers(1, 10**7),
    tokens_in=st.integers(0, 5 * 10**6),
    written=st.integers(0, 5 * 10**6),
    out=st.integers(0, 200_000),
)
def test_it_is_never_less_than_the_cost(body_bytes: int, tokens_in: int, written: int, out: int) -> None:
    counts = TokenCounts(input=min(tokens_in, body_bytes // 2), output=out, cache_write=0)
    counts = TokenCounts(counts.input, out, 0, min(written, counts.input or 0))
    cost = cost_microdollars(counts, PRICING)
    assert cost is not None
    assert largest_cost(PRICING, body_bytes=body_bytes, asked={"max_tokens": max(out, 1)}) >= cost


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
