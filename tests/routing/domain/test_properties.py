"""What must hold for every organization, installation and request, with the rules written down a second time."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kilo_gateway.api_kinds import ApiKind
from routing.domain.resolve import Asked, Decision, choose_model, normalized_mode, read_request, resolve
from routing.domain.targets import ModelChoice, Owner, ValidTarget, validate_target
from routing.domain.types import (
    CatalogModel,
    DirectCredential,
    Refusal,
    RefusalCode,
    RouteKind,
    TargetKind,
    Tier,
    TierChoice,
    Trace,
    World,
)
from tests.routing.domain.worlds import GRATIS, PAID, Provider, organization, world

# A busy machine is no reason to fail.
thorough = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

# Few names, so that what is generated meets: models in and out of the catalog, with and without variants; providers
# that are authors too; and two direct providers, one of which shares a model's name with the catalog.
MODELS = ("a/one", "a/one:free", "a/two", "b/one", "b/one:free", "c/three", "direct-a/one")
SLUGS = ("a", "b", "c", "d")
DIRECT_PROVIDERS = ("direct-a", "direct-b")
DIRECT_MODELS = ("direct-a/one", "direct-a/two:x", "direct-b/one", "direct-b/none")
TIERS = tuple(tier.model_id for tier in Tier)
NEVER = (
    "gone/model",
    "",
    " ",
    "a/*",
    "direct-a/*",
    "kilo-auto/org",
    "kilo-auto/org:code",
    "kilo-auto/no",
    "kilo-internal/x",
)
MODES = ("code", "build", "architect", "plan", "ask", "docs-writer")
ALIASES = {"build": "code", "plan": "architect"}
SPELLED: tuple[Callable[[str], str], ...] = (str, str, str, str.upper, str.title, "  {}\n".format)


class Dice(random.Random):
    """What makes an organization or an installation of a number: hundreds of draws, too many to be Hypothesis's."""

    def one_in(self, number: int) -> bool:
        return self.randrange(number) == 0

    def some(self, choices: Sequence[str], most: int) -> list[str]:
        return self.sample(choices, self.randint(0, min(most, len(choices))))

    def target(self) -> str:
        kind = self.choices((MODELS, TIERS, DIRECT_MODELS, NEVER), weights=(4, 4, 3, 2))[0]
        return self.choice(SPELLED)(self.choice(kind))


@cache
def installation(number: int) -> World:
    dice = Dice(number)

    def tier_choice() -> TierChoice:
        names = [*MODELS, *MODELS, *MODELS, *TIERS[:1], *DIRECT_MODELS[:1], *NEVER]
        tuning = (dice.choice(["", "medium"]), dice.choice(["", "low"]))
        return TierChoice(tuple(dice.some(names, 3)), tuple(dice.some(names, 2)), *tuning)

    rules = {(tier, "", ""): tier_choice() for tier in Tier if not dice.one_in(6)}
    for _ in range(dice.randint(0, 6)):
        key = (dice.choice(list(Tier)), dice.choice(["", "code", "architect"]), dice.choice(["", *ApiKind]))
        rules[key] = tier_choice()
    catalog = {
        name: CatalogModel(name, name, dice.choice([PAID, GRATIS]), tuple(dice.some(SLUGS, 3)), dice.one_in(8))
        for name in MODELS
        if not dice.one_in(6)
    }
    providers = {
        name: Provider(name, name.title(), frozenset(dice.sample(list(ApiKind), dice.randint(1, 3))))
        for name in DIRECT_PROVIDERS
    }
    return world(catalog=None if dice.one_in(20) else catalog, rules=rules, providers=providers)


