"""What the bench makes of requests and changes: which saw too old a route, and how long throughput was low."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.pages import PageResult
from bench.pages import markdown as pages_markdown
from bench.route_change import Asked, Changed, Outcome, longest_dips, outcome, stale_requests
from bench.route_change import markdown as change_markdown
from bench.runs import Facts

FACTS = Facts("2026-01-02 03:04:05 UTC", {"processor": "one"})


def steady(seconds: float, *, without: tuple[float, float] = (0.0, 0.0), version: int = 1) -> list[Asked]:
    """A request a millisecond, but for a time in which there is none."""
    moments = (number / 1_000 for number in range(round(seconds * 1_000)))
    return [Asked(at - 0.01, at, version) for at in moments if not without[0] <= at < without[1]]


@pytest.mark.parametrize(
    ("started", "version", "stale"),
    [(0.5, 1, 0), (1.05, 1, 0), (1.11, 1, 1), (1.11, 2, 0), (1.11, 3, 0)],
)
def test_who_starts_after_the_answer_has_to_see_it(started: float, version: int, stale: int) -> None:
    change = Changed(asked=1.0, answered=1.1, version=2)
    assert stale_requests([Asked(started, started + 0.2, version)], [change]) == stale


def test_a_change_counts_as_soon_as_anybody_saw_it() -> None:
    change = Changed(asked=1.0, answered=1.1, version=2)
    saw = Asked(1.0, 1.04, 2)
    assert stale_requests([saw, Asked(1.03, 1.2, 1)], [change]) == 0
    assert stale_requests([saw, Asked(1.05, 1.2, 1)], [change]) == 1


def test_the_longest_time_below_half() -> None:
    change = Changed(asked=1.0, answered=1.02, version=2)
    near, elsewhere = longest_dips(steady(3, without=(1.01, 1.11)), [change])
    assert near == pytest.approx(100, abs=10)
    assert elsewhere == 0
    near, elsewhere = longest_dips(steady(3, without=(2.0, 2.2)), [change])
    assert near == 0
    assert elsewhere == pytest.approx(200, abs=10)


def test_the_figures_of_a_run() -> None:
    change = Changed(asked=1.0, answered=1.02, version=2)
    late = outcome(steady(3), [change])
    assert (late.requests, late.is_met) == (3000, False)
    assert late.stale == sum(one.started > 1.02 for one in steady(3))
    good = outcome([replace(one, version=2) if one.started > 1.0 else one for one in steady(3)], [change])
    assert (good.stale, good.longest_dip_ms, good.is_met) == (0, 0, True)
    assert good.change_p50_ms == pytest.approx(20)


def test_the_results_say_whether_the_bars_are_met() -> None:
    good = Outcome(3000, 1, 0, 1000.0, 90.0, 0.0, 20.0)
    for result, missed in ((good, 0), (replace(good, stale=1), 1), (replace(good, stale=1, longest_dip_ms=101), 2)):
        assert change_markdown(result, FACTS).count("NOT MET") == missed
        assert result.is_met == (missed == 0)
    pages = [PageResult("Modes", "modes", 1000, 19.0, 10.0), PageResult("Usage", "usage", 1000, 21.0, 10.0)]
    text = pages_markdown(pages, FACTS, 10)
    assert text.count("NOT MET") == 1
    assert "1.9 x" in text
    assert "2.1 x" in text
