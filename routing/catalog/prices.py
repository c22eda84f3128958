"""Prices: reading them strictly as exact decimals, and the second source of them when the catalog has none.

All are US dollars per token. Imported without Django configured.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from routing.domain.types import Pricing

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

# The dearest model of all costs less than a thousandth of this; above it, or with more digits, a price is a mistake.
MAX_PRICE: Final = Decimal(100)
MAX_DECIMALS: Final = 40
_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")

OPENROUTER: Final = "openrouter"
PER_MILLION_TOKENS: Final = -6
# The names of genai-prices for what OpenRouter calls by the key, and `Pricing` by the attribute.
_PRICE_NAMES: Final = (
    ("prompt", "prompt", "input_mtok"),
    ("completion", "completion", "output_mtok"),
    ("input_cache_read", "cache_read", "cache_read_mtok"),
    ("input_cache_write", "cache_write", "cache_write_mtok"),
)
# Direct providers whose id is not that of genai-prices, once "-byok" is cut off. Subscriptions have no price per token.
_PROVIDER_ALIASES: Final = {
    "deepseek-ai": "deepseek",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    # It names models as OpenRouter does and sells them at the same list prices.
    "vercel-ai-gateway": OPENROUTER,
    "xai": "x-ai",
    "z-ai": "zai",
}


def parse_price(value: object) -> Decimal | None:
    """A price of an upstream, which is text or a number; None when it is no finite amount between 0 and 100 dollars.

    OpenRouter says "-1" for a router, whose price depends on where it leads: unknown, like everything else that is not
    a price.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, int) and not 0 <= value <= MAX_PRICE:
        return None
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        return None
    price = Decimal(text)
    exponent = price.as_tuple().exponent
    if not 0 <= price <= MAX_PRICE or not isinstance(exponent, int) or exponent < -MAX_DECIMALS:
        return None
    return price or Decimal(0)


def price_text(price: Decimal) -> str:
    """A price as OpenRouter writes it: every digit, no exponent."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def listed_prices(model: ModelInfo, today: date) -> dict[str, Decimal]:
    """The prices that genai-prices has for a model on a day, by OpenRouter's names; unknown ones are absent.

    Of a price with tiers by length, the base counts. A model that is called free and has no prices costs nothing.
    """
    from genai_prices.types import TieredPrices  # slow to load, and needed by few processes

    # Prices by time of day are read at noon: the list says one price for the whole day.
    prices = model.get_prices(datetime.combine(today, time(12), UTC)) if model.prices else None
    found: dict[str, Decimal] = {}
    for key, _, name in _PRICE_NAMES:
        price = getattr(prices, name, None)
        per_million = price.base if isinstance(price, TieredPrices) else price
        if per_million is not None and (per_token := parse_price(per_million.scaleb(PER_MILLION_TOKENS))) is not None:
            found[key] = per_token
    if not found and model.id.endswith(":free"):
        return {"prompt": Decimal(0), "completion": Decimal(0)}
    return found


def fallback_pricing(model_id: str) -> Pricing | None:
    """The prices in force today of a hosted model or of a direct provider's, from genai-prices; None if it has none.

    The second source, for a model whose price the catalog does not know.
    """
    return _fallback_pricing(model_id, datetime.now(UTC).date())


# Bounded, because a direct provider without a model list takes any id that a client makes up.
@lru_cache(maxsize=2048)
def _fallback_pricing(model_id: str, today: date) -> Pricing | None:
    model = _find(model_id.strip().lower())
    prices = listed_prices(model, today) if model is not None else {}
    if not prices:
        return None
    return Pricing(**{attribute: prices.get(key) for key, attribute, _ in _PRICE_NAMES})


def _find(model_id: str) -> ModelInfo | None:
    """As OpenRouter's, by the whole id; else as the model of the provider that the part before the slash names."""
    providers = _providers()
    if (model := providers[OPENROUTER].find_model(model_id)) is not None:
        return model
    prefix, _, rest = model_id.partition("/")
    name = prefix.removesuffix("-byok")
    provider = providers.get(_PROVIDER_ALIASES.get(name, name))
    # What a suffix such as ":free" or ":batch" does to the price is not known here.
    if provider is None or not rest or ":" in rest:
        return None
    return provider.find_model(rest)


@lru_cache(maxsize=1)
def _providers() -> dict[str, Provider]:
    from genai_prices.data import providers  # slow to load, and needed by few processes

    return {provider.id: provider for provider in providers}


def openrouter_models() -> list[ModelInfo]:
    """Every model that genai-prices knows OpenRouter by, current or not."""
    return list(_providers()[OPENROUTER].models)
