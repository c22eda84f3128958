"""What a request cost: token counts, brought to one meaning, times the prices of the catalog. No float anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

from routing.domain.types import Pricing

MICRODOLLARS = 1_000_000
# More than any request has. A count beyond it is a mistake of the upstream, and would not fit where costs are stored.
MAX_TOKENS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The tokens of one request, with one meaning for all three API kinds; None where the upstream did not say.

    Attributes:
        input: All tokens of the input, those read from a cache and those written to one included.
        output: All tokens of the output, reasoning included.
        cache_read: Those of the input that came from a cache.
        cache_write: Those of the input that were written to a cache.
        reasoning: Those of the output that were spent on reasoning.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


def from_openai_chat(usage: object) -> TokenCounts:
    """Read `usage` of a chat completion or of the last chunk of its stream; what is malformed counts as not said."""
    found = _mapping(usage)
    prompt_details = _mapping(found.get("prompt_tokens_details"))
    cache_read = _count(prompt_details.get("cached_tokens"))
    if cache_read is None:
        # The older name of DeepSeek, and then that of Moonshot.
        cache_read = _first(found.get("prompt_cache_hit_tokens"), found.get("cached_tokens"))
    return TokenCounts(
        input=_count(found.get("prompt_tokens")),
        output=_count(found.get("completion_tokens")),
        cache_read=cache_read,
        cache_write=_count(prompt_details.get("cache_write_tokens")),
        reasoning=_count(_mapping(found.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def from_openai_responses(usage: object) -> TokenCounts:
    """Read `usage` of a response, as a whole or in its `response.completed` event."""
    found = _mapping(usage)
    input_details = _mapping(found.get("input_tokens_details"))
    return TokenCounts(
        input=_count(found.get("input_tokens")),
        output=_count(found.get("output_tokens")),
        cache_read=_count(input_details.get("cached_tokens")),
        cache_write=_count(input_details.get("cache_write_tokens")),
        reasoning=_count(_mapping(found.get("output_tokens_details")).get("reasoning_tokens")),
    )


def from_anthropic(usage: object) -> TokenCounts:
    """Read `usage` of a message; of a stream, what `message_start` said, updated by what `message_delta` said.

    Anthropic counts cached tokens beside `input_tokens`; here they are added to it, as the other API kinds have it.
    """
    found = _mapping(usage)
    cache_read = _count(found.get("cache_read_input_tokens"))
    cache_write = _count(found.get("cache_creation_input_tokens"))
    if cache_write is None and (by_lifetime := _mapping(found.get("cache_creation"))):
        counts = [_count(value) for value in by_lifetime.values()]
        cache_write = _count(sum(count for count in counts if count is not None))
    uncached = _count(found.get("input_tokens"))
    return TokenCounts(
        input=None if uncached is None else _count(uncached + (cache_read or 0) + (cache_write or 0)),
        output=_count(found.get("output_tokens")),
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=_count(_mapping(found.get("output_tokens_details")).get("thinking_tokens")),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: object) -> int | None:
    # True and False are ints to Python.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS:
        return value
    return None


def _first(*values: object) -> int | None:
    return next((count for value in values if (count := _count(value)) is not None), None)


def cost_microdollars(counts: TokenCounts, pricing: Pricing) -> int | None:
    """The cost in whole microdollars, rounded half up; None when a price or a count that matters is unknown.

    Cached tokens without a price of their own cost what other input costs. A price of zero needs no count, and a count
    of zero no price. Where an upstream reports more cached tokens than input, the cached ones are believed.
    """
    with localcontext(prec=60):
        cached = (counts.cache_read or 0) + (counts.cache_write or 0)
        uncached = None if counts.input is None else max(counts.input - cached, 0)
        parts = (
            _part(uncached, pricing.prompt),
            _part(counts.cache_read or 0, pricing.prompt if pricing.cache_read is None else pricing.cache_read),
            _part(counts.cache_write or 0, pricing.prompt if pricing.cache_write is None else pricing.cache_write),
            _part(counts.output, pricing.completion),
        )
        total = Decimal(0)
        for part in parts:
            if part is None:
                return None
            total += part
        return int((total * MICRODOLLARS).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _part(count: int | None, price: Decimal | None) -> Decimal | None:
    if count == 0 or price == 0:
        return Decimal(0)
    return None if count is None or price is None else count * price
