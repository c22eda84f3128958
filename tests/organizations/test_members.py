from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connections, transaction
from django.http import Http404
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from kilo_gateway.api_errors import GatewayError
from organizations.acting import Acting
from organizations.audit import COMMAND, Actor, verify_chain
from organizations.members import (
    invitation_accept,
    invitation_create,
    invitation_revoke,
    member_add,
    member_remove,
    member_role_change,
    token_hash,
)
from organizations.models import ApiKey, AuditLog, Invitation, Membership, Organization, Role, Scope, User, Via
from tests.factories import ApiKeyFactory, MembershipFactory, OrganizationFactory, UserFactory, bearer
from tests.routing.management.conftest import Api, Team, refused


def role_of(user: User, organization: Organization) -> str | None:
    return Membership.objects.filter(user=user, organization=organization).values_list("role", flat=True).first()


def acting(user: User, version: int | None = None) -> Acting:
    return Acting(Actor.of(user, Via.WEB, "192.0.2.1"), user, version)


class TestListing:
    def test_it_works(self, team: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        api = team.api(team.dave)
        with django_assert_num_queries(3):
            response = api.get("members")
        assert response.status_code == 200
        assert [(row["email"], row["role"]) for row in response.json()["members"]] == [
            ("alice@acme.example", "owner"),
            ("bob@acme.example", "member"),
            ("carol@acme.example", "billing_manager"),
            ("dave@acme.example", "admin"),
        ]
        assert response["ETag"] == f'"{team.routing_version}"'
        bob = response.json()["members"][1]
        assert (bob["user_id"], bob["name"], bob["is_active"]) == (str(team.bob.pk), "Bob", True)

    def test_members_and_billing_managers_do_not_see_it(self, team: Team) -> None:
        for user in (team.bob, team.carol):
            refused(team.api(user).get("members"), 403, "role_required", says="owners and admins")
            refused(team.api(user).get("invitations"), 403, "role_required")

    def test_it_is_about_this_organization_only(self, team: Team, mallory: User) -> None:
        refused(Api(mallory, team.organization).get("members"), 404, "not_found")
        emails = [row["email"] for row in team.api().get("members").json()["members"]]
        assert mallory.email not in emails

    def test_a_bound_key_of_another_organization(self, team: Team) -> None:
        elsewhere = MembershipFactory.create(user=team.alice, role=Role.OWNER).organization
        key = ApiKeyFactory.create(user=team.alice, organization=elsewhere, scopes=[Scope.MANAGEMENT.value])
        assert Client().get(f"/api/organizations/{team.organization.pk}/members", **bearer(key)).status_code == 404

    def test_a_key_for_model_requests(self, team: Team) -> None:
        api = team.api(scopes=[Scope.INFERENCE.value])
        refused(api.get("members"), 403, "scope_required")

    def test_a_session(self, team: Team) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(team.alice)
        path = f"/api/organizations/{team.organization.pk}/members"
        assert client.get(path).status_code == 200
        body: dict[str, Any] = {"data": {"role": "admin"}, "content_type": "application/json"}
        refused(client.patch(f"{path}/{team.bob.pk}", **body), 403, "csrf_failed")
        assert role_of(team.bob, team.organization) == "member"


class TestAdding:
    """Of somebody who has an account."""

    @pytest.fixture
    def erin(self, db: None) -> User:
        return UserFactory.create(email="erin@example.com", name="Erin")

    def test_it_works(self, team: Team, erin: User) -> None:
        told = ("member.added", "erin@example.com added as billing manager", {"role": (None, "billing_manager")})
        with team.audited(told, raises_version=False):
            response = team.api().post("members", {"email": " Erin@example.com", "role": "billing_manager"})
        assert response.status_code == 201
        member = response.json()["member"]
        assert (member["user_id"], member["role"], member["is_active"]) == (str(erin.pk), "billing_manager", True)
        assert response["ETag"] == f'"{team.routing_version}"'
        assert team.api(erin).get("audit-logs").status_code == 200

    def test_as_a_member_unless_it_is_said(self, team: Team, erin: User) -> None:
        assert team.api(team.dave).post("members", {"email": erin.email}).status_code == 201
        assert role_of(erin, team.organization) == "member"

    def test_only_owners_add_owners(self, team: Team, erin: User) -> None:
        body = {"email": erin.email, "role": "owner"}
        with team.nothing_changes():
            refused(team.api(team.dave).post("members", body), 403, "role_required", says="Only owners")
            for user in (team.bob, team.carol):
                refused(team.api(user).post("members", {"email": erin.email}), 403, "role_required")
        assert team.api().post("members", body).status_code == 201

    def test_who_is_one(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api().post("members", {"email": team.bob.email}), 409, "already_member")

    def test_who_is_invited(self, team: Team, erin: User) -> None:
        assert team.api().post("invitations", {"email": erin.email}).status_code == 201
        with team.nothing_changes():
            refused(team.api().post("members", {"email": erin.email}), 409, "already_invited")
        Invitation.objects.update(expires_at=datetime.now(UTC) - timedelta(days=1))
        assert team.api().post("members", {"email": erin.email}).status_code == 201
        assert Invitation.objects.get().revoked_at is not None

    def test_whoever_cannot_be_added_is_the_same(self, team: Team) -> None:
        """No account, a closed one, and one whose address somebody else may have given."""
        UserFactory.create(email="closed@example.com", is_active=False)
        unproven = UserFactory.create(email="unproven@example.com")
        User.objects.filter(pk=unproven.pk).update(email_proven_at=None)
        for email in ("nobody@example.com", "closed@example.com", "unproven@example.com"):
            with team.nothing_changes():
                error = refused(team.api().post("members", {"email": email}), 404, "no_such_account")
            assert error["message"] == f"There is no account of {email} to add. Invite it."

    def test_nobody_tries_out_who_has_an_account(self, team: Team, mallory: User, erin: User) -> None:
        for number in range(20):
            body = {"email": f"nobody{number}@example.com"}
            refused(team.api().post("members", body), 404, "no_such_account")
            refused(Api(mallory, team.organization).post("members", body), 404, "not_found")
        with team.nothing_changes():
            for email in ("nobody@example.com", erin.email):
                response = team.api(team.dave).post("members", {"email": email})
                refused(response, 429, "too_many_unknown_addresses")
                assert response["Retry-After"] == "3600"
            refused(team.api().post("members", {"email": team.bob.email}), 409, "already_member")
        assert team.api().post("invitations", {"email": erin.email}).status_code == 201
        other = mallory.memberships.get().organization
        assert Api(mallory, other).post("members", {"email": erin.email}).status_code == 201

    def test_an_expired_invitation_stays_as_it_is_for_who_cannot_be_added(self, team: Team) -> None:
        assert team.api().post("invitations", {"email": "nobody@example.com"}).status_code == 201
        Invitation.objects.update(expires_at=datetime.now(UTC) - timedelta(days=1))
        with team.nothing_changes():
            refused(team.api().post("members", {"email": "nobody@example.com"}), 404, "no_such_account")
        assert Invitation.objects.get().revoked_at is None

    def test_strangers_learn_nothing(self, team: Team, mallory: User, erin: User) -> None:
        api = Api(mallory, team.organization)
        for email in (erin.email, "nobody@example.com", team.bob.email):
            refused(api.post("members", {"email": email}), 404, "not_found")

    @pytest.mark.parametrize(
        "body", [{}, {"email": "nobody"}, {"email": None}, {"email": "a@b.example", "role": "root"}]
    )
    def test_a_body_of_the_wrong_shape(self, team: Team, body: Any) -> None:
        with team.nothing_changes():
            refused(team.api().post("members", body), 400, "invalid")

    def test_an_old_version(self, team: Team, erin: User) -> None:
        with team.nothing_changes():
            response = team.api().post("members", {"email": erin.email}, **{"If-Match": '"99"'})
            refused(response, 412, "routing_version_moved")


class TestRoleChange:
    def test_it_works(self, team: Team) -> None:
        told = (
            "member.role_changed",
            "Role of bob@acme.example changed from member to billing manager",
            {"role": ("member", "billing_manager")},
        )
        with team.audited(told, raises_version=False):
            response = team.api().patch(f"members/{team.bob.pk}", {"role": "billing_manager"})
        assert response.status_code == 200
        assert response.json()["member"]["role"] == "billing_manager"
        assert response.json()["routing_version"] == team.routing_version
        row = AuditLog.objects.latest("pk")
        assert (row.target_kind, row.target_id) == ("user", str(team.bob.pk))
        # The next request sees it.
        assert team.api(team.bob).get("audit-logs").status_code == 200

    def test_an_admin_may_change_all_but_owners(self, team: Team) -> None:
        api = team.api(team.dave)
        assert api.patch(f"members/{team.bob.pk}", {"role": "admin"}).status_code == 200
        assert api.patch(f"members/{team.bob.pk}", {"role": "member"}).status_code == 200
        assert api.patch(f"members/{team.dave.pk}", {"role": "admin"}).status_code == 200
        with team.nothing_changes():
            refused(api.patch(f"members/{team.bob.pk}", {"role": "owner"}), 403, "role_required", says="Only owners")
            refused(api.patch(f"members/{team.dave.pk}", {"role": "owner"}), 403, "role_required")
            refused(api.patch(f"members/{team.alice.pk}", {"role": "member"}), 403, "role_required")
        assert role_of(team.alice, team.organization) == "owner"

    def test_an_owner_makes_owners(self, team: Team) -> None:
        assert team.api().patch(f"members/{team.dave.pk}", {"role": "owner"}).status_code == 200
        assert team.api(team.dave).patch(f"members/{team.alice.pk}", {"role": "member"}).status_code == 200
        refused(team.api().patch(f"members/{team.dave.pk}", {"role": "member"}), 403, "role_required")

    def test_what_is_so_already_writes_nothing(self, team: Team) -> None:
        with team.audited(raises_version=False):
            assert team.api().patch(f"members/{team.bob.pk}", {"role": "member"}).status_code == 200

    def test_the_last_owner_stays(self, team: Team) -> None:
        with team.nothing_changes():
            response = team.api().patch(f"members/{team.alice.pk}", {"role": "admin"})
            refused(response, 409, "last_owner")
        assert role_of(team.alice, team.organization) == "owner"

    def test_an_owner_who_cannot_sign_in_does_not_count(self, team: Team) -> None:
        gone = UserFactory.create(is_active=False)
        MembershipFactory.create(user=gone, organization=team.organization, role=Role.OWNER)
        refused(team.api().patch(f"members/{team.alice.pk}", {"role": "admin"}), 409, "last_owner")
        assert team.api().patch(f"members/{gone.pk}", {"role": "member"}).status_code == 200

    def test_members_and_billing_managers_may_not(self, team: Team) -> None:
        with team.nothing_changes():
            for user in (team.bob, team.carol):
                for target in (team.bob, team.carol, team.alice):
                    response = team.api(user).patch(f"members/{target.pk}", {"role": "admin"})
                    refused(response, 403, "role_required")

    def test_who_is_no_member(self, team: Team, mallory: User) -> None:
        for user_id in (mallory.pk, uuid4()):
            refused(team.api().patch(f"members/{user_id}", {"role": "admin"}), 404, "not_found")
        refused(Api(mallory, team.organization).patch(f"members/{team.bob.pk}", {"role": "admin"}), 404, "not_found")

    @pytest.mark.parametrize("body", [{}, {"role": "root"}, {"role": None}, {"role": 1}, {"role": "admin", "name": ""}])
    def test_a_body_of_the_wrong_shape(self, team: Team, body: Any) -> None:
        with team.nothing_changes():
            refused(team.api().patch(f"members/{team.bob.pk}", body), 400, "invalid")

    def test_an_old_version(self, team: Team) -> None:
        path, body = f"members/{team.bob.pk}", {"role": "admin"}
        current = team.routing_version
        with team.nothing_changes():
            error = refused(
                team.api().patch(path, body, **{"If-Match": f'"{current + 1}"'}), 412, "routing_version_moved"
            )
        assert error["routing_version"] == current
        assert team.api().patch(path, body, **{"If-Match": f'"{current}"'}).status_code == 200

    def test_staff_needs_no_membership(self, team: Team) -> None:
        staff = Acting(COMMAND)
        member_role_change(organization_id=team.organization.pk, acting=staff, user_id=team.dave.pk, role=Role.OWNER)
        member_role_change(organization_id=team.organization.pk, acting=staff, user_id=team.alice.pk, role=Role.MEMBER)
        with pytest.raises(GatewayError) as caught:
            member_remove(organization_id=team.organization.pk, acting=staff, user_id=team.dave.pk)
        assert caught.value.code == "last_owner"


class TestRemoval:
    def test_it_works(self, team: Team) -> None:
        told = ("member.removed", "bob@acme.example removed as member", {"role": ("member", None)})
        with team.audited(told, raises_version=False):
            response = team.api().delete(f"members/{team.bob.pk}")
        assert (response.status_code, response.json()["member"]) == (200, None)
        assert role_of(team.bob, team.organization) is None
        refused(Api(team.bob, team.organization).get("api-keys"), 404, "not_found")

    def test_the_keys_that_are_bound_to_it_end_and_no_others(self, team: Team) -> None:
        elsewhere = MembershipFactory.create(user=team.bob).organization
        here = ApiKeyFactory.create(user=team.bob, organization=team.organization, name="here")
        ended = ApiKeyFactory.create(user=team.bob, organization=team.organization, revoked_at=datetime.now(UTC))
        others = [
            ApiKeyFactory.create(user=team.bob, organization=elsewhere),
            ApiKeyFactory.create(user=team.bob),
            ApiKeyFactory.create(user=team.carol, organization=team.organization),
        ]
        told = f'API key "here" (…{here.last_four}) of bob@acme.example revoked'
        with team.audited(
            ("api_key.revoked", told, None),
            ("member.removed", "bob@acme.example removed as member", None),
            raises_version=False,
        ):
            team.api().delete(f"members/{team.bob.pk}")
        here.refresh_from_db()
        assert here.revoked_at is not None
        assert not ApiKey.objects.filter(pk__in=[key.pk for key in others], revoked_at__isnull=False).exists()
        assert ApiKey.objects.get(pk=ended.pk).revoked_at == ended.revoked_at
        assert role_of(team.bob, elsewhere) == "member"

    def test_everybody_may_leave(self, team: Team) -> None:
        told = ("member.removed", "bob@acme.example left as member", {"role": ("member", None)})
        with team.audited(told, actor=team.bob, raises_version=False):
            assert team.api(team.bob).delete(f"members/{team.bob.pk}").status_code == 200
        assert team.api(team.carol).delete(f"members/{team.carol.pk}").status_code == 200
        assert team.api(team.dave).delete(f"members/{team.dave.pk}").status_code == 200
        assert set(team.organization.memberships.values_list("user__email", flat=True)) == {"alice@acme.example"}

    def test_the_last_owner_may_not_leave(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api().delete(f"members/{team.alice.pk}"), 409, "last_owner")
        team.api().patch(f"members/{team.dave.pk}", {"role": "owner"})
        assert team.api().delete(f"members/{team.alice.pk}").status_code == 200

    def test_an_admin_may_not_remove_an_owner(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api(team.dave).delete(f"members/{team.alice.pk}"), 403, "role_required", says="Only owners")
        assert team.api(team.dave).delete(f"members/{team.carol.pk}").status_code == 200

    def test_members_and_billing_managers_may_not(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api(team.bob).delete(f"members/{team.carol.pk}"), 403, "role_required")
            refused(team.api(team.carol).delete(f"members/{team.bob.pk}"), 403, "role_required")
            # Whether somebody is a member is not told either.
            refused(team.api(team.bob).delete(f"members/{uuid4()}"), 403, "role_required")

    def test_who_is_no_member(self, team: Team, mallory: User) -> None:
        refused(team.api().delete(f"members/{mallory.pk}"), 404, "not_found")
        refused(Api(mallory, team.organization).delete(f"members/{mallory.pk}"), 404, "not_found")

    def test_a_body_and_an_old_version(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api().delete(f"members/{team.bob.pk}", {"keys": True}), 400, "invalid")
            refused(team.api().delete(f"members/{team.bob.pk}", **{"If-Match": '"99"'}), 412, "routing_version_moved")
        assert role_of(team.bob, team.organization) == "member"


class TestInviting:
    def test_it_works(self, team: Team, settings: Any) -> None:
        settings.BASE_URL = "https://gateway.example.com"
        before = datetime.now(UTC)
        response = team.api(team.dave).post("invitations", {"email": " Erin@New.Example ", "role": "billing_manager"})
        assert response.status_code == 201
        body = response.json()
        row = Invitation.objects.get()
        assert body["link"] == f"https://gateway.example.com/invitations/{body['token']}"
        assert bytes(row.token_hash) == token_hash(body["token"])
        assert (row.email, row.role, row.invited_by) == ("erin@new.example", "billing_manager", team.dave)
        assert timedelta(days=7) <= row.expires_at - before < timedelta(days=7, minutes=1)
        assert body["invitation"]["invited_by"] == {"id": str(team.dave.pk), "email": "dave@acme.example"}
        audited = AuditLog.objects.latest("pk")
        assert (audited.action, audited.message) == (
            "invitation.created",
            "erin@new.example invited as billing manager",
        )
        assert audited.changes == {
            "role": [None, "billing_manager"],
            "expires_at": [None, row.expires_at.isoformat()],
        }
        assert (audited.actor_email, audited.via, audited.address) == ("dave@acme.example", "api", "127.0.0.1")
        assert (audited.target_kind, audited.target_id) == ("invitation", str(row.pk))

    def test_the_token_is_told_once(self, team: Team) -> None:
        token = team.api().post("invitations", {"email": "erin@new.example"}).json()["token"]
        listed = team.api().get("invitations")
        assert [row["email"] for row in listed.json()["invitations"]] == ["erin@new.example"]
        revoked = team.api().delete(f"invitations/{Invitation.objects.get().pk}")
        for response in (listed, revoked, team.api().get("audit-logs")):
            assert token not in response.content.decode()

    def test_a_member_is_what_one_is_invited_as_by_default(self, team: Team) -> None:
        assert team.api().post("invitations", {"email": "a@b.example"}).json()["invitation"]["role"] == "member"

    def test_only_owners_invite_owners(self, team: Team) -> None:
        with team.nothing_changes():
            response = team.api(team.dave).post("invitations", {"email": "a@b.example", "role": "owner"})
            refused(response, 403, "role_required", says="Only owners")
        assert team.api().post("invitations", {"email": "a@b.example", "role": "owner"}).status_code == 201

    def test_members_and_billing_managers_may_not(self, team: Team) -> None:
        with team.nothing_changes():
            for user in (team.bob, team.carol):
                refused(team.api(user).post("invitations", {"email": "a@b.example"}), 403, "role_required")

    def test_a_stranger(self, team: Team, mallory: User) -> None:
        refused(Api(mallory, team.organization).post("invitations", {"email": "a@b.example"}), 404, "not_found")

    def test_a_member_cannot_be_invited(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api().post("invitations", {"email": "BOB@acme.example"}), 409, "already_member")

    def test_one_open_invitation_for_an_address(self, team: Team, mallory: User) -> None:
        assert team.api().post("invitations", {"email": "a@b.example"}).status_code == 201
        with team.nothing_changes():
            refused(team.api().post("invitations", {"email": "A@B.example"}), 409, "already_invited")
        # Another organization knows nothing of it.
        other = mallory.memberships.get().organization
        assert Api(mallory, other).post("invitations", {"email": "a@b.example"}).status_code == 201

    def test_an_expired_one_gives_way(self, team: Team) -> None:
        team.api().post("invitations", {"email": "a@b.example"})
        Invitation.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        with team.audited(
            ("invitation.revoked", "Invitation of a@b.example had expired and gave way to another", None),
            ("invitation.created", "a@b.example invited as member", None),
            raises_version=False,
        ):
            assert team.api().post("invitations", {"email": "a@b.example"}).status_code == 201
        assert len(team.api().get("invitations").json()["invitations"]) == 1

    def test_the_database_itself_knows_one(self, team: Team) -> None:
        def add(email: str = "a@b.example", **fields: Any) -> None:
            fields = {"expires_at": datetime.now(UTC), "token_hash": uuid4().bytes, **fields}
            with transaction.atomic():
                Invitation.objects.create(organization=team.organization, email=email, **fields)

        add()
        add(revoked_at=datetime.now(UTC))
        for name, email, fields in (
            ("invitation_open_unique", "a@b.example", {}),
            ("invitation_email_lower_case", "A@b.example", {}),
            ("invitation_role_known", "c@b.example", {"role": "root"}),
            ("invitation_one_end", "c@b.example", {"revoked_at": datetime.now(UTC), "accepted_at": datetime.now(UTC)}),
        ):
            with pytest.raises(IntegrityError, match=name):
                add(email, **fields)

    @pytest.mark.parametrize(
        "email", ["", "nobody", "a@b", "a b@c.example", "a@b.example\nx", f"{'a' * 250}@b.example"]
    )
    def test_an_address_that_is_none(self, team: Team, email: str) -> None:
        with team.nothing_changes():
            refused(team.api().post("invitations", {"email": email}), 400, "invalid", field="email")

    @pytest.mark.parametrize("body", [{}, {"email": 7}, {"email": "a@b.example", "role": "boss"}])
    def test_a_body_of_the_wrong_shape(self, team: Team, body: Any) -> None:
        with team.nothing_changes():
            refused(team.api().post("invitations", body), 400, "invalid")

    def test_an_old_version(self, team: Team) -> None:
        response = team.api().post("invitations", {"email": "a@b.example"}, **{"If-Match": '"99"'})
        refused(response, 412, "routing_version_moved")
        assert not Invitation.objects.exists()


class TestAccepting:
    @pytest.fixture
    def erin(self, db: None) -> User:
        return UserFactory.create(email="erin@new.example", name="Erin")

    @pytest.fixture
    def token(self, team: Team) -> str:
        return self.invite(team)

    def invite(self, team: Team, by: User | None = None, role: Role = Role.BILLING_MANAGER) -> str:
        made = invitation_create(
            organization_id=team.organization.pk,
            acting=acting(by or team.alice),
            email="erin@new.example",
            role=role,
        )
        return made.token.reveal()

    def accept(self, token: str, user: User) -> Membership:
        return invitation_accept(token=token, user=user, actor=Actor.of(user, Via.WEB, "192.0.2.1"))

    def refused(self, token: str, user: User, code: str, status: int = 409) -> None:
        with pytest.raises(GatewayError) as caught:
            self.accept(token, user)
        assert (caught.value.status, caught.value.code) == (status, code)

    def test_it_works(self, team: Team, erin: User, token: str) -> None:
        version = team.routing_version
        membership = self.accept(token, erin)
        assert (membership.organization, membership.role) == (team.organization, "billing_manager")
        assert team.api(erin).get("audit-logs").status_code == 200
        rows = AuditLog.objects.order_by("-sequence")[:2]
        assert [(row.action, row.message) for row in rows] == [
            ("member.added", "erin@new.example added as billing manager"),
            ("invitation.accepted", "Invitation of erin@new.example accepted"),
        ]
        accepted_at = Invitation.objects.get().accepted_at
        assert accepted_at is not None
        assert rows[1].changes == {"accepted_at": [None, accepted_at.isoformat()]}
        assert {(row.actor_id, row.via, row.address) for row in rows} == {(erin.pk, "web", "192.0.2.1")}
        assert verify_chain(team.organization.pk)[1] is None
        assert team.routing_version == version

    def test_it_works_once(self, team: Team, erin: User, token: str) -> None:
        self.accept(token, erin)
        self.refused(token, erin, "invitation_accepted")
        member_remove(organization_id=team.organization.pk, acting=acting(team.alice), user_id=erin.pk)
        self.refused(token, erin, "invitation_accepted")
        invitation_id = Invitation.objects.get().pk
        refused(team.api().delete(f"invitations/{invitation_id}"), 409, "invitation_accepted")

    def test_an_unknown_token(self, erin: User, token: str) -> None:
        for wrong in ("", token[:-1], token + "x", "x" * 10_000, "\ud800"):
            with pytest.raises(Http404):
                self.accept(wrong, erin)

    def test_another_person(self, team: Team, token: str) -> None:
        self.refused(token, team.bob, "invitation_of_another", status=403)
        stranger = UserFactory.create()
        self.refused(token, stranger, "invitation_of_another", status=403)
        assert role_of(stranger, team.organization) is None

    def test_too_late(self, team: Team, erin: User, token: str) -> None:
        Invitation.objects.update(expires_at=datetime.now(UTC))
        self.refused(token, erin, "invitation_expired")
        assert role_of(erin, team.organization) is None

    def test_who_is_a_member_by_now(self, team: Team, erin: User, token: str) -> None:
        MembershipFactory.create(user=erin, organization=team.organization, role=Role.MEMBER)
        self.refused(token, erin, "already_member")
        assert role_of(erin, team.organization) == "member"

    def test_revoked(self, team: Team, erin: User, token: str) -> None:
        invitation_id = Invitation.objects.get().pk
        told = ("invitation.revoked", "Invitation of erin@new.example revoked", None)
        with team.audited(told, raises_version=False):
            response = team.api().delete(f"invitations/{invitation_id}")
        assert response.json()["invitation"]["revoked_at"] is not None
        with team.audited(raises_version=False):
            assert team.api().delete(f"invitations/{invitation_id}").status_code == 200
        self.refused(token, erin, "invitation_revoked")
        assert team.api().get("invitations").json()["invitations"] == []

    def test_who_may_revoke(self, team: Team, mallory: User) -> None:
        self.invite(team, role=Role.OWNER)
        path = f"invitations/{Invitation.objects.get().pk}"
        with team.nothing_changes():
            for user in (team.bob, team.carol):
                refused(team.api(user).delete(path), 403, "role_required")
            refused(team.api(team.dave).delete(path), 403, "role_required", says="Only owners")
            refused(Api(mallory, team.organization).delete(path), 404, "not_found")
            refused(team.api().delete(f"invitations/{uuid4()}"), 404, "not_found")
            refused(team.api().delete(path, **{"If-Match": '"99"'}), 412, "routing_version_moved")
        # Nor by the way of an organization of one's own.
        other = mallory.memberships.get().organization
        refused(Api(mallory, other).delete(path), 404, "not_found")
        with pytest.raises(Http404):
            invitation_revoke(
                organization_id=other.pk, acting=acting(mallory), invitation_id=Invitation.objects.get().pk
            )

    def test_it_ends_with_the_rights_of_who_sent_it(self, team: Team, erin: User) -> None:
        token = self.invite(team, team.dave)
        with team.audited(
            (
                "invitation.revoked",
                "Invitation of erin@new.example revoked with the rights of dave@acme.example, who sent it",
                None,
            ),
            ("member.removed", "dave@acme.example removed as admin", None),
            raises_version=False,
        ):
            team.api().delete(f"members/{team.dave.pk}")
        self.refused(token, erin, "invitation_revoked")

    def test_it_lasts_as_long_as_its_sender_may_invite(self, team: Team, erin: User) -> None:
        MembershipFactory.create(organization=team.organization, role=Role.OWNER)
        first = self.invite(team)
        team.api().patch(f"members/{team.alice.pk}", {"role": "admin"})
        assert Invitation.objects.get(token_hash=token_hash(first)).revoked_at is None
        team.api(team.dave).patch(f"members/{team.alice.pk}", {"role": "member"})
        self.refused(first, erin, "invitation_revoked")

    def test_an_owner_who_became_an_admin_has_invited_no_owner(self, team: Team, erin: User) -> None:
        MembershipFactory.create(organization=team.organization, role=Role.OWNER)
        token = self.invite(team, role=Role.OWNER)
        team.api().patch(f"members/{team.alice.pk}", {"role": "admin"})
        self.refused(token, erin, "invitation_revoked")

    def test_an_invitation_ends_with_the_account_of_who_sent_it(self, team: Team, erin: User) -> None:
        token = self.invite(team, team.dave)
        team.dave.delete()
        with pytest.raises(Http404):
            self.accept(token, erin)


def at_once(*jobs: Callable[[], object]) -> list[str]:
    """Run jobs in threads that start together; what each came to: `done` or the code of its refusal."""
    barrier = threading.Barrier(len(jobs))
    results = [""] * len(jobs)

    def run(number: int, job: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            job()
            results[number] = "done"
        except GatewayError as error:
            results[number] = error.code
        except Http404:
            results[number] = "not_found"
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.mark.usefixtures("committed_db")
class TestAtOnce:
    def test_addresses_that_are_tried_together_are_counted(self, organization: Organization) -> None:
        owner = self.join(organization, Role.OWNER)

        def add(number: int) -> None:
            email = f"nobody{number}@example.com"
            member_add(organization_id=organization.pk, acting=acting(owner), email=email, role=Role.MEMBER)

        results = at_once(*(lambda number=number: add(number) for number in range(25)))  # type: ignore[misc]
        assert sorted(results) == ["no_such_account"] * 20 + ["too_many_unknown_addresses"] * 5

    @pytest.fixture
    def organization(self, committed_db: None) -> Organization:
        return OrganizationFactory.create()

    def join(self, organization: Organization, role: Role) -> User:
        return MembershipFactory.create(organization=organization, role=role).user

    def owners(self, organization: Organization) -> int:
        return organization.memberships.filter(role=Role.OWNER).count()

    @pytest.mark.parametrize("attempt", range(5))
    def test_two_owners_demote_each_other(self, organization: Organization, attempt: int) -> None:
        one, other = (self.join(organization, Role.OWNER) for _ in range(2))

        def demote(who: User, whom: User) -> None:
            member_role_change(organization_id=organization.pk, acting=acting(who), user_id=whom.pk, role=Role.ADMIN)

        results = at_once(lambda: demote(one, other), lambda: demote(other, one))
        # The second is no owner any more when its turn comes.
        assert sorted(results) == ["done", "role_required"]
        assert self.owners(organization) == 1
        assert verify_chain(organization.pk) == (1, None)

    def test_all_owners_leave(self, organization: Organization) -> None:
        people = [self.join(organization, Role.OWNER) for _ in range(6)]

        def leave(person: User) -> None:
            member_remove(organization_id=organization.pk, acting=acting(person), user_id=person.pk)

        results = at_once(*(lambda person=person: leave(person) for person in people))  # type: ignore[misc]
        assert sorted(results) == ["done"] * 5 + ["last_owner"]
        assert self.owners(organization) == 1
        assert verify_chain(organization.pk) == (5, None)

    def test_whoever_is_removed_changes_nothing_any_more(self, organization: Organization) -> None:
        owner, admin, member = (self.join(organization, role) for role in (Role.OWNER, Role.ADMIN, Role.MEMBER))
        results = at_once(
            lambda: member_remove(organization_id=organization.pk, acting=acting(owner), user_id=admin.pk),
            lambda: member_role_change(
                organization_id=organization.pk, acting=acting(admin), user_id=member.pk, role=Role.ADMIN
            ),
        )
        actors = list(AuditLog.objects.order_by("sequence").values_list("actor_id", flat=True))
        if results == ["done", "not_found"]:
            assert actors == [owner.pk]
        else:
            assert results == ["done", "done"]
            assert actors == [admin.pk, owner.pk]

    def test_one_invitation_is_accepted_once(self, organization: Organization) -> None:
        owner, erin = self.join(organization, Role.OWNER), UserFactory.create()
        made = invitation_create(
            organization_id=organization.pk, acting=acting(owner), email=erin.email, role=Role.MEMBER
        )
        token = made.token.reveal()
        job = lambda: invitation_accept(token=token, user=erin, actor=Actor.of(erin, Via.WEB))  # noqa: E731
        assert sorted(at_once(job, job, job)) == ["done", "invitation_accepted", "invitation_accepted"]
        assert organization.memberships.filter(user=erin).count() == 1

    def test_an_address_is_invited_once(self, organization: Organization) -> None:
        people = [self.join(organization, Role.OWNER) for _ in range(3)]

        def invite(person: User) -> None:
            invitation_create(
                organization_id=organization.pk, acting=acting(person), email="a@b.example", role=Role.MEMBER
            )

        results = at_once(*(lambda person=person: invite(person) for person in people))  # type: ignore[misc]
        assert sorted(results) == ["already_invited", "already_invited", "done"]
        assert Invitation.objects.count() == 1
