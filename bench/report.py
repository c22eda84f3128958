"""The run as a table of ratios, as Markdown, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.figures import (
    OURS,
    UPSTREAM,
    Run,
    measures,
    number,
    peers,
    ratio,
    round_ratios,
    verdicts,
)
from bench.model import Load

# Beyond this share of the subject's core taken by others, or of the load core in use, a figure says more about the
# machine than about the subject.
_FOREIGN_LIMIT = 0.10
_LOAD_CORE_LIMIT = 0.95
_HEADROOM = 10.0
_BUSY_CLIENTS = 64


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


def spread_table(run: Run) -> str:
    """How far apart the rounds were: the smallest and the largest ratio of each row that was measured in rounds."""
    others = peers(run)
    rows = []
    for measure in measures(run.plan):
        if measure.read_rounds is None:
            continue
        cells = []
        for other in others:
            ratios = [value for value in round_ratios(measure, run, other.name) if 0 < value < math.inf]
            cells.append(f"{number(min(ratios))} to {number(max(ratios))} x" if ratios else "-")
        rows.append([measure.title, *cells])
    return table(["the rounds' ratios", *(other.title for other in others)], rows)


def raw_table(run: Run) -> str:
    """The figures of this run on this machine."""
    upstream = run.result(UPSTREAM)
    rows = []
    for measure in measures(run.plan):
        values = [measure.read(result, upstream) for result in run.results]
        title = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
        rows.append([title, *("-" if value is None else number(value) for value in values)])
    return table(["this run", *(result.title for result in run.results)], rows)


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
        "from this one run on one machine. The figures below them are only this machine's.\n\n"
        f"Loads: {plan.rounds} rounds, in each of which all subjects have their turn, every other time in reverse "
        "order, while the others stand still. A ratio is the median of the rounds' ratios. A figure is of all rounds "
        "together: requests/s and cpu per request of their sums, p99 the median of the rounds' p99, median added the "
        "median of the rounds' differences. Streams and memory: once for each subject, alone."
    )
    if run.result(OURS) is not None and peers(run):
        parts += [ratio_table(run), "## Bars", verdict_table(run), "## Rounds", spread_table(run)]
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
        f"{plan.rounds} rounds of loads of {number(plan.load_seconds)} s (for slow subjects up to "
        f"{number(plan.longest_load_seconds)} s) after a warm-up of {number(plan.warm_up_seconds)} s; "
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
    """The results file for programs: with the ratios and the loads of each round."""
    rows, others = measures(run.plan), peers(run) if run.result(OURS) else []
    return {
        "started_at": run.started_at,
        "plan": asdict(run.plan),
        "machine": dict(run.machine),
        "ratios": {other.name: {row.key: ratio(row, run, other.name) for row in rows} for other in others},
        "round_ratios": {
            other.name: {row.key: _finite(round_ratios(row, run, other.name)) for row in rows if row.read_rounds}
            for other in others
        },
        "bars": [asdict(verdict) for verdict in verdicts(run)],
        "notes": notes(run),
        "results": [
            asdict(result) | {"loads": {clients: asdict(load) for clients, load in result.loads.items()}}
            for result in run.results
        ],
    }


def _finite(ratios: Sequence[float]) -> list[float | None]:
    """JSON knows no infinity."""
    return [value if math.isfinite(value) else None for value in ratios]