@cache
def customer(number: int) -> Owner:
    dice = Dice(number)
    stored: dict[str, Any] = {}
    if not dice.one_in(12):
        stored["org_auto_model"] = {"routes": {mode: dice.target() for mode in dice.some(MODES, 4)}}
        if not dice.one_in(6):
            stored["org_auto_model"]["fallback_model"] = dice.target()
    if not dice.one_in(12):
        stored["default_model"] = "kilo-auto/org"
    if dice.one_in(4):
        stored["provider_allow_list"] = dice.some(SLUGS, 3)
    if dice.one_in(4):
        stored["model_deny_list"] = dice.some([*MODELS, *DIRECT_MODELS, "A/One:free"], 3)
    offers = [None, {"one": "One", "two:x": "TWO:x"}, {"one": "one"}, {}]
    credentials = [
        DirectCredential(name, f"credential-{name}", dice.choices(offers, weights=(3, 3, 2, 1))[0])
        for name in DIRECT_PROVIDERS
        if not dice.one_in(3)
    ]
    return organization(stored, plan="teams" if dice.one_in(12) else "enterprise", credentials=credentials)


numbers = st.integers(0, 5_000)
installations = numbers.map(installation)
customers = numbers.map(customer)
api_kinds = st.sampled_from([None, *ApiKind])
names = st.sampled_from([*MODELS, *TIERS, *DIRECT_MODELS, *NEVER])


@dataclass(frozen=True)
class Case:
    """One request of one organization in one installation."""

    asked: Asked
    owner: Owner
    world: World
    api_kind: ApiKind | None

    def decide(self) -> Decision:
        return resolve(self.asked, self.owner, self.world, api_kind=self.api_kind)


def cases_of(models: st.SearchStrategy[str], modes: Sequence[str]) -> st.SearchStrategy[Case]:
    asked = st.builds(read_request, models, st.sampled_from(modes))
    return st.builds(Case, asked, customers, installations, api_kinds)


auto_cases = cases_of(st.just("kilo-auto/org"), [*MODES, "", "unknown"])
auto_cases_in_a_mode = cases_of(st.just("kilo-auto/org"), [*MODES, "unknown"])
by_name_cases = cases_of(names.filter(lambda name: name[:13] != "kilo-auto/org"), ["", "code"])
cases = auto_cases | by_name_cases


# ---------------------------------------------------------------- the rules once more


def expected(case: Case) -> RefusalCode | tuple[str, list[str]]:
    """The refusal, or the target and its models, as a plain reading of the rules has it."""
    asked, owner = case.asked, case.owner
    if asked.model != "kilo-auto/org":
        return expected_of_target(asked.model, case, asked_by_name=True)
    auto = owner.settings.organization_auto
    if owner.plan != "enterprise":
        return RefusalCode.NOT_AVAILABLE
    if auto is None:
        return RefusalCode.NOT_CONFIGURED
    if owner.settings.default_model != "kilo-auto/org":
        return RefusalCode.NOT_ENABLED
    followed = [mode for mode in (asked.mode, ALIASES.get(asked.mode)) if mode in auto.routes]
    if followed:
        return expected_of_target(auto.routes[followed[0]], case, asked_by_name=False)
    if not auto.fallback_model:
        return RefusalCode.NO_FALLBACK
    return expected_of_target(auto.fallback_model, case, asked_by_name=False)


def expected_of_target(target: str, case: Case, *, asked_by_name: bool) -> RefusalCode | tuple[str, list[str]]:
    target = target.strip().lower()
    author, _, rest = target.partition("/")
    if not asked_by_name:
        if not target:
            return RefusalCode.TARGET_REQUIRED
        if target.endswith("/*"):
            return RefusalCode.NOT_CONCRETE
        if target == "kilo-auto/org":
            return RefusalCode.SELF_TARGET
    if author == "kilo-internal":
        return RefusalCode.INTERNAL_MODEL
    if author in DIRECT_PROVIDERS:
        return expected_of_direct(target, author, rest, case)
    if author == "kilo-auto" and (not asked_by_name or target in TIERS):
        return expected_of_tier(target, case, asked_by_name=asked_by_name)
    refusal = expected_of_hosted(target, case)
    return refusal or (target, [target])


def expected_of_direct(target: str, provider: str, rest: str, case: Case) -> RefusalCode | tuple[str, list[str]]:
    owned = case.owner.credentials.get(provider)
    if owned is None:
        return RefusalCode.NO_CREDENTIAL
    if owned.models is not None and rest not in owned.models:
        return RefusalCode.MODEL_UNAVAILABLE
    if case.api_kind and case.api_kind not in case.world.direct_providers[provider].api_kinds:
        return RefusalCode.API_KIND_NOT_SUPPORTED
    return RefusalCode.MODEL_DENIED if is_denied(target, case.owner) else (target, [target])


