"""What the auto tiers mean at first, and how the process reads it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F
from pytest_django import DjangoAssertNumQueries

from kilo_gateway.api_kinds import ApiKind
from routing.catalog.bundled import bundled_models
from routing.catalog.cache import CatalogUnreadable
from routing.catalog.default_tiers import MID_PRICE, OPUS_MODES, DefaultRule, default_rules
from routing.catalog.index import load_current_index
from routing.catalog.tiers import load_tier_table, tier_table
from routing.domain.types import Tier
from routing.models import AutoTierRule, Installation

CHAT, RESPONSES, MESSAGES = ApiKind.CHAT_COMPLETIONS, ApiKind.RESPONSES, ApiKind.MESSAGES


def listed(model_id: str, prompt: str = "1", completion: str = "4", context: int = 300_000) -> dict[str, Any]:
    """A model of the bundled catalog, its prices in dollars per million tokens."""
    pricing = {
        key: f"{Decimal(price).scaleb(-6):f}"
        for key, price in (("prompt", prompt), ("completion", completion))
        if price
    }
    return {"id": model_id, "name": f"Name of {model_id}", "context_length": context, "pricing": pricing}


def chosen(models: list[dict[str, Any]], tier: Tier, mode: str = "", kind: str = "") -> tuple[str, ...]:
    for rule in default_rules(models):
        if (rule.tier, rule.mode, rule.api_kind) == (tier, mode, kind):
            return rule.model_ids
    return ()


# ------------------------------------------------------------------ choosing


def test_the_newest_claude_is_the_one_of_the_highest_version_with_no_other_suffix() -> None:
    ids = [
        "opus-4",
        "opus-4.5",
        "opus-4.10",
        "opus-4.9",
        "opus-4.11-fast",
        "opus-4.12:thinking",
        "sonnet-3",
        "sonnet-4",
    ]
    models = [listed(f"anthropic/claude-{name}") for name in ids] + [listed("other/claude-opus-9")]
    assert chosen(models, Tier.FRONTIER, "plan") == ("anthropic/claude-opus-4.10",)
    assert chosen(models, Tier.FRONTIER) == ("anthropic/claude-sonnet-4",)


@pytest.mark.parametrize(
    ("ids", "opus", "sonnet"),
    [
        (["anthropic/claude-sonnet-5"], "anthropic/claude-sonnet-5", "anthropic/claude-sonnet-5"),
        (["anthropic/claude-opus-5"], "anthropic/claude-opus-5", "anthropic/claude-opus-5"),
        (["anthropic/claude-2-opus", "anthropic/claude-3-opus"], "anthropic/claude-3-opus", "anthropic/claude-3-opus"),
        (["anthropic/claude-haiku-5"], "anthropic/claude-haiku-5", "anthropic/claude-haiku-5"),
        (["openai/gpt-5", "openai/gpt-6-sol", "openai/gpt-7-pro"], "openai/gpt-6-sol", "openai/gpt-6-sol"),
    ],
)  # fmt: skip
def test_without_the_one_the_next_best_stands_in(ids: list[str], opus: str, sonnet: str) -> None:
    models = [listed(model_id) for model_id in ids]
    assert chosen(models, Tier.FRONTIER, "architect") == (opus,)
    assert chosen(models, Tier.FRONTIER) == (sonnet,)


def test_frontier_thinks_harder_where_it_plans() -> None:
    rules = [rule for rule in default_rules(bundled_models()) if rule.tier is Tier.FRONTIER]
    assert {rule.mode for rule in rules} == {"", *OPUS_MODES}
    for rule in rules:
        assert rule.model_ids[0].startswith("anthropic/claude-opus-" if rule.mode else "anthropic/claude-sonnet-")
        assert (rule.api_kind, rule.reasoning_effort, rule.verbosity) == ("", "medium", "medium")


def test_balanced_takes_a_newest_model_of_a_middle_price_and_no_old_one() -> None:
    models = [
        listed("moonshotai/kimi-k2", "0.6", "2.5"),
        listed("moonshotai/kimi-k3", "3", "15"),
        listed("z-ai/glm-5.3", "1.4", "4.4"),
        listed("z-ai/glm-5.3-flash", "0.2", "0.5"),
        listed("openai/gpt-6-sol", "2", "10"),
        listed("openai/gpt-6-terra", "1", "5"),
        listed("openai/gpt-6.1-luna", "0.1", "0.5"),
        listed("openai/gpt-6.1-image", "1", "5"),
        listed("anthropic/claude-haiku-4.5", "1", "5"),
    ]
    for tier in (Tier.BALANCED, Tier.EFFICIENT):
        assert chosen(models, tier) == ("z-ai/glm-5.3",)
        assert chosen(models, tier, kind="responses") == ("openai/gpt-6-terra",)
        assert chosen(models, tier, kind="messages") == ("anthropic/claude-haiku-4.5",)


def test_small_has_a_free_variant() -> None:
    models = [
        listed("a/cheap", "0.1", "0.2"), listed("a/cheap:free", "0", "0"),
        listed("a/better", "0.2", "0.4"), listed("a/better:free", "0", "0"),
        listed("a/dear", "2", "4"), listed("a/dear:free", "0", "0"),
        listed("a/vision-vl", "0.3", "0.4"), listed("a/vision-vl:free", "0", "0"),
        listed("a/short", "0.3", "0.4", context=8000), listed("a/short:free", "0", "0", context=8000),
        listed("a/alone", "0.3", "0.4"),
    ]  # fmt: skip
    (rule,) = [rule for rule in default_rules(models) if rule.tier is Tier.SMALL]
    assert rule == DefaultRule(Tier.SMALL, ("a/better",), free_model_ids=("a/better:free",))


def test_free_takes_models_with_room_for_code() -> None:
    models = [
        listed(f"a/{name}:free", "0", "0", context)
        for name, context in (
            ("large", 1_000_000), ("coder", 256_000), ("short", 32_000), ("tiny-3b", 256_000), ("tiny-1.7b", 256_000),
            ("content-safety", 256_000), ("super-vl", 256_000), ("mid-120b-a12b", 256_000),
        )
    ]  # fmt: skip
    assert chosen(models, Tier.FREE) == ("a/coder:free", "a/large:free", "a/mid-120b-a12b:free")


def test_a_tier_without_any_model_gets_no_rule() -> None:
    assert default_rules([]) == []
    assert {rule.tier for rule in default_rules([listed("nobody/nothing")])} == set()


def test_the_defaults_of_the_bundled_catalog_mean_what_they_say() -> None:
    models = {model["id"]: model for model in bundled_models()}
    rules = default_rules(models.values())
    assert {rule.tier for rule in rules} == set(Tier)
    assert all(model_id in models for rule in rules for model_id in (*rule.model_ids, *rule.free_model_ids))
    assert len(chosen([*models.values()], Tier.FREE)) >= 3
    lowest, highest = MID_PRICE
    for rule in rules:
        if rule.tier is Tier.BALANCED and rule.api_kind != MESSAGES:
            assert lowest <= Decimal(models[rule.model_ids[0]]["pricing"]["prompt"]) <= highest


# ------------------------------------------------------------------ reading


def test_every_tier_means_a_model_of_the_catalog_for_every_mode_and_kind(installation: Installation) -> None:
    table, catalog = load_tier_table(), load_current_index().models
    for tier in Tier:
        for mode in ("", "code", "architect", "a-mode-of-their-own"):
            for kind in (None, CHAT, RESPONSES, MESSAGES):
                choice = table.choice(tier, mode, kind)
                assert choice is not None
                assert all(model_id in catalog for model_id in (*choice.models, *choice.free_models))
    small = table.choice(Tier.SMALL, "", CHAT)
    assert small is not None
    assert all(catalog[model_id].pricing.is_free for model_id in small.free_models)


def test_it_is_read_once_per_version(
    installation: Installation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        table = tier_table(1)
    with django_assert_num_queries(0):
        assert tier_table(1) is table
    rule = AutoTierRule.objects.get(tier="frontier", mode="")
    rule.model_ids, rule.mode = [" OpenAI/GPT-5 "], "Code"
    rule.save()
    assert tier_table(1) is table
    Installation.objects.update(tier_version=F("tier_version") + 1)
    choice = load_tier_table().choice(Tier.FRONTIER, "code", None)
    assert choice is not None
    assert choice.models == ("openai/gpt-5",)
    assert (choice.reasoning_effort, choice.verbosity) == ("medium", "medium")


def test_a_database_that_does_not_answer_makes_it_unreadable(installation: Installation) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("the server closed the connection")

    with connection.execute_wrapper(fail):
        with pytest.raises(CatalogUnreadable):
            tier_table(1)
        with pytest.raises(CatalogUnreadable):
            load_tier_table()


def test_without_an_installation_it_is_unreadable(installation: Installation) -> None:
    Installation.objects.all().delete()
    with pytest.raises(CatalogUnreadable, match="not migrated"):
        load_tier_table()
