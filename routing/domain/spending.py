"""Spending limits: what a request may cost at most, and which limit has nothing left for it. Whole microdollars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal, localcontext
from enum import StrEnum
from typing import Any, Final

from kilo_gateway.api_kinds import ApiKind
from routing.domain.cost import MICRODOLLARS
from routing.domain.types import CatalogModel, Pricing

# Text and code have three to four bytes a token, and hardly ever fewer than two.
BYTES_PER_TOKEN: Final = 2
# Reserved for the answer of a request that does not say how long it may become; hardly any is longer.
USUAL_OUTPUT_TOKENS: Final = 8192
# One of which the catalog does not say how much it writes in an answer writes no more than this.
MAX_OUTPUT_TOKENS: Final = 200_000
MAX_ANSWERS: Final = 128
# How a request says how long an answer may become. What it says by the name of another API reaches no model.
_OUTPUT_LIMITS: Final[Mapping[ApiKind, tuple[str, ...]]] = {
    ApiKind.CHAT_COMPLETIONS: ("max_tokens", "max_completion_tokens"),
    ApiKind.RESPONSES: ("max_output_tokens",),
    ApiKind.MESSAGES: ("max_tokens",),
}


class Scope(StrEnum):
    """Whose limit it is."""

    BALANCE = "balance"
    ORGANIZATION = "organization"
    MEMBER = "member"


class Period(StrEnum):
    """How long a limit lasts, in UTC."""

    DAY = "day"
    MONTH = "month"

    def start(self, moment: datetime) -> date:
        """The first day of the period that a moment lies in."""
        day = moment.astimezone(UTC).date()
        return day if self is Period.DAY else day.replace(day=1)

    def reset_at(self, moment: datetime) -> datetime:
        """When the next one begins."""
        start = self.start(moment)
        following = start + timedelta(days=1) if self is Period.DAY else (start + timedelta(days=32)).replace(day=1)
        return datetime.combine(following, time(), UTC)


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit with what counts against it. The balance is the limit without a period of which nothing is spent.

    A limit lets requests pass as long as it is not used up by what was spent and what is reserved. So the last one may
    cost more than was left, but no second one beside it.
    """

    scope: Scope
    period: Period | None
    limit: int
    spent: int
    reserved: int

    @property
    def left(self) -> int:
        """What is not spent; what is reserved is left until it is."""
        return max(self.limit - self.spent, 0)

    @property
    def is_spent(self) -> bool:
        return self.spent >= self.limit

    @property
    def is_held(self) -> bool:
        """Whether what is spent and what is reserved use it up together."""
        return self.spent + self.reserved >= self.limit


def used_up(allowances: Iterable[Allowance]) -> Allowance | None:
    """The one that refuses a request: a spent one before one that is merely held by running requests."""
    held = [allowance for allowance in allowances if allowance.is_held]
    return next((allowance for allowance in held if allowance.is_spent), held[0] if held else None)


def usual_output_tokens(asked: Mapping[str, Any], api_kind: ApiKind, model: CatalogModel | None) -> int:
    """How many tokens are reserved for all answers to a request: as `most_output_tokens`, but 8,192 for each when it
    does not say how long they may become.
    """
    return _output_tokens(asked, api_kind, model, unsaid=USUAL_OUTPUT_TOKENS)


def most_output_tokens(asked: Mapping[str, Any], api_kind: ApiKind, model: CatalogModel | None) -> int:
    """How many tokens all answers to a request can have: as many as it allows, or else as its model writes.

    No answer has more than its model writes. A limit that is none (text, zero, less than zero) is taken for that, and
    only chat completions have more than one answer.

    Args:
        asked: The body.
        model: None for one that the catalog does not have.
    """
    return _output_tokens(asked, api_kind, model, unsaid=_longest_answer(model))


def _output_tokens(asked: Mapping[str, Any], api_kind: ApiKind, model: CatalogModel | None, *, unsaid: int) -> int:
    most = _longest_answer(model)
    told = [value for name in _OUTPUT_LIMITS[api_kind] if (value := asked.get(name)) is not None]
    tokens = min(max((_count(value) or most for value in told), default=unsaid), most)
    answers = _count(asked.get("n")) if api_kind is ApiKind.CHAT_COMPLETIONS else None
    return tokens * min(answers or 1, MAX_ANSWERS)


def _longest_answer(model: CatalogModel | None) -> int:
    if model is None:
        return MAX_OUTPUT_TOKENS
    longest = model.max_output_tokens or MAX_OUTPUT_TOKENS
    return min(longest, model.context_length or longest)


def largest_cost(pricing: Pricing | None, *, body_bytes: int, output_tokens: int, context_length: int | None) -> int:
    """What a request is taken to cost at most; nothing where the price is unknown, as its usage will not count either.

    Input: a token for two bytes of the body, but no more than the model takes, at the dearer of the prices for fresh
    input and for writing it to a cache.
    """
    if pricing is None or pricing.prompt is None or pricing.completion is None:
        return 0
    input_tokens = -(-body_bytes // BYTES_PER_TOKEN)
    input_tokens = min(input_tokens, context_length or input_tokens)
    with localcontext(prec=60):
        price = max(pricing.prompt, pricing.cache_write or Decimal(0))
        total = input_tokens * price + output_tokens * pricing.completion
        return int((total * MICRODOLLARS).quantize(Decimal(1), rounding=ROUND_CEILING))


def _count(value: object) -> int | None:
    """A whole number above zero, which some clients write as 4096.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def dollars(microdollars: int) -> str:
    """An amount for a person: cents, and more digits only where there are some."""
    whole, _, cents = f"{Decimal(abs(microdollars)) / MICRODOLLARS:,.6f}".rstrip("0").partition(".")
    return f"{'-' if microdollars < 0 else ''}${whole}.{cents:0<2}"
