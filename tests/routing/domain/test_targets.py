"""Target validation: the eight rules and the order between them."""

from __future__ import annotations

from typing import Any

import pytest

from kilo_gateway.api_kinds import ApiKind
from routing.domain.targets import ModelChoice, Owner, ValidTarget, validate_target
from routing.domain.types import DirectCredential, RefusalCode, TargetKind, TierChoice, Trace, World
from tests.routing.domain.worlds import (
    CATALOG,
    CHAT,
    GLM_FREE,
    KIMI,
    KIMI_FREE,
    MESSAGES,
    MINI,
    NEURALWATT,
    NEURALWATT_CREDENTIAL,
    NEURALWATT_KIMI,
    OPENAI_BYOK,
    OPUS,
    PAID,
    PRO,
    PROVIDERS,
    QWEN_FREE,
    RESPONSES,
    SONNET,
    CatalogModel,
    Provider,
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

NEURALWATT_OWNER = organization(credentials=[NEURALWATT_CREDENTIAL])
DENY_ONE = {"model_deny_list": [PRO]}


def test_it_works() -> None:
    assert validate(SONNET) == ValidTarget(
        id=SONNET, kind=TargetKind.HOSTED, models=(ModelChoice(SONNET, SONNET, None, is_free=False),)
    )


# ---------------------------------------------------------------- 1 required


@pytest.mark.parametrize("target", ["", " ", "\t\r\n", "\u2003"])
def test_1_an_empty_target_is_refused(target: str) -> None:
    assert refused(validate(target)).code is RefusalCode.TARGET_REQUIRED


@pytest.mark.parametrize("target", [f"  {SONNET}\n", SONNET.upper(), "Anthropic/Claude-Sonnet-5"])
def test_1_a_target_is_trimmed_and_lower_cased(target: str) -> None:
    assert valid(validate(target)).id == SONNET
    assert model_ids(validate(target)) == [SONNET]


def test_1_a_target_has_at_most_200_characters() -> None:
    longest = "x/" + "y" * 198
    at = world(catalog={longest: CatalogModel(longest, "Long", PAID)})
    assert valid(validate(f" {longest} ", at=at)).id == longest
    assert refused(validate(longest + "y", at=at)).code is RefusalCode.TARGET_TOO_LONG


def test_1_a_target_that_is_too_long_is_not_repeated() -> None:
    trace = Trace()
    result = validate_target("x" * 10_000, organization(), world(), mode="", api_kind=None, trace=trace)
    assert len(refused(result).message) < 200
    assert all(len(step.looked_at) <= 200 for step in trace)


# ---------------------------------------------------------------- 2, 3, 4 by the id alone


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("anthropic/*", RefusalCode.NOT_CONCRETE),
        (" Anthropic/* ", RefusalCode.NOT_CONCRETE),
        ("/*", RefusalCode.NOT_CONCRETE),
        ("a/b/*", RefusalCode.NOT_CONCRETE),
        ("kilo-auto/org", RefusalCode.SELF_TARGET),
        (" Kilo-Auto/ORG ", RefusalCode.SELF_TARGET),
        ("kilo-internal/anything", RefusalCode.INTERNAL_MODEL),
        ("KILO-INTERNAL/Anything", RefusalCode.INTERNAL_MODEL),
        ("kilo-internal/", RefusalCode.INTERNAL_MODEL),
    ],
)
def test_2_3_4_ids_that_are_never_a_target(target: str, code: RefusalCode) -> None:
    everything = {**CATALOG, **{name: CatalogModel(name, name, PAID) for name in (target.strip().lower(),)}}
    assert refused(validate(target, at=world(catalog=everything))).code is code


@pytest.mark.parametrize("target", ["*", "anthropic/claude*", "anthropic/*x", "kilo-internals/x", "xkilo-internal/x"])
def test_ids_that_only_look_like_those_are_models_that_do_not_exist(target: str) -> None:
    assert refused(validate(target)).code is RefusalCode.MODEL_UNAVAILABLE