def expected_of_tier(target: str, case: Case, *, asked_by_name: bool) -> RefusalCode | tuple[str, list[str]]:
    if not asked_by_name:
        if target not in TIERS or target == "kilo-auto/efficient":
            return RefusalCode.NOT_A_TARGET_TIER
        if has_policy(case.owner):
            return RefusalCode.TIER_UNDER_POLICY
    found = meant_by(target, case)
    if found is None or not found.models:
        return RefusalCode.TIER_UNDEFINED
    refusals = {model: tier_model_refusal(model, case) for model in found.models}
    usable = [model for model in found.models if refusals[model] is None]
    if usable:
        return target, usable
    first = refusals[found.models[0]]
    assert first is not None
    is_free = target == "kilo-auto/free" and first is not RefusalCode.CATALOG_UNAVAILABLE
    return RefusalCode.NO_FREE_MODELS if is_free else first


def meant_by(tier: str, case: Case) -> TierChoice | None:
    """The most specific rule of a tier, found among all of them by what each is specific about."""
    name, mode, kind = tier.removeprefix("kilo-auto/"), case.asked.mode, case.api_kind or ""
    fitting = [
        ((bool(key[1]), bool(key[2])), choice)
        for key, choice in case.world.tiers.rules.items()
        if key[0] == name and key[1] in {"", mode} and key[2] in {"", kind}
    ]
    return max(fitting, key=lambda entry: entry[0])[1] if fitting else None


def tier_model_refusal(model: str, case: Case) -> RefusalCode | None:
    if model.startswith(("kilo-auto/", "kilo-internal/")):
        return RefusalCode.SELF_TARGET
    return expected_of_hosted(model, case)


def expected_of_hosted(model_id: str, case: Case) -> RefusalCode | None:
    catalog, allow_list = case.world.catalog, case.owner.settings.provider_allow_list
    if catalog is None:
        return RefusalCode.CATALOG_UNAVAILABLE
    if model_id not in catalog:
        return RefusalCode.MODEL_UNAVAILABLE
    if is_denied(model_id, case.owner):
        return RefusalCode.MODEL_DENIED
    if catalog[model_id].is_router and has_policy(case.owner):
        return RefusalCode.ROUTER_UNDER_POLICY
    if case.owner.plan == "enterprise" and allow_list is not None and not serving(catalog[model_id]) & set(allow_list):
        return RefusalCode.PROVIDER_NOT_ALLOWED
    return None


def has_policy(owner: Owner) -> bool:
    stored = owner.settings
    return owner.plan == "enterprise" and (stored.provider_allow_list is not None or len(stored.model_deny_list) > 0)


def is_denied(model_id: str, owner: Owner) -> bool:
    return owner.plan == "enterprise" and model_id.split(":", maxsplit=1)[0] in owner.settings.model_deny_list


def serving(model: CatalogModel) -> set[str]:
    return set(model.serving_providers) or {model.id.split("/", maxsplit=1)[0]}


@settings(thorough, max_examples=1_000)
@given(cases)
def test_a_decision_is_what_a_plain_reading_of_the_rules_says(case: Case) -> None:
    decision = case.decide()
    if decision.target is None:
        assert decision.refusal is not None
        assert decision.refusal.code is expected(case)
    else:
        assert (decision.target.id, [choice.id for choice in decision.target.models]) == expected(case)


