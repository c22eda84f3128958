"""What a request cost, added to its usage record."""

from __future__ import annotations

from kilo_gateway.api_kinds import ApiKind
from routing.catalog.cache import CatalogUnreadable
from routing.catalog.index import current_index
from routing.catalog.prices import fallback_pricing
from routing.domain.cost import TokenCounts, cost_microdollars
from routing.domain.estimates import Expected, with_estimates
from routing.domain.types import CatalogModel, Pricing
from routing.proxy.tokens import text_bytes_of_answer, usage_of_answer
from routing.proxy.usage_writer import Usage


def count_answer(
    usage: Usage, *, api_kind: ApiKind, content: bytes, expected: Expected | None, catalog_snapshot_id: int
) -> None:
    """Note what an answer that was not streamed took.

    Args:
        expected: Of a hosted request: what counts where the answer does not tell.
    """
    counts = usage_of_answer(api_kind, content)
    if expected is not None:
        text_bytes = text_bytes_of_answer(api_kind, content) if counts.output is None else 0
        counts = with_estimates(counts, expected, text_bytes)
    add_costs(usage, counts, catalog_snapshot_id)


def add_costs(usage: Usage, counts: TokenCounts, catalog_snapshot_id: int) -> None:
    """Note the tokens and what they cost. A cost that is not known stays None, and never becomes 0.

    Hosted tokens cost the organization what the catalog says; with its own key they cost it nothing here, and the
    market cost tells what they are worth.
    """
    usage.input_tokens, usage.output_tokens = counts.input, counts.output
    usage.cache_read_tokens, usage.cache_write_tokens = counts.cache_read, counts.cache_write
    usage.reasoning_tokens = counts.reasoning
    pricing = pricing_of(usage.resolved_model, catalog_snapshot_id)
    usage.market_cost_microdollars = cost_microdollars(counts, pricing) if pricing else None
    usage.hosted_cost_microdollars = 0 if usage.is_byok else usage.market_cost_microdollars


def pricing_of(model_id: str, catalog_snapshot_id: int) -> Pricing | None:
    """The prices of a resolved model: from the catalog, else the second source, which knows direct providers too."""
    model = hosted_model(model_id, catalog_snapshot_id)
    if model is not None and model.pricing.prompt is not None:
        return model.pricing
    return fallback_pricing(model_id)


def hosted_model(model_id: str, catalog_snapshot_id: int) -> CatalogModel | None:
    """What the catalog says of a model; None of one that it does not have, and while it cannot be read."""
    try:
        return current_index(catalog_snapshot_id).models.get(model_id)
    except CatalogUnreadable:
        return None
