"""What the demo upstream was told to do with the requests that follow."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

# Informational answers below 200 would have to be followed by another one.
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599


class BehaviourKind(StrEnum):
    """The ways in which the demo upstream can treat a request."""

    OK = "ok"
    STATUS = "status"
    STALL_BEFORE_HEADERS = "stall_before_headers"
    STALL_MID_STREAM = "stall_mid_stream"
    BREAK_BEFORE_HEADERS = "break_before_headers"
    BREAK_MID_STREAM = "break_mid_stream"
    GARBAGE_JSON = "garbage_json"
    HUGE = "huge"


class BehaviourError(ValueError):
    """A behaviour that nobody could carry out; the message names the option."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One instruction. Options that do not concern its kind are ignored.

    Every answer: `headers` are added to it (or replace the usual ones).
    Answers with text: `text`, `events` (number of text deltas), `interval_ms` (pause before each delta),
    `usage` (any of input, output, cached, cache_write, reasoning, in place of the estimate).
    `status`: `status` and `body` (an object is sent as JSON, a string as it is).
    Stalls: `seconds`. Middle of a stream: `after_events` events of any type have been sent.
    `huge`: the answer's text is `bytes` long, in `events` deltas (one unless told).
    """

    kind: BehaviourKind = BehaviourKind.OK
    model: str | None = None
    """Only requests for this model; None is everything that has no instruction of its own."""
    times: int | None = None
    """Only so many requests, then it is forgotten; None is until further notice."""
    text: str | None = None
    events: int | None = None
    interval_ms: float = 0
    usage: Mapping[str, int] = field(default_factory=dict)
    status: int = 500
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0
    after_events: int = 1
    bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        if self.events is not None and self.events < 1:
            raise BehaviourError("events must be at least 1")
        if self.times is not None and self.times < 1:
            raise BehaviourError("times must be at least 1")
        if not _LOWEST_STATUS <= self.status <= _HIGHEST_STATUS:
            raise BehaviourError("status must be between 200 and 599")
        if min(self.interval_ms, self.seconds, self.after_events, self.bytes) < 0:
            raise BehaviourError("interval_ms, seconds, after_events and bytes must not be negative")

    @property
    def breaks_mid_stream(self) -> bool:
        """Whether an answer ends without its end."""
        return self.kind is BehaviourKind.BREAK_MID_STREAM

    @property
    def acts_mid_stream(self) -> bool:
        """Whether anything unusual happens while an answer is under way."""
        return self.kind in {BehaviourKind.STALL_MID_STREAM, BehaviourKind.BREAK_MID_STREAM}

    @classmethod
    def from_json(cls, data: object) -> Behaviour:
        """The instruction in a control request, or a BehaviourError that says what is wrong with it."""
        if not isinstance(data, dict):
            raise BehaviourError("a behaviour is a JSON object")
        unknown = data.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise BehaviourError(f"unknown options: {', '.join(sorted(map(str, unknown)))}")
        for name, expected in _OPTION_TYPES.items():
            if name in data and (not isinstance(data[name], expected) or isinstance(data[name], bool)):
                raise BehaviourError(f"{name} has the wrong type")
        try:
            kind = BehaviourKind(data.get("kind", BehaviourKind.OK))
        except ValueError as error:
            raise BehaviourError(f"kind must be one of: {', '.join(BehaviourKind)}") from error
        return cls(**{**data, "kind": kind})

    def as_json(self) -> dict[str, Any]:
        """The instruction as the control requests show it."""
        return asdict(self)


_OPTION_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str, type(None)),
    "times": (int, type(None)),
    "text": (str, type(None)),
    "events": (int, type(None)),
    "interval_ms": (int, float),
    "usage": (dict,),
    "status": (int,),
    "headers": (dict,),
    "seconds": (int, float),
    "after_events": (int,),
    "bytes": (int,),
}


class BehaviourBook:
    """The instructions in force: one for each model that has its own, and one for all the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instructions: dict[str | None, Behaviour] = {}

    def put(self, behaviour: Behaviour) -> None:
        """Put an instruction in force, in place of the one for the same model."""
        with self._lock:
            self._instructions[behaviour.model] = behaviour

    def get(self, model: str | None) -> Behaviour:
        """The instruction of one model, or with None that of all the others."""
        with self._lock:
            return self._instructions.get(model, Behaviour(model=model))

    def take(self, model: str | None) -> Behaviour:
        """The instruction for a request that has just arrived, counted against its `times`."""
        with self._lock:
            key = model if model in self._instructions else None
            behaviour = self._instructions.get(key)
            if behaviour is None:
                return Behaviour()
            if behaviour.times == 1:
                del self._instructions[key]
            elif behaviour.times is not None:
                self._instructions[key] = replace(behaviour, times=behaviour.times - 1)
            return behaviour

    def reset(self) -> None:
        """Forget every instruction."""
        with self._lock:
            self._instructions.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Every instruction in force."""
        with self._lock:
            return [behaviour.as_json() for behaviour in self._instructions.values()]
