"""How pages say numbers: prices, amounts, tokens, times."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from routing.catalog.prices import parse_price

UNKNOWN: Final = "\N{EN DASH}"
_MILLION: Final = 1_000_000
_THOUSAND: Final = 1_000
_BILLION: Final = 1_000_000_000
_CENT: Final = Decimal("0.01")
_MINUTE: Final = 60


def price_per_million(price: object) -> str:
    """A price per token, a decimal or text of the catalog, as dollars per million tokens: "$3.00", "$0.075", "free"."""
    amount = price if isinstance(price, Decimal) else parse_price(price)
    if amount is None:
        return UNKNOWN
    if not amount:
        return "free"
    dollars = (amount * _MILLION).normalize()
    digits = -int(dollars.as_tuple().exponent)
    return f"${dollars:,.{max(2, min(digits, 4))}f}"


def tokens_short(count: int | None) -> str:
    """A number of tokens as short as it is usually written: "200K", "1M", "1.05M"."""
    if not count:
        return UNKNOWN
    if count >= _MILLION:
        return f"{count / _MILLION:.2f}".rstrip("0").rstrip(".") + "M"
    if count >= _THOUSAND:
        return f"{count / _THOUSAND:.0f}K"
    return str(count)


def dollars(microdollars: int) -> str:
    """An amount as text: cents, and of less than a cent as much as tells something: "$1,204.50", "$0.0042", "$0"."""
    if not microdollars:
        return "$0"
    amount = Decimal(microdollars) / _MILLION
    if abs(amount) >= _CENT:
        return f"${amount:,.2f}"
    return f"${amount:.6f}".rstrip("0")


def dollars_short(microdollars: float) -> str:
    """An amount as short as the scale of a chart has room for: "$0.25", "$40", "$1.5K"."""
    amount = microdollars / _MILLION
    if amount >= _THOUSAND:
        return f"${count_short(amount)}"
    return f"${amount:.0f}" if amount == int(amount) else f"${amount:.6f}".rstrip("0").ljust(len("$0.25"), "0")


def count_short(count: float) -> str:
    """A number with at most three digits that matter: "0", "950", "1.5K", "12.4M", "3B"."""
    for size, letter in ((_BILLION, "B"), (_MILLION, "M"), (_THOUSAND, "K")):
        if count >= size:
            short = count / size
            digits = 0 if short >= 100 else 1 if short >= 10 else 2
            text = f"{short:,.{digits}f}"
            return (text.rstrip("0").rstrip(".") if digits else text) + letter
    return f"{count:,.0f}"


def milliseconds(value: float | None) -> str:
    """A duration: "840 ms", "2.4 s", "1 min 12 s"."""
    if value is None:
        return UNKNOWN
    if value < _THOUSAND:
        return f"{value:.0f} ms"
    seconds = value / _THOUSAND
    return f"{seconds:.1f} s" if seconds < _MINUTE else f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"


def percent(part: float, whole: float) -> str:
    """A share: "42%", "0.3%", "<0.1%"; of nothing it is not known."""
    if not whole:
        return UNKNOWN
    share = part / whole * 100
    if 0 < share < 0.1:
        return "<0.1%"
    return f"{share:.0f}%" if share >= 10 or share == int(share) else f"{share:.1f}%"
