"""What clients are told about models: entries in OpenRouter's shape, of a kind that agents can read.

Agents are strict readers: one entry with a null where they want a number, and they have no models at all. They also
send an entry's `description` back in each request, where a provider that refuses unknown fields would refuse it; so the
entries that may lead to an organization's own provider have none. Checked with the Kilo CLI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from byok.providers import KnownModel, Provider
from byok.selectors import StoredCredential, offered_models
from routing.catalog.index import CatalogIndex
from routing.domain.settings import OrganizationAuto
from routing.domain.types import ORGANIZATION_AUTO, CatalogModel, Tier, TierTable

Entry = dict[str, Any]

# What is said of a model of which nothing is known: enough for an agent's work, and not more than most can do.
ASSUMED_CONTEXT_LENGTH: Final = 128_000
ASSUMED_COMPLETION_TOKENS: Final = 16_384
# What nearly every model for agents takes. Without "tools" an agent would not offer the model.
PARAMETERS: Final = ("max_tokens", "stop", "temperature", "tool_choice", "tools", "top_p")
# As OpenRouter says of its own router: the price depends on where it leads.
UNKNOWN_PRICE: Final[Mapping[str, str]] = {"prompt": "-1", "completion": "-1"}
# Hosted costs are the installation's; the organization's own provider bills it itself.
NO_PRICE: Final[Mapping[str, str]] = {"prompt": "0", "completion": "0"}


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of one catalog, compiled once. Shared by all threads: nothing in it may be changed.

    Attributes:
        hosted: The hosted models in the catalog's order, each beside its entry.
        by_id: The same entries by id.
        by_name: The same by what follows the author, for models that another provider serves under that name.
    """

    index: CatalogIndex
    hosted: tuple[tuple[CatalogModel, Entry], ...]
    by_id: Mapping[str, Entry]
    by_name: Mapping[str, Entry]


_latest: Listing | None = None


def listing_of(index: CatalogIndex) -> Listing:
    """The compiled entries of the catalog in force; compiled anew only when that is another one."""
    global _latest  # noqa: PLW0603 - one catalog is in force; two threads that both compile it do no harm
    latest = _latest
    if latest is None or latest.index is not index:
        _latest = latest = _compile(index)
    return latest


def _compile(index: CatalogIndex) -> Listing:
    hosted = tuple((model := index.models[entry["id"]], _hosted_entry(model, entry)) for entry in index.entries)
    by_name: dict[str, Entry] = {}
    for model, entry in hosted:
        by_name.setdefault(model.id.partition("/")[2], entry)
    return Listing(index, hosted, {model.id: entry for model, entry in hosted}, by_name)


def _hosted_entry(model: CatalogModel, entry: Entry) -> Entry:
    """The catalog's own entry where it will do, which is nearly always."""
    added: Entry = {"isFree": True} if model.pricing.is_free else {}
    if entry["context_length"] is None:
        added["context_length"] = ASSUMED_CONTEXT_LENGTH
    return {**entry, **added} if added else entry


def tier_entries(tiers: TierTable, listing: Listing) -> list[Entry]:
    """The auto tiers that mean something in this catalog."""
    entries = []
    for position, tier in enumerate(Tier, start=1):
        rules = [choice for (name, _, _), choice in tiers.rules.items() if name == tier.value]
        models = _known(listing, (model for rule in rules for model in rule.models))
        variants = _known(listing, (model for rule in rules for model in rule.free_models))
        if not models:
            continue
        prices = [model["pricing"] for model in models]
        entry = _combined_entry(tier.model_id, f"Auto {tier.value.title()}", [*models, *variants], position)
        # A price only where it is the same wherever the tier leads.
        entry["pricing"] = prices[0] if prices[0] and all(price == prices[0] for price in prices) else UNKNOWN_PRICE
        if all(model.get("isFree") for model in models):
            entry |= {"isFree": True, "pricing": NO_PRICE}
        entries.append(entry)
    return entries


def _known(listing: Listing, model_ids: Iterable[str]) -> list[Entry]:
    return [listing.by_id[model_id] for model_id in dict.fromkeys(model_ids) if model_id in listing.by_id]


