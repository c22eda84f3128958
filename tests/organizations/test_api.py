from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from organizations.models import ApiKey, Membership, Role, Scope, User
from tests.factories import (
    ApiKeyFactory,
    CustomModeFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    bearer,
    organization_auto,
)

pytestmark = pytest.mark.django_db

# Everything below an organization that a key can read.
ORGANIZATION_PATHS = ("", "/modes", "/models", "/defaults")
EVERY_PATH = (
    "/api/user",
    "/api/profile",
    "/api/profile/balance",
    "/api/defaults",
    *(f"/api/organizations/0efa1733-8d9b-588f-a4a0-7f3e721a7f85{rest}" for rest in ORGANIZATION_PATHS),
    *(
        f"/api/{prefix}{rest}"
        for prefix in ("openrouter", "openrouter/v1", "gateway", "gateway/v1")
        for rest in ("/models", "/models/openai/gpt-5-mini/endpoints", "/providers")
    ),
)


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory.create(
        user=UserFactory.create(email="alice@example.com", name="Alice"),
        organization=OrganizationFactory.create(name="Acme", settings=organization_auto({"code": "a/b"}, other=1)),
        role=Role.OWNER,
    )


@pytest.fixture
def key(alice: Membership) -> ApiKey:
    return ApiKeyFactory.create(user=alice.user)


def assert_error(response: Any, status: int, error_type: str, code: str = "") -> None:
    assert response.status_code == status
    body = response.json()
    assert body["error_type"] == body["error"]["type"] == error_type
    assert body["error"]["code"] == (code or error_type)
    assert body["message"] == body["error"]["message"] != ""


