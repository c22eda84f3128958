"""Prices: read strictly, written exactly, and found in the second source."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.catalog.prices import MAX_PRICE, fallback_pricing, listed_prices, parse_price, price_text

TODAY = date(2026, 6, 15)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.000003", "0.000003"),
        (" 0.000003 ", "0.000003"),
        ("3e-6", "0.000003"),
        ("3E-06", "0.000003"),
        (".5", "0.5"),
        ("0", "0"),
        ("-0", "0"),
        ("0.0000", "0"),
        ("0e99", "0"),
        ("100", "100"),
        (0, "0"),
        (3, "3"),
        (0.25, "0.25"),
        (1e-07, "0.0000001"),
        (Decimal("0.000003"), "0.000003"),
    ],
)
def test_a_price_is_read(value: Any, expected: str) -> None:
    price = parse_price(value)
    assert price is not None
    assert price_text(price) == expected


@pytest.mark.parametrize(
    "value",
    [
        "-1", "NaN", "nan", "sNaN", "Infinity", "-Infinity", "1e999", "1e-999", "1e999999999", "1e-999999999", "101",
        "", " ", "free", "1_0", "\u0661", "0x1", "1,5", "0." + "0" * 50 + "1", "9" * 50, -1, 10**40, 101, True, False,
        None, [], {}, float("nan"), float("inf"), -0.5, Decimal("NaN"), Decimal("1e999"), Decimal(-1),
    ],
)  # fmt: skip
def test_what_is_no_price_is_unknown(value: Any) -> None:
    assert parse_price(value) is None


def test_a_number_too_long_to_print_is_unknown() -> None:
    assert parse_price(10**5000) is None


@settings(deadline=None)
@given(st.text(max_size=12) | st.floats() | st.integers() | st.decimals() | st.text("0123456789.eE+-", max_size=20))
def test_every_price_that_is_read_survives_being_written(value: Any) -> None:
    price = parse_price(value)
    if price is not None:
        assert 0 <= price <= MAX_PRICE
        text = price_text(price)
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
        assert len(text) < 100
        assert parse_price(text) == price


def known(model_id: str, prices: Any) -> ModelInfo:
    return ModelInfo(id=model_id, match=ClauseEquals(model_id), prices=prices)


def test_listed_prices_are_per_token_under_the_names_of_openrouter() -> None:
    prices = ModelPrice(
        input_mtok=Decimal(3),
        output_mtok=Decimal(15),
        cache_read_mtok=Decimal("0.3"),
        cache_write_mtok=Decimal("3.75"),
        web_searches_kcount=Decimal(10),
    )
    assert {key: price_text(price) for key, price in listed_prices(known("a/b", prices), TODAY).items()} == {
        "prompt": "0.000003",
        "completion": "0.000015",
        "input_cache_read": "0.0000003",
        "input_cache_write": "0.00000375",
    }


def test_of_tiers_by_length_the_base_counts() -> None:
    tiered = TieredPrices(base=Decimal(2), tiers=[Tier(start=200_000, price=Decimal(4))])
    assert listed_prices(known("a/b", ModelPrice(input_mtok=tiered)), TODAY) == {"prompt": Decimal("0.000002")}


def test_of_prices_that_change_the_one_in_force_counts() -> None:
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(1))),
        ConditionalPrice(StartDateConstraint(date(2026, 6, 1)), prices=ModelPrice(input_mtok=Decimal(2))),
        ConditionalPrice(StartDateConstraint(date(2026, 7, 1)), prices=ModelPrice(input_mtok=Decimal(3))),
    ]
    for day, expected in ((date(2026, 5, 31), "0.000001"), (TODAY, "0.000002"), (date(2026, 7, 1), "0.000003")):
        assert listed_prices(known("a/b", prices), day) == {"prompt": Decimal(expected)}


def test_no_prices_are_unknown_but_for_a_model_that_is_called_free() -> None:
    assert listed_prices(known("a/b", ModelPrice()), TODAY) == {}
    assert listed_prices(known("a/b", []), TODAY) == {}
    assert listed_prices(known("a/b:free", ModelPrice()), TODAY) == {"prompt": 0, "completion": 0}
    assert listed_prices(known("a/b:free", ModelPrice(input_mtok=Decimal(1))), TODAY) == {"prompt": Decimal("1e-6")}


def test_the_second_source_knows_hosted_models_and_those_of_direct_providers() -> None:
    hosted = fallback_pricing("anthropic/claude-opus-4.5")
    assert hosted is not None
    assert (hosted.prompt, hosted.completion) == (Decimal("0.000005"), Decimal("0.000025"))
    assert fallback_pricing(" Anthropic/Claude-Opus-4.5 ") == hosted
    assert fallback_pricing("anthropic-byok/claude-opus-4-5") == hosted
    assert fallback_pricing("openrouter-byok/anthropic/claude-opus-4.5") == hosted
    assert fallback_pricing("vercel-ai-gateway/anthropic/claude-opus-4.5") == hosted
    assert fallback_pricing("xai-byok/grok-3") is not None


@pytest.mark.parametrize(
    "model_id",
    [
        "",
        "/",
        "a/",
        "/b",
        "gpt-5",
        "nobody/nothing",
        "kimi-coding/kimi-k2",
        "openai-byok/gpt-5:free",
        "kilo-auto/org",
        "\0",
    ],
)
def test_the_second_source_does_not_guess(model_id: str) -> None:
    assert fallback_pricing(model_id) is None


def test_the_free_variant_of_a_paid_model_is_not_billed_as_the_paid_one() -> None:
    assert fallback_pricing("openai/gpt-5") is not None
    assert fallback_pricing("openai/gpt-5:free") is None
    free = fallback_pricing("google/gemma-3-27b-it:free")
    assert free is not None
    assert free.is_free
