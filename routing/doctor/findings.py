"""What an examination says: one thing each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. A failure is what keeps requests from being served, or secrets from being safe."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what was found by a check, and unless all is well one of how to mend it."""

    check: str
    level: Level
    what: str
    mend: str = ""


def good(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, what)


def warned(check: str, what: str, mend: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check, Level.WARN, what, mend)


def failed(check: str, what: str, mend: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(check, Level.FAIL, what, mend)


def clock_finding(of: str, seconds: float) -> Finding:
    """What a difference between another clock and ours means; `seconds` is how far the other one is ahead."""
    apart = f"This machine's clock and that of {of} are {abs(seconds):.0f} s apart."
    mend = "Let both machines take their time from NTP: keys, sessions and invitations end by the clock."
    if abs(seconds) > _CLOCK_FAIL_SECONDS:
        return failed("clock", apart, mend)
    if abs(seconds) > _CLOCK_WARN_SECONDS:
        return warned("clock", apart, mend)
    return good("clock", f"This machine's clock agrees with that of {of}.")


_CLOCK_WARN_SECONDS = 5.0
_CLOCK_FAIL_SECONDS = 60.0
