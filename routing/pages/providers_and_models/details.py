"""One hosted model: who serves it, at which price, and what becomes of prompts there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpResponse
from django_htmx.http import push_url

from organizations.pages.frame import Page, PageRequest, organization_page
from routing.catalog.parse import provider_slug
from routing.domain.types import Refusal
from routing.listing import listing_of
from routing.pages.providers_and_models.rows import retains, trains_on
from routing.pages.providers_and_models.standing import SECTION
from routing.pages.targets import offered
from routing.pages.wording import UNKNOWN, price_per_million, tokens_short
from routing.selectors import Offer

_PRICES = (
    ("Input", "prompt"),
    ("Output", "completion"),
    ("Cache read", "input_cache_read"),
    ("Cache write", "input_cache_write"),
)
_TRAINING = {True: "trains on prompts", False: "never trains", None: ""}
_RETENTION = {True: "retains prompts", False: "never retains", None: ""}


@dataclass(frozen=True, slots=True)
class Serving:
    """A provider's offer of the model; prices are per million tokens."""

    name: str
    slug: str
    is_allowed: bool
    prices: list[tuple[str, str]]
    context: str
    quantization: str
    prompts: str


@organization_page(SECTION, methods=("GET",))
def model_details(request: PageRequest, page: Page, model_id: str) -> HttpResponse:
    """What the catalog says of a model, whether the policy allows it, and the providers that serve it."""
    offer = offered(page.organization)
    model_id = model_id.strip().lower()
    entry = listing_of(offer.index).by_id.get(model_id)
    if entry is None:
        raise Http404
    verdict = offer.verdict_on(offer.index.models[model_id])
    context = {
        "entry": entry,
        "refusal": verdict.message if isinstance(verdict, Refusal) else "",
        "prices": _prices(entry["pricing"]),
        "limits": [_tokens(entry["context_length"]), _tokens(entry["top_provider"]["max_completion_tokens"])],
        "created": datetime.fromtimestamp(entry["created"], UTC) if entry["created"] else None,
        "serving": list(_serving(offer, model_id)),
        "author": model_id.partition("/")[0],
        "tools": "tools" in entry.get("supported_parameters", ()),
        "variants": [
            other
            for other in offer.index.models
            if other != model_id and other.partition(":")[0] == model_id.partition(":")[0]
        ],
    }
    response = page.render("providers_and_models/details.html", context)
    # The links of the list are boosted, as one attribute for all of them; the address stays that of the list.
    return push_url(response, False) if page.is_overlay else response


def _tokens(count: int | None) -> str:
    return f"{count:,} tokens" if count else UNKNOWN


def _prices(pricing: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(label, price_per_million(pricing.get(key))) for label, key in _PRICES]


def _serving(offer: Offer, model_id: str) -> Iterator[Serving]:
    allowed = offer.settings.provider_allow_list
    for endpoint in offer.index.serving(model_id):
        slug = provider_slug(endpoint["tag"])
        policy = endpoint.get("data_policy", {})
        yield Serving(
            name=endpoint["provider_name"],
            slug=endpoint["tag"],
            is_allowed=allowed is None or slug in allowed,
            prices=_prices(endpoint.get("pricing", {})),
            context=tokens_short(endpoint.get("context_length")),
            quantization=endpoint.get("quantization") or "",
            prompts=", ".join(filter(None, (_TRAINING[trains_on(policy)], _RETENTION[retains(policy)]))),
        )
