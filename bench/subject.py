"""What the harness needs of anything it measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.model import Request, chat_request
from bench.processes import Program


@dataclass(frozen=True, slots=True)
class Running:
    """A started subject: its processes (none for the bare upstream), its port, and what to send it.

    `companions` are programs that work for it on the load core and were not started by the harness itself.
    """

    program: Program | None
    port: int
    requests: Sequence[Request]
    stream_requests: Sequence[Request]
    companions: Sequence[int] = ()


class Subject(ABC):
    """Something that takes chat completions and passes them to the upstream."""

    name: str
    title: str
    settings: tuple[str, ...] = ()

    def prepare(self) -> str:
        """Install what is needed and return the version; a `BenchError` says why it cannot be measured."""
        return ""

    @abstractmethod
    def start(self, directory: Path, upstream_port: int) -> Running:
        """Start on the subject's core, with the upstream on this port. Called once for answers and once for streams."""

    def close(self) -> None:
        """Let go of what outlives one start (a database)."""
        return


class BareUpstream(Subject):
    """The upstream without a gateway: the reference for added latency, and what the load clients cost themselves."""

    name = "upstream"
    title = "bare upstream"

    def start(self, directory: Path, upstream_port: int) -> Running:
        request = chat_request("/v1/chat/completions", "bench-model", {})
        stream = chat_request("/v1/chat/completions", "bench-model", {}, stream=True)
        return Running(None, upstream_port, [request], [stream])
