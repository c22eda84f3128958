"""Which mode a request is in, and which route that mode gets."""

from __future__ import annotations

import pytest

from routing.domain.resolve import Asked, Decision, find_route, normalized_mode, read_request, resolve
from routing.domain.settings import OrganizationAuto
from routing.domain.types import RefusalCode, RouteKind
from tests.routing.domain.worlds import (
    CHAT,
    KIMI,
    MINI,
    OPUS,
    SONNET,
    WORLD,
    auto_settings,
    decide,
    model_ids,
    organization,
)

AUTO = "kilo-auto/org"


def test_it_works() -> None:
    decision = decide(organization(auto_settings({"code": SONNET})), "code")
    assert decision.refusal is None
    assert decision.route_label == "exact:code"
    assert model_ids(decision.target) == [SONNET]


# ---------------------------------------------------------------- the mode


@pytest.mark.parametrize(
    ("header", "mode"),
    [
        ("code", "code"),
        ("Code", "code"),
        ("ARCHITECT", "architect"),
        ("  code\t", "code"),
        ("\r\n Docs-Writer \n", "docs-writer"),
        ("\u00a0code\u2003", "code"),
        ("CAFÉ", "café"),
        ("two words", "two words"),
        ("", ""),
        (" \t ", ""),
    ],
)
def test_a_mode_is_trimmed_and_lower_cased(header: str, mode: str) -> None:
    assert normalized_mode(header) == mode
    assert read_request(AUTO, header).mode == mode


def test_only_the_first_500_characters_count() -> None:
    assert normalized_mode("x" * 500) == "x" * 500
    assert normalized_mode("x" * 501) == "x" * 500


def test_the_mode_is_cut_before_it_is_trimmed() -> None:
    assert normalized_mode(" " * 497 + "code") == "cod"
    assert normalized_mode(" " * 500 + "code") == ""


def test_a_header_that_is_blank_in_its_first_500_characters_is_absent() -> None:
    asked = read_request(AUTO, " " * 500 + "code", "ask")
    assert (asked.mode, asked.mode_source) == ("ask", "api key")


def test_characters_are_counted_not_bytes() -> None:
    assert normalized_mode("é" * 501) == "é" * 500


@pytest.mark.parametrize(
    ("model", "header", "key_default", "mode", "source"),
    [
        ("kilo-auto/org:plan", "code", "ask", "code", "header"),
        ("kilo-auto/org", "code", "ask", "code", "header"),
        ("kilo-auto/org:plan", "code", "", "code", "header"),
        ("kilo-auto/org:plan", "", "ask", "plan", "model suffix"),
        ("kilo-auto/org:plan", "", "", "plan", "model suffix"),
        ("kilo-auto/org:plan", " \t", "ask", "plan", "model suffix"),
        ("kilo-auto/org", "", "ask", "ask", "api key"),
        ("kilo-auto/org", "   ", "ask", "ask", "api key"),
        ("kilo-auto/org:", "", "ask", "ask", "api key"),
        ("kilo-auto/org:  ", "", "ask", "ask", "api key"),
        ("kilo-auto/org", "", "", "", "none"),
        ("kilo-auto/org:", "", "", "", "none"),
        ("kilo-auto/org", " ", " ", "", "none"),
    ],
)
def test_the_header_is_stronger_than_the_suffix_and_that_than_the_key(
    model: str, header: str, key_default: str, mode: str, source: str
) -> None:
    assert read_request(model, header, key_default) == Asked(AUTO, mode, source)


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("kilo-auto/org:plan", "plan"),
        ("  Kilo-Auto/ORG:Plan  ", "plan"),
        ("kilo-auto/org: plan ", "plan"),
        ("kilo-auto/org:a:b", "a:b"),
        ("kilo-auto/org:free", "free"),
        ("kilo-auto/org:" + "x" * 501, "x" * 500),
    ],
)
def test_organization_auto_takes_a_mode_as_suffix(model: str, mode: str) -> None:
    assert read_request(model) == Asked(AUTO, mode, "model suffix")


@pytest.mark.parametrize(
    ("model", "model_id"),
    [
        ("moonshotai/kimi-k3:free", "moonshotai/kimi-k3:free"),
        (" Moonshotai/Kimi-K3:FREE ", "moonshotai/kimi-k3:free"),
        ("kilo-auto/frontier:plan", "kilo-auto/frontier:plan"),
        ("kilo-auto/organic:plan", "kilo-auto/organic:plan"),
        ("x/kilo-auto/org:plan", "x/kilo-auto/org:plan"),
        ("kilo-auto/org/x:plan", "kilo-auto/org/x:plan"),
    ],
)
def test_elsewhere_a_suffix_is_part_of_the_model_id(model: str, model_id: str) -> None:
    asked = read_request(model)
    assert asked == Asked(model_id, "", "none", "" if model == model_id else model.strip())
    assert not asked.is_organization_auto


