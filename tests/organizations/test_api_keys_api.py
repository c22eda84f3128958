from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from organizations.acting import Acting
from organizations.api_keys import key_hash
from organizations.audit import COMMAND, Actor, verify_chain
from organizations.member_keys import member_key_create, member_key_revoke
from organizations.models import ApiKey, AuditLog, Membership, Role, Scope, User, Via
from organizations.people_selectors import KEYS_PAGE
from routing.proxy.identity import identify
from tests.factories import ApiKeyFactory, MembershipFactory, bearer
from tests.routing.management.conftest import Api, Team, refused


def bound_key(team: Team, user: User, **fields: Any) -> ApiKey:
    return ApiKeyFactory.create(user=user, organization=team.organization, **fields)


def listed(api: Api) -> list[str]:
    response = api.get("api-keys")
    assert response.status_code == 200
    return [row["name"] for row in response.json()["api_keys"]]


class TestListing:
    @pytest.fixture
    def _keys(self, team: Team) -> None:
        for user in (team.alice, team.bob, team.carol):
            bound_key(team, user, name=user.name)
            ApiKeyFactory.create(user=user, name="unbound")
            bound_key(team, user, name="ended", revoked_at=datetime.now(UTC))
            elsewhere = MembershipFactory.create(user=user).organization
            ApiKeyFactory.create(user=user, organization=elsewhere, name="elsewhere")

    @pytest.mark.usefixtures("_keys")
    def test_everybody_sees_his_own(self, team: Team) -> None:
        assert listed(team.api(team.bob)) == ["Bob"]
        assert listed(team.api(team.carol)) == ["Carol"]

    @pytest.mark.usefixtures("_keys")
    def test_owners_and_admins_see_all(self, team: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        api = team.api(team.dave)
        with django_assert_num_queries(3):
            assert listed(api) == ["Carol", "Bob", "Alice"]
        assert listed(team.api()) == ["Carol", "Bob", "Alice"]

    def test_page_by_page(self, team: Team, mallory: User) -> None:
        for number in range(KEYS_PAGE):
            bound_key(team, team.bob if number % 2 else team.alice, name=str(number))
        api = team.api()
        first = api.get("api-keys").json()
        assert (len(first["api_keys"]), first["next_cursor"]) == (KEYS_PAGE, None)
        oldest = ApiKey.objects.get(name="0")
        bound_key(team, team.alice, name="newest")
        first = api.get("api-keys").json()
        assert first["next_cursor"] == str(ApiKey.objects.get(name="1").pk)
        assert first["api_keys"][0]["name"] == "newest"
        # It was revoked since, and still says where to go on.
        ApiKey.objects.filter(name="1").update(revoked_at=datetime.now(UTC))
        rest = api.get(f"api-keys?cursor={first['next_cursor']}").json()
        assert ([row["id"] for row in rest["api_keys"]], rest["next_cursor"]) == ([str(oldest.pk)], None)
        mine = team.api(team.bob).get("api-keys").json()
        assert (len(mine["api_keys"]), mine["next_cursor"]) == (KEYS_PAGE // 2 - 1, None)
        refused(api.get("api-keys?cursor=x"), 400, "invalid", field="cursor")
        # Another organization's key is a place in no list here.
        foreign = ApiKeyFactory.create(user=mallory, created_at=datetime(2020, 1, 1, tzinfo=UTC))
        assert len(api.get(f"api-keys?cursor={foreign.pk}").json()["api_keys"]) == KEYS_PAGE

    def test_a_row(self, team: Team) -> None:
        key = bound_key(team, team.bob, name="Laptop", default_mode="ask")
        (row,) = team.api(team.bob).get("api-keys").json()["api_keys"]
        assert row["id"] == str(key.pk)
        assert (row["prefix"], row["last_four"], row["default_mode"]) == (key.prefix, key.last_four, "ask")
        assert row["user"] == {"id": str(team.bob.pk), "email": "bob@acme.example", "name": "Bob"}
        assert (row["scopes"], row["expires_at"], row["revoked_at"]) == (["inference"], None, None)

    def test_strangers(self, team: Team, mallory: User) -> None:
        refused(Api(mallory, team.organization).get("api-keys"), 404, "not_found")


class TestMaking:
    def test_it_works(self, team: Team) -> None:
        expires_at = datetime(2100, 1, 1, tzinfo=UTC)
        response = team.api(team.bob).post(
            "api-keys",
            {
                "name": " Laptop ",
                "scopes": ["inference", "management"],
                "default_mode": "Ask",
                "expires_at": expires_at.isoformat(),
            },
        )
        assert response.status_code == 201
        secret = response.json()["key"]
        key = ApiKey.objects.get(key_hash=key_hash(secret))
        assert (key.user, key.organization, key.name) == (team.bob, team.organization, "Laptop")
        assert (key.scopes, key.default_mode, key.expires_at) == (["inference", "management"], "ask", expires_at)
        assert response.json()["api_key"]["id"] == str(key.pk)
        row = AuditLog.objects.latest("pk")
        assert row.message == f'API key "Laptop" (…{key.last_four}) created for bob@acme.example'
        assert row.changes == {"scopes": [None, key.scopes], "last_four": [None, key.last_four]}
        assert (row.actor_email, row.via, row.target_kind, row.target_id) == (
            "bob@acme.example",
            "api",
            "api_key",
            str(key.pk),
        )

    def test_the_key_is_told_once(self, team: Team) -> None:
        made = team.api(team.bob).post("api-keys", {"name": "Laptop"}).json()
        secret, path = made["key"], f"api-keys/{made['api_key']['id']}"
        api = team.api()
        for response in (
            api.get("api-keys"),
            api.patch(path, {"name": "Desktop"}),
            api.delete(path),
            api.get("audit-logs"),
        ):
            assert response.status_code == 200
            assert secret not in response.content.decode()

    def test_it_is_for_model_requests_by_default(self, team: Team) -> None:
        made = team.api(team.bob).post("api-keys", {"name": "Laptop"}).json()
        assert made["api_key"]["scopes"] == ["inference"]
        assert made["api_key"]["expires_at"] is None
        path = f"/api/organizations/{team.organization.pk}/api-keys"
        assert Client(headers={"Authorization": f"Bearer {made['key']}"}).get(path).status_code == 403

    def test_it_reaches_what_its_person_does_here_and_no_more(self, team: Team) -> None:
        """Made by a key that is bound to nothing, and still bound; for oneself, whoever one is."""
        elsewhere = MembershipFactory.create(user=team.bob, role=Role.OWNER).organization
        made = team.api(team.bob).post("api-keys", {"name": "x", "scopes": ["management"]}).json()
        client = Client(headers={"Authorization": f"Bearer {made['key']}"})
        own = f"/api/organizations/{team.organization.pk}"
        assert client.get(f"{own}/api-keys").status_code == 200
        assert client.get(f"{own}/members").status_code == 403
        assert client.get(f"{own}/audit-logs").status_code == 403
        assert client.get(f"/api/organizations/{elsewhere.pk}/api-keys").status_code == 404
        # What its person becomes, it becomes.
        Membership.objects.filter(user=team.bob, organization=team.organization).update(role=Role.ADMIN)
        assert client.get(f"{own}/members").status_code == 200
        Membership.objects.filter(user=team.bob, organization=team.organization).delete()
        assert client.get(f"{own}/api-keys").status_code == 404

    def test_nobody_makes_a_key_for_somebody_else(self, team: Team) -> None:
        with team.nothing_changes():
            for field in ("user", "user_id", "organization", "organization_id"):
                body = {"name": "x", field: str(team.alice.pk)}
                refused(team.api(team.dave).post("api-keys", body), 400, "invalid", field=field)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "name"),
            ({"name": ""}, "name"),
            ({"name": "  "}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"name": "a\u202eb"}, "name"),
            ({"name": 7}, "name"),
            ({"name": "x", "scopes": []}, "scopes"),
            ({"name": "x", "scopes": ["root"]}, "scopes.0"),
            ({"name": "x", "scopes": "inference"}, "scopes"),
            ({"name": "x", "default_mode": "no slug"}, "default_mode"),
            ({"name": "x", "default_mode": "x" * 51}, "default_mode"),
            ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
            ({"name": "x", "expires_at": "tomorrow"}, "expires_at"),
            ({"name": "x", "expires_at": 4102444800}, "expires_at"),
            ({"name": "x", "key": "kilo_mine"}, "key"),
        ],
    )
    def test_a_body_that_is_not_valid(self, team: Team, body: Any, field: str) -> None:
        keys = ApiKey.objects.count()
        api = team.api()
        with team.nothing_changes():
            refused(api.post("api-keys", body), 400, "invalid", field=field)
        assert ApiKey.objects.count() == keys + 1

    def test_a_scope_that_is_named_twice(self, team: Team) -> None:
        made = team.api().post("api-keys", {"name": "x", "scopes": ["inference", "inference"]}).json()
        assert made["api_key"]["scopes"] == ["inference"]

    def test_strangers_and_keys_for_model_requests(self, team: Team, mallory: User) -> None:
        with team.nothing_changes():
            refused(Api(mallory, team.organization).post("api-keys", {"name": "x"}), 404, "not_found")
            api = team.api(scopes=[Scope.INFERENCE.value])
            refused(api.post("api-keys", {"name": "x"}), 403, "scope_required")

    def test_an_old_version(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api().post("api-keys", {"name": "x"}, **{"If-Match": '"99"'}), 412, "routing_version_moved")

    def test_the_installation_itself_has_no_keys(self, team: Team) -> None:
        with pytest.raises(Exception, match="by the person"):
            member_key_create(
                organization_id=team.organization.pk, acting=Acting(COMMAND), name="x", scopes=[Scope.INFERENCE]
            )


