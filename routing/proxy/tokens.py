"""Reading how many tokens an answer took, from a copy of it; the answer itself is never touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from kilo_gateway.api_kinds import ApiKind
from routing.domain.cost import TokenCounts, from_anthropic, from_openai_chat, from_openai_responses

# An event larger than this is not the one that tells the usage.
MAX_EVENT_BYTES = 4 * 1024 * 1024
_MARK: Final = b'"usage"'

_READERS: Final[Mapping[ApiKind, Callable[[Mapping[str, Any]], TokenCounts]]] = {
    ApiKind.CHAT_COMPLETIONS: from_openai_chat,
    ApiKind.RESPONSES: from_openai_responses,
    ApiKind.MESSAGES: from_anthropic,
}


def usage_of_answer(api_kind: ApiKind, content: bytes) -> TokenCounts:
    """The usage of an answer that was not streamed; unknown when it does not tell."""
    if _MARK not in content:
        return TokenCounts()
    return _READERS[api_kind](_mapping(_mapping(_parse(content)).get("usage")))


class StreamedUsage:
    """Picks the usage out of a stream of server-sent events, however its bytes are cut into pieces."""

    def __init__(self, api_kind: ApiKind) -> None:
        self._api_kind = api_kind
        self._rest = b""
        self._usage: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> None:
        """Take a copy of the next bytes."""
        cut = chunk.rfind(b"\n")
        if cut < 0:
            self._rest = self._rest + chunk if len(self._rest) < MAX_EVENT_BYTES else b""
            return
        complete, self._rest = self._rest + chunk[:cut], chunk[cut + 1 :]
        if _MARK in complete:
            for line in complete.split(b"\n"):
                if line.startswith(b"data:") and _MARK in line:
                    self._note(_mapping(_parse(line[5:])))

    def _note(self, event: Mapping[str, Any]) -> None:
        """Later events complete earlier ones: Anthropic counts input at the start and output at the end."""
        holder = {
            ApiKind.CHAT_COMPLETIONS: event,
            ApiKind.RESPONSES: _mapping(event.get("response")),
            ApiKind.MESSAGES: _mapping(event.get("message")) or event,
        }[self._api_kind]
        found = _mapping(holder.get("usage"))
        self._usage.update({key: value for key, value in found.items() if value is not None})

    def counts(self) -> TokenCounts:
        """What is known so far."""
        return _READERS[self._api_kind](self._usage)


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