def test_a_mode_counts_for_other_models_too() -> None:
    assert read_request("kilo-auto/frontier", "Plan", "ask") == Asked("kilo-auto/frontier", "plan", "header")
    assert read_request("kilo-auto/frontier", "", "ask") == Asked("kilo-auto/frontier", "ask", "api key")


# ---------------------------------------------------------------- the route

ARCHITECT, CODE, BUILD, PLAN = "a/architect", "a/code", "a/build", "a/plan"
FALLBACK = "a/fallback"


def label_of(routes: dict[str, str], mode: str, fallback: str | None = FALLBACK) -> tuple[str, str, RouteKind] | None:
    route = find_route(OrganizationAuto(routes, fallback), mode)
    return (route.label, route.target, route.kind) if route else None


@pytest.mark.parametrize(
    ("routes", "mode", "label", "target", "kind"),
    [
        # An exact match wins.
        ({"code": CODE}, "code", "exact:code", CODE, RouteKind.EXACT),
        ({"docs-writer": CODE}, "docs-writer", "exact:docs-writer", CODE, RouteKind.EXACT),
        ({"build": BUILD}, "build", "exact:build", BUILD, RouteKind.EXACT),
        ({"plan": PLAN}, "plan", "exact:plan", PLAN, RouteKind.EXACT),
        ({"build": BUILD, "code": CODE}, "build", "exact:build", BUILD, RouteKind.EXACT),
        ({"plan": PLAN, "architect": ARCHITECT}, "plan", "exact:plan", PLAN, RouteKind.EXACT),
        ({"build": BUILD, "code": CODE}, "code", "exact:code", CODE, RouteKind.EXACT),
        ({"plan": PLAN, "architect": ARCHITECT}, "architect", "exact:architect", ARCHITECT, RouteKind.EXACT),
        # Then an alias, one way only.
        ({"code": CODE}, "build", "alias:build->code", CODE, RouteKind.ALIAS),
        ({"architect": ARCHITECT}, "plan", "alias:plan->architect", ARCHITECT, RouteKind.ALIAS),
        ({"architect": ARCHITECT, "code": CODE}, "build", "alias:build->code", CODE, RouteKind.ALIAS),
        ({"architect": ARCHITECT, "code": CODE}, "plan", "alias:plan->architect", ARCHITECT, RouteKind.ALIAS),
        ({"build": BUILD}, "code", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"plan": PLAN}, "architect", "fallback", FALLBACK, RouteKind.FALLBACK),
        # Never across.
        ({"code": CODE}, "plan", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"architect": ARCHITECT}, "build", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"build": BUILD}, "plan", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"plan": PLAN}, "build", "fallback", FALLBACK, RouteKind.FALLBACK),
        # No other mode follows another.
        ({"code": CODE, "architect": ARCHITECT}, "ask", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"code": CODE, "architect": ARCHITECT}, "debug", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"code": CODE, "architect": ARCHITECT}, "orchestrator", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"code": CODE, "architect": ARCHITECT}, "builder", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"code": CODE}, "co", "fallback", FALLBACK, RouteKind.FALLBACK),
        # Absent, unknown, custom without a route of its own.
        ({"code": CODE}, "", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"code": CODE}, "unknown", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({"code": CODE}, "security-review", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({}, "build", "fallback", FALLBACK, RouteKind.FALLBACK),
        ({}, "code", "fallback", FALLBACK, RouteKind.FALLBACK),
    ],
)
def test_every_row_of_which_route(routes: dict[str, str], mode: str, label: str, target: str, kind: RouteKind) -> None:
    assert label_of(routes, mode) == (label, target, kind)


def test_an_absent_mode_gets_the_fallback_whatever_is_stored() -> None:
    assert label_of({"": CODE}, "") == ("fallback", FALLBACK, RouteKind.FALLBACK)


@pytest.mark.parametrize("fallback", [None, ""])
def test_no_route_and_no_fallback_is_no_target(fallback: str | None) -> None:
    assert label_of({"code": CODE}, "ask", fallback) is None
    assert label_of({"code": CODE}, "", fallback) is None


@pytest.mark.parametrize("mode", ["code", "build"])
def test_a_route_needs_no_fallback(mode: str) -> None:
    found = label_of({"code": CODE}, mode, None)
    assert found is not None
    assert found[1] == CODE


# ---------------------------------------------------------------- both together

ROUTED = organization(auto_settings({"code": SONNET, "architect": OPUS, "docs-writer": KIMI}, fallback=MINI))


