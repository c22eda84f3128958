"""What the auto tiers mean at first: chosen from the bundled catalog by rules, and the operator's to change.

Pure: imported by a migration and by tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from kilo_gateway.api_kinds import ApiKind
from routing.catalog.prices import parse_price
from routing.domain.types import Tier

OPUS_MODES: Final = ("architect", "plan", "general", "orchestrator", "ask", "debug", "claw")
FRONTIER_EFFORT: Final = "medium"
FRONTIER_VERBOSITY: Final = "medium"

# US dollars per token. An agent reads far more than it writes, so the price of the input says what a model is.
MID_PRICE: Final = (Decimal("0.0000002"), Decimal("0.0000015"))
MID_PRICE_OUTPUT: Final = Decimal("0.000008")
SMALL_PRICE: Final = Decimal("0.0000003")
# Below it an agent's prompt and a few files do not fit.
SHORTEST_CONTEXT: Final = 128_000
SHORTEST_FREE_CONTEXT: Final = 200_000
MOST_FREE_MODELS: Final = 6

# Families of open models that agents are used with, best known first; each with its plain name and version only.
CHAT_FAMILIES: Final = (
    r"moonshotai/kimi-k(\d+)(?:\.(\d+))?",
    r"z-ai/glm-(\d+)(?:\.(\d+))?",
    r"minimax/minimax-m(\d+)(?:\.(\d+))?",
    r"deepseek/deepseek-v(\d+)(?:\.(\d+))?",
    r"mistralai/mistral-medium-(\d+)[.-](\d+)",
)
# A version alone, or with one word that names the size.
OPENAI_MODEL: Final = r"openai/gpt-(\d+)(?:\.(\d+))?(?:-[a-z]+)?"
# Words in an id that say that a model is for something else than writing code in a conversation.
_SPECIAL: Final = re.compile(
    r"(?:^|[-/])(?:audio|chat|clip|codex|content|embed\w*|guard|image|instruct|latest|moderation|omni|pro|safeguard|"
    r"safety|search|translate|tts|turbo|vision|vl)(?:[-:]|$)"
)
_CODING: Final = re.compile(r"code|devstral|laguna")
# Up to 19 billion parameters, as in "lfm-3-1.7b".
_TINY: Final = re.compile(r"-1?\d(?:\.\d+)?b(?:[-:]|$)")


@dataclass(frozen=True, slots=True)
class DefaultRule:
    """One row of the table of tiers; a blank mode or API kind means any."""

    tier: Tier
    model_ids: tuple[str, ...]
    mode: str = ""
    api_kind: str = ""
    free_model_ids: tuple[str, ...] = ()
    reasoning_effort: str = ""
    verbosity: str = ""


def default_rules(models: Iterable[Mapping[str, Any]]) -> list[DefaultRule]:
    """The rules for a catalog in OpenRouter's shape. A tier for which it has no model at all gets none."""
    catalog = _Catalog(models)
    return [
        *_frontier(catalog),
        *_balanced(catalog, Tier.BALANCED),
        *_small(catalog),
        *_free(catalog),
        *_balanced(catalog, Tier.EFFICIENT),
    ]


@dataclass(frozen=True, slots=True)
class _Model:
    id: str
    is_named: bool
    context_length: int
    prompt: Decimal | None
    completion: Decimal | None

    @property
    def is_mid_price(self) -> bool:
        lowest, highest = MID_PRICE
        return (
            self.prompt is not None
            and lowest <= self.prompt <= highest
            and self.completion is not None
            and self.completion <= MID_PRICE_OUTPUT
        )