@pytest.mark.parametrize("target", ["kilo-auto/org:plan", "kilo-auto/org/x", "kilo-auto/organization", "kilo-auto/"])
def test_organization_auto_is_no_target_in_any_spelling(target: str) -> None:
    assert refused(validate(target)).code is RefusalCode.NOT_A_TARGET_TIER


# ---------------------------------------------------------------- 5 direct models


def test_5_a_direct_model_with_the_organizations_credential() -> None:
    assert validate(" Neuralwatt/KIMI-k3 ", NEURALWATT_OWNER) == ValidTarget(
        id=NEURALWATT_KIMI,
        kind=TargetKind.DIRECT,
        models=(ModelChoice(NEURALWATT_KIMI, "Kimi-K3"),),
        provider_id=NEURALWATT,
        credential_id="credential-of-neuralwatt",
    )


@pytest.mark.parametrize("credentials", [[], [credential(OPENAI_BYOK, "kimi-k3")]], ids=["none", "of another provider"])
@pytest.mark.parametrize("api_kind", [None, *ApiKind])
def test_5_without_a_credential_it_is_refused_by_the_providers_name(
    credentials: list[DirectCredential], api_kind: ApiKind | None
) -> None:
    refusal = refused(validate(NEURALWATT_KIMI, organization(credentials=credentials), api_kind=api_kind))
    assert refusal.code is RefusalCode.NO_CREDENTIAL
    assert "unavailable" in refusal.message
    assert "no enabled credential for Neuralwatt" in refusal.message


@pytest.mark.parametrize(("api_kind", "supported"), [(None, True), (CHAT, True), (RESPONSES, False), (MESSAGES, False)])
def test_5_the_provider_must_speak_the_api_kind_when_it_is_known(api_kind: ApiKind | None, supported: bool) -> None:
    result = validate(NEURALWATT_KIMI, NEURALWATT_OWNER, api_kind=api_kind)
    if supported:
        assert valid(result).id == NEURALWATT_KIMI
    else:
        assert refused(result).code is RefusalCode.API_KIND_NOT_SUPPORTED


@pytest.mark.parametrize(("api_kind", "supported"), [(CHAT, True), (RESPONSES, True), (MESSAGES, False)])
def test_5_each_provider_speaks_its_own(api_kind: ApiKind, supported: bool) -> None:
    owner = organization(credentials=[credential(OPENAI_BYOK, any_model=True)])
    assert isinstance(validate("openai-byok/gpt-5", owner, api_kind=api_kind), ValidTarget) is supported


def test_5_hosted_models_and_tiers_speak_every_api_kind() -> None:
    for api_kind in (None, *ApiKind):
        assert valid(validate(SONNET, api_kind=api_kind)).id == SONNET
        assert valid(validate("kilo-auto/frontier", api_kind=api_kind)).id == "kilo-auto/frontier"


@pytest.mark.parametrize("target", ["neuralwatt/other", "neuralwatt/kimi", "neuralwatt/glm-5", "neuralwatt/a/b"])
def test_5_a_model_that_the_key_does_not_offer_is_refused(target: str) -> None:
    assert refused(validate(target, NEURALWATT_OWNER)).code is RefusalCode.MODEL_UNAVAILABLE


def test_5_a_key_that_offers_nothing() -> None:
    owner = organization(credentials=[credential(NEURALWATT)])
    assert refused(validate(NEURALWATT_KIMI, owner)).code is RefusalCode.MODEL_UNAVAILABLE


def test_5_the_suffix_belongs_to_the_direct_models_id() -> None:
    assert valid(validate("neuralwatt/glm-5:fast", NEURALWATT_OWNER)).models[0].upstream_id == "GLM-5:Fast"