def test_what_is_generated_reaches_every_outcome() -> None:
    """Properties of decisions that are never made would say nothing."""
    seen: Counter[str] = Counter()
    for number in range(4_000):
        dice = Dice(10_000 + number)
        model = "kilo-auto/org" if number % 3 else dice.choice([*TIERS, *DIRECT_MODELS, *MODELS, *NEVER])
        case = Case(
            read_request(model, dice.choice(MODES)),
            customer(number),
            installation(dice.randrange(500)),
            dice.choice([None, *ApiKind]),
        )
        decision = case.decide()
        seen[decision.refusal.code if decision.refusal else ""] += 1
        if decision.target and decision.route:
            seen[f"{decision.route.kind} {decision.target.kind}"] += 1
            seen["several models"] += len(decision.target.models) > 1
            seen["free variants"] += bool(decision.target.free_models)
            seen["confined"] += decision.target.models[0].only_providers is not None
    kinds = {f"{route} {target}" for route in RouteKind for target in TargetKind}
    never = {RefusalCode.MALFORMED_SETTINGS, RefusalCode.TARGET_TOO_LONG}
    rare = {name for name in {*RefusalCode, *kinds, "several models", "free variants", "confined"} if seen[name] < 3}
    assert rare == never
    assert seen[""] > 600


# ---------------------------------------------------------------- a decision by itself


@thorough
@given(cases)
def test_a_decision_has_a_target_or_a_refusal_and_says_why(case: Case) -> None:
    decision = case.decide()
    assert (decision.target is None) != (decision.refusal is None)
    if decision.refusal is not None:
        assert decision.steps[-1].outcome == "refused"
        assert decision.refusal.message == decision.steps[-1].reason or decision.target is None
        assert decision.refusal.message in {step.reason for step in decision.steps}
    else:
        assert decision.target is not None
        assert decision.target.models
        assert decision.route is not None
    assert [step.name for step in decision.steps][:2] == ["model", "mode"]
    assert decision.asked == case.asked


@thorough
@given(cases)
def test_the_same_input_gives_the_same_decision_by_the_same_steps(case: Case) -> None:
    first, again = case.decide(), case.decide()
    assert first == again
    assert first.steps == again.steps


@thorough
@given(cases)
def test_nothing_depends_on_the_order_in_which_things_are_stored(case: Case) -> None:
    owner, at, auto = case.owner, case.world, case.owner.settings.organization_auto
    if auto is not None:
        auto = dataclasses.replace(auto, routes=turned(auto.routes))
    other = Case(
        case.asked,
        Owner(owner.plan, dataclasses.replace(owner.settings, organization_auto=auto), dict(turned(owner.credentials))),
        World(
            None if at.catalog is None else turned(at.catalog),
            turned(at.direct_providers),
            dataclasses.replace(at.tiers, rules=turned(at.tiers.rules)),
        ),
        case.api_kind,
    )
    assert other.decide() == case.decide()


