"""Does a key work? One request that costs next to nothing, and what its answer says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

from django.conf import settings

from byok.outbound import Failure, Fetched, OutboundFailed, fetch
from byok.providers import (
    Headers,
    Provider,
    UnsendableSecretError,
    endpoint_for,
    endpoint_url,
    models_url,
)
from kilo_gateway import strict_json
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.secret import MASK, SHORTEST_WITH_LAST_FOUR, Secret

DEADLINE_SECONDS: Final = 10.0
LIMIT_BYTES: Final = 4 * 1024 * 1024
MAX_MESSAGE: Final = 200
# So many characters in a row of the key and a word of the provider's is not shown; its last four may be.
_SHARED: Final = 5
# Models that a list may begin with, and that take no conversation.
_NO_CHAT: Final = re.compile(
    r"embed|rerank|moderation|whisper|tts|speech|transcri|image|video|guard|dall-e", re.IGNORECASE
)


class KeyResult(StrEnum):
    """What a test found out."""

    WORKS = "works"
    REFUSED = "refused"
    NO_CREDIT = "no_credit"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    TIMED_OUT = "timed_out"
    UNREADABLE = "unreadable"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """The outcome of a test: a word, the provider's status if there was an answer, and a sentence for a person."""

    result: KeyResult
    status: int | None
    message: str


UNREADABLE: Final = KeyCheck(
    KeyResult.UNREADABLE, None, "The stored key cannot be decrypted. Store it again; nothing was sent."
)
_NOTHING_TO_ASK: Final = KeyCheck(
    KeyResult.NOT_CHECKED,
    None,
    "The provider's list of models answers to any key, and no model is known to try. Read the list first.",
)
_BY_STATUS: Final[Mapping[int, tuple[KeyResult, str]]] = MappingProxyType(
    {
        401: (KeyResult.REFUSED, "The provider refused the key."),
        402: (KeyResult.NO_CREDIT, "The provider took the key and says that the account has no credit."),
        403: (KeyResult.REFUSED, "The provider does not let this key in."),
        429: (
            KeyResult.RATE_LIMITED,
            "The provider says that there were too many requests, or that a quota is used up.",
        ),
    }
)


def check_key(provider: Provider, secret: Secret, *, models: Sequence[str] = (), headers: Headers = ()) -> KeyCheck:
    """Ask the provider one thing that needs the key. Ten seconds at most.

    That is its list of models, unless the list answers to any key; then an address that is made for it; else one token
    of a model.

    Args:
        models: Those the key is known to offer, in the provider's spelling.
    """
    try:
        return _asked(provider, secret, models, headers)
    except OutboundFailed as error:
        result = KeyResult.TIMED_OUT if error.failure is Failure.TIMED_OUT else KeyResult.UNAVAILABLE
        return KeyCheck(result, None, f"{str(error)[:1].upper()}{str(error)[1:]}.")
    except UnsendableSecretError as error:
        return KeyCheck(KeyResult.UNREADABLE, None, f"The key cannot be sent: {error}. Store it again.")


def _asked(provider: Provider, secret: Secret, models: Sequence[str], headers: Headers) -> KeyCheck:
    override = settings.PROVIDER_BASE_URLS.get(provider.id)
    listed, url = provider.model_list, models_url(provider, override)
    if listed is not None and url is not None and listed.checks_key:
        answer = fetch(
            provider,
            "GET",
            url,
            secret,
            key_style=listed.key_style,
            headers=(*listed.headers, *headers),
            limit_bytes=LIMIT_BYTES,
            deadline_seconds=DEADLINE_SECONDS,
        )
        return _verdict(answer, secret, headers)
    if provider.key_check_path is not None:
        base = (override or provider.base_url).rstrip("/")
        return _verdict(
            fetch(
                provider,
                "GET",
                base + provider.key_check_path,
                secret,
                headers=headers,
                limit_bytes=LIMIT_BYTES,
                deadline_seconds=DEADLINE_SECONDS,
            ),
            secret,
            headers,
        )
    model = provider.probe_model or next((each for each in models if not _NO_CHAT.search(each)), None)
    return _one_token(provider, secret, model, headers, override) if model else _NOTHING_TO_ASK


def _one_token(provider: Provider, secret: Secret, model: str, headers: Headers, override: str | None) -> KeyCheck:
    kind = next(each for each in ApiKind if each in provider.api_kinds)
    endpoint = endpoint_for(provider, kind)
    session: Headers = ((provider.session_header, str(uuid4())),) if provider.session_header else ()
    answer = fetch(
        provider,
        "POST",
        endpoint_url(provider, kind, override),
        secret,
        key_style=endpoint.key_style,
        headers=(*endpoint.headers, *session, *headers),
        json=_smallest(kind, model),
        limit_bytes=LIMIT_BYTES,
        deadline_seconds=DEADLINE_SECONDS,
    )
    return _verdict(answer, secret, headers, model=model)


def _smallest(kind: ApiKind, model: str) -> dict[str, Any]:
    """A request for one token, or for as few as the format allows."""
    if kind is ApiKind.RESPONSES:
        return {"model": model, "input": "Hi", "max_output_tokens": 16, "store": False}
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def _verdict(answer: Fetched, secret: Secret, headers: Headers, *, model: str = "") -> KeyCheck:
    status = answer.status
    said = provider_words(answer.body, secret, headers)
    if status == HTTPStatus.OK:
        return KeyCheck(KeyResult.WORKS, status, "The provider took the key.")
    if status in _BY_STATUS:
        result, sentence = _BY_STATUS[status]
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        result, sentence = KeyResult.UNAVAILABLE, "The provider answered with an error of its own."
    elif model:
        result, sentence = KeyResult.NOT_CHECKED, f"The provider did not take the test request for {model}."
    else:
        result, sentence = KeyResult.NOT_CHECKED, "The provider's answer does not say whether the key is good."
    return KeyCheck(result, status, f"{sentence} {said}".strip()[:MAX_MESSAGE])


def provider_words(body: bytes, secret: Secret, headers: Headers = ()) -> str:
    """The message of an error body in which no word has more of the key than its last four characters.

    Values of a provider's own headers, which are as secret as the key, are masked as a whole.
    """
    try:
        found = strict_json.parse(body)
    except strict_json.NotStrictJson:
        return ""
    error = found.get("error", found) if isinstance(found, dict) else found
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return ""
    for _, value in headers:
        # So short a value is found in words that have nothing to do with it.
        if len(value) >= SHORTEST_WITH_LAST_FOUR:
            message = message.replace(value, MASK)
    return " ".join(MASK if _shows(word, secret) else word for word in message.split() if word.isprintable())


def _shows(word: str, secret: Secret) -> bool:
    text = secret.reveal()
    if len(text) < _SHARED:
        return text in word
    return any(text[start : start + _SHARED] in word for start in range(len(text) - _SHARED + 1))
