"""The five checks of Organization Auto: each of them, in their order, and nothing behind the first that fails."""

from __future__ import annotations

from typing import Any

import pytest

from routing.domain.resolve import MAX_MODE_LENGTH, Decision
from routing.domain.settings import MalformedSettings, OrganizationAuto, parse_settings, state_of
from routing.domain.targets import Owner
from routing.domain.types import (
    DEFAULT_FALLBACK,
    MAX_ROUTES,
    MAX_TARGET_LENGTH,
    RefusalCode,
    RouteKind,
    TargetKind,
)
from tests.routing.domain.worlds import (
    MINI,
    NEURALWATT_CREDENTIAL,
    NEURALWATT_KIMI,
    SONNET,
    auto_settings,
    decide,
    model_ids,
    organization,
)

GOOD = auto_settings({"code": SONNET}, fallback=MINI)
NO_FALLBACK = auto_settings({"code": SONNET}, fallback=None)
NOT_ENABLED = {**GOOD, "default_model": SONNET}
NOT_CONFIGURED = {"default_model": "kilo-auto/org"}


def code_of(decision: Decision) -> RefusalCode | None:
    assert (decision.refusal is None) != (decision.target is None)
    return decision.refusal.code if decision.refusal else None


# ---------------------------------------------------------------- one by one


def test_it_works() -> None:
    assert model_ids(decide(organization(GOOD), "ask").target) == [MINI]


@pytest.mark.parametrize("plan", ["teams", "", "Enterprise", "enterprise ", "free"])
def test_1_any_plan_but_enterprise_is_refused(plan: str) -> None:
    decision = decide(organization(GOOD, plan=plan), "code")
    assert code_of(decision) is RefusalCode.NOT_AVAILABLE
    assert decision.refusal is not None
    assert "not available for this account" in decision.refusal.message
    assert decision.route is None


def test_1_a_person_without_an_organization_is_refused() -> None:
    decision = decide(None, "code")
    assert code_of(decision) is RefusalCode.NOT_AVAILABLE
    assert decision.route is None


@pytest.mark.parametrize("stored", [NOT_CONFIGURED, {**NOT_CONFIGURED, "org_auto_model": None}])
def test_2_nothing_stored_is_refused(stored: dict[str, Any]) -> None:
    decision = decide(organization(stored), "code")
    assert code_of(decision) is RefusalCode.NOT_CONFIGURED
    assert decision.refusal is not None
    assert "not configured for this organization" in decision.refusal.message
    assert decision.route is None


@pytest.mark.parametrize("default", [None, "", SONNET, "kilo-auto/balanced", "kilo-auto/org:code", "kilo-auto/Org"])
def test_3_another_default_model_is_refused(default: str | None) -> None:
    decision = decide(organization({**GOOD, "default_model": default}), "code")
    assert code_of(decision) is RefusalCode.NOT_ENABLED
    assert decision.refusal is not None
    assert "not enabled for this organization" in decision.refusal.message
    assert decision.route is None
    assert decision.steps[-1].looked_at == (default or "no default model")


def test_3_a_missing_default_model_is_refused() -> None:
    assert code_of(decide(organization({"org_auto_model": GOOD["org_auto_model"]}), "code")) is RefusalCode.NOT_ENABLED


@pytest.mark.parametrize("fallback", [None, ""])
def test_4_no_route_and_no_fallback_is_refused(fallback: str | None) -> None:
    decision = decide(organization(auto_settings({"code": SONNET}, fallback=fallback)), "ask")
    assert code_of(decision) is RefusalCode.NO_FALLBACK
    assert decision.refusal is not None
    assert "no fallback configured" in decision.refusal.message
    assert decision.route is None


def test_4_a_route_is_a_target_without_a_fallback() -> None:
    assert model_ids(decide(organization(NO_FALLBACK), "build").target) == [SONNET]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("", RefusalCode.TARGET_REQUIRED),
        ("anthropic/*", RefusalCode.NOT_CONCRETE),
        ("kilo-auto/org", RefusalCode.SELF_TARGET),
        ("kilo-internal/x", RefusalCode.INTERNAL_MODEL),
        (NEURALWATT_KIMI, RefusalCode.NO_CREDENTIAL),
        ("kilo-auto/efficient", RefusalCode.NOT_A_TARGET_TIER),
        ("gone/model", RefusalCode.MODEL_UNAVAILABLE),
    ],
)
def test_5_a_target_that_does_not_validate_is_refused_with_the_validations_own_words(
    target: str, code: RefusalCode
) -> None:
    decision = decide(organization(auto_settings({"code": target}, fallback=MINI)), "code")
    assert code_of(decision) is code
    assert decision.route_label == "exact:code"
    assert decision.refusal is not None
    assert decision.steps[-1].reason == decision.refusal.message


@pytest.mark.parametrize("mode", ["", "ask", "code"])
def test_5_the_fallback_is_validated_like_a_route(mode: str) -> None:
    decision = decide(organization(auto_settings(fallback="gone/model")), mode)
    assert code_of(decision) is RefusalCode.MODEL_UNAVAILABLE
    assert decision.route_label == "fallback"


