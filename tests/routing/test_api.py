from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from organizations.models import ApiKey, Membership, Organization, Plan
from routing.catalog.index import forget_index
from routing.catalog.tiers import forget_tier_table
from routing.domain.types import Tier
from routing.models import AutoTierRule, CatalogSnapshot, HostedBalance, Installation
from tests.factories import (
    ApiKeyFactory,
    CredentialFactory,
    HostedBalanceFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    bearer,
    organization_auto,
)

pytestmark = pytest.mark.django_db

PREFIXES = ("/api/openrouter", "/api/openrouter/v1", "/api/gateway", "/api/gateway/v1")


def entry(model_id: str, *, prompt: str = "0.000001", providers: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """A model as a snapshot keeps it."""
    return {
        "id": model_id,
        "name": model_id.title(),
        "created": 1,
        "description": f"About {model_id}",
        "context_length": 200_000,
        "architecture": {
            "modality": "text->text",
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {"prompt": prompt, "completion": prompt},
        "top_provider": {"context_length": None, "max_completion_tokens": 32_000, "is_moderated": False},
        "supported_parameters": ["tools", "temperature"],
        "expiration_date": None,
        "endpoints": [
            {"name": slug, "provider_name": slug.title(), "tag": f"{slug}/fp8", "pricing": {}, "context_length": 1}
            for slug in providers
        ],
        **fields,
    }


ENTRIES = [
    entry("zeta/painter", supported_parameters=["temperature"]),
    entry("anthropic/claude", prompt="0.000003", providers=("anthropic", "bedrock")),
    entry("openai/gpt", context_length=100_000, providers=("openai",)),
    entry("openai/gpt:free", prompt="0", context_length=None),
    entry("moonshot/kimi-k2.6", context_length=64_000),
]
HOSTED = [str(row["id"]) for row in ENTRIES]
RULES = {Tier.FRONTIER: ["anthropic/claude"], Tier.BALANCED: ["openai/gpt"], Tier.FREE: ["openai/gpt:free"]}
TIERS = [tier.model_id for tier in Tier if tier in RULES]


@pytest.fixture(autouse=True)
def catalog(db: None) -> Iterator[None]:
    """A small catalog in force, with three tiers that mean something in it."""
    snapshot = CatalogSnapshot.objects.create(
        origin="synced", source="test", entries=ENTRIES, providers=[], model_count=len(ENTRIES)
    )
    Installation.objects.update(catalog_snapshot=snapshot)
    AutoTierRule.objects.all().delete()
    for tier, models in RULES.items():
        AutoTierRule.objects.create(tier=tier.value, model_ids=models)
    AutoTierRule.objects.create(tier=Tier.FRONTIER.value, mode="code", model_ids=["openai/gpt"])
    AutoTierRule.objects.create(tier=Tier.SMALL.value, model_ids=["gone/model"])
    forget_index()
    forget_tier_table()
    yield
    forget_index()
    forget_tier_table()


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def acme() -> Organization:
    return OrganizationFactory.create(name="Acme")


@pytest.fixture
def alice(acme: Organization) -> Membership:
    return MembershipFactory.create(user=UserFactory.create(), organization=acme, role="owner")


@pytest.fixture
def key(alice: Membership) -> ApiKey:
    return ApiKeyFactory.create(user=alice.user)


def configure(organization: Organization, plan: Plan = Plan.ENTERPRISE, **settings: Any) -> None:
    Organization.objects.filter(pk=organization.pk).update(settings=settings, plan=plan)


def entries_of(client: APIClient, key: ApiKey, organization: Organization) -> list[dict[str, Any]]:
    response = client.get(f"/api/organizations/{organization.pk}/models", **bearer(key))
    assert response.status_code == 200, response.content
    data: list[dict[str, Any]] = response.json()["data"]
    assert_readable(data)
    return data


def ids_of(client: APIClient, key: ApiKey, organization: Organization) -> list[str]:
    return [row["id"] for row in entries_of(client, key, organization)]


def assert_readable(data: list[dict[str, Any]]) -> None:
    """What the Kilo CLI demands of each entry: one that breaks a rule, and it has no models at all."""
    for row in data:
        assert isinstance(row["id"], str)
        assert isinstance(row["name"], str)
        assert isinstance(row["context_length"], int | float)
        assert isinstance(row.get("description", ""), str)
        assert all(isinstance(price, str) for price in row.get("pricing", {}).values())
        for part in ("architecture", "top_provider"):
            assert isinstance(row.get(part, {}), dict)
        assert isinstance(row["top_provider"].get("max_completion_tokens"), int | None)
        assert all(isinstance(word, str) for word in row["supported_parameters"])
        assert isinstance(row.get("preferredIndex", 0), int)
        for flag in ("isFree", "hasUserByokAvailable"):
            assert isinstance(row.get(flag, False), bool)
        if row["id"].startswith("kilo-auto/") or row.get("hasUserByokAvailable"):
            # The CLI would send it back in each request, to a provider that may refuse it.
            assert "description" not in row
            assert "tools" in row["supported_parameters"]


class TestOrganizationModels:
    def test_it_works(
        self,
        client: APIClient,
        key: ApiKey,
        acme: Organization,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        configure(acme, **organization_auto({"code": "anthropic/claude"}))
        CredentialFactory.create(organization=acme)
        direct = ["neuralwatt/demo-model", "neuralwatt/kimi-k2.6"]
        assert ids_of(client, key, acme) == ["kilo-auto/org", *TIERS, *HOSTED, *direct]
        with django_assert_num_queries(3):
            client.get(f"/api/organizations/{acme.pk}/models", **bearer(key))

    def test_a_member_sees_the_same(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        bob = ApiKeyFactory.create(user=MembershipFactory.create(organization=acme).user)
        assert ids_of(client, bob, acme) == ids_of(client, key, acme)

    def test_organization_auto(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        configure(acme, **organization_auto({"code": "anthropic/claude", "docs": "neuralwatt/kimi-k2.6"}))
        first = entries_of(client, key, acme)[0]
        assert (first["id"], first["name"], first["preferredIndex"]) == ("kilo-auto/org", "Organization Auto", 0)
        # What all its targets can do: the shortest context is kimi's, which the catalog knows of another provider.
        assert first["context_length"] == 64_000
        assert first["top_provider"]["max_completion_tokens"] == 32_000
        assert first["pricing"] == {"prompt": "-1", "completion": "-1"}

    @pytest.mark.parametrize(
        ("plan", "settings"),
        [
            (Plan.TEAMS, organization_auto()),
            (Plan.ENTERPRISE, {"default_model": "kilo-auto/org"}),
            (Plan.ENTERPRISE, organization_auto() | {"default_model": "openai/gpt"}),
        ],
        ids=["not eligible", "not configured", "not enabled"],
    )
    def test_organization_auto_that_is_off(
        self, client: APIClient, key: ApiKey, acme: Organization, plan: Plan, settings: dict[str, Any]
    ) -> None:
        configure(acme, plan, **settings)
        assert ids_of(client, key, acme) == [*TIERS, *HOSTED]

    def test_organization_auto_with_targets_that_are_gone(
        self, client: APIClient, key: ApiKey, acme: Organization
    ) -> None:
        configure(acme, **organization_auto({"code": "gone/model"}, fallback=None))
        assert entries_of(client, key, acme)[0]["context_length"] == 128_000

    @pytest.mark.parametrize(
        ("policy", "left"),
        [
            ({"provider_allow_list": ["bedrock"]}, ["anthropic/claude"]),
            ({"provider_allow_list": ["openai"]}, ["openai/gpt", "openai/gpt:free"]),
            ({"provider_allow_list": []}, []),
            ({"model_deny_list": ["openai/gpt"]}, ["zeta/painter", "anthropic/claude", "moonshot/kimi-k2.6"]),
            ({"provider_allow_list": ["openai"], "model_deny_list": ["OpenAI/gpt:free"]}, []),
        ],
    )
    def test_the_model_policy(
        self, client: APIClient, key: ApiKey, acme: Organization, policy: dict[str, Any], left: list[str]
    ) -> None:
        configure(acme, **organization_auto({}, fallback="anthropic/claude"), **policy)
        assert ids_of(client, key, acme) == ["kilo-auto/org", *left]

    def test_an_empty_deny_list_is_no_policy(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        configure(acme, model_deny_list=[])
        assert ids_of(client, key, acme) == [*TIERS, *HOSTED]

    def test_teams_keep_a_policy_that_is_not_in_force(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        configure(acme, Plan.TEAMS, provider_allow_list=[], model_deny_list=["openai/gpt"])
        assert ids_of(client, key, acme) == [*TIERS, *HOSTED]

    @pytest.mark.parametrize("policy", [{"provider_allow_list": {}}, {"model_deny_list": "openai/gpt"}])
    def test_a_policy_that_cannot_be_read_is_not_no_policy(
        self, client: APIClient, key: ApiKey, acme: Organization, policy: dict[str, Any]
    ) -> None:
        configure(acme, **policy)
        for rest in ("models", "defaults"):
            response = client.get(f"/api/organizations/{acme.pk}/{rest}", **bearer(key))
            assert (response.status_code, response.json()["error"]["code"]) == (409, "malformed_settings")

    def test_direct_models(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        CredentialFactory.create(organization=acme)
        demo, kimi = entries_of(client, key, acme)[-2:]
        assert demo["name"] == "demo-model (Neuralwatt)"
        assert demo["hasUserByokAvailable"] is kimi["hasUserByokAvailable"] is True
        assert (demo["context_length"], kimi["context_length"]) == (128_000, 64_000)
        # It costs the organization nothing here, and is not free.
        assert demo["pricing"] == {"prompt": "0", "completion": "0"}
        assert "isFree" not in demo

    def test_direct_models_need_an_enabled_credential_of_this_organization(
        self, client: APIClient, key: ApiKey, acme: Organization
    ) -> None:
        CredentialFactory.create(organization=acme, is_enabled=False)
        CredentialFactory.create()
        CredentialFactory.create(user=key.user, provider="groq-byok")
        # Of this one no list is known, and of that one no provider.
        CredentialFactory.create(organization=acme, provider="openai-byok", offered_models=None)
        CredentialFactory.create(organization=acme, provider="gone-byok")
        assert ids_of(client, key, acme) == [*TIERS, *HOSTED]

    def test_direct_models_are_bound_by_the_deny_list_only(
        self, client: APIClient, key: ApiKey, acme: Organization
    ) -> None:
        CredentialFactory.create(organization=acme, offered_models=["Demo-Model", "demo-model", "other"])
        configure(acme, provider_allow_list=[], model_deny_list=["neuralwatt/demo-model"])
        assert ids_of(client, key, acme) == ["neuralwatt/other"]

    def test_what_is_said_of_tiers_and_free_models(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        rows = {row["id"]: row for row in entries_of(client, key, acme)}
        # It leads to two models, of which one is dearer and the other has less room.
        assert rows["kilo-auto/frontier"]["pricing"]["prompt"] == "-1"
        assert rows["kilo-auto/frontier"]["context_length"] == 100_000
        assert rows["kilo-auto/balanced"]["pricing"]["prompt"] == "0.000001"
        assert rows["kilo-auto/free"]["isFree"] is rows["openai/gpt:free"]["isFree"] is True
        assert rows["openai/gpt:free"]["context_length"] == 128_000
        assert "isFree" not in rows["openai/gpt"]

    def test_the_stored_entries_are_not_changed(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        configure(acme, **organization_auto({"code": "openai/gpt:free"}))
        once = entries_of(client, key, acme)
        assert entries_of(client, key, acme) == once

    def test_no_catalog(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        broken = CatalogSnapshot.objects.create(origin="synced", source="test", entries=[{"id": 1}], model_count=1)
        Installation.objects.update(catalog_snapshot=broken)
        for path in (f"/api/organizations/{acme.pk}/models", "/api/gateway/models", "/api/gateway/providers"):
            response = client.get(path, **bearer(key))
            assert (response.status_code, response.json()["error_type"]) == (503, "temporarily_unavailable")
            assert int(response["Retry-After"]) > 0


class TestModels:
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_a_person_who_acts_for_none(
        self, client: APIClient, acme: Organization, prefix: str, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        CredentialFactory.create(organization=acme)
        key = ApiKeyFactory.create()
        response = client.get(f"{prefix}/models", **bearer(key))
        assert [row["id"] for row in response.json()["data"]] == [*TIERS, *HOSTED]
        with django_assert_num_queries(3):
            client.get(f"{prefix}/models", **bearer(key))

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_it_is_the_organizations_list(
        self, client: APIClient, alice: Membership, key: ApiKey, acme: Organization, prefix: str
    ) -> None:
        configure(acme, **organization_auto(fallback="openai/gpt"), provider_allow_list=["openai"])
        CredentialFactory.create(organization=acme)
        theirs = entries_of(client, key, acme)
        bound = ApiKeyFactory.create(user=alice.user, organization=acme)
        header = {"HTTP_X_KILOCODE_ORGANIZATIONID": str(acme.pk)}
        assert client.get(f"{prefix}/models", **bearer(bound)).json()["data"] == theirs
        assert client.get(f"{prefix}/models", **header, **bearer(key)).json()["data"] == theirs

    def test_a_bound_key_wins_over_the_header(self, client: APIClient, alice: Membership, acme: Organization) -> None:
        configure(acme, provider_allow_list=["bedrock"])
        bound = ApiKeyFactory.create(user=alice.user, organization=acme)
        for header in (str(MembershipFactory.create(user=alice.user).organization_id), "nonsense"):
            response = client.get("/api/gateway/models", HTTP_X_KILOCODE_ORGANIZATIONID=header, **bearer(bound))
            assert [row["id"] for row in response.json()["data"]] == ["anthropic/claude"]

    @pytest.mark.parametrize("path", ["models", "providers", "models/openai/gpt/endpoints"])
    def test_an_organization_of_others(self, client: APIClient, acme: Organization, path: str) -> None:
        key = ApiKeyFactory.create()
        for organization_id in (acme.pk, uuid4()):
            header = {"HTTP_X_KILOCODE_ORGANIZATIONID": str(organization_id)}
            response = client.get(f"/api/gateway/{path}", **header, **bearer(key))
            assert (response.status_code, response.json()["error_type"]) == (403, "access_denied")
        response = client.get(f"/api/gateway/{path}", HTTP_X_KILOCODE_ORGANIZATIONID="acme", **bearer(key))
        assert (response.status_code, response.json()["error_type"]) == (400, "invalid_organization_id")

    def test_a_bound_key_of_somebody_who_left(self, client: APIClient, alice: Membership, acme: Organization) -> None:
        bound = ApiKeyFactory.create(user=alice.user, organization=acme)
        alice.delete()
        assert client.get("/api/gateway/models", **bearer(bound)).status_code == 403


class TestEndpointsAndProviders:
    def test_it_works(self, client: APIClient, key: ApiKey) -> None:
        for prefix in PREFIXES:
            body = client.get(f"{prefix}/models/Anthropic/Claude/endpoints", **bearer(key)).json()["data"]
            assert body["id"] == "anthropic/claude"
            assert [endpoint["tag"] for endpoint in body["endpoints"]] == ["anthropic/fp8", "bedrock/fp8"]
            providers = client.get(f"{prefix}/providers", **bearer(key)).json()["data"]
            assert [provider["slug"] for provider in providers] == [
                "anthropic",
                "bedrock",
                "moonshot",
                "openai",
                "zeta",
            ]
            assert providers[0]["name"] == "Anthropic"

    def test_a_variant_is_another_model(self, client: APIClient, key: ApiKey) -> None:
        body = client.get("/api/gateway/models/openai/gpt:free/endpoints", **bearer(key)).json()["data"]
        assert (body["id"], body["endpoints"]) == ("openai/gpt:free", [])

    @pytest.mark.parametrize("model", ["gone/model", "kilo-auto/balanced", "neuralwatt/demo-model", "a/b/c/d"])
    def test_a_model_that_is_not_in_the_catalog(self, client: APIClient, key: ApiKey, model: str) -> None:
        response = client.get(f"/api/gateway/models/{model}/endpoints", **bearer(key))
        assert (response.status_code, response.json()["error_type"]) == (404, "model_not_found")

    def test_the_model_policy(self, client: APIClient, alice: Membership, acme: Organization) -> None:
        configure(acme, provider_allow_list=["bedrock"], model_deny_list=["zeta/painter"])
        bound = ApiKeyFactory.create(user=alice.user, organization=acme)
        body = client.get("/api/gateway/models/anthropic/claude/endpoints", **bearer(bound)).json()["data"]
        assert [endpoint["tag"] for endpoint in body["endpoints"]] == ["bedrock/fp8"]
        for model, code in (("openai/gpt", "provider_not_allowed"), ("zeta/painter", "model_denied")):
            response = client.get(f"/api/gateway/models/{model}/endpoints", **bearer(bound))
            assert (response.status_code, response.json()["error_type"]) == (404, "model_not_allowed")
            assert response.json()["error"]["code"] == code
        providers = client.get("/api/gateway/providers", **bearer(bound)).json()["data"]
        assert [provider["slug"] for provider in providers] == ["bedrock"]


class TestDefaults:
    def defaults(self, client: APIClient, key: ApiKey, organization: Organization) -> tuple[str, str | None]:
        response = client.get(f"/api/organizations/{organization.pk}/defaults", **bearer(key))
        assert response.status_code == 200, response.content
        body = response.json()
        assert set(body) == {"defaultModel", "defaultFreeModel"}
        return body["defaultModel"], body["defaultFreeModel"]

    def test_of_the_installation(
        self, client: APIClient, key: ApiKey, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        expected = {"defaultModel": "kilo-auto/balanced", "defaultFreeModel": "kilo-auto/free"}
        assert client.get("/api/defaults", **bearer(key)).json() == expected
        with django_assert_num_queries(2):
            client.get("/api/defaults", **bearer(key))

    def test_a_bound_key_has_those_of_its_organization(
        self, client: APIClient, alice: Membership, acme: Organization
    ) -> None:
        configure(acme, default_model="openai/gpt")
        bound = ApiKeyFactory.create(user=alice.user, organization=acme)
        assert client.get("/api/defaults", **bearer(bound)).json()["defaultModel"] == "openai/gpt"

    def test_organization_auto(
        self,
        client: APIClient,
        key: ApiKey,
        acme: Organization,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        # A broken route does not matter: the fallback does.
        configure(acme, **organization_auto({"code": "gone/model"}))
        assert self.defaults(client, key, acme) == ("kilo-auto/org", "kilo-auto/free")
        with django_assert_num_queries(3):
            self.defaults(client, key, acme)

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            (organization_auto(fallback="gone/model"), "kilo-auto/balanced"),
            (organization_auto(fallback=None), "kilo-auto/balanced"),
            (organization_auto(fallback="neuralwatt/demo-model"), "kilo-auto/balanced"),
            (organization_auto(fallback="kilo-auto/org"), "kilo-auto/balanced"),
            # A tier is no fallback under a policy; what is allowed and takes tools comes first.
            (organization_auto(model_deny_list=["anthropic/claude"]), "openai/gpt"),
            (organization_auto(fallback="anthropic/claude", provider_allow_list=["openai"]), "openai/gpt"),
        ],
    )
    def test_organization_auto_whose_fallback_is_broken(
        self, client: APIClient, key: ApiKey, acme: Organization, settings: dict[str, Any], expected: str
    ) -> None:
        configure(acme, **settings)
        assert self.defaults(client, key, acme)[0] == expected

    def test_organization_auto_with_a_direct_fallback(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        CredentialFactory.create(organization=acme)
        configure(acme, **organization_auto(fallback="neuralwatt/demo-model", provider_allow_list=[]))
        # Nothing hosted is allowed, so nothing free either; but Organization Auto works.
        assert self.defaults(client, key, acme) == ("kilo-auto/org", None)

    def test_organization_auto_of_another_plan(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        configure(acme, Plan.TEAMS, **organization_auto())
        assert self.defaults(client, key, acme)[0] == "kilo-auto/balanced"

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, "kilo-auto/balanced"),
            ({"default_model": "OpenAI/GPT"}, "openai/gpt"),
            ({"default_model": "kilo-auto/frontier"}, "kilo-auto/frontier"),
            ({"default_model": "gone/model"}, "kilo-auto/balanced"),
            ({"default_model": "openai/*"}, "kilo-auto/balanced"),
            ({"default_model": "openai/gpt", "model_deny_list": ["openai/gpt"]}, "anthropic/claude"),
            ({"provider_allow_list": ["zeta"]}, "zeta/painter"),
        ],
    )
    def test_a_concrete_default(
        self, client: APIClient, key: ApiKey, acme: Organization, settings: dict[str, Any], expected: str
    ) -> None:
        configure(acme, **settings)
        assert self.defaults(client, key, acme)[0] == expected

    def test_a_free_model_under_a_policy(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        configure(acme, provider_allow_list=["openai"])
        assert self.defaults(client, key, acme) == ("openai/gpt", "openai/gpt:free")
        configure(acme, provider_allow_list=["anthropic"])
        assert self.defaults(client, key, acme) == ("anthropic/claude", None)

    def test_nothing_is_allowed(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        configure(acme, **organization_auto(provider_allow_list=[]))
        response = client.get(f"/api/organizations/{acme.pk}/defaults", **bearer(key))
        assert (response.status_code, response.json()["error_type"]) == (409, "conflict")


class TestBalance:
    def test_it_works(
        self,
        client: APIClient,
        key: ApiKey,
        acme: Organization,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        HostedBalanceFactory.create(organization=acme)
        header = {"HTTP_X_KILOCODE_ORGANIZATIONID": str(acme.pk)}
        with django_assert_num_queries(3):
            response = client.get("/api/profile/balance", **header, **bearer(key))
        assert response.json() == {"balance": 12.34, "isLimited": True}
        assert client.get("/api/profile", **bearer(key)).json()["organizations"][0]["balance"] == 12.34

    def test_a_debt(self, client: APIClient, alice: Membership, acme: Organization) -> None:
        HostedBalanceFactory.create(organization=acme, balance_microdollars=-1)
        bound = ApiKeyFactory.create(user=alice.user, organization=acme)
        assert client.get("/api/profile/balance", **bearer(bound)).json() == {"balance": -0.000001, "isLimited": True}

    def test_no_balance_is_kept(self, client: APIClient, key: ApiKey, acme: Organization) -> None:
        HostedBalanceFactory.create()
        header = {"HTTP_X_KILOCODE_ORGANIZATIONID": str(acme.pk)}
        for headers in (header, {}):
            response = client.get("/api/profile/balance", **headers, **bearer(key))
            # A number: the Kilo CLI stops at anything else.
            assert response.json() == {"balance": 0.0, "isLimited": False}

    def test_an_organization_of_others(self, client: APIClient, key: ApiKey) -> None:
        other = HostedBalanceFactory.create()
        assert HostedBalance.objects.count() == 1
        header = {"HTTP_X_KILOCODE_ORGANIZATIONID": str(other.organization_id)}
        assert client.get("/api/profile/balance", **header, **bearer(key)).status_code == 403
        malformed = {"HTTP_X_KILOCODE_ORGANIZATIONID": "x"}
        assert client.get("/api/profile/balance", **malformed, **bearer(key)).status_code == 400
