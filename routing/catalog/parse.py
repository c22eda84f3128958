"""From what an upstream sends to what a snapshot keeps: strict about what we rely on, blind to what we do not know.

Texts lose the characters that PostgreSQL cannot store (NUL) or that are no characters (lone surrogates), and everything
has a bound, so that no answer makes a snapshot that cannot be stored or read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from routing.catalog.fetch import CatalogFault
from routing.catalog.prices import parse_price, price_text
from routing.domain.types import AUTO_PREFIX, INTERNAL_PREFIX

MOST_MODELS: Final = 5_000
MOST_ENDPOINTS: Final = 60
MOST_PROVIDERS: Final = 2_000
LONGEST_ID: Final = 200
LONGEST_TEXT: Final = 8_000
LARGEST_NUMBER: Final = 2**53
# Of a list of models, so many may be unreadable before the list as a whole is not believed.
BAD_ENTRIES: Final = 0.25

PRICE_KEYS: Final = (
    "prompt",
    "completion",
    "request",
    "image",
    "audio",
    "web_search",
    "internal_reasoning",
    "input_cache_read",
    "input_cache_write",
)
_ID: Final = re.compile(r"[a-z0-9~@._:+-]+(?:/[a-z0-9~@._:+-]+)+")
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ListedModels:
    """The entries of a list, in its order and without their serving providers, and how many could not be used.

    `paths` has, for each entry, its id as the upstream spells it, which is how the upstream is asked for more.
    """

    entries: tuple[dict[str, Any], ...]
    paths: tuple[str, ...]
    skipped: int


def parse_models(document: object) -> ListedModels:
    """Read a list of models in the shape of OpenRouter's.

    Raises:
        CatalogFault: it is not that, is empty, or too many of its entries are not models.
    """
    listed = _list_of(document)
    entries: dict[str, dict[str, Any]] = {}
    paths: dict[str, str] = {}
    for item in listed[:MOST_MODELS]:
        entry = _model(item)
        if entry is not None and entry["id"] not in entries:
            entries[entry["id"]] = entry
            paths[entry["id"]] = item["id"].strip()
    skipped = len(listed) - len(entries)
    if not listed:
        raise CatalogFault("The upstream's list of models is empty.")
    if skipped > len(listed) * BAD_ENTRIES:
        raise CatalogFault(f"Of the {len(listed)} entries of the upstream's list, {skipped} are not models.")
    return ListedModels(tuple(entries.values()), tuple(paths.values()), skipped)


def parse_endpoints(document: object) -> list[dict[str, Any]]:
    """Read the providers that serve one model, ordered by tag, because the upstream orders them by the hour's price.

    What changes from minute to minute (status, uptime, latency) is left out: it would make every sync a new snapshot.
    """
    data = document.get("data") if isinstance(document, dict) else None
    listed = data.get("endpoints") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise CatalogFault("The upstream's list of a model's providers has another shape.")
    endpoints = [_endpoint(item) for item in listed[:MOST_ENDPOINTS] if isinstance(item, dict)]
    return sorted(
        (endpoint for endpoint in endpoints if endpoint), key=lambda endpoint: (endpoint["tag"], str(endpoint))
    )


def parse_providers(document: object) -> list[dict[str, Any]]:
    """Read the list of all providers, ordered by slug."""
    providers: dict[str, dict[str, Any]] = {}
    for item in _list_of(document)[:MOST_PROVIDERS]:
        if isinstance(item, dict) and (slug := provider_slug(item.get("slug"))):
            urls = ("privacy_policy_url", "terms_of_service_url", "status_page_url")
            providers[slug] = {
                "slug": slug,
                "name": _text(item.get("name"), 100) or slug,
                **{key: _web_address(item.get(key)) for key in urls},
            }
    return [providers[slug] for slug in sorted(providers)]


def provider_slug(tag: object) -> str:
    """The provider that a tag names: "deepinfra/fp4" and "DeepInfra" are both `deepinfra`. Blank when none."""
    if not isinstance(tag, str):
        return ""
    slug = re.sub(r"\s+", "-", tag.strip().lower().partition("/")[0])
    return slug if _SLUG.fullmatch(slug) else ""


def _list_of(document: object) -> list[Any]:
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise CatalogFault("The upstream's answer has another shape: it has no list called data.")
    return data


def _model(item: object) -> dict[str, Any] | None:
    """One model with the fields that we keep; None when one of those that we rely on has another shape.

    Clients do not offer a model whose list of parameters lacks tools, so an unknown list is left out and not empty.
    """
    if not isinstance(item, dict) or (model_id := _model_id(item.get("id"))) is None:
        return None
    name, pricing, architecture = item.get("name"), item.get("pricing"), item.get("architecture")
    context_length = item.get("context_length")
    if (
        not isinstance(name, str | None)
        or not isinstance(pricing, dict | None)
        or not isinstance(architecture, dict | None)
        or (context_length is not None and _whole(context_length) is None)
    ):
        return None
    top_provider = _top_provider(item.get("top_provider"))
    entry = {
        "id": model_id,
        "name": _text(name, 300) or model_id,
        "created": _whole(item.get("created")) or 0,
        "description": _text(item.get("description"), LONGEST_TEXT),
        "context_length": _whole(context_length) or top_provider["context_length"],
        "architecture": _architecture(architecture or {}),
        "pricing": _pricing(pricing or {}),
        "top_provider": top_provider,
        "expiration_date": _text(item.get("expiration_date"), 40) or None,
    }
    if isinstance(item.get("supported_parameters"), list):
        entry["supported_parameters"] = _words(item["supported_parameters"])
    return entry


def _model_id(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    model_id = value.strip().lower()
    if len(model_id) > LONGEST_ID or not _ID.fullmatch(model_id):
        return None
    # Our own names, and parts that would climb in the address of the model's endpoints.
    if model_id.startswith((AUTO_PREFIX, INTERNAL_PREFIX)) or {".", ".."} & set(model_id.split("/")):
        return None
    return model_id


def _architecture(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "modality": _text(value.get("modality"), 100) or None,
        "input_modalities": _words(value.get("input_modalities")) or ["text"],
        "output_modalities": _words(value.get("output_modalities")) or ["text"],
        "tokenizer": _text(value.get("tokenizer"), 100) or "Other",
        "instruct_type": _text(value.get("instruct_type"), 100) or None,
    }


def _pricing(value: Mapping[str, Any]) -> dict[str, str]:
    prices = ((key, parse_price(value.get(key))) for key in PRICE_KEYS)
    return {key: price_text(price) for key, price in prices if price is not None}


def _top_provider(value: object) -> dict[str, Any]:
    found = value if isinstance(value, dict) else {}
    return {
        "context_length": _whole(found.get("context_length")),
        "max_completion_tokens": _whole(found.get("max_completion_tokens")),
        "is_moderated": found.get("is_moderated") is True,
    }


def _endpoint(item: Mapping[str, Any]) -> dict[str, Any] | None:
    name = _text(item.get("provider_name"), 100)
    tag = _text(item.get("tag"), 100).lower()
    if not provider_slug(tag):
        tag = provider_slug(name)
    if not tag:
        return None
    pricing, policy = item.get("pricing"), item.get("data_policy")
    endpoint = {
        "name": _text(item.get("name"), 300) or name or tag,
        "provider_name": name or provider_slug(tag),
        "tag": tag,
        "pricing": _pricing(pricing if isinstance(pricing, dict) else {}),
        "context_length": _whole(item.get("context_length")),
        "max_completion_tokens": _whole(item.get("max_completion_tokens")),
        "max_prompt_tokens": _whole(item.get("max_prompt_tokens")),
        "quantization": _text(item.get("quantization"), 40) or None,
        "supported_parameters": _words(item.get("supported_parameters")),
    }
    if isinstance(policy, dict):
        endpoint["data_policy"] = _data_policy(policy)
    return endpoint


def _data_policy(value: Mapping[str, Any]) -> dict[str, Any]:
    """Statements such as `training: false`; whatever is neither yes, no, text nor a number of days is left out."""
    policy: dict[str, Any] = {}
    for key in sorted(value)[:20]:
        content = value[key]
        if isinstance(content, str):
            policy[_text(key, 60)] = _text(content, 300)
        elif isinstance(content, bool) or _whole(content) is not None:
            policy[_text(key, 60)] = content
    return policy


def _text(value: object, longest: int) -> str:
    return _UNSTORABLE.sub("\ufffd", value.strip()[:longest]) if isinstance(value, str) else ""


def _web_address(value: object) -> str | None:
    """An address that a page may link to, and nothing that a browser would run."""
    address = _text(value, 500)
    return address if address.startswith(("https://", "http://")) else None


def _words(value: object) -> list[str]:
    items: Iterable[object] = value[:100] if isinstance(value, list) else ()
    return [word for item in items if (word := _text(item, 60))]


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER:
        return value
    return None
