"""Which models a key can use: the provider's own list, read with it."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import quote

from django.conf import settings

from byok.outbound import OutboundFailed, fetch
from byok.providers import Headers, Provider, UnsendableSecretError, models_url
from kilo_gateway import strict_json
from kilo_gateway.secret import Secret

LIMIT_BYTES: Final = 4 * 1024 * 1024
DEADLINE_SECONDS: Final = 10.0
MAX_MODELS: Final = 10_000
MAX_PAGES: Final = 50
MAX_ID_LENGTH: Final = 200


class DiscoveryFailed(Exception):
    """The list could not be read; the text says why, as a sentence that is stored and shown."""


def discover(provider: Provider, secret: Secret, *, headers: Headers = ()) -> list[str] | None:
    """The ids of the models in the provider's spelling, each once; None for a provider that has no list.

    Reads page after page where the provider pages; all of them together have one limit of size and one of time.

    Args:
        headers: More headers, as a custom provider may want them.

    Raises:
        DiscoveryFailed: there is no list of a shape that is known, or not in time.
    """
    url, model_list = models_url(provider, settings.PROVIDER_BASE_URLS.get(provider.id)), provider.model_list
    if url is None or model_list is None:
        return None
    deadline, left = time.monotonic() + DEADLINE_SECONDS, LIMIT_BYTES
    found: dict[str, str] = {}
    after = ""
    for _ in range(MAX_PAGES):
        try:
            answer = fetch(
                provider,
                "GET",
                _page_url(url, after),
                secret,
                key_style=model_list.key_style,
                headers=(*model_list.headers, *headers),
                limit_bytes=left,
                deadline_seconds=max(0.1, deadline - time.monotonic()),
            )
        except OutboundFailed as error:
            raise DiscoveryFailed(f"The list of models could not be read: {error}.") from None
        except UnsendableSecretError as error:
            raise DiscoveryFailed(f"The key cannot be sent: {error}.") from None
        left -= len(answer.body)
        page = _page(answer.status, answer.body)
        for model_id in _ids(page, model_list.id_prefix):
            found.setdefault(model_id.lower(), model_id)
        if len(found) > MAX_MODELS:
            raise DiscoveryFailed(f"The list has more than {MAX_MODELS} models.")
        after = _next(page, after)
        if not after:
            return list(found.values())
    raise DiscoveryFailed(f"The list has more than {MAX_PAGES} pages.")


def _page_url(url: str, after: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}after_id={quote(after, safe='')}" if after else url


def _page(status: int, body: bytes) -> Any:
    if status != 200:
        raise DiscoveryFailed(f"The provider answered {status} when it was asked for its models.")
    try:
        return strict_json.parse(body)
    except strict_json.NotStrictJson:
        raise DiscoveryFailed("The provider's list of models is not JSON.") from None


def _ids(page: Any, prefix: str) -> list[str]:
    """Of `{"data": [...]}`, or of a bare array, the `id` of each entry."""
    entries = page.get("data") if isinstance(page, dict) else page
    if not isinstance(entries, list):
        raise DiscoveryFailed("The provider's list of models has an unknown shape.")
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in entries]
    found = [model_id.removeprefix(prefix) for model_id in ids if isinstance(model_id, str)]
    usable = [model_id for model_id in found if _is_usable(model_id)]
    if entries and not usable:
        raise DiscoveryFailed("The provider's list of models has an unknown shape.")
    return usable


def _is_usable(model_id: str) -> bool:
    """Whether it could be a part of a target, and stand in a header of ours."""
    return 0 < len(model_id) <= MAX_ID_LENGTH and model_id.isprintable() and not any(map(str.isspace, model_id))


def _next(page: Any, after: str) -> str:
    """Where the next page begins, as Anthropic says it; blank when this was the last one."""
    if not isinstance(page, dict) or page.get("has_more") is not True:
        return ""
    last = page.get("last_id")
    return last if isinstance(last, str) and last != after else ""