def organization_auto_entry(
    auto: OrganizationAuto, tiers: Iterable[Entry], providers: Mapping[str, Provider], listing: Listing
) -> Entry:
    """`kilo-auto/org`: what every target of the organization can do, because a client asks before it has a mode."""
    known = {entry["id"]: entry for entry in tiers} | dict(listing.by_id)
    targets: list[Entry] = []
    for target in dict.fromkeys([*auto.routes.values(), *filter(None, [auto.fallback_model])]):
        model_id = target.strip().lower()
        prefix, _, name = model_id.partition("/")
        provider = providers.get(prefix)
        entry = _direct_entry(provider, name, listing) if provider else known.get(model_id)
        if entry is not None:
            targets.append(entry)
    return _combined_entry(ORGANIZATION_AUTO, "Organization Auto", targets, 0)


def _combined_entry(model_id: str, name: str, models: Sequence[Entry], position: int) -> Entry:
    """An entry that promises what all these models keep: the smallest limits and the inputs that each of them takes."""
    completions = [limit for model in models if (limit := model["top_provider"]["max_completion_tokens"])]
    inputs = [model["architecture"]["input_modalities"] for model in models]
    return {
        "id": model_id,
        "name": name,
        "created": 0,
        "context_length": min((model["context_length"] for model in models), default=ASSUMED_CONTEXT_LENGTH),
        "architecture": _architecture(
            [kind for kind in inputs[0] if all(kind in of for of in inputs)] if inputs else []
        ),
        "pricing": UNKNOWN_PRICE,
        "top_provider": _top_provider(min(completions, default=None)),
        "supported_parameters": PARAMETERS,
        "preferredIndex": position,
    }


def direct_entries(
    credentials: Iterable[StoredCredential], providers: Mapping[str, Provider], listing: Listing
) -> list[Entry]:
    """The models that the organization's enabled credentials are known to give.

    Nothing for a provider without a model list: there any id works, and none can be listed.
    """
    entries: dict[str, Entry] = {}
    for credential in credentials:
        provider = providers.get(credential.provider_id)
        if provider is None:
            continue
        for model in offered_models(credential, provider) or ():
            entry = _direct_entry(provider, model, listing)
            entries.setdefault(entry["id"], entry)
    return list(entries.values())


def _direct_entry(provider: Provider, model: str, listing: Listing) -> Entry:
    """A direct model. Its provider tells its id only; the rest is what the organization has written down of it, else
    what the catalog knows of a model of that name.
    """
    name = model.lower()
    namesake = listing.by_id.get(name) or listing.by_name.get(name)
    written = next((known for known in provider.models if known.id.lower() == name), None)
    context_length, top_provider = _limits(written, namesake)
    return {
        "id": f"{provider.id}/{name}",
        "name": f"{written.name if written else model} ({provider.name})",
        "created": 0,
        "context_length": context_length,
        "architecture": _architecture(namesake["architecture"]["input_modalities"] if namesake else []),
        "pricing": NO_PRICE,
        "top_provider": top_provider,
        "supported_parameters": PARAMETERS,
        "hasUserByokAvailable": True,
    }


def _limits(written: KnownModel | None, namesake: Entry | None) -> tuple[int, Entry]:
    """The context length and the top provider of a direct model."""
    context_length = namesake["context_length"] if namesake else ASSUMED_CONTEXT_LENGTH
    top_provider = namesake["top_provider"] if namesake else _top_provider(ASSUMED_COMPLETION_TOKENS)
    if written is not None and written.context_length is not None:
        context_length = written.context_length
    if written is not None and written.max_output_tokens is not None:
        top_provider = _top_provider(written.max_output_tokens)
    return context_length, top_provider


def _architecture(input_modalities: Sequence[str]) -> Entry:
    inputs = list(input_modalities) or ["text"]
    return {
        "modality": f"{'+'.join(inputs)}->text",
        "input_modalities": inputs,
        "output_modalities": ["text"],
        "tokenizer": "Other",
        "instruct_type": None,
    }


def _top_provider(max_completion_tokens: int | None) -> Entry:
    return {"context_length": None, "max_completion_tokens": max_completion_tokens, "is_moderated": False}
