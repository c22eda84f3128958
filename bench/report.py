"""The run as a table of ratios, as Markdown, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.model import Load, Plan, Result

OURS = "ours"
UPSTREAM = "upstream"
# Beyond this share of the subject's core taken by others, or of the load core in use, a figure says more about the
# machine than about the subject.
_FOREIGN_LIMIT = 0.10
_LOAD_CORE_LIMIT = 0.95
_HEADROOM = 10.0
_BUSY_CLIENTS = 64


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
    """One row: how a figure is read from a result (with the bare upstream for reference)."""

    key: str
    title: str
    unit: str
    larger_is_better: bool
    read: Callable[[Result, Result | None], float | None]


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


def _load(clients: int, read: Callable[[Load], float | None]) -> Callable[[Result, Result | None], float | None]:
    def figure(result: Result, _: Result | None) -> float | None:
        load = result.loads.get(clients)
        return None if load is None or not load.counts else read(load)

    return figure


def added_p50_ms(result: Result, upstream: Result | None) -> float | None:
    """What the subject adds to the upstream's median at one client."""
    if upstream is None or 1 not in result.loads or 1 not in upstream.loads or not result.loads[1].counts:
        return None
    return result.loads[1].p50_ms - upstream.loads[1].p50_ms


def _streams(name: str) -> Callable[[Result, Result | None], float | None]:
    return lambda result, _: None if result.streams is None else getattr(result.streams, name)


def _stream_cpu_ms(result: Result, _: Result | None) -> float | None:
    if result.streams is None or result.streams.cpu_seconds is None or not result.streams.completed:
        return None
    return result.streams.cpu_seconds * 1e3 / result.streams.completed


def measures(plan: Plan) -> list[Measure]:
    """The rows of every table, in order."""
    rows = [
        Measure(
            f"rps_{n}",
            f"requests/s, {n} client{'s' * (n > 1)}",
            "/s",
            True,
            _load(n, lambda it: it.requests_per_second),
        )
        for n in plan.clients
    ]
    busy = max(plan.clients)
    count = f"{plan.streams:,} streams"
    return [
        *rows,
        Measure("added_p50", "median added, 1 client", "ms", False, added_p50_ms),
        Measure("p99_busy", f"p99, {busy} clients", "ms", False, _load(busy, lambda it: it.p99_ms)),
        Measure("cpu", f"cpu per request, {busy} clients", "us", False, _load(busy, lambda it: it.cpu_us_per_request)),
        Measure("completed", f"{count}: completed", "", True, _streams("completed")),
        Measure("first_byte_p50", f"{count}: first byte p50", "ms", False, _streams("first_byte_p50_ms")),
        Measure("first_byte_p99", f"{count}: first byte p99", "ms", False, _streams("first_byte_p99_ms")),
        Measure("event_delay_p50", f"{count}: event delay p50", "ms", False, _streams("event_delay_p50_ms")),
        Measure("event_delay_p99", f"{count}: event delay p99", "ms", False, _streams("event_delay_p99_ms")),
        Measure("stream_cpu", f"{count}: cpu per stream", "ms", False, _stream_cpu_ms),
        Measure("memory_idle", "memory idle", "MB", False, lambda result, _: result.idle_mb),
        Measure("memory_streams", f"memory with {count}", "MB", False, lambda result, _: result.streams_mb),
    ]


def ratio(measure: Measure, run: Run, peer: str) -> float | None:
    """Ours divided by the peer's; none where a side is missing or below what can be measured."""
    ours, other, upstream = run.result(OURS), run.result(peer), run.result(UPSTREAM)
    if ours is None or other is None:
        return None
    left, right = measure.read(ours, upstream), measure.read(other, upstream)
    if left is None or right is None or left <= 0 or right <= 0:
        return None
    return left / right


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well in a terminal too."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def peers(run: Run) -> list[Result]:
    """The subjects that ours is compared with."""
    return [result for result in run.results if result.name not in (OURS, UPSTREAM)]


def ratio_table(run: Run) -> str:
    """Ours divided by each peer's, row by row."""
    others = peers(run)
    rows = []
    for measure in measures(run.plan):
        better = "more is better" if measure.larger_is_better else "less is better"
        cells = []
        for other in others:
            value = ratio(measure, run, other.name)
            cells.append("-" if value is None else f"{number(value)} x")
        rows.append([f"{measure.title} ({better})", *cells])
    return table(["ours divided by", *(other.title for other in others)], rows)


def raw_table(run: Run) -> str:
    """The figures of this run on this machine."""
    upstream = run.result(UPSTREAM)
    rows = []
    for measure in measures(run.plan):
        values = [measure.read(result, upstream) for result in run.results]
        title = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
        rows.append([title, *("-" if value is None else number(value) for value in values)])
    return table(["this run", *(result.title for result in run.results)], rows)


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


