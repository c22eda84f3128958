"""What an auto tier means: for whom, in which mode, by which API, and never an auto model again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from kilo_gateway.api_kinds import ApiKind
from routing.domain.resolve import choose_model
from routing.domain.targets import ModelChoice, ValidTarget, tier_of
from routing.domain.types import TARGET_TIERS, RefusalCode, TargetKind, Tier, TierChoice, TierTable, World
from tests.routing.domain.worlds import (
    CATALOG,
    CHAT,
    GLM_FREE,
    KIMI,
    KIMI_FREE,
    MESSAGES,
    MINI,
    NEURALWATT,
    NEURALWATT_KIMI,
    OPUS,
    QWEN_FREE,
    RESPONSES,
    SONNET,
    auto_settings,
    credential,
    decide,
    model_ids,
    organization,
    refused,
    valid,
    validate,
    world,
)

THROUGH_FRONTIER = organization(auto_settings(fallback="kilo-auto/frontier"))


def test_it_works() -> None:
    target = valid(validate("kilo-auto/frontier", mode="architect"))
    assert target.id == "kilo-auto/frontier"
    assert target.kind is TargetKind.TIER
    assert target.models == (ModelChoice(OPUS, OPUS),)
    assert (target.reasoning_effort, target.verbosity) == ("high", "low")


def test_four_of_the_five_tiers_are_targets() -> None:
    assert {tier.value for tier in Tier} == {"frontier", "balanced", "small", "free", "efficient"}
    assert set(Tier) - TARGET_TIERS == {Tier.EFFICIENT}


@pytest.mark.parametrize("tier", list(Tier))
def test_the_id_of_a_tier(tier: Tier) -> None:
    assert tier.model_id == f"kilo-auto/{tier.value}"
    assert tier_of(tier.model_id) is tier


@pytest.mark.parametrize(
    "model_id", ["free", "kilo-auto/", "kilo-auto/org", "kilo-auto/FREE", "x/free", "kilo-auto/free:x"]
)
def test_what_is_no_tier(model_id: str) -> None:
    assert tier_of(model_id) is None


# ---------------------------------------------------------------- the most specific row


@pytest.mark.parametrize("dropped", range(5))
def test_the_most_specific_row_wins(dropped: int) -> None:
    """Rows from the most to the least specific; as one after the other goes, the next one counts."""
    rows = [("frontier", "code", "chat_completions"), ("frontier", "code", ""), ("frontier", "", "chat_completions")]
    keys = [*rows, ("frontier", "", "")]
    others = {
        ("frontier", "ask", "chat_completions"): TierChoice(("x/another-mode",)),
        ("frontier", "code", "messages"): TierChoice(("x/another-api",)),
        ("balanced", "code", "chat_completions"): TierChoice(("x/another-tier",)),
    }
    table = TierTable({**others, **{key: TierChoice((f"x/{at}",)) for at, key in enumerate(keys) if at >= dropped}})
    expected = TierChoice((f"x/{dropped}",)) if dropped < 4 else None
    assert table.choice(Tier.FRONTIER, "code", CHAT) == expected


@pytest.mark.parametrize(
    ("mode", "api_kind", "model"),
    [
        ("architect", CHAT, "x/mode"),
        ("architect", None, "x/mode"),
        ("architect", MESSAGES, "x/mode"),
        ("ask", MESSAGES, "x/kind"),
        ("", MESSAGES, "x/kind"),
        ("ask", CHAT, "x/any"),
        ("", CHAT, "x/any"),
        ("", None, "x/any"),
    ],
)
def test_a_row_for_the_mode_is_more_specific_than_one_for_the_api(
    mode: str, api_kind: ApiKind | None, model: str
) -> None:
    table = TierTable(
        {
            ("frontier", "", ""): TierChoice(("x/any",)),
            ("frontier", "", "messages"): TierChoice(("x/kind",)),
            ("frontier", "architect", ""): TierChoice(("x/mode",)),
        }
    )
    assert table.choice(Tier.FRONTIER, mode, api_kind) == TierChoice((model,))


@pytest.mark.parametrize(
    ("mode", "model"), [("architect", OPUS), ("Architect ", OPUS), ("code", SONNET), ("", SONNET), ("unknown", SONNET)]
)
def test_a_tier_behind_a_route_knows_the_mode_of_the_request(mode: str, model: str) -> None:
    assert model_ids(decide(THROUGH_FRONTIER, mode).target) == [model]
    assert model_ids(decide(None, mode, model="kilo-auto/frontier").target) == [model]


def test_a_tier_behind_an_alias_knows_the_mode_that_was_said_not_the_aliass() -> None:
    owner = organization(auto_settings({"architect": "kilo-auto/frontier"}))
    assert model_ids(decide(owner, "plan").target) == [SONNET]
    assert model_ids(decide(owner, "architect").target) == [OPUS]


@pytest.mark.parametrize(("api_kind", "model"), [(CHAT, KIMI), (RESPONSES, MINI), (MESSAGES, SONNET), (None, KIMI)])
def test_a_tier_knows_the_api_kind(api_kind: ApiKind | None, model: str) -> None:
    owner = organization(auto_settings(fallback="kilo-auto/balanced"))
    assert model_ids(decide(owner, "code", api_kind=api_kind).target) == [model]
    assert model_ids(decide(owner, model="kilo-auto/balanced", api_kind=api_kind).target) == [model]


@pytest.mark.parametrize("rules", [{}, {("frontier", "", ""): TierChoice(())}], ids=["no row", "a row of nothing"])
@pytest.mark.parametrize("model", ["kilo-auto/org", "kilo-auto/frontier"])
def test_a_tier_that_the_installation_has_not_defined_is_refused(
    rules: Mapping[tuple[str, str, str], TierChoice], model: str
) -> None:
    decision = decide(THROUGH_FRONTIER, model=model, at=world(rules=rules))
    assert refused(decision.refusal).code is RefusalCode.TIER_UNDEFINED
    assert decision.target is None


def test_a_tier_has_no_tuning_that_its_row_does_not_name() -> None:
    found = valid(validate("kilo-auto/balanced"))
    assert (found.reasoning_effort, found.verbosity, found.free_models) == ("", "", ())


def test_concrete_targets_have_no_tuning() -> None:
    for target in (SONNET, NEURALWATT_KIMI):
        found = valid(validate(target, organization(credentials=[credential(NEURALWATT, any_model=True)])))
        assert (found.reasoning_effort, found.verbosity, found.free_models) == ("", "", ())


# ---------------------------------------------------------------- never an auto model again


def leading_to(*models: str, tier: Tier = Tier.FRONTIER, free_models: tuple[str, ...] = ()) -> World:
    return world(rules={(tier.value, "", ""): TierChoice(models, free_models)})


@pytest.mark.parametrize(
    "model",
    [
        "kilo-auto/org",
        "kilo-auto/org:code",
        "kilo-auto/frontier",
        "kilo-auto/balanced",
        "kilo-auto/efficient",
        "kilo-auto/unknown",
        "kilo-internal/x",
    ],
)
@pytest.mark.parametrize("asked", ["kilo-auto/org", "kilo-auto/frontier"])
def test_a_tier_never_leads_back(model: str, asked: str) -> None:
    listed = {**CATALOG, model: CATALOG[SONNET]}
    at = World(listed, {}, leading_to(model).tiers)
    refusal = refused(decide(THROUGH_FRONTIER, model=asked, at=at).refusal)
    assert refusal.code is RefusalCode.SELF_TARGET
    assert model in refusal.message


def test_what_leads_back_is_left_out_of_several() -> None:
    at = leading_to("kilo-auto/org", KIMI_FREE, "kilo-auto/free", "kilo-internal/x", QWEN_FREE, tier=Tier.FREE)
    assert model_ids(validate("kilo-auto/free", at=at)) == [KIMI_FREE, QWEN_FREE]


def test_a_tier_does_not_lead_to_a_direct_model() -> None:
    """A tier is the installation's; whoever pays a direct model is decided by the organization alone."""
    owner = organization(credentials=[credential(NEURALWATT, any_model=True)])
    refusal = refused(validate("kilo-auto/frontier", owner, at=leading_to(NEURALWATT_KIMI)))
    assert refusal.code is RefusalCode.MODEL_UNAVAILABLE