class TestChanging:
    def test_it_works(self, team: Team) -> None:
        key = bound_key(team, team.bob, name="Laptop", default_mode="ask")
        told = (
            "api_key.updated",
            (
                f'API key "Desktop" (…{key.last_four}) of bob@acme.example changed: '
                'name from "Laptop" to "Desktop", default mode from "ask" to "code"'
            ),
            {"name": ("Laptop", "Desktop"), "default_mode": ("ask", "code")},
        )
        with team.audited(told, actor=team.bob, raises_version=False):
            response = team.api(team.bob).patch(f"api-keys/{key.pk}", {"name": " Desktop ", "default_mode": "code"})
        assert response.status_code == 200
        assert response.json()["api_key"]["name"] == "Desktop"
        key.refresh_from_db()
        assert (key.name, key.default_mode) == ("Desktop", "code")
        row = AuditLog.objects.latest("pk")
        assert (row.target_kind, row.target_id) == ("api_key", str(key.pk))

    def test_one_field_leaves_the_other(self, team: Team) -> None:
        key = bound_key(team, team.bob, name="Laptop", default_mode="ask")
        api = team.api(team.bob)
        told = f'API key "Laptop" (…{key.last_four}) of bob@acme.example changed: default mode from "ask" to ""'
        with team.audited(
            ("api_key.updated", told, {"default_mode": ("ask", "")}), actor=team.bob, raises_version=False
        ):
            api.patch(f"api-keys/{key.pk}", {"default_mode": ""})
        with team.audited(raises_version=False):
            api.patch(f"api-keys/{key.pk}", {})
            api.patch(f"api-keys/{key.pk}", {"name": "Laptop"})

    def test_owners_and_admins_change_anybodys(self, team: Team) -> None:
        key = bound_key(team, team.alice, name="Laptop")
        assert team.api(team.dave).patch(f"api-keys/{key.pk}", {"default_mode": "ask"}).status_code == 200
        assert AuditLog.objects.latest("pk").actor_email == "dave@acme.example"

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    def test_nobody_else_does(self, team: Team, mallory: User, method: str) -> None:
        key = bound_key(team, team.alice)
        body = {"name": "mine"} if method == "PATCH" else None
        for user in (team.bob, team.carol):
            refused(team.api(user).request(method, f"api-keys/{key.pk}", body), 404, "not_found")
        stranger = Api(mallory, team.organization)
        refused(stranger.request(method, f"api-keys/{key.pk}", body), 404, "not_found")
        own = Api(mallory, mallory.memberships.get().organization)
        refused(own.request(method, f"api-keys/{key.pk}", body), 404, "not_found")
        refused(team.api().request(method, f"api-keys/{uuid4()}", body), 404, "not_found")
        key.refresh_from_db()
        assert (key.name, key.revoked_at) == ("Test key", None)

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    def test_a_key_that_is_not_bound_here(self, team: Team, method: str) -> None:
        elsewhere = MembershipFactory.create(user=team.alice, role=Role.OWNER).organization
        for fields in ({}, {"organization": elsewhere}):
            key = ApiKeyFactory.create(user=team.alice, **fields)
            body = {"name": "mine"} if method == "PATCH" else None
            refused(team.api().request(method, f"api-keys/{key.pk}", body), 404, "not_found")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": " "}, "name"),
            ({"name": None}, "name"),
            ({"default_mode": "a b"}, "default_mode"),
            ({"scopes": ["management"]}, "scopes"),
            ({"expires_at": None}, "expires_at"),
            ({"revoked_at": None}, "revoked_at"),
        ],
    )
    def test_a_body_that_is_not_valid(self, team: Team, body: Any, field: str) -> None:
        key = bound_key(team, team.bob)
        with team.nothing_changes():
            refused(team.api().patch(f"api-keys/{key.pk}", body), 400, "invalid", field=field)

    def test_a_key_that_was_revoked(self, team: Team) -> None:
        key = bound_key(team, team.bob, revoked_at=datetime.now(UTC))
        refused(team.api().patch(f"api-keys/{key.pk}", {"name": "x"}), 409, "api_key_revoked")

    def test_an_old_version(self, team: Team) -> None:
        key = bound_key(team, team.bob)
        for method, body in (("PATCH", {"name": "x"}), ("DELETE", None)):
            response = team.api().request(method, f"api-keys/{key.pk}", body, **{"If-Match": '"99"'})
            refused(response, 412, "routing_version_moved")