def verdict_table(run: Run) -> str:
    """The bars and whether they were met."""
    words = {True: "met", False: "NOT MET", None: "-"}
    rows = [[each.title, each.requirement, each.measured, words[each.met]] for each in verdicts(run)]
    return table(["bar", "required", "this run", ""], rows)


def notes(run: Run) -> list[str]:
    """Whatever makes a figure less than it seems: failures, error answers, a disturbed or saturated machine."""
    found = []
    upstream = run.result(UPSTREAM)
    for result in run.results:
        found += [f"{result.title}: {failure}" for failure in result.failures]
        for clients, load in result.loads.items():
            who = f"{result.title}, {clients} client{'s' * (clients > 1)}"
            # The bare upstream shares the load core with wrk and has no core of its own.
            found += (
                [f"{who}: {note}" for note in _load_notes(load, priority=run.plan.priority)]
                if result.name != UPSTREAM
                else []
            )
        if result.streams is not None:
            lost = [f"{count} {name}" for name, count in result.streams.failures.items()]
            found += [f"{result.title}, streams: {', '.join(lost)}"] if lost else []
        if upstream is not None and result.name not in (UPSTREAM, "nginx"):
            limit, measured = upstream.loads.get(_BUSY_CLIENTS), result.loads.get(_BUSY_CLIENTS)
            if limit and measured and limit.requests_per_second < _HEADROOM * measured.requests_per_second:
                share = number(limit.requests_per_second / measured.requests_per_second)
                found.append(
                    f"{result.title}: the bare upstream is only {share} times as quick; the load side may be the limit"
                )
    return found


def _load_notes(load: Load, *, priority: bool) -> list[str]:
    found = []
    if load.error_statuses:
        remark = "" if load.counts else ": its figures do not count"
        found.append(f"{load.error_statuses:,} of {load.requests:,} answers were errors{remark}")
    if load.socket_errors:
        found.append(f"{load.socket_errors:,} connections failed or timed out")
    if priority:
        return found  # others only took what was left over
    if (load.subject_core_foreign or 0.0) > _FOREIGN_LIMIT:
        found.append(f"others used {load.subject_core_foreign:.0%} of the subject's core; it is quicker than measured")
    if (load.load_core_busy or 0.0) > _LOAD_CORE_LIMIT:
        found.append(f"the load core was {load.load_core_busy:.0%} busy; it may be quicker than measured")
    return found


def markdown(run: Run) -> str:
    """The results file for people."""
    plan = run.plan
    parts = [
        f"# Benchmark run {run.started_at}"
        + (" (quick: a check of the harness, not for quoting)" if plan.quick else "")
    ]
    parts.append(
        "One core for the subject; load generators, upstream and PostgreSQL on the other. Read the ratios: they come "
        "from this one run on one machine. The figures below them are only this machine's."
    )
    if run.result(OURS) is not None and peers(run):
        parts += [ratio_table(run), "## Bars", verdict_table(run)]
    parts += ["## Figures of this run", raw_table(run)]
    found = notes(run)
    if found:
        parts += ["## Notes", "\n".join(f"- {note}" for note in found)]
    parts += ["## What was measured", "\n".join(f"- {line}" for line in _subject_lines(run))]
    parts += ["## Machine", "\n".join(f"- {name}: {value}" for name, value in run.machine.items())]
    return "\n\n".join(parts) + "\n"


def _subject_lines(run: Run) -> list[str]:
    plan = run.plan
    work = (
        f"each load {number(plan.load_seconds)} s after a warm-up of {number(plan.warm_up_seconds)} s; "
        f"{plan.streams:,} streams of {plan.stream_events} events over {number(plan.stream_seconds)} s, "
        f"started within {number(plan.stream_start_seconds)} s"
        + (", all of it before other programs of the machine" if plan.priority else "")
    )
    lines = [work]
    for result in run.results:
        details = "; ".join(result.settings)
        lines.append(f"{result.title} {result.version}".strip() + (f": {details}" if details else ""))
        if result.receipt:
            lines.append(
                "its receipt: " + ", ".join(f"{name} {value}" for name, value in sorted(result.receipt.items()))
            )
    return lines


def as_json(run: Run) -> dict[str, Any]:
    """The results file for programs."""
    ratios = {
        other.name: {measure.key: ratio(measure, run, other.name) for measure in measures(run.plan)}
        for other in peers(run)
        if run.result(OURS) is not None
    }
    return {
        "started_at": run.started_at,
        "plan": asdict(run.plan),
        "machine": dict(run.machine),
        "ratios": ratios,
        "bars": [asdict(verdict) for verdict in verdicts(run)],
        "notes": notes(run),
        "results": [asdict(result) for result in run.results],
    }
