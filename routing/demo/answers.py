"""Answers in the shapes of the three APIs, whole or as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from itertools import pairwise
from typing import Any

_BYTES_PER_TOKEN = 4
_REASONING_TOKENS = 3


class Api(StrEnum):
    """The three APIs, each known by the end of its path."""

    CHAT_COMPLETIONS = "chat_completions"
    RESPONSES = "responses"
    MESSAGES = "messages"

    @property
    def suffix(self) -> str:
        """The end of its path: /chat/completions, /responses, /messages."""
        return "/" + self.value.replace("_", "/")

    @classmethod
    def of_path(cls, path: str) -> Api | None:
        """The API that a path belongs to, whatever stands before it."""
        return next((api for api in cls if path.endswith(api.suffix)), None)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer: `input` holds cached and cache_write, `output` holds reasoning."""

    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int

    @classmethod
    def estimate(cls, input_bytes: int, text: str, told: Mapping[str, int]) -> Usage:
        """Plausible figures for a request of this size, with those that a behaviour prescribes."""
        tokens = max(8, input_bytes // _BYTES_PER_TOKEN)
        guess = {
            "input": tokens,
            "output": max(1, len(text) // _BYTES_PER_TOKEN) + _REASONING_TOKENS,
            "cached": tokens // 4,
            "cache_write": tokens // 8,
            "reasoning": _REASONING_TOKENS,
        }
        return cls(**{name: told.get(name, value) for name, value in guess.items()})


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that an answer is made of, before it has the shape of an API."""

    api: Api
    number: int
    model: str
    pieces: tuple[str, ...]
    usage: Usage
    request: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The whole text of the answer."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, ready to send; text deltas come at the pace that a behaviour sets."""

    data: bytes
    is_delta: bool = False


def routing_in_words(model: str, path: str, key_last_four: str | None) -> str:
    """The answer's text, which lets a person see where the request went and with which key."""
    key = f"key ...{key_last_four}" if key_last_four else "no key"
    return f"demo upstream: model {model}, path {path}, {key}"


def in_pieces(text: str, events: int | None) -> tuple[str, ...]:
    """The text as deltas: word by word, or in exactly so many pieces."""
    if events is None:
        words = text.split(" ")
        return (words[0], *(f" {word}" for word in words[1:]))
    padded = text.ljust(events, ".")
    bounds = [len(padded) * index // events for index in range(events + 1)]
    return tuple(padded[start:end] for start, end in pairwise(bounds))


def whole(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON object."""
    match answer.api:
        case Api.CHAT_COMPLETIONS:
            return _chat_completion(answer)
        case Api.RESPONSES:
            return _response(answer, status="completed")
        case Api.MESSAGES:
            return _message(answer)


def streamed(answer: Answer) -> list[Event]:
    """The answer as the events of its API."""
    match answer.api:
        case Api.CHAT_COMPLETIONS:
            return list(_chat_events(answer))
        case Api.RESPONSES:
            return list(_response_events(answer))
        case Api.MESSAGES:
            return list(_message_events(answer))


def error_body(api: Api | None, status: int, message: str) -> dict[str, Any]:
    """An error in the words of the API that was asked."""
    if api is Api.MESSAGES:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error"}
        kinds |= {403: "permission_error", 404: "not_found_error", 413: "request_too_large"}
        kinds |= {429: "rate_limit_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": message}}
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def _event(payload: dict[str, Any], *, name: str | None = None, is_delta: bool = False) -> Event:
    head = f"event: {name}\n" if name else ""
    return Event(f"{head}data: {json.dumps(payload)}\n\n".encode(), is_delta=is_delta)


# --- OpenAI chat completions


def _chat_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _chat_completion(answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    return {
        "id": f"chatcmpl-demo-{answer.number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _chat_usage(answer.usage),
    }


def _chat_events(answer: Answer) -> Iterator[Event]:
    options = answer.request.get("stream_options")
    include_usage = isinstance(options, dict) and options.get("include_usage") is True
    chunk: dict[str, Any] = {
        "id": f"chatcmpl-demo-{answer.number}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": answer.model,
    }
    if include_usage:
        chunk["usage"] = None

    def choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        return chunk | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]}

    yield _event(choice({"role": "assistant", "content": ""}))
    for piece in answer.pieces:
        yield _event(choice({"content": piece}), is_delta=True)
    yield _event(choice({}, "stop"))
    if include_usage:
        yield _event(chunk | {"choices": [], "usage": _chat_usage(answer.usage)})
    yield Event(b"data: [DONE]\n\n")


# --- OpenAI responses


def _response_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _response_item(answer: Answer, status: str) -> dict[str, Any]:
    content = [_response_part(answer.text)] if status == "completed" else []
    item_id = f"msg_demo_{answer.number}"
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def _response_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def _response(answer: Answer, *, status: str) -> dict[str, Any]:
    completed = status == "completed"
    asked = answer.request
    return {
        "id": f"resp_demo_{answer.number}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": {},
        "model": answer.model,
        "output": [_response_item(answer, status)] if completed else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _response_usage(answer.usage) if completed else None,
    }


def _response_events(answer: Answer) -> Iterator[Event]:
    sent = 0

    def event(name: str, payload: dict[str, Any]) -> Event:
        nonlocal sent
        numbered = {"type": name, "sequence_number": sent, **payload}
        sent += 1
        return _event(numbered, name=name, is_delta=name == "response.output_text.delta")

    item = {"output_index": 0, "item": _response_item(answer, "in_progress")}
    place = {"item_id": f"msg_demo_{answer.number}", "output_index": 0, "content_index": 0}
    yield event("response.created", {"response": _response(answer, status="in_progress")})
    yield event("response.in_progress", {"response": _response(answer, status="in_progress")})
    yield event("response.output_item.added", item)
    yield event("response.content_part.added", place | {"part": _response_part("")})
    for piece in answer.pieces:
        yield event("response.output_text.delta", place | {"delta": piece, "logprobs": []})
    yield event("response.output_text.done", place | {"text": answer.text, "logprobs": []})
    yield event("response.content_part.done", place | {"part": _response_part(answer.text)})
    yield event("response.output_item.done", item | {"item": _response_item(answer, "completed")})
    yield event("response.completed", {"response": _response(answer, status="completed")})


# --- Anthropic messages


def _message_usage(usage: Usage) -> dict[str, Any]:
    # Unlike OpenAI, Anthropic counts what was read from or written to the cache apart from the input.
    return {
        "input_tokens": max(0, usage.input - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def _message(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_demo_{answer.number}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text, "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _message_usage(answer.usage) | {"service_tier": "standard"},
    }


def _message_events(answer: Answer) -> Iterator[Event]:
    def event(name: str, payload: dict[str, Any]) -> Event:
        return _event({"type": name, **payload}, name=name, is_delta=name == "content_block_delta")

    usage = _message_usage(answer.usage)
    early = {key: value for key, value in usage.items() if key != "output_tokens_details"} | {"output_tokens": 1}
    start = _message(answer) | {"content": [], "stop_reason": None, "usage": early}
    yield event("message_start", {"message": start})
    yield event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    yield event("ping", {})
    for piece in answer.pieces:
        yield event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": piece}})
    yield event("content_block_stop", {"index": 0})
    yield event("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage})
    yield event("message_stop", {})