@pytest.mark.parametrize("rest", ["anything", "models/with/slashes", "name:suffix"])
def test_5_a_provider_without_a_model_list_takes_any_id(rest: str) -> None:
    owner = organization(credentials=[credential(NEURALWATT, any_model=True)])
    assert valid(validate(f"neuralwatt/{rest}", owner)).models == (ModelChoice(f"neuralwatt/{rest}", rest),)


def test_5_a_providers_prefix_alone_is_no_direct_model() -> None:
    owner = organization(credentials=[credential(NEURALWATT, any_model=True)])
    assert refused(validate("neuralwatt/", owner)).code is RefusalCode.MODEL_UNAVAILABLE
    assert refused(validate("neuralwatt", owner)).code is RefusalCode.MODEL_UNAVAILABLE


@pytest.mark.parametrize("allow_list", [[], ["openai"], ["anthropic", "openai"]])
def test_5_a_direct_model_is_exempt_from_the_allow_list(allow_list: list[str]) -> None:
    owner = organization({"provider_allow_list": allow_list}, credentials=[NEURALWATT_CREDENTIAL])
    assert valid(validate(NEURALWATT_KIMI, owner)).models[0].only_providers is None


@pytest.mark.parametrize("entry", [NEURALWATT_KIMI, "Neuralwatt/Kimi-K3"])
@pytest.mark.parametrize("more", [{}, {"provider_allow_list": [NEURALWATT]}])
def test_5_a_direct_model_is_bound_by_the_deny_list(entry: str, more: dict[str, Any]) -> None:
    owner = organization({"model_deny_list": [entry], **more}, credentials=[NEURALWATT_CREDENTIAL])
    assert refused(validate(NEURALWATT_KIMI, owner)).code is RefusalCode.MODEL_DENIED


@pytest.mark.parametrize("entry", ["kimi-k3", KIMI, "neuralwatt", "neuralwatt/", "neuralwatt/*", "neuralwatt/kimi"])
def test_5_only_an_exact_entry_denies_a_direct_model(entry: str) -> None:
    owner = organization({"model_deny_list": [entry]}, credentials=[NEURALWATT_CREDENTIAL])
    assert valid(validate(NEURALWATT_KIMI, owner)).id == NEURALWATT_KIMI


def test_5_denying_a_direct_model_does_not_deny_the_hosted_one() -> None:
    owner = organization({"model_deny_list": [NEURALWATT_KIMI]})
    assert model_ids(validate(KIMI, owner)) == [KIMI]


# ---------------------------------------------------------------- 6 tiers


@pytest.mark.parametrize("tier", ["frontier", "balanced", "small", "free"])
def test_6_the_four_target_tiers(tier: str) -> None:
    target = valid(validate(f" Kilo-Auto/{tier.upper()} "))
    assert (target.id, target.kind) == (f"kilo-auto/{tier}", TargetKind.TIER)


@pytest.mark.parametrize("name", ["efficient", "unknown", "frontier:free", "frontier/x", "", "tier"])
def test_6_no_other_is_a_target(name: str) -> None:
    refusal = refused(validate(f"kilo-auto/{name}"))
    assert refusal.code is (RefusalCode.NOT_A_TARGET_TIER)


@pytest.mark.parametrize(
    "policy",
    [
        {"provider_allow_list": []},
        {"provider_allow_list": ["anthropic", "moonshotai", "openai"]},
        {"model_deny_list": ["nobody/uses-this"]},
        {"provider_allow_list": ["anthropic"], "model_deny_list": [PRO]},
        {"provider_allow_list": [], "model_deny_list": []},
    ],
    ids=["empty allow list", "allow list", "deny only", "both", "both empty"],
)
@pytest.mark.parametrize("tier", ["frontier", "balanced", "small", "free"])
def test_6_no_tier_while_a_policy_is_active(policy: dict[str, Any], tier: str) -> None:
    assert refused(validate(f"kilo-auto/{tier}", organization(policy))).code is RefusalCode.TIER_UNDER_POLICY