def test_5_a_blank_fallback_is_one_that_does_not_validate() -> None:
    assert code_of(decide(organization(auto_settings(fallback="   ")), "ask")) is RefusalCode.TARGET_REQUIRED


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (organization(GOOD, plan="teams"), ("eligible", "teams", "refused")),
        (None, ("eligible", "no organization", "refused")),
        (organization(NOT_CONFIGURED), ("configured", "org_auto_model", "refused")),
        (organization(NOT_ENABLED), ("enabled", SONNET, "refused")),
        (organization(NO_FALLBACK), ("route", "ask", "refused")),
        (organization(auto_settings(fallback="gone/model")), ("catalog", "gone/model", "refused")),
    ],
)
def test_the_trace_ends_with_the_check_that_failed(owner: Owner | None, step: tuple[str, str, str]) -> None:
    decision = decide(owner, "ask")
    last = decision.steps[-1]
    assert (last.name, last.looked_at, last.outcome) == step
    assert decision.refusal is not None
    assert last.reason == decision.refusal.message
    assert decision.route_label == ("fallback" if step[0] == "catalog" else "")


# ---------------------------------------------------------------- their order

# Each of these fails one check; put together, the first of them is the one that is told.
FAULTS: list[tuple[RefusalCode, dict[str, Any]]] = [
    (RefusalCode.NOT_AVAILABLE, {"plan": "teams"}),
    (RefusalCode.NOT_CONFIGURED, {"configured": False}),
    (RefusalCode.NOT_ENABLED, {"enabled": False}),
    (RefusalCode.NO_FALLBACK, {"fallback": None}),
    (RefusalCode.SELF_TARGET, {"fallback": "kilo-auto/org"}),
]


def faulty(plan: str = "enterprise", *, configured: bool = True, enabled: bool = True, fallback: Any = MINI) -> Owner:
    stored = auto_settings({}, fallback=fallback)
    if not configured:
        del stored["org_auto_model"]
    if not enabled:
        del stored["default_model"]
    return organization(stored, plan=plan)


@pytest.mark.parametrize("later", range(len(FAULTS)))
@pytest.mark.parametrize("earlier", range(len(FAULTS)))
def test_the_first_check_that_fails_ends_the_request(earlier: int, later: int) -> None:
    # A fallback cannot be missing and wrong at once, so the last two have no order between them.
    if earlier > later or (earlier, later) == (3, 4):
        return
    first, faults = FAULTS[earlier][0], {**FAULTS[later][1], **FAULTS[earlier][1]}
    decision = decide(faulty(**faults), "code")
    assert code_of(decision) is first
    assert [step.outcome for step in decision.steps].count("refused") == 1
    assert decision.steps[-1].outcome == "refused"


def test_all_faults_at_once() -> None:
    owner = faulty("teams", configured=False, enabled=False, fallback=None)
    assert code_of(decide(owner, "code")) is RefusalCode.NOT_AVAILABLE


def test_a_failed_check_does_not_move_the_request_elsewhere() -> None:
    """What would work (the fallback, another route, the organization's own credential) is not tried."""
    stored = auto_settings({"code": "gone/model", "architect": NEURALWATT_KIMI}, fallback=MINI)
    decision = decide(organization(stored, credentials=[NEURALWATT_CREDENTIAL]), "code")
    assert code_of(decision) is RefusalCode.MODEL_UNAVAILABLE
    assert decision.target is None


# ---------------------------------------------------------------- what others rely on


def test_the_words_that_leave_the_gateway_are_stable() -> None:
    """Written out once more: clients read these texts, and usage records keep them."""
    assert {code.name: code.value for code in RefusalCode} == {
        "NOT_AVAILABLE": "organization_auto_not_available",
        "NOT_CONFIGURED": "organization_auto_not_configured",
        "NOT_ENABLED": "organization_auto_not_enabled",
        "NO_FALLBACK": "no_fallback",
        "MALFORMED_SETTINGS": "malformed_settings",
        "TARGET_REQUIRED": "target_required",
        "TARGET_TOO_LONG": "target_too_long",
        "NOT_CONCRETE": "not_a_concrete_model",
        "SELF_TARGET": "targets_itself",
        "INTERNAL_MODEL": "internal_model",
        "NO_CREDENTIAL": "no_enabled_credential",
        "API_KIND_NOT_SUPPORTED": "api_kind_not_supported",
        "NOT_A_TARGET_TIER": "not_a_target_tier",
        "TIER_UNDER_POLICY": "tier_under_model_policy",
        "TIER_UNDEFINED": "tier_undefined",
        "MODEL_UNAVAILABLE": "model_unavailable",
        "CATALOG_UNAVAILABLE": "catalog_unavailable",
        "MODEL_DENIED": "model_denied",
        "ROUTER_UNDER_POLICY": "router_under_model_policy",
        "PROVIDER_NOT_ALLOWED": "provider_not_allowed",
        "NO_FREE_MODELS": "no_free_models_available",
    }
    assert [kind.value for kind in RouteKind] == ["exact", "alias", "fallback", "direct"]
    assert [kind.value for kind in TargetKind] == ["hosted", "tier", "direct"]