@pytest.mark.parametrize(
    ("header", "label", "model"),
    [
        (" CODE ", "exact:code", SONNET),
        ("Build", "alias:build->code", SONNET),
        ("PLAN", "alias:plan->architect", OPUS),
        ("Docs-Writer", "exact:docs-writer", KIMI),
        ("docs_writer", "fallback", MINI),
        ("security-review", "fallback", MINI),
        ("code" + " " * 600, "exact:code", SONNET),
        ("x" * 600, "fallback", MINI),
        ("", "fallback", MINI),
    ],
)
def test_a_request_gets_the_route_of_its_mode(header: str, label: str, model: str) -> None:
    decision = decide(ROUTED, header)
    assert decision.route_label == label
    assert model_ids(decision.target) == [model]
    assert decision.auto_model == AUTO


@pytest.mark.parametrize(
    ("model", "header", "key_default", "chosen"),
    [
        ("kilo-auto/org:plan", "", "", OPUS),
        ("kilo-auto/org:plan", "code", "", SONNET),
        ("kilo-auto/org:plan", "unheard-of", "code", MINI),
        ("kilo-auto/org", "", "build", SONNET),
        ("kilo-auto/org", " ", "docs-writer", KIMI),
    ],
)
def test_the_other_ways_to_say_the_mode_lead_to_its_route(
    model: str, header: str, key_default: str, chosen: str
) -> None:
    decision = resolve(read_request(model, header, key_default), ROUTED, WORLD, api_kind=CHAT)
    assert model_ids(decision.target) == [chosen]


@pytest.mark.parametrize("mode", ["", "code", "plan", "ask"])
def test_a_model_asked_for_by_name_is_not_routed(mode: str) -> None:
    decision = decide(ROUTED, mode, model=f" {MINI.upper()} ")
    assert decision.route is not None
    assert (decision.route.kind, decision.route.label, decision.route.target) == (RouteKind.DIRECT, "direct", MINI)
    assert model_ids(decision.target) == [MINI]
    assert decision.auto_model == ""


def test_a_tier_asked_for_by_name_is_noted_as_the_auto_model() -> None:
    decision = decide(ROUTED, model="kilo-auto/frontier")
    assert (decision.route_label, decision.auto_model) == ("direct", "kilo-auto/frontier")
    assert decide(ROUTED, model="kilo-auto/nonsense").auto_model == ""


def test_a_route_without_a_usable_target_does_not_move_on_to_another_one() -> None:
    owner = organization(auto_settings({"build": "gone/model", "code": SONNET}, fallback=MINI))
    decision = decide(owner, "build")
    assert decision.route_label == "exact:build"
    assert decision.target is None
    assert decision.refusal is not None
    assert decision.refusal.code is RefusalCode.MODEL_UNAVAILABLE


# ---------------------------------------------------------------- the trace


def steps(decision: Decision) -> list[tuple[str, str, str]]:
    return [(step.name, step.looked_at, step.outcome) for step in decision.steps]


def test_the_trace_says_what_was_looked_at_in_its_order() -> None:
    assert steps(decide(ROUTED, "Build")) == [
        ("model", AUTO, "Organization Auto"),
        ("mode", "build", "from header"),
        ("eligible", "enterprise", "yes"),
        ("configured", "org_auto_model", "yes"),
        ("enabled", AUTO, "yes"),
        ("route", "build", "alias:build->code"),
        ("target", SONNET, "well formed"),
        ("catalog", SONNET, "found"),
        ("model policy", SONNET, "allowed"),
    ]


def test_a_step_says_its_reason_where_there_is_one() -> None:
    reasons = {step.name: step.reason for step in decide(ROUTED, "Build").steps}
    assert reasons["route"] == f"target {SONNET}"
    assert (reasons["model"], reasons["eligible"], reasons["catalog"]) == ("", "", "")


def test_the_trace_of_a_refusal_ends_with_it() -> None:
    decision = decide(organization(auto_settings({"code": "gone/model"})), "code")
    assert decision.refusal is not None
    last = decision.steps[-1]
    assert (last.name, last.looked_at, last.outcome) == ("catalog", "gone/model", "refused")
    assert last.reason == decision.refusal.message


@pytest.mark.parametrize(
    ("model", "key_default", "step"),
    [
        ("kilo-auto/org:plan", "", ("mode", "plan", "from model suffix")),
        ("kilo-auto/org", "ask", ("mode", "ask", "from api key")),
        ("kilo-auto/org", "", ("mode", "", "none")),
    ],
)
def test_the_trace_says_where_the_mode_came_from(model: str, key_default: str, step: tuple[str, str, str]) -> None:
    decision = resolve(read_request(model, "", key_default), ROUTED, WORLD, api_kind=CHAT)
    assert step in steps(decision)


def test_the_trace_of_a_model_asked_for_by_name() -> None:
    assert steps(decide(ROUTED, model=MINI)) == [
        ("model", MINI, "asked for directly"),
        ("mode", "", "none"),
        ("catalog", MINI, "found"),
        ("model policy", MINI, "allowed"),
    ]