class _Catalog:
    """The bundled models, as far as choosing among them needs them."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self.models = {
            entry["id"]: _Model(
                id=entry["id"],
                is_named=entry["name"] != entry["id"],
                context_length=entry["context_length"] or 0,
                prompt=parse_price(entry["pricing"].get("prompt")),
                completion=parse_price(entry["pricing"].get("completion")),
            )
            for entry in entries
        }

    def newest(self, pattern: str, accept: Callable[[_Model], bool] = lambda _model: True) -> _Model | None:
        """The model of the highest version among the ids that match; the groups are major and minor."""
        expression = re.compile(pattern)
        found = [
            ((int(match[1]), int(match[2] or 0)), model.id)
            for model in self.models.values()
            if (match := expression.fullmatch(model.id)) and accept(model)
        ]
        return self.models[max(found)[1]] if found else None

    def newest_claude(self, *families: str) -> _Model | None:
        """The newest Claude of the first family that there is, under its name of today or its older one."""
        for family in families:
            for pattern in (
                rf"anthropic/claude-{family}-(\d+)(?:\.(\d+))?",
                rf"anthropic/claude-(\d+)(?:\.(\d+))?-{family}",
            ):
                if (model := self.newest(pattern)) is not None:
                    return model
        return None


def _frontier(catalog: _Catalog) -> list[DefaultRule]:
    others = catalog.newest(OPENAI_MODEL, lambda model: not _SPECIAL.search(model.id))
    opus = catalog.newest_claude("opus", "sonnet", "haiku") or others
    sonnet = catalog.newest_claude("sonnet", "opus", "haiku") or others
    if opus is None or sonnet is None:
        return []

    def rule(mode: str, model: _Model) -> DefaultRule:
        return DefaultRule(
            Tier.FRONTIER,
            (model.id,),
            mode=mode,
            reasoning_effort=FRONTIER_EFFORT,
            verbosity=FRONTIER_VERBOSITY,
        )

    return [rule("", sonnet), *(rule(mode, opus) for mode in OPUS_MODES)]


def _balanced(catalog: _Catalog, tier: Tier) -> list[DefaultRule]:
    """One rule for any API kind, which is the model for chat, and one each for responses and messages."""
    by_kind = {
        ApiKind.CHAT_COMPLETIONS: _mid_price_chat(catalog),
        ApiKind.RESPONSES: catalog.newest(
            OPENAI_MODEL, lambda model: model.is_mid_price and not _SPECIAL.search(model.id)
        ),
        ApiKind.MESSAGES: catalog.newest_claude("haiku", "sonnet"),
    }
    any_kind = next((model for model in by_kind.values() if model is not None), None)
    if any_kind is None:
        return []
    special = [(kind, model) for kind, model in by_kind.items() if model not in (None, any_kind)]
    return [
        DefaultRule(tier, (any_kind.id,)),
        *(DefaultRule(tier, (model.id,), api_kind=kind.value) for kind, model in special if model is not None),
    ]


def _mid_price_chat(catalog: _Catalog) -> _Model | None:
    """The newest of the first family whose newest is of a middle price, not an old one that happens to be."""
    for pattern in CHAT_FAMILIES:
        model = catalog.newest(pattern)
        if model is not None and model.is_mid_price and model.context_length >= SHORTEST_CONTEXT:
            return model
    return None


def _small(catalog: _Catalog) -> list[DefaultRule]:
    """Of the small models that have a free variant, the dearest: the price is all that is known of what they can."""

    def suits(model: _Model) -> bool:
        free = catalog.models.get(f"{model.id}:free")
        return (
            free is not None
            and min(model.context_length, free.context_length) >= SHORTEST_CONTEXT
            and model.prompt is not None
            and 0 < model.prompt <= SMALL_PRICE
            and bool(model.completion)
            and not _SPECIAL.search(model.id)
        )

    small = [model for model in catalog.models.values() if suits(model)]
    if not small:
        return []
    chosen = max(small, key=lambda model: (model.prompt or 0, model.completion or 0, model.id))
    return [DefaultRule(Tier.SMALL, (chosen.id,), free_model_ids=(f"{chosen.id}:free",))]


def _free(catalog: _Catalog) -> list[DefaultRule]:
    """Free models with room for code; those made for code first, then those with the most room."""
    suitable = [
        model
        for model in catalog.models.values()
        if model.id.endswith(":free")
        and model.is_named
        and model.context_length >= SHORTEST_FREE_CONTEXT
        and not _SPECIAL.search(model.id)
        and not _TINY.search(model.id)
    ]
    suitable.sort(key=lambda model: (not _CODING.search(model.id), -model.context_length, model.id))
    chosen = tuple(model.id for model in suitable[:MOST_FREE_MODELS])
    return [DefaultRule(Tier.FREE, chosen)] if chosen else []
