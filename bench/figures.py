"""What is read from a run: the figures, the ratios of ours to others, and the bars.

Figures that are taken in every round are compared round by round: the ratio of two subjects is the median of their
ratios in each round. A machine that is slower for a while is so for both sides of such a ratio.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.model import Load, Plan, Result

OURS = "ours"
UPSTREAM = "upstream"
Read = Callable[[Result, Result | None], float | None]
# By the number of the round; of what is measured once there is only this one.
Rounds = Mapping[int, float]
_ONLY_ROUND = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the harness."""

    started_at: str
    plan: Plan
    machine: Mapping[str, str]
    results: Sequence[Result]

    def result(self, name: str) -> Result | None:
        """What was measured of one subject, if it was in the run."""
        return next((result for result in self.results if result.name == name), None)


@dataclass(frozen=True, slots=True)
class Measure:
    """One row: how a figure is read from a result (with the bare upstream for reference), as a whole and by rounds."""

    key: str
    title: str
    unit: str
    larger_is_better: bool
    read: Read
    read_rounds: Callable[[Result, Result | None], Rounds] | None = None

    def rounds(self, result: Result, upstream: Result | None) -> Rounds:
        """The figure of each round, or the only one."""
        if self.read_rounds is not None:
            return self.read_rounds(result, upstream)
        value = self.read(result, upstream)
        return {} if value is None else {_ONLY_ROUND: value}


@dataclass(frozen=True, slots=True)
class Bar:
    """A requirement on a ratio of ours to a peer's: not below one limit, not above another."""

    measure: str
    peer: str
    at_least: float = 0.0
    at_most: float = math.inf

    def met(self, ratio: float) -> bool:
        """Whether the ratio keeps to the bar."""
        return self.at_least <= ratio <= self.at_most

    @property
    def text(self) -> str:
        """The requirement in words."""
        parts = [f"at least {number(self.at_least)} x"] if self.at_least else []
        parts += [f"at most {number(self.at_most)} x"] if self.at_most < math.inf else []
        return f"{' and '.join(parts)} {self.peer}"


BARS = (
    Bar("rps_64", "litellm", at_least=20.0),
    Bar("rps_64", "portkey", at_least=2.0),
    Bar("added_p50", "litellm", at_most=1 / 15),
    Bar("added_p50", "portkey", at_most=0.5),
    Bar("first_byte_p99", "portkey", at_most=0.5),
    Bar("memory_streams", "litellm", at_most=0.5),
    Bar("rps_64", "ours-64-organizations", at_least=0.85, at_most=1 / 0.85),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar with what this run says about it; no ratio where a side was not measured."""

    title: str
    requirement: str
    measured: str
    met: bool | None


def number(value: float) -> str:
    """A figure with two or three significant digits and no exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    digits = 1 - math.floor(math.log10(abs(value)))
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(digits, 0)}f}"


# ---------------------------------------------------------------- rows


def _loads(result: Result, clients: int) -> Mapping[int, Load]:
    """Its loads by rounds; none if too many of all their answers were errors."""
    load = result.loads.get(clients)
    return result.rounds[clients] if load is not None and load.counts else {}


def _of_loads(
    key: str, title: str, unit: str, clients: int, read: Callable[[Load], float | None], *, larger_is_better: bool
) -> Measure:
    def whole(result: Result, _: Result | None) -> float | None:
        return read(result.loads[clients]) if _loads(result, clients) else None

    def rounds(result: Result, _: Result | None) -> Rounds:
        values = {place: read(load) for place, load in _loads(result, clients).items()}
        return {place: value for place, value in values.items() if value is not None}

    return Measure(key, f"{title}, {clients} client{'s' * (clients > 1)}", unit, larger_is_better, whole, rounds)


def _added_p50_rounds(result: Result, upstream: Result | None) -> Rounds:
    bare = {} if upstream is None else upstream.rounds.get(1, {})
    return {place: load.p50_ms - bare[place].p50_ms for place, load in _loads(result, 1).items() if place in bare}


def added_p50_ms(result: Result, upstream: Result | None) -> float | None:
    """What the subject adds to the upstream's median at one client: the median of the rounds' differences."""
    differences = _added_p50_rounds(result, upstream)
    return statistics.median(differences.values()) if differences else None


