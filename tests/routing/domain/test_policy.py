"""The model policy: normalization, the deny list, the allow list, and whom they bind."""

from __future__ import annotations

from typing import Any

import pytest

from routing.domain.policy import allowed_models, denied, denied_directly, judge, policy_in_force
from routing.domain.settings import normalized_model_id, parse_settings
from routing.domain.types import CatalogModel, Refusal, RefusalCode, TierChoice
from tests.routing.domain.worlds import (
    CATALOG,
    GLM_FREE,
    KIMI,
    KIMI_FREE,
    MINI,
    MODELS,
    NEURALWATT_CREDENTIAL,
    NEURALWATT_KIMI,
    OPUS,
    PRO,
    QWEN_FREE,
    SONNET,
    decide,
    model_ids,
    organization,
    refused,
    valid,
    validate,
    world,
)

BY_ID = {model.id: model for model in MODELS}


def verdict(model_id: str, stored: dict[str, Any], plan: str = "enterprise") -> Any:
    """The providers to which it is confined, None for any, or the code of the refusal."""
    result = judge(BY_ID[model_id], plan, parse_settings(stored))
    return result.code if isinstance(result, Refusal) else result


def allowed(stored: dict[str, Any], plan: str = "enterprise") -> list[str]:
    return [model.id for model in allowed_models(MODELS, plan, parse_settings(stored))]


def test_it_works() -> None:
    stored = {"provider_allow_list": ["anthropic", "moonshotai"], "model_deny_list": [OPUS]}
    assert allowed(stored) == [SONNET, KIMI]


# ---------------------------------------------------------------- normalization


@pytest.mark.parametrize(
    ("model_id", "normalized"),
    [
        ("x/y", "x/y"),
        ("x/y:free", "x/y"),
        ("X/Y:FREE", "x/y"),
        ("  X/y  ", "x/y"),
        ("x/y:", "x/y"),
        ("x/y:a:b", "x/y"),
        (":free", ""),
        ("", ""),
    ],
)
def test_an_id_is_lower_cased_and_cut_at_its_first_colon(model_id: str, normalized: str) -> None:
    assert normalized_model_id(model_id) == normalized
    assert normalized_model_id(normalized) == normalized


def test_entries_of_the_deny_list_are_normalized_and_counted_once() -> None:
    stored = {"model_deny_list": [KIMI, KIMI.upper(), KIMI_FREE, f" {KIMI} "]}
    assert parse_settings(stored).model_deny_list == {KIMI}


# ---------------------------------------------------------------- whether there is one


@pytest.mark.parametrize(
    ("stored", "in_force"),
    [
        ({}, False),
        ({"provider_allow_list": None}, False),
        ({"model_deny_list": []}, False),
        ({"data_collection": "deny"}, False),
        ({"provider_allow_list": []}, True),
        ({"provider_allow_list": ["anthropic"]}, True),
        ({"model_deny_list": ["x/y"]}, True),
        ({"provider_allow_list": [], "model_deny_list": ["x/y"]}, True),
    ],
)
def test_a_policy_is_in_force(stored: dict[str, Any], in_force: bool) -> None:
    assert policy_in_force("enterprise", parse_settings(stored)) is in_force
    assert policy_in_force("teams", parse_settings(stored)) is False
    assert policy_in_force("", parse_settings(stored)) is False


# ---------------------------------------------------------------- the allow list


def test_an_absent_allow_list_allows_every_provider() -> None:
    assert allowed({}) == [model.id for model in MODELS]
    assert verdict(SONNET, {}) is None
    assert verdict(SONNET, {"provider_allow_list": None}) is None


def test_an_empty_allow_list_allows_none() -> None:
    assert allowed({"provider_allow_list": []}) == []
    assert verdict(SONNET, {"provider_allow_list": []}) is RefusalCode.PROVIDER_NOT_ALLOWED


@pytest.mark.parametrize(
    ("allow_list", "confined"),
    [
        (["anthropic"], ("anthropic",)),
        (["google-vertex"], ("google-vertex",)),
        (["google-vertex", "anthropic"], ("anthropic", "google-vertex")),
        (["openai", "amazon-bedrock"], ("amazon-bedrock",)),
        (["anthropic", "amazon-bedrock", "google-vertex"], ("anthropic", "amazon-bedrock", "google-vertex")),
        (["openai"], RefusalCode.PROVIDER_NOT_ALLOWED),
        (["anthropi"], RefusalCode.PROVIDER_NOT_ALLOWED),
        ([""], RefusalCode.PROVIDER_NOT_ALLOWED),
    ],
)
def test_one_allowed_serving_provider_is_enough(allow_list: list[str], confined: Any) -> None:
    assert verdict(SONNET, {"provider_allow_list": allow_list}) == confined


