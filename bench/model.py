"""The words of a benchmark run: what is sent, how long, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
LOCAL_HOST = "127.0.0.1"
_ERROR_SHARE = 0.01


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
    """How long and how much is measured."""

    load_seconds: float = 7.0
    warm_up_seconds: float = 3.0
    clients: tuple[int, ...] = (1, 16, 64)
    streams: int = 1000
    stream_seconds: float = 10.0
    stream_events: int = 20
    stream_start_seconds: float = 1.0
    stream_limit_seconds: float = 75.0
    quick: bool = False
    priority: bool = False


QUICK_PLAN = Plan(
    load_seconds=2.0, warm_up_seconds=1.0, streams=200, stream_seconds=2.0, stream_limit_seconds=20.0, quick=True
)


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk."""

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
    """All that was measured of one subject, and what went wrong."""

    name: str
    title: str
    version: str = ""
    settings: tuple[str, ...] = ()
    loads: dict[int, Load] = field(default_factory=dict)
    streams: Streams | None = None
    idle_mb: float | None = None
    streams_mb: float | None = None
    receipt: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