def test_the_limits_and_the_default_of_what_is_stored() -> None:
    assert (MAX_ROUTES, MAX_TARGET_LENGTH, MAX_MODE_LENGTH) == (100, 200, 500)
    assert DEFAULT_FALLBACK == "kilo-auto/balanced"


# ---------------------------------------------------------------- the derived states


@pytest.mark.parametrize(
    ("plan", "stored", "states"),
    [
        ("enterprise", GOOD, (True, True, True)),
        ("enterprise", NOT_ENABLED, (True, True, False)),
        ("enterprise", NOT_CONFIGURED, (True, False, False)),
        ("enterprise", {}, (True, False, False)),
        ("enterprise", {"org_auto_model": {}}, (True, True, False)),
        ("enterprise", {"org_auto_model": {}, "default_model": "kilo-auto/org"}, (True, True, True)),
        ("teams", GOOD, (False, False, False)),
        ("", GOOD, (False, False, False)),
    ],
)
def test_states_are_derived(plan: str, stored: dict[str, Any], states: tuple[bool, bool, bool]) -> None:
    state = state_of(plan, parse_settings(stored))
    assert (state.eligible, state.configured, state.enabled) == states


def test_routing_lies_dormant_while_the_plan_is_another_one() -> None:
    assert code_of(decide(organization(GOOD, plan="teams"), "code")) is RefusalCode.NOT_AVAILABLE
    assert model_ids(decide(organization(GOOD), "code").target) == [SONNET]


# ---------------------------------------------------------------- the stored settings


def test_every_key_is_optional_and_unknown_ones_do_not_matter() -> None:
    empty = parse_settings({})
    assert empty == parse_settings({"unknown": object(), "org_auto_model": None, "provider_allow_list": None})
    assert (empty.default_model, empty.organization_auto, empty.data_collection) == (None, None, None)
    assert (empty.provider_allow_list, empty.model_deny_list) == (None, frozenset())
    assert parse_settings({"org_auto_model": {"unknown": 1}}).organization_auto == OrganizationAuto({}, None)


def test_what_is_stored_is_read() -> None:
    settings = parse_settings(
        {
            **GOOD,
            "provider_allow_list": ["anthropic", "openai"],
            "model_deny_list": ["OpenAI/GPT-5-Pro", " x/y:free "],
            "data_collection": "deny",
        }
    )
    assert settings.default_model == "kilo-auto/org"
    assert settings.organization_auto == OrganizationAuto({"code": SONNET}, MINI)
    assert settings.provider_allow_list == ("anthropic", "openai")
    assert settings.model_deny_list == {"openai/gpt-5-pro", "x/y"}
    assert settings.data_collection == "deny"


@pytest.mark.parametrize(
    ("stored", "key"),
    [
        ({"default_model": 1}, "default_model"),
        ({"default_model": ["kilo-auto/org"]}, "default_model"),
        ({"data_collection": True}, "data_collection"),
        ({"org_auto_model": []}, "org_auto_model"),
        ({"org_auto_model": "kilo-auto/balanced"}, "org_auto_model"),
        ({"org_auto_model": {"routes": []}}, "org_auto_model.routes"),
        ({"org_auto_model": {"routes": None}}, "org_auto_model.routes"),
        ({"org_auto_model": {"routes": {"code": None}}}, "org_auto_model.routes"),
        ({"org_auto_model": {"routes": {"code": {"model": MINI}}}}, "org_auto_model.routes"),
        ({"org_auto_model": {"fallback_model": 1}}, "org_auto_model.fallback_model"),
        ({"provider_allow_list": "anthropic"}, "provider_allow_list"),
        ({"provider_allow_list": {"anthropic": True}}, "provider_allow_list"),
        ({"provider_allow_list": ["anthropic", None]}, "provider_allow_list"),
        ({"provider_allow_list": False}, "provider_allow_list"),
        ({"model_deny_list": "openai/gpt-5-pro"}, "model_deny_list"),
        ({"model_deny_list": [1]}, "model_deny_list"),
        ({"model_deny_list": {}}, "model_deny_list"),
    ],
)
def test_settings_of_another_shape_are_not_read_as_no_settings(stored: dict[str, Any], key: str) -> None:
    with pytest.raises(MalformedSettings, match=f"^{key} must"):
        parse_settings(stored)


def test_routes_cannot_be_changed_through_what_was_read() -> None:
    stored = auto_settings({"code": SONNET})
    auto = parse_settings(stored).organization_auto
    assert auto is not None
    stored["org_auto_model"]["routes"]["code"] = MINI
    assert auto.routes["code"] == SONNET
    with pytest.raises(TypeError):
        auto.routes["code"] = MINI  # type: ignore[index]