def test_who_serves_a_model_counts_and_not_who_made_it() -> None:
    """Anthropic makes it and Bedrock serves it: an author that does not serve a model does not allow it."""
    stored = {"provider_allow_list": ["anthropic"]}
    resold = CatalogModel(SONNET, "Sonnet", serving_providers=("amazon-bedrock",))
    result = judge(resold, "enterprise", parse_settings(stored))
    assert isinstance(result, Refusal)
    assert result.code is RefusalCode.PROVIDER_NOT_ALLOWED


@pytest.mark.parametrize(("model_id", "author"), [(OPUS, "anthropic"), (PRO, "openai"), (QWEN_FREE, "qwen")])
def test_the_author_counts_where_no_provider_is_known(model_id: str, author: str) -> None:
    assert verdict(model_id, {"provider_allow_list": [author]}) == (author,)
    assert verdict(model_id, {"provider_allow_list": ["amazon-bedrock"]}) is RefusalCode.PROVIDER_NOT_ALLOWED


def test_a_model_and_its_free_variant_are_served_by_different_providers() -> None:
    assert verdict(KIMI, {"provider_allow_list": ["chutes"]}) is RefusalCode.PROVIDER_NOT_ALLOWED
    assert verdict(KIMI_FREE, {"provider_allow_list": ["chutes"]}) == ("chutes",)
    assert verdict(KIMI_FREE, {"provider_allow_list": ["moonshotai"]}) is RefusalCode.PROVIDER_NOT_ALLOWED


# ---------------------------------------------------------------- the deny list


@pytest.mark.parametrize("entry", [KIMI, KIMI_FREE, KIMI.upper(), f" {KIMI} ", f"{KIMI}:anything"])
@pytest.mark.parametrize("model_id", [KIMI, KIMI_FREE])
def test_a_model_and_its_variants_are_denied_as_one(model_id: str, entry: str) -> None:
    assert verdict(model_id, {"model_deny_list": [entry]}) is RefusalCode.MODEL_DENIED


@pytest.mark.parametrize(
    "entry", ["moonshotai", "moonshotai/kimi", "kimi-k3", f"{KIMI}-x", "moonshotai/*", ":free", ""]
)
def test_only_the_whole_id_is_denied(entry: str) -> None:
    assert verdict(KIMI, {"model_deny_list": [entry]}) is None


def test_a_deny_list_alone_confines_no_other_model() -> None:
    assert verdict(SONNET, {"model_deny_list": [OPUS]}) is None
    assert allowed({"model_deny_list": [OPUS, GLM_FREE]}) == [SONNET, MINI, PRO, KIMI, KIMI_FREE, QWEN_FREE]


def test_deny_wins() -> None:
    stored = {"provider_allow_list": ["anthropic"], "model_deny_list": [SONNET]}
    assert verdict(SONNET, stored) is RefusalCode.MODEL_DENIED
    assert verdict(OPUS, stored) == ("anthropic",)


def test_what_is_denied_is_told_by_its_name() -> None:
    refusal = denied(KIMI_FREE, "enterprise", parse_settings({"model_deny_list": [KIMI]}))
    assert refusal is not None
    assert KIMI_FREE in refusal.message
    assert denied(SONNET, "enterprise", parse_settings({"model_deny_list": [KIMI]})) is None


@pytest.mark.parametrize(
    ("entry", "refused_ones"),
    [
        ("ollama/gpt-oss:20b", {"ollama/gpt-oss:20b"}),
        (" Ollama/GPT-oss:20B ", {"ollama/gpt-oss:20b"}),
        ("ollama/gpt-oss", {"ollama/gpt-oss", "ollama/gpt-oss:20b", "ollama/gpt-oss:120b"}),
        ("ollama/gpt", set()),
        ("gpt-oss:20b", set()),
    ],
)
def test_of_a_direct_provider_the_suffix_makes_another_model(entry: str, refused_ones: set[str]) -> None:
    settings = parse_settings({"model_deny_list": [entry]})
    models = ("ollama/gpt-oss", "ollama/gpt-oss:20b", "ollama/gpt-oss:120b")
    assert {model for model in models if denied_directly(model, "enterprise", settings)} == refused_ones
    assert not any(denied_directly(model, "teams", settings) for model in models)