def _streams(name: str) -> Read:
    return lambda result, _: None if result.streams is None else getattr(result.streams, name)


def _stream_cpu_ms(result: Result, _: Result | None) -> float | None:
    if result.streams is None or result.streams.cpu_seconds is None or not result.streams.completed:
        return None
    return result.streams.cpu_seconds * 1e3 / result.streams.completed


def measures(plan: Plan) -> list[Measure]:
    """The rows of every table, in order."""
    busy = max(plan.clients)
    count = f"{plan.streams:,} streams"
    per_second = [
        _of_loads(f"rps_{n}", "requests/s", "/s", n, lambda it: it.requests_per_second, larger_is_better=True)
        for n in plan.clients
    ]
    return [
        *per_second,
        Measure("added_p50", "median added, 1 client", "ms", False, added_p50_ms, _added_p50_rounds),
        _of_loads("p99_busy", "p99", "ms", busy, lambda it: it.p99_ms, larger_is_better=False),
        _of_loads("cpu", "cpu per request", "us", busy, lambda it: it.cpu_us_per_request, larger_is_better=False),
        Measure("completed", f"{count}: completed", "", True, _streams("completed")),
        Measure("first_byte_p50", f"{count}: first byte p50", "ms", False, _streams("first_byte_p50_ms")),
        Measure("first_byte_p99", f"{count}: first byte p99", "ms", False, _streams("first_byte_p99_ms")),
        Measure("event_delay_p50", f"{count}: event delay p50", "ms", False, _streams("event_delay_p50_ms")),
        Measure("event_delay_p99", f"{count}: event delay p99", "ms", False, _streams("event_delay_p99_ms")),
        Measure("stream_cpu", f"{count}: cpu per stream", "ms", False, _stream_cpu_ms),
        Measure("memory_idle", "memory idle", "MB", False, lambda result, _: result.idle_mb),
        Measure("memory_streams", f"memory with {count}", "MB", False, lambda result, _: result.streams_mb),
    ]


# ---------------------------------------------------------------- ratios and bars


def _share(left: float, right: float) -> float | None:
    """One figure divided by another; what is not above zero is below what can be measured: less than anything else."""
    if left > 0 and right > 0:
        return left / right
    if left <= 0 and right <= 0:
        return None
    return math.inf if left > 0 else 0.0


def round_ratios(measure: Measure, run: Run, peer: str) -> list[float]:
    """Ours divided by the peer's in each round in which both were measured, in the order of the rounds."""
    ours, other, upstream = run.result(OURS), run.result(peer), run.result(UPSTREAM)
    if ours is None or other is None:
        return []
    left, right = measure.rounds(ours, upstream), measure.rounds(other, upstream)
    shares = (_share(left[place], right[place]) for place in sorted(left.keys() & right.keys()))
    return [share for share in shares if share is not None]


def ratio(measure: Measure, run: Run, peer: str) -> float | None:
    """Ours divided by the peer's: the median of the rounds' ratios.

    None where a side is missing, or below what can be measured in about half of the rounds.
    """
    ratios = round_ratios(measure, run, peer)
    middle = statistics.median(ratios) if ratios else 0.0
    return middle if 0 < middle < math.inf else None


def peers(run: Run) -> list[Result]:
    """The subjects that ours is compared with."""
    return [result for result in run.results if result.name not in (OURS, UPSTREAM)]


def verdicts(run: Run) -> list[Verdict]:
    """What this run says about each bar."""
    rows = {measure.key: measure for measure in measures(run.plan)}
    found = []
    for bar in BARS:
        if run.result(bar.peer) is None:
            continue
        measure = rows.get(bar.measure)
        value = None if measure is None else ratio(measure, run, bar.peer)
        title = bar.measure if measure is None else measure.title
        measured = "not measured" if value is None else f"{number(value)} x"
        found.append(Verdict(title, bar.text, measured, None if value is None else bar.met(value)))
    ours = run.result(OURS)
    streams = None if ours is None else ours.streams
    measured = "not measured" if streams is None else f"{streams.completed} of {streams.started}"
    met = None if streams is None else streams.completed == streams.started
    found.append(Verdict(f"{run.plan.streams:,} streams", "all complete", measured, met))
    return found