class TestRevoking:
    def test_it_works(self, team: Team) -> None:
        key = bound_key(team, team.bob, name="Laptop", scopes=[Scope.MANAGEMENT.value])
        path = f"/api/organizations/{team.organization.pk}/api-keys"
        assert Client().get(path, **bearer(key)).status_code == 200
        told = f'API key "Laptop" (…{key.last_four}) of bob@acme.example revoked'
        with team.audited(("api_key.revoked", told, None), raises_version=False):
            response = team.api().delete(f"api-keys/{key.pk}")
        key.refresh_from_db()
        assert key.revoked_at is not None
        assert response.json()["api_key"]["revoked_at"] is not None
        assert AuditLog.objects.latest("pk").changes == {"revoked_at": [None, key.revoked_at.isoformat()]}
        assert Client().get(path, **bearer(key)).status_code == 401
        assert listed(team.api(team.bob)) == []

    def test_a_second_time_writes_nothing(self, team: Team) -> None:
        key = bound_key(team, team.bob)
        api = team.api(team.bob)
        first = api.delete(f"api-keys/{key.pk}").json()
        with team.audited(raises_version=False):
            again = api.delete(f"api-keys/{key.pk}")
        assert (again.status_code, again.json()) == (200, first)

    def test_a_key_may_end_itself(self, team: Team) -> None:
        key = bound_key(team, team.bob, scopes=[Scope.MANAGEMENT.value])
        client = Client(**bearer(key))
        path = f"/api/organizations/{team.organization.pk}/api-keys/{key.pk}"
        assert client.delete(path).status_code == 200
        assert client.delete(path).status_code == 401