def test_no_free_model_that_the_policy_leaves_is_told_so() -> None:
    for stored in ({"provider_allow_list": ["openai"]}, {"model_deny_list": [KIMI, GLM_FREE, QWEN_FREE]}):
        refusal = refused(decide(organization(stored), model="kilo-auto/free").refusal)
        assert refusal.code is RefusalCode.NO_FREE_MODELS
        assert refusal.message.startswith("The model policy of the organization ")
    nothing = world(rules={("free", "", ""): TierChoice(("gone/x:free",))})
    refusal = refused(decide(organization({"model_deny_list": [KIMI]}), model="kilo-auto/free", at=nothing).refusal)
    assert refusal.message == "No free model is available at the moment."


# ---------------------------------------------------------------- models that lead to others

ROUTER = CatalogModel("openrouter/auto", "Auto", serving_providers=("openrouter",), is_router=True)
WITH_ROUTER = world(
    catalog={**CATALOG, ROUTER.id: ROUTER},
    rules={("frontier", "", ""): TierChoice((ROUTER.id,)), ("free", "", ""): TierChoice((ROUTER.id, GLM_FREE))},
)


@pytest.mark.parametrize(
    ("stored", "code"),
    [
        ({}, None),
        ({"model_deny_list": []}, None),
        ({"data_collection": "deny"}, None),
        ({"model_deny_list": [PRO]}, RefusalCode.ROUTER_UNDER_POLICY),
        ({"provider_allow_list": ["openrouter"]}, RefusalCode.ROUTER_UNDER_POLICY),
        ({"provider_allow_list": []}, RefusalCode.ROUTER_UNDER_POLICY),
        ({"model_deny_list": [ROUTER.id]}, RefusalCode.MODEL_DENIED),
    ],
)
def test_a_router_is_refused_while_a_policy_is_active(stored: dict[str, Any], code: RefusalCode | None) -> None:
    """It leads to a model that nobody here has checked."""
    result = judge(ROUTER, "enterprise", parse_settings(stored))
    assert (result.code if isinstance(result, Refusal) else result) == code
    assert judge(ROUTER, "teams", parse_settings(stored)) is None
    as_target, by_name = (
        validate(ROUTER.id, organization(stored), at=WITH_ROUTER),
        decide(organization(stored), model=ROUTER.id, at=WITH_ROUTER),
    )
    if code is None:
        assert valid(as_target) == by_name.target
    else:
        assert refused(as_target).code is refused(by_name.refusal).code is code


def test_a_tier_does_not_lead_to_a_router_under_a_policy() -> None:
    bound, free = organization({"model_deny_list": [PRO]}), organization()
    decision = decide(bound, model="kilo-auto/frontier", at=WITH_ROUTER)
    assert refused(decision.refusal).code is RefusalCode.ROUTER_UNDER_POLICY
    assert model_ids(decide(bound, model="kilo-auto/free", at=WITH_ROUTER).target) == [GLM_FREE]
    assert model_ids(decide(free, model="kilo-auto/frontier", at=WITH_ROUTER).target) == [ROUTER.id]


# ---------------------------------------------------------------- whom it binds


@pytest.mark.parametrize("plan", ["teams", "", "free"])
def test_other_plans_keep_their_lists_and_are_not_bound(plan: str) -> None:
    stored = {"provider_allow_list": [], "model_deny_list": [model.id for model in MODELS]}
    assert allowed(stored, plan) == [model.id for model in MODELS]
    assert verdict(SONNET, stored, plan) is None
    assert denied(SONNET, plan, parse_settings(stored)) is None
    assert allowed(stored) == []


@pytest.mark.parametrize("plan", ["teams", "enterprise"])
def test_a_direct_model_of_a_denied_list_by_plan(plan: str) -> None:
    owner = organization({"model_deny_list": [NEURALWATT_KIMI]}, plan=plan, credentials=[NEURALWATT_CREDENTIAL])
    assert (decide(owner, model=NEURALWATT_KIMI).target is not None) is (plan == "teams")


@pytest.mark.parametrize(
    ("stored", "code"),
    [
        ({"model_deny_list": [KIMI]}, RefusalCode.MODEL_DENIED),
        ({"provider_allow_list": ["anthropic"]}, RefusalCode.PROVIDER_NOT_ALLOWED),
    ],
)
@pytest.mark.parametrize("model", [KIMI, KIMI_FREE])
def test_a_model_asked_for_by_name_is_bound_too(stored: dict[str, Any], code: RefusalCode, model: str) -> None:
    decision = decide(organization(stored), model=model)
    assert decision.refusal is not None
    assert decision.refusal.code is code
    assert valid(decide(organization(stored, plan="teams"), model=model).target).id == model
