"""The catalog of an installation that has never reached its upstream: OpenRouter's models as genai-prices has them.

Imported without Django configured, by the demo upstream.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

from routing.catalog.prices import listed_prices, openrouter_models, price_text

SOURCE: Final = "genai-prices"
# What nearly every chat model of today takes. Which of them takes more is not known here.
_PARAMETERS: Final = ("max_tokens", "stop", "temperature", "tool_choice", "tools", "top_p")


def bundled_models(today: date | None = None) -> list[dict[str, Any]]:
    """The models in the shape of OpenRouter's list, by id; what is not known is left out or said modestly.

    A model is taken when it has an author and a known context length, which is what tells the current ones from those
    that are gone. Aliases that move (`~author/model-latest`) and batch variants are no models to choose.

    Args:
        today: The day whose prices count.
    """
    day = today or datetime.now(UTC).date()
    entries = {}
    for model in openrouter_models():
        model_id = model.id.lower()
        author, _, name = model_id.partition("/")
        if not (author and name and model.context_window) or model_id.startswith("~") or ":batch" in model_id:
            continue
        entries[model_id] = {
            "id": model_id,
            "name": model.name or model_id,
            "created": 0,
            "description": model.description or "",
            "context_length": model.context_window,
            "architecture": {
                "modality": "text->text",
                "input_modalities": ["text"],
                "output_modalities": ["text"],
                "tokenizer": "Other",
                "instruct_type": None,
            },
            "pricing": {key: price_text(price) for key, price in listed_prices(model, day).items()},
            "top_provider": {
                "context_length": model.context_window,
                "max_completion_tokens": None,
                "is_moderated": False,
            },
            "supported_parameters": list(_PARAMETERS),
            "expiration_date": None,
        }
    return [entries[model_id] for model_id in sorted(entries)]
