"""What the demo upstream says about its models: the reading side of OpenRouter's API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


class Listing:
    """The models that the demo upstream lists; the author of each is its only provider.

    Below `/v1` it may stand for a provider with models of its own, which only have ids.
    """

    def __init__(self, models: Iterable[Mapping[str, Any]], own_models: Iterable[str] = ()) -> None:
        self._models = [dict(model) for model in models]
        self._by_id = {str(model["id"]).lower(): model for model in self._models}
        # The list is by far the largest answer and never changes: it is rendered once.
        self._models_body = json.dumps({"data": self._models}).encode()
        own = [{"id": model_id, "object": "model", "owned_by": "demo"} for model_id in own_models]
        self._own_body = json.dumps({"object": "list", "data": own}).encode() if own else b""

    def models_body(self, path: str) -> bytes:
        """The list of models at a path."""
        return self._own_body if self._own_body and path.startswith("/v1/") else self._models_body

    def endpoints(self, model_id: str) -> dict[str, Any] | None:
        """The providers that serve a model, or None for a model that is not listed."""
        model = self._by_id.get(model_id.lower())
        if model is None:
            return None
        top_provider = model.get("top_provider") or {}
        slug, name = _author(model)
        endpoint = {
            "name": f"{name} | {model['id']}",
            "provider_name": name,
            "tag": slug,
            "pricing": model.get("pricing", {}),
            "context_length": model.get("context_length"),
            "max_completion_tokens": top_provider.get("max_completion_tokens"),
            "max_prompt_tokens": None,
            "quantization": None,
            "supported_parameters": model.get("supported_parameters", []),
            "status": 0,
        }
        kept = ("id", "name", "created", "description", "architecture")
        return {"data": {key: model.get(key) for key in kept} | {"endpoints": [endpoint]}}

    def providers(self) -> dict[str, Any]:
        """Every author of a listed model, as a provider."""
        names = dict(_author(model) for model in self._models)
        nothing = {"privacy_policy_url": None, "terms_of_service_url": None, "status_page_url": None}
        return {"data": [{"name": names[slug], "slug": slug} | nothing for slug in sorted(names)]}


def _author(model: Mapping[str, Any]) -> tuple[str, str]:
    """Slug and display name of a model's author: "Anthropic: Claude Opus" is by Anthropic."""
    slug = str(model["id"]).lower().partition("/")[0]
    name, colon, _ = str(model.get("name") or "").partition(":")
    return slug, name.strip() if colon and name.strip() else slug