def test_a_free_variant_does_not_lead_back_either() -> None:
    at = leading_to(KIMI, tier=Tier.SMALL, free_models=("kilo-auto/free", "gone/model:free"))
    target = valid(validate("kilo-auto/small", at=at))
    assert (model_ids(target), target.free_models) == ([KIMI], ())


# ---------------------------------------------------------------- what a tier resolves to is checked


@pytest.mark.parametrize(
    ("stored", "code"),
    [
        ({"model_deny_list": [SONNET]}, RefusalCode.MODEL_DENIED),
        ({"provider_allow_list": ["openai"]}, RefusalCode.PROVIDER_NOT_ALLOWED),
        ({"provider_allow_list": []}, RefusalCode.PROVIDER_NOT_ALLOWED),
    ],
)
def test_the_model_of_a_tier_asked_for_by_name_must_pass_the_policy(stored: dict[str, Any], code: RefusalCode) -> None:
    decision = decide(organization(stored), model="kilo-auto/frontier")
    assert refused(decision.refusal).code is code
    assert model_ids(decide(organization(stored, plan="teams"), model="kilo-auto/frontier").target) == [SONNET]


def test_the_model_of_a_tier_asked_for_by_name_is_confined_like_any_other() -> None:
    owner = organization({"provider_allow_list": ["google-vertex"]})
    target = valid(decide(owner, model="kilo-auto/frontier").target)
    assert target.models == (ModelChoice(SONNET, SONNET, ("google-vertex",)),)