@pytest.mark.parametrize(
    "policy",
    [{}, {"model_deny_list": []}, {"provider_allow_list": None, "model_deny_list": None}, {"data_collection": "deny"}],
    ids=["absent", "empty deny list", "null", "data collection"],
)
def test_6_what_is_no_policy_lets_tiers_be(policy: dict[str, Any]) -> None:
    assert valid(validate("kilo-auto/frontier", organization(policy))).id == "kilo-auto/frontier"


def test_6_a_policy_that_the_plan_does_not_enforce_is_not_active() -> None:
    policy = {"provider_allow_list": [], "model_deny_list": [SONNET]}
    assert model_ids(validate("kilo-auto/frontier", organization(policy, plan="teams"))) == [SONNET]


# ---------------------------------------------------------------- 7 the catalog


@pytest.mark.parametrize("target", ["gone/model", "claude-sonnet-5", "anthropic/claude-sonnet", "anthropic", "sonnet"])
def test_7_a_model_outside_the_catalog_is_unavailable(target: str) -> None:
    refusal = refused(validate(target))
    assert refusal.code is RefusalCode.MODEL_UNAVAILABLE
    assert "unavailable" in refusal.message


def test_7_the_suffix_makes_another_model() -> None:
    assert model_ids(validate(KIMI_FREE)) == [KIMI_FREE]
    assert refused(validate(f"{SONNET}:free")).code is RefusalCode.MODEL_UNAVAILABLE
    assert refused(validate(f"{SONNET}:")).code is RefusalCode.MODEL_UNAVAILABLE
    # The other way round: a free model without its paid twin.
    assert refused(validate(GLM_FREE.removesuffix(":free"))).code is RefusalCode.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    "target", [SONNET, "gone/model", "kilo-auto/frontier", "kilo-auto/balanced", "kilo-auto/small", "kilo-auto/free"]
)
@pytest.mark.parametrize("plan", ["enterprise", "teams"])
def test_7_a_catalog_that_cannot_be_read_is_an_error_that_says_so(target: str, plan: str) -> None:
    refusal = refused(validate(target, organization(plan=plan), at=world(catalog=None)))
    assert refusal.code is RefusalCode.CATALOG_UNAVAILABLE
    assert "catalog cannot be read" in refusal.message


def test_7_direct_models_need_no_catalog() -> None:
    assert valid(validate(NEURALWATT_KIMI, NEURALWATT_OWNER, at=world(catalog=None))).kind is TargetKind.DIRECT


def test_7_an_empty_catalog_has_no_model() -> None:
    assert refused(validate(SONNET, at=world(catalog={}))).code is RefusalCode.MODEL_UNAVAILABLE


# ---------------------------------------------------------------- 8 the policy


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"model_deny_list": [SONNET]}, RefusalCode.MODEL_DENIED),
        ({"provider_allow_list": ["openai"]}, RefusalCode.PROVIDER_NOT_ALLOWED),
        ({"provider_allow_list": []}, RefusalCode.PROVIDER_NOT_ALLOWED),
    ],
)
def test_8_a_hosted_target_must_pass_the_policy(policy: dict[str, Any], code: RefusalCode) -> None:
    assert refused(validate(SONNET, organization(policy))).code is code


def test_8_a_hosted_target_is_confined_to_the_allowed_providers() -> None:
    owner = organization({"provider_allow_list": ["google-vertex", "anthropic", "openai"]})
    assert valid(validate(SONNET, owner)).models[0].only_providers == ("anthropic", "google-vertex")


# ---------------------------------------------------------------- the order between them

ALLOW_NONE = {"provider_allow_list": []}
DIRECT_AND_INTERNAL = {**PROVIDERS, "kilo-internal": Provider("kilo-internal", "Internal", frozenset(ApiKind))}


