"""Reading how many tokens an answer took, from a copy of it; the answer itself is never touched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from kilo_gateway.api_kinds import ApiKind
from routing.domain.cost import TokenCounts, from_anthropic, from_openai_chat, from_openai_responses

# An event larger than this is not the one that tells the usage.
MAX_EVENT_BYTES = 4 * 1024 * 1024
_MARK: Final = b'"usage"'
# So much of a stream is kept until the text in it is measured; mostly that is never, because the usage comes first.
KEPT_BYTES: Final = 8192

_Texts: TypeAlias = re.Pattern[bytes]
_READERS: Final[Mapping[ApiKind, Callable[[Mapping[str, Any]], TokenCounts]]] = {
    ApiKind.CHAT_COMPLETIONS: from_openai_chat,
    ApiKind.RESPONSES: from_openai_responses,
    ApiKind.MESSAGES: from_anthropic,
}


def _texts(keys: str) -> _Texts:
    """JSON strings at these keys, as they are written."""
    return re.compile(rb'"(?:%b)"\s*+:\s*+"([^"\\]*+(?:\\.[^"\\]*+)*+)"' % keys.encode())


# What a model has written, as an upstream passes it on.
_STREAMED_TEXTS: Final[Mapping[ApiKind, _Texts]] = {
    ApiKind.CHAT_COMPLETIONS: _texts("content|reasoning|arguments"),
    ApiKind.RESPONSES: _texts("delta"),
    ApiKind.MESSAGES: _texts("text|thinking|partial_json"),
}
_WHOLE_TEXTS: Final = {**_STREAMED_TEXTS, ApiKind.RESPONSES: _texts("text|arguments")}
# Reasoning goes by either name, and some upstreams tell it by both.
_OTHER_NAME: Final = b'"reasoning_content"'
_BY_OTHER_NAME: Final = _texts("content|reasoning_content|arguments")


def text_bytes_of_answer(api_kind: ApiKind, content: bytes) -> int:
    """How much text there is in an answer that was not streamed."""
    return _measure(_WHOLE_TEXTS, api_kind, content)


def _measure(texts: Mapping[ApiKind, _Texts], api_kind: ApiKind, content: bytes | bytearray) -> int:
    size = _size(texts[api_kind], content)
    if api_kind is ApiKind.CHAT_COMPLETIONS and _OTHER_NAME in content:
        size = max(size, _size(_BY_OTHER_NAME, content))
    return size


def _size(texts: _Texts, content: bytes | bytearray) -> int:
    found = b"".join(texts.findall(content))
    if b"\\" not in found:
        return len(found)
    # Upstreams escape as they like, with up to six bytes for a letter.
    text = _parse(b'"%b"' % found)
    return len(text.encode(errors="surrogatepass") if isinstance(text, str) else found)


def usage_of_answer(api_kind: ApiKind, content: bytes) -> TokenCounts:
    """The usage of an answer that was not streamed; unknown when it does not tell."""
    if _MARK not in content:
        return TokenCounts()
    return _READERS[api_kind](_mapping(_mapping(_parse(content)).get("usage")))


class StreamedUsage:
    """Picks the usage out of a stream of server-sent events, however its bytes are cut into pieces.

    Args:
        measures_text: Whether what comes after the usage was last told is measured, should that be all there is.
    """

    def __init__(self, api_kind: ApiKind, *, measures_text: bool) -> None:
        self._api_kind = api_kind
        self._rest = b""
        self._usage: dict[str, Any] = {}
        self._kept = bytearray() if measures_text else None
        self._text_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take a copy of the next bytes."""
        cut = chunk.rfind(b"\n")
        if cut < 0:
            self._rest = self._rest + chunk if len(self._rest) < MAX_EVENT_BYTES else b""
            return
        complete, self._rest = self._rest + chunk[:cut], chunk[cut + 1 :]
        if _MARK in complete:
            complete = self._read(complete)
        kept = self._kept
        if kept is not None:
            kept += complete
            if len(kept) > KEPT_BYTES:
                self._measure_kept(kept)

    def _read(self, complete: bytes) -> bytes:
        """Note the usage in these lines; what comes behind the last one that tells how much output there is."""
        lines = complete.split(b"\n")
        behind = 0
        for number, line in enumerate(lines, 1):
            if line.startswith(b"data:") and _MARK in line and self._note(_mapping(_parse(line[5:]))):
                behind = number
        if behind and self._kept is not None:
            self._kept.clear()
            self._text_bytes = 0
        return b"\n".join(lines[behind:])

    def _note(self, event: Mapping[str, Any]) -> bool:
        """Later events complete earlier ones: Anthropic counts input at the start and output at the end. Whether this
        one counts output.
        """
        holder = {
            ApiKind.CHAT_COMPLETIONS: event,
            ApiKind.RESPONSES: _mapping(event.get("response")),
            ApiKind.MESSAGES: _mapping(event.get("message")) or event,
        }[self._api_kind]
        found = _mapping(holder.get("usage"))
        self._usage.update({key: value for key, value in found.items() if value is not None})
        return _READERS[self._api_kind](found).output is not None

    def counts(self) -> TokenCounts:
        """What is known so far."""
        return _READERS[self._api_kind](self._usage)

    def text_bytes(self) -> int:
        """How much text has come since the usage was last told; 0 where that is not measured."""
        if self._kept:
            self._measure_kept(self._kept)
        return self._text_bytes

    def _measure_kept(self, kept: bytearray) -> None:
        self._text_bytes += _measure(_STREAMED_TEXTS, self._api_kind, kept)
        kept.clear()


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