def test_a_model_that_left_the_catalog_makes_its_tier_unavailable() -> None:
    at = world(catalog={KIMI: CATALOG[KIMI]})
    assert refused(validate("kilo-auto/frontier", at=at)).code is RefusalCode.MODEL_UNAVAILABLE
    assert model_ids(validate("kilo-auto/balanced", at=at)) == [KIMI]


def test_of_several_models_those_that_pass_are_kept_in_their_order() -> None:
    denied_one = organization({"model_deny_list": [GLM_FREE]})
    assert model_ids(decide(denied_one, model="kilo-auto/free").target) == [KIMI_FREE, QWEN_FREE]
    assert model_ids(validate("kilo-auto/free")) == [KIMI_FREE, GLM_FREE, QWEN_FREE]


def test_the_first_refusal_is_told_when_no_model_of_several_passes() -> None:
    at = leading_to("gone/model", SONNET)
    decision = decide(organization({"model_deny_list": [SONNET]}), model="kilo-auto/frontier", at=at)
    assert refused(decision.refusal).code is RefusalCode.MODEL_UNAVAILABLE


@pytest.mark.parametrize("asked", ["kilo-auto/org", "kilo-auto/free"])
@pytest.mark.parametrize("catalog", [{}, {SONNET: CATALOG[SONNET]}])
def test_no_free_model_available(asked: str, catalog: Mapping[str, Any]) -> None:
    owner = organization(auto_settings(fallback="kilo-auto/free"))
    decision = decide(owner, model=asked, at=world(catalog=catalog))
    assert refused(decision.refusal).code is RefusalCode.NO_FREE_MODELS
    assert decision.refusal is not None
    assert decision.refusal.code == "no_free_models_available"


def test_no_free_model_that_the_policy_allows() -> None:
    decision = decide(organization({"provider_allow_list": ["anthropic"]}), model="kilo-auto/free")
    assert refused(decision.refusal).code is RefusalCode.NO_FREE_MODELS


# ---------------------------------------------------------------- efficient


@pytest.mark.parametrize("api_kind", [None, *ApiKind])
def test_efficient_is_never_a_target_but_may_be_asked_for(api_kind: ApiKind | None) -> None:
    owner = organization(auto_settings({"code": "kilo-auto/efficient"}, fallback="kilo-auto/efficient"))
    for mode in ("code", "ask"):
        decision = decide(owner, mode, api_kind=api_kind)
        assert refused(decision.refusal).code is RefusalCode.NOT_A_TARGET_TIER
    assert model_ids(decide(owner, model="kilo-auto/efficient", api_kind=api_kind).target) == [MINI]
    assert model_ids(decide(None, model="kilo-auto/efficient", api_kind=api_kind).target) == [MINI]


# ---------------------------------------------------------------- one model of several

FREE = valid(validate("kilo-auto/free"))
SMALL = valid(validate("kilo-auto/small"))
SESSIONS = [f"task-{number}" for number in range(300)]


