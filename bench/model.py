"""The words of a benchmark run: what is sent, how long, and what was measured."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
LOCAL_HOST = "127.0.0.1"
_ERROR_SHARE = 0.01
_ANSWERS_FOR_EACH_CLIENT = 10


class BenchError(Exception):
    """A step of the run failed; the message is a line for the report."""


class MissingToolError(BenchError):
    """The machine lacks something without which nothing can be measured."""


@dataclass(frozen=True, slots=True)
class Request:
    """One POST that the load generators repeat."""

    path: str
    headers: Mapping[str, str]
    body: str


# About 1 KB as JSON: a system prompt, a question with a little code, the usual parameters.
_SYSTEM = (
    "You are a careful coding assistant. Read the question and the code, say what is wrong in one sentence, then show "
    "the smallest change that mends it. Do not rewrite what works, do not add dependencies, keep the names. If two "
    "readings of the question are possible, take the one that changes less and say that you did."
)
_QUESTION = (
    "This function should return the median of a list, but for lists of even length it returns the upper of the two "
    "middle values. What is the smallest change?\n\ndef median(values):\n    ordered = sorted(values)\n    middle = "
    "len(ordered) // 2\n    return ordered[middle]\n\nIt is called with lists of integers of any length but zero, "
    "and the callers expect a number that may be fractional. The tests compare with statistics.median on random "
    "lists, so the result must be equal to what that returns, not merely close to it."
)


def chat_request(path: str, model: str, headers: Mapping[str, str], *, stream: bool = False) -> Request:
    """The request that every subject gets, differing only in the address, the model's name and the credential."""
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _QUESTION}],
        "temperature": 0.2,
        "max_tokens": 400,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return Request(path, {"Content-Type": "application/json", **headers}, json.dumps(body))


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how much is measured. An even number of rounds, since every other one goes in reverse order."""

    rounds: int = 6
    load_seconds: float = 2.0
    longest_load_seconds: float = 7.0
    warm_up_seconds: float = 3.0
    clients: tuple[int, ...] = (1, 16, 64)
    streams: int = 1000
    stream_seconds: float = 10.0
    stream_events: int = 20
    stream_start_seconds: float = 1.0
    stream_limit_seconds: float = 75.0
    quick: bool = False
    priority: bool = False

    def seconds_of_load(self, clients: int, per_second: float) -> float:
        """How long a load lasts for a subject that answers so many requests in a second.

        What is under way when a load ends was worked on but does not count. One that answers slowly gets more time, so
        that this is a small part of its work, too.
        """
        enough = clients * _ANSWERS_FOR_EACH_CLIENT / per_second if per_second else math.inf
        return min(max(enough, self.load_seconds), self.longest_load_seconds)


QUICK_PLAN = Plan(
    rounds=2,
    load_seconds=1.0,
    longest_load_seconds=3.0,
    warm_up_seconds=1.0,
    streams=200,
    stream_seconds=2.0,
    stream_limit_seconds=20.0,
    quick=True,
)


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk, or several of the same subject with the same number of clients."""

    clients: int
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    error_statuses: int = 0
    socket_errors: int = 0
    cpu_seconds: float | None = None
    subject_core_foreign: float | None = None
    load_core_busy: float | None = None

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def counts(self) -> bool:
        """Whether nearly all answers were good; errors are quick, so figures with many of them mean nothing."""
        return self.error_statuses <= self.requests * _ERROR_SHARE

    @property
    def cpu_us_per_request(self) -> float | None:
        """Processor time that the subject's processes took for one request, in microseconds."""
        if self.cpu_seconds is None or not self.requests:
            return None
        return self.cpu_seconds * 1e6 / self.requests


def together(loads: Sequence[Load]) -> Load:
    """The loads of several rounds as one: what can be counted is summed, of percentiles it is the median."""
    seconds = sum(load.seconds for load in loads)
    cpu = [load.cpu_seconds for load in loads if load.cpu_seconds is not None]

    def share(values: Sequence[float | None]) -> float | None:
        known = [value * load.seconds for value, load in zip(values, loads, strict=True) if value is not None]
        return sum(known) / seconds if len(known) == len(loads) and seconds else None

    return Load(
        clients=loads[0].clients,
        requests=sum(load.requests for load in loads),
        seconds=seconds,
        p50_ms=statistics.median(load.p50_ms for load in loads),
        p99_ms=statistics.median(load.p99_ms for load in loads),
        error_statuses=sum(load.error_statuses for load in loads),
        socket_errors=sum(load.socket_errors for load in loads),
        cpu_seconds=sum(cpu) if len(cpu) == len(loads) else None,
        subject_core_foreign=share([load.subject_core_foreign for load in loads]),
        load_core_busy=share([load.load_core_busy for load in loads]),
    )


@dataclass(frozen=True, slots=True)
class Streams:
    """One run of simultaneous streams."""

    started: int
    completed: int
    first_byte_p50_ms: float | None
    first_byte_p99_ms: float | None
    event_delay_p50_ms: float | None
    event_delay_p99_ms: float | None
    seconds: float
    failures: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: float | None = None


@dataclass(slots=True)
class Result:
    """All that was measured of one subject, and what went wrong.

    `rounds` has its loads by the number of clients and, within that, by the number of the round.
    """

    name: str
    title: str
    version: str = ""
    settings: tuple[str, ...] = ()
    rounds: dict[int, dict[int, Load]] = field(default_factory=dict)
    streams: Streams | None = None
    idle_mb: float | None = None
    streams_mb: float | None = None
    receipt: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def loads(self) -> dict[int, Load]:
        """Its loads by the number of clients, all rounds together."""
        return {clients: together(list(loads.values())) for clients, loads in self.rounds.items()}
