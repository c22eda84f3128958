"""What every run has in common: when and where it was, progress, and the files that it leaves."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.processes import tool_version


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader needs to judge the figures."""

    started_at: str
    machine: Mapping[str, str]

    @property
    def stamp(self) -> str:
        """The moment, for the name of a file."""
        return stamp(self.started_at)

    def lines(self) -> str:
        """The machine as a list."""
        return "\n".join(f"- {name}: {value}" for name, value in self.machine.items())


def gather_facts(*, tools: bool = False) -> Facts:
    """Of this moment and this machine; with the versions of the load's programs if they are used."""
    return Facts(datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), _machine(tools=tools))


def stamp(started_at: str) -> str:
    """The moment a run began, for the name of a file."""
    return started_at.removesuffix(" UTC").replace(" ", "T").replace(":", "") + "Z"


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


def save_results(folder: Path, name: str, text: str, facts: Mapping[str, Any]) -> Path:
    """Write the results for people and for programs, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.md"
    file.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return file