@pytest.mark.parametrize("has_balance", [True, False])
@pytest.mark.parametrize("session", ["task-1", "", "0", "\udc80 half of a character", "x" * 500])
def test_the_choice_is_stable_for_a_session(session: str, has_balance: bool) -> None:
    again = ValidTarget(FREE.id, FREE.kind, tuple(FREE.models))
    choices = {choose_model(target, session=session, has_hosted_balance=has_balance) for target in [FREE, again] * 5}
    assert len(choices) == 1
    assert choices <= set(FREE.models)


def test_sessions_are_spread_over_all_models() -> None:
    counts = Counter(choose_model(FREE, session=name, has_hosted_balance=True).id for name in SESSIONS)
    assert set(counts) == {KIMI_FREE, GLM_FREE, QWEN_FREE}
    assert min(counts.values()) > len(SESSIONS) / 6


def test_the_choice_is_the_same_in_every_process() -> None:
    """Python's own hash differs from process to process, and so does not do."""
    chosen = [choose_model(FREE, session=name, has_hosted_balance=True).id for name in ("task-1", "task-2", "task-7")]
    assert chosen == [QWEN_FREE, GLM_FREE, KIMI_FREE]


def test_a_target_of_one_model_is_that_model() -> None:
    for name in SESSIONS[:20]:
        for has_balance in (True, False):
            choice = choose_model(valid(validate(SONNET)), session=name, has_hosted_balance=has_balance)
            assert choice.id == SONNET


@pytest.mark.parametrize(("has_balance", "model"), [(True, KIMI), (False, KIMI_FREE)])
def test_small_is_its_free_variant_without_a_hosted_balance(has_balance: bool, model: str) -> None:
    choice = choose_model(SMALL, session="task-1", has_hosted_balance=has_balance)
    assert choice.id == choice.upstream_id == model
    assert choice.is_free is not has_balance


def test_small_without_a_usable_free_variant_stays_what_it_is() -> None:
    at = leading_to(KIMI, tier=Tier.SMALL, free_models=("gone/model:free",))
    choice = choose_model(valid(validate("kilo-auto/small", at=at)), session="x", has_hosted_balance=False)
    assert (choice.id, choice.is_free) == (KIMI, False)


def test_the_free_variant_must_pass_the_policy() -> None:
    at = leading_to(KIMI, tier=Tier.SMALL, free_models=(KIMI_FREE, GLM_FREE))
    owner = organization({"provider_allow_list": ["moonshotai", "z-ai"]})
    target = valid(decide(owner, model="kilo-auto/small", at=at).target)
    assert target.models == (ModelChoice(KIMI, KIMI, ("moonshotai",)),)
    assert target.free_models == (ModelChoice(GLM_FREE, GLM_FREE, ("z-ai",), is_free=True),)


def test_the_other_tiers_are_the_same_without_a_hosted_balance() -> None:
    for tier in ("frontier", "balanced", "free"):
        target = valid(validate(f"kilo-auto/{tier}"))
        with_balance = choose_model(target, session="task-1", has_hosted_balance=True)
        assert choose_model(target, session="task-1", has_hosted_balance=False) == with_balance


def test_only_models_of_no_price_are_free() -> None:
    assert [choice.is_free for choice in FREE.models] == [True, True, True]
    assert not valid(validate(SONNET)).models[0].is_free


# ---------------------------------------------------------------- the trace


def test_the_trace_of_a_tier() -> None:
    decision = decide(THROUGH_FRONTIER, "architect")
    assert [(step.name, step.looked_at, step.outcome) for step in decision.steps][-4:] == [
        ("target", "kilo-auto/frontier", "well formed"),
        ("tier", "kilo-auto/frontier", OPUS),
        ("catalog", OPUS, "found"),
        ("model policy", OPUS, "allowed"),
    ]


def test_the_trace_says_which_of_several_models_was_left_out_and_why() -> None:
    decision = decide(organization({"model_deny_list": [GLM_FREE]}), model="kilo-auto/free")
    assert decision.target is not None
    refusals = [(step.name, step.looked_at) for step in decision.steps if step.outcome == "refused"]
    assert refusals == [("model policy", GLM_FREE)]


def test_the_trace_leaves_the_free_variants_out() -> None:
    decision = decide(None, model="kilo-auto/small")
    assert KIMI_FREE not in {step.looked_at for step in decision.steps}
