"""The catalog in the process: the snapshot in force, compiled once and then only read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from django.db import Error

from routing.catalog.cache import CatalogUnreadable, VersionedCache
from routing.catalog.parse import provider_slug
from routing.catalog.prices import parse_price
from routing.domain.types import CatalogModel, Pricing
from routing.models import CatalogSnapshot, Installation

# What a model may charge besides its tokens.
_OTHER_CHARGES: Final = ("request", "image", "audio")


@dataclass(frozen=True, slots=True)
class CatalogProvider:
    """A provider that serves models of the catalog, or may."""

    slug: str
    name: str
    privacy_policy_url: str | None = None
    terms_of_service_url: str | None = None
    status_page_url: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogIndex:
    """A snapshot, ready to be asked. Everything in it is shared by all threads and must not be changed.

    Attributes:
        models: By lower-case id.
        entries: What the model list says of each model, in its order, in OpenRouter's shape.
    """

    snapshot_id: int
    origin: str
    source: str
    created_at: datetime
    models: Mapping[str, CatalogModel]
    entries: tuple[dict[str, Any], ...]
    _serving: Mapping[str, tuple[dict[str, Any], ...]]
    _providers: tuple[CatalogProvider, ...]

    def serving(self, model_id: str) -> tuple[dict[str, Any], ...]:
        """The providers that serve a model, each with tag, price and context length; empty where none is known."""
        return self._serving.get(model_id.strip().lower(), ())

    def providers(self) -> tuple[CatalogProvider, ...]:
        """Every provider that a policy can name, by slug: those listed, those that serve, and authors standing in."""
        return self._providers


def compile_index(snapshot: CatalogSnapshot) -> CatalogIndex:
    """Compile a stored snapshot; raises `CatalogUnreadable` when it does not have the shape of one."""
    try:
        serving = {entry["id"]: tuple(entry.get("endpoints", ())) for entry in snapshot.entries}
        models = {entry["id"]: _model(entry, serving[entry["id"]]) for entry in snapshot.entries}
        entries = tuple({key: entry[key] for key in entry if key != "endpoints"} for entry in snapshot.entries)
        providers = _providers(snapshot.providers, models, serving)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CatalogUnreadable(f"Catalog snapshot {snapshot.pk} does not have the shape of one.") from error
    return CatalogIndex(
        snapshot_id=snapshot.pk,
        origin=snapshot.origin,
        source=snapshot.source,
        created_at=snapshot.created_at,
        models=MappingProxyType(models),
        entries=entries,
        _serving=MappingProxyType(serving),
        _providers=providers,
    )


def _model(entry: Mapping[str, Any], serving: tuple[dict[str, Any], ...]) -> CatalogModel:
    slugs = dict.fromkeys(slug for endpoint in serving if (slug := provider_slug(endpoint["tag"])))
    is_router = entry["id"].startswith("~") or str(entry["architecture"].get("tokenizer")).lower() == "router"
    offers = (entry, entry["top_provider"], *serving)
    return CatalogModel(
        entry["id"],
        entry["name"],
        _pricing(entry["pricing"]),
        tuple(slugs),
        is_router,
        context_length=_largest(offer.get("context_length") for offer in offers),
        max_output_tokens=_largest(offer.get("max_completion_tokens") for offer in offers),
    )


def _largest(numbers: Iterable[Any]) -> int | None:
    """A number of which an upstream says nothing, or zero, is not known."""
    return max((number for number in numbers if number), default=None)


def _pricing(stored: Mapping[str, Any]) -> Pricing:
    prompt, completion = parse_price(stored.get("prompt")), parse_price(stored.get("completion"))
    if prompt == completion == 0 and any(parse_price(stored.get(key)) for key in _OTHER_CHARGES):
        # Charged by the piece, so its tokens say nothing of the cost; it must not pass for a free model.
        return Pricing()
    return Pricing(
        prompt=prompt,
        completion=completion,
        cache_read=parse_price(stored.get("input_cache_read")),
        cache_write=parse_price(stored.get("input_cache_write")),
    )


def _providers(
    listed: list[dict[str, Any]],
    models: Mapping[str, CatalogModel],
    serving: Mapping[str, tuple[dict[str, Any], ...]],
) -> tuple[CatalogProvider, ...]:
    found = {slug: CatalogProvider(slug, slug) for model in models.values() for slug in model.providers}
    for endpoints in serving.values():
        for endpoint in endpoints:
            slug = provider_slug(endpoint["tag"])
            found[slug] = CatalogProvider(slug, endpoint["provider_name"])
    for provider in listed:
        found[provider["slug"]] = CatalogProvider(**provider)
    return tuple(found[slug] for slug in sorted(found))


def _load(snapshot_id: int) -> CatalogIndex:
    try:
        return compile_index(CatalogSnapshot.objects.get(pk=snapshot_id))
    except CatalogSnapshot.DoesNotExist as error:
        raise CatalogUnreadable(f"Catalog snapshot {snapshot_id} does not exist.") from error
    except Error as error:
        raise CatalogUnreadable("The catalog could not be read from the database.") from error


_cache: Final = VersionedCache(_load)


def current_index(snapshot_id: int) -> CatalogIndex:
    """The index of the snapshot that the caller has just read to be in force; costs no query while it stays the same.

    Call it before a transaction is opened: while one thread loads, the others wait for it.

    Raises:
        CatalogUnreadable: it cannot be read; the caller refuses whatever depends on it.
    """
    return _cache.get(snapshot_id)


def load_current_index() -> CatalogIndex:
    """The index of the snapshot in force, for callers that do not know its id; raises `CatalogUnreadable`."""
    try:
        snapshot_id = Installation.objects.values_list("catalog_snapshot_id", flat=True).get(pk=1)
    except Installation.DoesNotExist as error:
        raise CatalogUnreadable("The installation has no catalog: its database is not migrated.") from error
    except Error as error:
        raise CatalogUnreadable("The catalog could not be read from the database.") from error
    return current_index(snapshot_id)


def forget_index() -> None:
    """Forget what the process keeps, as tests do between databases."""
    _cache.clear()