def turned(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(reversed(list(mapping.items())))


# ---------------------------------------------------------------- never another target


@thorough
@given(auto_cases)
def test_what_resolution_returns_is_what_validation_of_the_route_returns(case: Case) -> None:
    decision = case.decide()
    if decision.route is None:
        assert decision.target is None
        return
    result = validate_target(
        decision.route.target, case.owner, case.world, mode=case.asked.mode, api_kind=case.api_kind, trace=Trace()
    )
    assert result == (decision.target or decision.refusal)


@thorough
@given(cases)
def test_the_target_is_the_routes_and_its_models_are_what_the_target_means(case: Case) -> None:
    decision = case.decide()
    if decision.target is None:
        return
    target, route, auto = decision.target, decision.route, case.owner.settings.organization_auto
    assert route is not None
    assert target.id == route.target.strip().lower()
    if case.asked.is_organization_auto:
        assert auto is not None
        stored = {
            RouteKind.EXACT: auto.routes.get(case.asked.mode),
            RouteKind.ALIAS: auto.routes.get(ALIASES.get(case.asked.mode, "")),
            RouteKind.FALLBACK: auto.fallback_model,
        }
        assert route.target == stored[route.kind]
    else:
        assert (route.kind, target.id) == (RouteKind.DIRECT, case.asked.model)
    if target.kind is TargetKind.TIER:
        choice = case.world.tiers.choice(Tier(target.id.removeprefix("kilo-auto/")), case.asked.mode, case.api_kind)
        assert choice is not None
        assert [model.id for model in target.models] == [m for m in choice.models if m in ids(target.models)]
        assert ids(target.free_models) <= set(choice.free_models)
        assert (target.reasoning_effort, target.verbosity) == (choice.reasoning_effort, choice.verbosity)
    else:
        assert ids(target.models) == {target.id}
        assert not target.free_models
    for choice in (*target.models, *target.free_models):
        assert not choice.id.startswith(("kilo-auto/", "kilo-internal/"))
        if target.kind is TargetKind.DIRECT:
            assert choice.upstream_id.lower() == choice.id.partition("/")[2]
        else:
            assert choice.upstream_id == choice.id


def ids(choices: tuple[ModelChoice, ...]) -> set[str]:
    return {choice.id for choice in choices}


@thorough
@given(auto_cases, st.sampled_from(MODES), names)
def test_routes_of_other_modes_do_not_matter(case: Case, mode: str, target: str) -> None:
    auto = case.owner.settings.organization_auto
    assume(auto is not None)
    assume(mode not in {case.asked.mode, ALIASES.get(case.asked.mode)})
    assert auto is not None
    changed = dataclasses.replace(auto, routes={**auto.routes, mode: target})
    stored = dataclasses.replace(case.owner.settings, organization_auto=changed)
    other = dataclasses.replace(case, owner=dataclasses.replace(case.owner, settings=stored))
    assert other.decide() == case.decide()


# ---------------------------------------------------------------- credentials


@thorough
@given(cases)
def test_without_the_credential_there_is_no_direct_target(case: Case) -> None:
    without = dataclasses.replace(case, owner=dataclasses.replace(case.owner, credentials={}))
    decision = without.decide()
    assert decision.target is None or decision.target.kind is not TargetKind.DIRECT
    assert "credential-" not in repr(decision)


@thorough
@given(cases)
def test_a_direct_target_is_behind_the_organizations_own_credential_for_its_provider(case: Case) -> None:
    target = case.decide().target
    if target is None or target.kind is not TargetKind.DIRECT:
        assert target is None or not (target.credential_id or target.provider_id)
        return
    provider, _, rest = target.id.partition("/")
    owned = case.owner.credentials[provider]
    assert (target.provider_id, target.credential_id) == (provider, owned.public_id)
    assert owned.models is None or rest in owned.models
    assert case.api_kind is None or case.api_kind in case.world.direct_providers[provider].api_kinds
    assert target.models[0].only_providers is None


@thorough
@given(cases, st.sampled_from(DIRECT_PROVIDERS))
def test_a_credential_that_goes_takes_only_its_own_models_along(case: Case, provider: str) -> None:
    kept = {name: value for name, value in case.owner.credentials.items() if name != provider}
    before = case.decide()
    after = dataclasses.replace(case, owner=dataclasses.replace(case.owner, credentials=kept)).decide()
    if before.target is not None and before.target.provider_id == provider:
        assert after.refusal is not None
        assert after.refusal.code is RefusalCode.NO_CREDENTIAL
    elif before.target is not None:
        assert after == before
    else:
        assert after.target is None


# ---------------------------------------------------------------- the policy


@thorough
@given(cases)
def test_with_a_policy_in_force_no_model_outside_it_is_chosen(case: Case) -> None:
    owner, target = case.owner, case.decide().target
    assume(owner.plan == "enterprise")
    if target is None:
        return
    allow_list = owner.settings.provider_allow_list
    if case.asked.is_organization_auto and has_policy(owner):
        assert target.kind is not TargetKind.TIER
    for choice in (*target.models, *target.free_models):
        assert not is_denied(choice.id, owner)
        if target.kind is TargetKind.DIRECT:
            continue
        assert case.world.catalog is not None
        providers = serving(case.world.catalog[choice.id])
        assert not (case.world.catalog[choice.id].is_router and has_policy(owner))
        if allow_list is None:
            assert choice.only_providers is None
        else:
            assert choice.only_providers
            assert set(choice.only_providers) == providers & set(allow_list)


@thorough
@given(cases, st.lists(st.sampled_from([*MODELS, *DIRECT_MODELS]), min_size=1))
def test_a_longer_deny_list_never_allows_more(case: Case, entries: list[str]) -> None:
    deny_list = case.owner.settings.model_deny_list | {entry.partition(":")[0] for entry in entries}
    stored = dataclasses.replace(case.owner.settings, model_deny_list=deny_list)
    before = case.decide().target
    after = dataclasses.replace(case, owner=dataclasses.replace(case.owner, settings=stored)).decide().target
    if before is None:
        assert after is None
    elif after is not None:
        assert ids(after.models) <= ids(before.models)


@thorough
@given(by_name_cases)
def test_a_plan_without_a_policy_is_decided_as_if_nothing_were_stored(case: Case) -> None:
    teams = dataclasses.replace(case.owner, plan="teams")
    bare = dataclasses.replace(
        teams,
        settings=dataclasses.replace(teams.settings, provider_allow_list=None, model_deny_list=frozenset()),
    )
    assert dataclasses.replace(case, owner=teams).decide() == dataclasses.replace(case, owner=bare).decide()


# ---------------------------------------------------------------- one model of several


@thorough
@given(cases, st.text(max_size=40), st.booleans())
def test_the_chosen_model_is_one_of_the_targets_and_stays_it(case: Case, session: str, has_balance: bool) -> None:
    target = case.decide().target
    assume(target is not None)
    assert target is not None
    choice = choose_model(target, session=session, has_hosted_balance=has_balance)
    offered = target.free_models if target.free_models and not has_balance else target.models
    assert choice in offered
    copy = ValidTarget(**{field.name: getattr(target, field.name) for field in dataclasses.fields(target)})
    assert choose_model(copy, session=session, has_hosted_balance=has_balance) == choice


# ---------------------------------------------------------------- the mode


@thorough
@given(
    auto_cases_in_a_mode, st.text(alphabet=" \t\r\n", max_size=5), st.text(alphabet=" \t\r\n", max_size=5), st.data()
)
def test_how_a_mode_is_spelled_does_not_matter(case: Case, before: str, after: str, data: st.DataObject) -> None:
    letters = (data.draw(st.sampled_from([letter, letter.upper()])) for letter in case.asked.mode)
    asked = read_request("Kilo-Auto/Org", f"{before}{''.join(letters)}{after}")
    assert dataclasses.replace(case, asked=asked).decide() == case.decide()


@thorough
@given(auto_cases_in_a_mode)
def test_how_the_mode_was_said_does_not_matter_to_what_is_decided(case: Case) -> None:
    said = case.decide()
    for asked in (
        read_request(f"kilo-auto/org:{case.asked.mode}"),
        read_request("kilo-auto/org", "", case.asked.mode),
        read_request("kilo-auto/org:other", case.asked.mode, "another"),
    ):
        other = dataclasses.replace(case, asked=asked).decide()
        assert (other.route, other.target, other.refusal) == (said.route, said.target, said.refusal)


@thorough
@given(st.text(), st.text(), st.text())
def test_any_text_can_be_read_as_a_request(model: str, header: str, key_default: str) -> None:
    asked = read_request(model, header, key_default)
    assert asked.model == asked.model.strip()
    assert (asked.mode == "") == (asked.mode_source == "none")
    if header[:500].strip():
        assert (asked.mode, asked.mode_source) == (normalized_mode(header), "header")
    assert asked.mode == asked.mode.strip()
    assert asked.mode in {normalized_mode(text) for text in (header, model.partition(":")[2], key_default)}


@thorough
@given(st.text(), customers, installations, api_kinds)
def test_any_text_can_be_asked_for_or_be_a_target(text: str, owner: Owner, at: World, api_kind: ApiKind | None) -> None:
    """Nothing that a client or an admin can type is an error of ours, or leads anywhere but to itself."""
    result = validate_target(text, owner, at, mode="", api_kind=api_kind, trace=Trace())
    assert isinstance(result, Refusal) or result.id == text.strip().lower()
    decision = resolve(read_request(text), owner, at, api_kind=api_kind)
    assert decision.target is None or decision.target.id in {text.strip().lower(), *TIERS, *MODELS, *DIRECT_MODELS}
