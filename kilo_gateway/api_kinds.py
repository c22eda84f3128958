"""The request formats that the gateway speaks, to clients and to upstreams alike."""

from __future__ import annotations

from enum import StrEnum


class ApiKind(StrEnum):
    """One of the three request formats. A request keeps its format all the way to the upstream."""

    CHAT_COMPLETIONS = "chat_completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
