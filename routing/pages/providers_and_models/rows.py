"""The catalog as the rows of the policy's two lists: compiled once for each catalog, then only read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from routing.catalog.index import CatalogIndex, CatalogProvider
from routing.catalog.parse import provider_slug
from routing.domain.settings import normalized_model_id
from routing.domain.types import CatalogModel
from routing.pages.wording import price_per_million, tokens_short

TRAINS, NO_TRAINING, RETAINS, NO_RETENTION, FREE = "trains", "no-training", "retains", "no-retention", "free"
# What providers may say about what they do with prompts, in either spelling.
_RETENTION: Final = frozenset({"retainsprompts", "retentiondays", "retention"})


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What the policy treats as one model: an id without its variants.

    Attributes:
        variants: What follows the colon in the ids of its variants, as `free`.
        marks: Words to filter by: `free`, `trains`, `no-training`, `retains`, `no-retention`, the input modalities.
        providers: Slugs of those that serve it, or of its author where none is known.
    """

    id: str
    detail_id: str
    name: str
    variants: tuple[str, ...]
    context: str
    input_price: str
    output_price: str
    marks: tuple[str, ...]
    providers: tuple[str, ...]
    is_router: bool

    @property
    def words(self) -> str:
        """What is searched."""
        return f"{self.name} {self.id} {' '.join(self.providers)}".lower()


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A provider, with what all its offers say together."""

    provider: CatalogProvider
    models: int
    marks: tuple[str, ...]

    @property
    def words(self) -> str:
        """What is searched."""
        return f"{self.provider.name} {self.provider.slug}".lower()


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All rows of one catalog, equal to no other's. Shared by all threads: nothing in it may be changed."""

    index: CatalogIndex
    models: Mapping[str, ModelRow]
    providers: Mapping[str, ProviderRow]
    modalities: tuple[str, ...]


_latest: Rows | None = None


def rows_of(index: CatalogIndex) -> Rows:
    """The rows of the catalog in force; compiled anew only when that is another one."""
    global _latest  # noqa: PLW0603 - one catalog is in force; two threads that both compile it do no harm
    latest = _latest
    if latest is None or latest.index is not index:
        _latest = latest = _compile(index)
    return latest


def _compile(index: CatalogIndex) -> Rows:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for entry in index.entries:
        grouped.setdefault(normalized_model_id(entry["id"]), []).append(entry)
    models = {model_id: _model_row(index, model_id, entries) for model_id, entries in grouped.items()}
    offers: dict[str, list[Mapping[str, Any]]] = {}
    served: dict[str, int] = {}
    for row in models.values():
        for slug in row.providers:
            served[slug] = served.get(slug, 0) + 1
    for entry in index.entries:
        for endpoint in index.serving(entry["id"]):
            offers.setdefault(provider_slug(endpoint["tag"]), []).append(endpoint)
    providers = {
        provider.slug: ProviderRow(
            provider, served.get(provider.slug, 0), tuple(_data_marks(offers.get(provider.slug, ())))
        )
        for provider in index.providers()
    }
    modalities = sorted({kind for entry in index.entries for kind in entry["architecture"]["input_modalities"]})
    by_name = dict(sorted(models.items(), key=lambda item: (item[1].is_router, item[1].name.lower(), item[0])))
    return Rows(index, by_name, providers, tuple(modalities))


def _model_row(index: CatalogIndex, model_id: str, entries: list[dict[str, Any]]) -> ModelRow:
    """Of the variants, the one without a suffix says what the model is; else the first."""
    main = next((entry for entry in entries if entry["id"] == model_id), entries[0])
    known: list[CatalogModel] = [index.models[entry["id"]] for entry in entries]
    offers = [endpoint for entry in entries for endpoint in index.serving(entry["id"])]
    free = [FREE] if any(model.pricing.is_free for model in known) else []
    modalities = {kind: None for entry in entries for kind in entry["architecture"]["input_modalities"]}
    pricing = index.models[main["id"]].pricing
    return ModelRow(
        id=model_id,
        detail_id=main["id"],
        name=main["name"],
        variants=tuple(entry["id"].partition(":")[2] for entry in entries if ":" in entry["id"]),
        context=tokens_short(main["context_length"]),
        input_price=price_per_million(pricing.prompt),
        output_price=price_per_million(pricing.completion),
        marks=(*free, *_data_marks(offers), *modalities),
        providers=tuple(dict.fromkeys(slug for model in known for slug in model.providers)),
        is_router=any(model.is_router for model in known),
    )


def trains_on(policy: Mapping[str, Any]) -> bool | None:
    """Whether a data policy says that prompts are trained on; None when it does not say."""
    return next((value for key, value in policy.items() if key == "training" and isinstance(value, bool)), None)


def retains(policy: Mapping[str, Any]) -> bool | None:
    """Whether a data policy says that prompts are kept; None when it does not say."""
    said = [bool(value) for key, value in policy.items() if _plain(key) in _RETENTION and not isinstance(value, str)]
    return any(said) if said else None


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def _data_marks(offers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One offer that trains or retains is enough to be told; "never" is only said when all say so."""
    policies = [endpoint.get("data_policy", {}) for endpoint in offers]
    for judge, yes, no in ((trains_on, TRAINS, NO_TRAINING), (retains, RETAINS, NO_RETENTION)):
        answers = [judge(policy) for policy in policies]
        if any(answers):
            yield yes
        elif answers and all(answer is False for answer in answers):
            yield no