@pytest.mark.usefixtures("committed_db")
class TestAtOnce:
    def test_a_key_is_revoked_once(self) -> None:
        owner = MembershipFactory.create(role=Role.OWNER)
        organization = owner.organization
        key = ApiKeyFactory.create(user=owner.user, organization=organization)
        acting = Acting(Actor.of(owner.user, Via.WEB), owner.user)

        def revoke() -> None:
            try:
                member_key_revoke(organization_id=organization.pk, acting=acting, key_id=key.pk)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=revoke) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert list(AuditLog.objects.values_list("action", flat=True)) == ["api_key.revoked"]
        assert verify_chain(organization.pk) == (1, None)

    def test_the_proxy_sees_a_new_default_mode_at_once(self) -> None:
        membership = MembershipFactory.create()
        key = ApiKeyFactory.create(user=membership.user, organization=membership.organization)
        api = Api(membership.user, membership.organization)
        hashed = key_hash(key.plaintext)  # type: ignore[attr-defined]  # made by the factory
        version = membership.organization.routing_version
        assert identify(hashed, "").default_mode == ""
        assert api.patch(f"api-keys/{key.pk}", {"default_mode": "architect"}).status_code == 200
        caller = identify(hashed, "")
        assert (caller.default_mode, caller.stamp.routing_version) == ("architect", version)
        expired = datetime.now(UTC) - timedelta(seconds=1)
        ApiKey.objects.filter(pk=key.pk).update(expires_at=expired)
        assert listed(api) == ["Test key"]