@pytest.mark.parametrize(
    ("target", "owner", "api_kind", "code"),
    [
        # 2 before 4, 5, 6 and 7
        ("kilo-internal/*", organization(), CHAT, RefusalCode.NOT_CONCRETE),
        ("neuralwatt/*", organization(), CHAT, RefusalCode.NOT_CONCRETE),
        ("neuralwatt/*", organization(credentials=[credential(NEURALWATT, any_model=True)]), CHAT, "not_concrete"),
        ("kilo-auto/*", organization(ALLOW_NONE), CHAT, RefusalCode.NOT_CONCRETE),
        ("gone/*", organization(), CHAT, RefusalCode.NOT_CONCRETE),
        # 3 before 6
        ("kilo-auto/org", organization(ALLOW_NONE), CHAT, RefusalCode.SELF_TARGET),
        # within 5: credential, offer, API kind, deny list
        (NEURALWATT_KIMI, organization({"model_deny_list": [NEURALWATT_KIMI]}), MESSAGES, RefusalCode.NO_CREDENTIAL),
        ("neuralwatt/other", NEURALWATT_OWNER, MESSAGES, RefusalCode.MODEL_UNAVAILABLE),
        (
            NEURALWATT_KIMI,
            organization({"model_deny_list": [NEURALWATT_KIMI]}, credentials=[NEURALWATT_CREDENTIAL]),
            MESSAGES,
            RefusalCode.API_KIND_NOT_SUPPORTED,
        ),
        (
            "neuralwatt/other",
            organization({"model_deny_list": ["neuralwatt/other"]}, credentials=[NEURALWATT_CREDENTIAL]),
            CHAT,
            RefusalCode.MODEL_UNAVAILABLE,
        ),
        # within 6: which tier, then the policy
        ("kilo-auto/efficient", organization(ALLOW_NONE), CHAT, RefusalCode.NOT_A_TARGET_TIER),
        # 7 before 8
        ("gone/model", organization({"model_deny_list": ["gone/model"]}), CHAT, RefusalCode.MODEL_UNAVAILABLE),
        # within 8: deny wins
        (SONNET, organization({**ALLOW_NONE, "model_deny_list": [SONNET]}), CHAT, RefusalCode.MODEL_DENIED),
    ],
)
def test_the_earlier_rule_is_the_one_that_refuses(
    target: str, owner: Owner, api_kind: ApiKind, code: RefusalCode | str
) -> None:
    expected = RefusalCode.NOT_CONCRETE if code == "not_concrete" else code
    assert refused(validate(target, owner, api_kind=api_kind)).code is expected


def test_4_before_5_an_internal_model_is_refused_even_behind_a_provider_of_that_name() -> None:
    owner = organization(credentials=[credential("kilo-internal", any_model=True)])
    refusal = refused(validate("kilo-internal/x", owner, at=world(providers=DIRECT_AND_INTERNAL)))
    assert refusal.code is RefusalCode.INTERNAL_MODEL


def test_5_before_7_a_direct_model_never_becomes_a_hosted_one_of_the_same_name() -> None:
    both = world(catalog={**CATALOG, NEURALWATT_KIMI: CatalogModel(NEURALWATT_KIMI, "Kimi", PAID)})
    assert refused(validate(NEURALWATT_KIMI, at=both)).code is RefusalCode.NO_CREDENTIAL
    assert valid(validate(NEURALWATT_KIMI, NEURALWATT_OWNER, at=both)).kind is TargetKind.DIRECT
    offers_others = organization(credentials=[credential(NEURALWATT, "other")])
    assert refused(validate(NEURALWATT_KIMI, offers_others, at=both)).code is RefusalCode.MODEL_UNAVAILABLE


def test_6_before_7_a_tier_under_a_policy_needs_no_catalog_to_be_refused() -> None:
    refusal = refused(validate("kilo-auto/frontier", organization(DENY_ONE), at=world(catalog=None)))
    assert refusal.code is RefusalCode.TIER_UNDER_POLICY