class TestEveryPath:
    @pytest.mark.parametrize("path", EVERY_PATH)
    def test_nothing_presented(self, client: APIClient, path: str) -> None:
        response = client.get(path)
        assert_error(response, 401, "authentication_required")
        assert response["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize("path", EVERY_PATH)
    @pytest.mark.parametrize("token", ["kilo_unknown", "x" * 5000, "\u00e9"])
    def test_a_key_that_is_none(self, client: APIClient, path: str, token: str) -> None:
        response = client.get(path, HTTP_AUTHORIZATION=f"Bearer {token}")
        assert_error(response, 401, "invalid_token", "INVALID_TOKEN")
        assert response["WWW-Authenticate"] == 'Bearer error="invalid_token"'

    @pytest.mark.parametrize("path", [path for path in EVERY_PATH if not path.endswith("/modes")])
    def test_it_is_only_for_reading(self, client: APIClient, key: ApiKey, path: str) -> None:
        for method in ("post", "put", "patch", "delete"):
            response = getattr(client, method)(path, **bearer(key))
            assert_error(response, 405, "method_not_allowed")
            assert response["Allow"] == "GET, HEAD, OPTIONS"

    @pytest.mark.parametrize("path", ["/api/user", "/api/profile", "/api/openrouter/models"])
    def test_head_and_options(self, client: APIClient, key: ApiKey, path: str) -> None:
        head = client.head(path, **bearer(key))
        assert (head.status_code, head["Cache-Control"]) == (200, "private, no-store")
        options = client.options(path, **bearer(key))
        assert (options.status_code, options["Allow"], options.content) == (204, "GET, HEAD, OPTIONS", b"")

    @pytest.mark.parametrize("accept", ["text/event-stream", "text/html", "*/*", "nonsense"])
    def test_the_answer_is_json_whatever_is_accepted(self, client: APIClient, key: ApiKey, accept: str) -> None:
        response = client.get("/api/user?format=xml", HTTP_ACCEPT=accept, **bearer(key))
        assert (response.status_code, response["Content-Type"]) == (200, "application/json")

    def test_a_key_that_has_ended(self, client: APIClient, alice: Membership) -> None:
        past = datetime.now(UTC) - timedelta(minutes=1)
        for fields in ({"revoked_at": past}, {"expires_at": past}):
            ended = ApiKeyFactory.create(user=alice.user, **fields)
            assert_error(client.get("/api/user", **bearer(ended)), 401, "invalid_token", "INVALID_TOKEN")

    def test_a_person_who_was_deactivated(self, client: APIClient, key: ApiKey) -> None:
        User.objects.filter(pk=key.user_id).update(is_active=False)
        assert_error(client.get("/api/user", **bearer(key)), 401, "invalid_token", "INVALID_TOKEN")

    def test_every_scope_may_read(self, client: APIClient, alice: Membership) -> None:
        management = ApiKeyFactory.create(user=alice.user, scopes=[Scope.MANAGEMENT.value])
        assert client.get("/api/user", **bearer(management)).status_code == 200


class TestUser:
    def test_it_works(self, client: APIClient, key: ApiKey, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        with django_assert_num_queries(1):
            response = client.get("/api/user", **bearer(key))
        assert response.json() == {"id": str(key.user_id), "email": "alice@example.com", "name": "Alice"}


class TestProfile:
    def test_it_works(
        self,
        client: APIClient,
        alice: Membership,
        key: ApiKey,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        second = MembershipFactory.create(user=alice.user, role=Role.BILLING_MANAGER)
        MembershipFactory.create(organization=alice.organization)
        with django_assert_num_queries(3):
            response = client.get("/api/profile", **bearer(key))
        assert response.json() == {
            "user": {"id": str(alice.user_id), "email": "alice@example.com", "name": "Alice", "image": None},
            "organizations": [
                {"id": str(alice.organization_id), "name": "Acme", "role": "owner", "balance": 0},
                {
                    "id": str(second.organization_id),
                    "name": second.organization.name,
                    "role": "billing_manager",
                    "balance": 0,
                },
            ],
            "hasPersonalAccount": False,
        }

    def test_a_bound_key_tells_of_its_organization_only(self, client: APIClient, alice: Membership) -> None:
        MembershipFactory.create(user=alice.user)
        bound = ApiKeyFactory.create(user=alice.user, organization=alice.organization)
        profile = client.get("/api/profile", **bearer(bound)).json()
        assert [row["id"] for row in profile["organizations"]] == [str(alice.organization_id)]
        assert profile["selectedOrganizationId"] == str(alice.organization_id)

    def test_a_bound_key_of_somebody_who_left(self, client: APIClient, alice: Membership) -> None:
        bound = ApiKeyFactory.create(user=alice.user, organization=alice.organization)
        alice.delete()
        profile = client.get("/api/profile", **bearer(bound)).json()
        assert profile["organizations"] == []
        assert "selectedOrganizationId" not in profile

    def test_a_person_without_an_organization(self, client: APIClient) -> None:
        profile = client.get("/api/profile", **bearer(ApiKeyFactory.create())).json()
        assert profile["organizations"] == []
        assert profile["hasPersonalAccount"] is True


class TestOrganization:
    def test_it_works(
        self,
        client: APIClient,
        alice: Membership,
        key: ApiKey,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        with django_assert_num_queries(2):
            response = client.get(f"/api/organizations/{alice.organization_id}", **bearer(key))
        assert response.json() == {
            "id": str(alice.organization_id),
            "name": "Acme",
            "plan": "enterprise",
            "role": "owner",
            # What else is stored is not told.
            "settings": organization_auto({"code": "a/b"}),
        }

    def test_a_member_sees_his_own_role(self, client: APIClient, alice: Membership) -> None:
        bob = MembershipFactory.create(organization=alice.organization, role=Role.MEMBER)
        response = client.get(
            f"/api/organizations/{alice.organization_id}", **bearer(ApiKeyFactory.create(user=bob.user))
        )
        assert response.json()["role"] == "member"


class TestStrangers:
    @pytest.mark.parametrize("rest", ORGANIZATION_PATHS)
    def test_an_organization_of_others_looks_like_none(self, client: APIClient, alice: Membership, rest: str) -> None:
        mallory = ApiKeyFactory.create(user=MembershipFactory.create().user)
        answers = [
            client.get(f"/api/organizations/{organization_id}{rest}", **bearer(mallory))
            for organization_id in (alice.organization_id, uuid4(), "acme", "0", "%00", "%20")
        ]
        for answer in answers:
            assert_error(answer, 404, "not_found")
        assert len({answer.content for answer in answers}) == 1

    @pytest.mark.parametrize("rest", ORGANIZATION_PATHS)
    def test_a_bound_key_sees_only_its_own(self, client: APIClient, alice: Membership, rest: str) -> None:
        second = MembershipFactory.create(user=alice.user)
        bound = ApiKeyFactory.create(user=alice.user, organization=second.organization)
        assert_error(client.get(f"/api/organizations/{alice.organization_id}{rest}", **bearer(bound)), 404, "not_found")
        assert client.get(f"/api/organizations/{second.organization_id}{rest}", **bearer(bound)).status_code == 200

    @pytest.mark.parametrize("rest", ORGANIZATION_PATHS)
    def test_somebody_who_left(self, client: APIClient, alice: Membership, rest: str) -> None:
        bound = ApiKeyFactory.create(user=alice.user, organization=alice.organization)
        path = f"/api/organizations/{alice.organization_id}{rest}"
        assert client.get(path, **bearer(bound)).status_code == 200
        alice.delete()
        assert_error(client.get(path, **bearer(bound)), 404, "not_found")

    def test_the_header_opens_nothing(self, client: APIClient, alice: Membership) -> None:
        mallory = ApiKeyFactory.create(user=MembershipFactory.create().user)
        header = {"HTTP_X_KILOCODE_ORGANIZATIONID": str(alice.organization_id)}
        assert_error(
            client.get(f"/api/organizations/{alice.organization_id}", **header, **bearer(mallory)), 404, "not_found"
        )


class TestModes:
    def test_it_works(
        self,
        client: APIClient,
        alice: Membership,
        key: ApiKey,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        first = CustomModeFactory.create(
            organization=alice.organization, slug="docs", name="Docs", created_by=alice.user
        )
        CustomModeFactory.create(organization=alice.organization, slug="code", name="Our code")
        CustomModeFactory.create(slug="elsewhere")
        with django_assert_num_queries(3):
            response = client.get(f"/api/organizations/{alice.organization_id}/modes", **bearer(key))
        modes = response.json()["modes"]
        assert [mode["slug"] for mode in modes] == ["docs", "code"]
        assert modes[0] == {
            "id": str(first.pk),
            "organization_id": str(alice.organization_id),
            "name": "Docs",
            "slug": "docs",
            "config": {"roleDefinition": "You help.", "groups": ["read"]},
            "created_by": str(alice.user_id),
            "created_at": modes[0]["created_at"],
            "updated_at": modes[0]["updated_at"],
        }
        assert datetime.fromisoformat(modes[0]["created_at"]) == first.created_at

    def test_a_mode_of_somebody_who_is_gone(self, client: APIClient, alice: Membership, key: ApiKey) -> None:
        CustomModeFactory.create(organization=alice.organization, created_by=None)
        modes = client.get(f"/api/organizations/{alice.organization_id}/modes", **bearer(key)).json()["modes"]
        # Null would make the Kilo CLI drop all modes.
        assert modes[0]["created_by"] == ""

    def test_a_config_written_by_another_way_harms_no_other_mode(
        self, client: APIClient, alice: Membership, key: ApiKey
    ) -> None:
        CustomModeFactory.create(
            organization=alice.organization,
            config={
                "roleDefinition": "You help.",
                "whenToUse": None,
                "description": 3,
                "groups": ["read", None, ["edit"], ["edit", None], ["edit", {"fileRegex": None}], ["edit", {}]],
            },
        )
        CustomModeFactory.create(organization=alice.organization, config=[])
        modes = client.get(f"/api/organizations/{alice.organization_id}/modes", **bearer(key)).json()["modes"]
        assert [mode["config"] for mode in modes] == [
            {"roleDefinition": "You help.", "groups": ["read", ["edit", {}]]},
            {},
        ]

    def test_no_modes(self, client: APIClient, alice: Membership, key: ApiKey) -> None:
        response = client.get(f"/api/organizations/{alice.organization_id}/modes", **bearer(key))
        assert response.json() == {"modes": []}
