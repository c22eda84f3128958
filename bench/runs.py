"""What every run has in common: its options, when and where it was, progress, interruption, and the files it leaves."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.model import CACHE, HERE, BenchError, MissingToolError
from bench.processes import Priority, pin_to_load_core, tool_version


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader needs to judge the figures."""

    started_at: str
    machine: Mapping[str, str]

    @property
    def stamp(self) -> str:
        """The moment, for the name of a file."""
        return self.started_at.removesuffix(" UTC").replace(" ", "T").replace(":", "") + "Z"

    def lines(self) -> str:
        """The machine as a list."""
        return "\n".join(f"- {name}: {value}" for name, value in self.machine.items())


@dataclass(frozen=True, slots=True)
class Report:
    """What a run comes to: its results for people and for programs, and what of them is shown at once.

    `kind` is a part of the files' name; a run that `is_full` may be kept and quoted.
    """

    kind: str
    text: str
    figures: Mapping[str, Any]
    is_full: bool
    is_met: bool
    summary: str = ""


def gather_facts(*, tools: bool = False) -> Facts:
    """Of this moment and this machine; with the versions of the load's programs if they are used."""
    return Facts(datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), _machine(tools=tools))


def _machine(*, tools: bool) -> dict[str, str]:
    """What a reader needs to judge the figures; nothing that tells which machine it was."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"Linux {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }
    if not tools:
        return machine
    return machine | {
        "wrk": tool_version(["wrk", "--version"], statuses=(0, 1)).partition(" Copyright")[0],
        "nginx": tool_version(["nginx", "-v"]).removeprefix("nginx version: "),
    }


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def options_of_a_run(program: str, description: str) -> argparse.ArgumentParser:
    """The options that every run has, to be added to."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar was measured and not met")
    parser.add_argument("--priority", action="store_true", help="go before other programs (root, busy machines)")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="where the results go")
    return parser


def take_place(*, priority: bool) -> None:
    """Leave the subject's core, and go before other programs if that was asked for.

    Raises:
        MissingToolError: the machine or the user's rights do not allow it.
    """
    pin_to_load_core()
    if priority:
        Priority.take()


def _interrupted(*_: object) -> None:
    # Once: ending what was started must not be interrupted in turn (it is bounded in time).
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def conduct(options: argparse.Namespace, work: Callable[[Facts], Report], *, tools: bool = False) -> int:
    """Do the work of a run, keep and show what it came to, and return the exit status."""
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _interrupted)
    facts = gather_facts(tools=tools)
    try:
        report = work(facts)
    except BenchError as error:
        say(f"bench: {error}")
        return 2 if isinstance(error, MissingToolError) else 1
    except KeyboardInterrupt:
        say("bench: interrupted; everything it started was ended")
        return 130
    print(report.summary or report.text)
    folder = options.results or (HERE if report.is_full else CACHE) / "results"
    name = "-".join([report.kind, facts.stamp] if report.kind else [facts.stamp])
    say(f"results: {save_results(folder, name, report.text, report.figures)}")
    return 1 if options.check and not report.is_met else 0


def save_results(folder: Path, name: str, text: str, facts: Mapping[str, Any]) -> Path:
    """Write the results for people and for programs, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.md"
    file.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return file