def test_6_before_7_an_auto_id_is_never_looked_up_in_the_catalog() -> None:
    name = "kilo-auto/special"
    listed = world(catalog={**CATALOG, name: CatalogModel(name, name, PAID)})
    assert refused(validate(name, at=listed)).code is RefusalCode.NOT_A_TARGET_TIER


def test_7_before_8_an_unreadable_catalog_comes_before_the_policy() -> None:
    owner = organization({"model_deny_list": [SONNET]})
    assert refused(validate(SONNET, owner, at=world(catalog=None))).code is RefusalCode.CATALOG_UNAVAILABLE


# ---------------------------------------------------------------- asked for by name


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("kilo-internal/x", RefusalCode.INTERNAL_MODEL),
        (NEURALWATT_KIMI, RefusalCode.NO_CREDENTIAL),
        ("gone/model", RefusalCode.MODEL_UNAVAILABLE),
        ("anthropic/*", RefusalCode.MODEL_UNAVAILABLE),
        ("kilo-auto/unknown", RefusalCode.MODEL_UNAVAILABLE),
        ("kilo-auto/frontier:plan", RefusalCode.MODEL_UNAVAILABLE),
        (f"{SONNET}:free", RefusalCode.MODEL_UNAVAILABLE),
        ("", RefusalCode.MODEL_UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("owner", [None, organization(), organization(auto_settings(), plan="teams")])
def test_a_model_asked_for_by_name_is_checked_by_the_same_rules(
    owner: Owner | None, model: str, code: RefusalCode
) -> None:
    decision = decide(owner, model=model)
    assert decision.target is None
    assert decision.refusal is not None
    assert decision.refusal.code is code


@pytest.mark.parametrize("api_kind", list(ApiKind))
def test_a_direct_model_asked_for_by_name(api_kind: ApiKind) -> None:
    decision = decide(NEURALWATT_OWNER, model="Neuralwatt/Kimi-K3", api_kind=api_kind)
    if api_kind is CHAT:
        assert valid(decision.target).models == (ModelChoice(NEURALWATT_KIMI, "Kimi-K3"),)
    else:
        assert decision.refusal is not None
        assert decision.refusal.code is RefusalCode.API_KIND_NOT_SUPPORTED


def test_a_persons_request_outside_an_organization_has_no_policy() -> None:
    assert model_ids(decide(None, model=PRO).target) == [PRO]
    assert decide(organization(DENY_ONE), model=PRO).target is None


def test_validation_on_a_write_and_on_a_request_is_the_same() -> None:
    """A request through a route adds nothing to the validation that its write had, but for the API kind."""
    for target in (SONNET, OPUS, MINI, KIMI_FREE, NEURALWATT_KIMI, "kilo-auto/frontier", "kilo-auto/free"):
        owner = organization(auto_settings({"code": target}), credentials=[NEURALWATT_CREDENTIAL])
        written = valid(validate(target, owner, mode="code", api_kind=None))
        assert decide(owner, "code").target == written


# ---------------------------------------------------------------- the trace


def trace_of(target: str, owner: Owner, api_kind: ApiKind | None = CHAT) -> list[tuple[str, str, str]]:
    trace = Trace()
    validate_target(target, owner, world(), mode="", api_kind=api_kind, trace=trace)
    return [(step.name, step.looked_at, step.outcome) for step in trace]


def test_the_trace_of_a_direct_model_names_the_credential_and_the_exemption() -> None:
    owner = organization(ALLOW_NONE, credentials=[NEURALWATT_CREDENTIAL])
    assert trace_of(NEURALWATT_KIMI, owner) == [
        ("target", NEURALWATT_KIMI, "well formed"),
        ("credential", NEURALWATT, "credential-of-neuralwatt"),
        ("model policy", NEURALWATT_KIMI, "allowed"),
    ]


@pytest.mark.parametrize(
    ("target", "owner", "api_kind", "step"),
    [
        ("  ", organization(), CHAT, ("target", "", "refused")),
        (NEURALWATT_KIMI, organization(), CHAT, ("credential", NEURALWATT, "refused")),
        (NEURALWATT_KIMI, NEURALWATT_OWNER, MESSAGES, ("api kind", "messages", "refused")),
        ("neuralwatt/other", NEURALWATT_OWNER, CHAT, ("offer", "neuralwatt/other", "refused")),
        ("kilo-auto/free", organization(DENY_ONE), CHAT, ("tier", "kilo-auto/free", "refused")),
        ("gone/model", organization(), CHAT, ("catalog", "gone/model", "refused")),
        (PRO, organization(DENY_ONE), CHAT, ("model policy", PRO, "refused")),
        (
            NEURALWATT_KIMI,
            organization({"model_deny_list": [NEURALWATT_KIMI]}, credentials=[NEURALWATT_CREDENTIAL]),
            CHAT,
            ("model policy", NEURALWATT_KIMI, "refused"),
        ),
        ("kilo-auto/efficient", organization(), CHAT, ("tier", "kilo-auto/efficient", "refused")),
    ],
)
def test_the_trace_of_a_refusal_ends_with_the_rule_that_refused(
    target: str, owner: Owner, api_kind: ApiKind, step: tuple[str, str, str]
) -> None:
    assert trace_of(target, owner, api_kind)[-1] == step


@pytest.mark.parametrize(
    ("target", "at", "step"),
    [
        ("gone/model", world(catalog=None), ("catalog", "gone/model", "refused")),
        ("kilo-auto/free", world(rules={}), ("tier", "kilo-auto/free", "refused")),
        ("kilo-auto/free", world(catalog={}), ("tier", "kilo-auto/free", "refused")),
        (
            "kilo-auto/free",
            world(catalog=None, rules={("free", "", ""): TierChoice((KIMI_FREE,))}),
            ("catalog", KIMI_FREE, "refused"),
        ),
        (
            "kilo-auto/frontier",
            world(rules={("frontier", "", ""): TierChoice(("kilo-auto/free",))}),
            ("tier", "kilo-auto/free", "refused"),
        ),
    ],
)
def test_the_trace_of_what_the_installation_lacks(target: str, at: World, step: tuple[str, str, str]) -> None:
    trace = Trace()
    refusal = refused(validate_target(target, organization(), at, mode="", api_kind=None, trace=trace))
    last = trace.steps()[-1]
    assert (last.name, last.looked_at, last.outcome) == step
    assert last.reason == refusal.message


def test_the_trace_says_to_which_providers_a_model_is_confined() -> None:
    trace = Trace()
    owner = organization({"provider_allow_list": ["openai", "azure"]})
    validate_target(MINI, owner, world(), mode="", api_kind=None, trace=trace)
    assert [step.reason for step in trace if step.name == "model policy"] == ["providers: azure, openai"]
    trace = Trace()
    validate_target(MINI, organization(), world(), mode="", api_kind=None, trace=trace)
    assert [step.reason for step in trace if step.name == "model policy"] == ["any provider"]


def test_the_trace_says_all_that_a_tier_means() -> None:
    trace = Trace()
    validate_target("kilo-auto/free", organization(), world(), mode="", api_kind=None, trace=trace)
    assert [step.outcome for step in trace if step.name == "tier"] == [f"{KIMI_FREE}, {GLM_FREE}, {QWEN_FREE}"]


def test_the_trace_of_an_internal_model_asked_for_by_name() -> None:
    last = decide(None, model="kilo-internal/x").steps[-1]
    assert (last.name, last.looked_at, last.outcome) == ("model", "kilo-internal/x", "refused")


def test_every_refusal_says_something_for_a_person() -> None:
    for target in ("", "x/*", "kilo-auto/org", "kilo-internal/x", NEURALWATT_KIMI, "kilo-auto/efficient", "gone/model"):
        message = refused(validate(target)).message
        assert message.endswith(".")
        assert target in message or target in {"", "kilo-auto/org"}
