"""Who may enter the staff's pages, and organizations, people and second factors there."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.core.mail import EmailMessage
from django.test import Client

from organizations.models import AuditAction, AuditLog, Membership, Organization, Plan, Role, User, Via
from tests.factories import (
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
)
from tests.organizations.admin.helpers import (
    PASSWORD,
    address,
    every_list,
    newest_audit,
    run_action,
    text_of,
)

pytestmark = pytest.mark.django_db


class TestWhoMayEnter:
    def test_no_page_is_open_to_a_signed_in_person_who_is_not_staff(self, client: Client) -> None:
        member = MembershipFactory.create(role=Role.OWNER)
        client.force_login(member.user)
        for name in every_list():
            assert client.get(address(name)).status_code == 302, name
        assert client.get(address("organizations_auditlog_export", "csv")).status_code == 302
        assert client.post(address("routing_catalogsnapshot_sync")).status_code == 302

    def test_an_address_without_its_slash_leads_to_the_admin(self, page: Client) -> None:
        assert page.get("/admin")["Location"] == "/admin/"

    def test_an_own_password_is_changed_where_it_is_audited(self, page: Client, staff: User) -> None:
        assert page.get(address("password_change"))["Location"] == "/accounts/password"

    def test_being_staff_is_enough(self, page: Client) -> None:
        for name in every_list():
            assert page.get(address(name)).status_code == 200, name

    def test_groups_are_no_second_way_to_rights(self) -> None:
        assert "auth.group" not in {model._meta.label_lower for model in admin.site._registry}


class TestOrganizations:
    def test_a_plan_change_goes_through_the_service(self, page: Client, staff: User) -> None:
        organization = OrganizationFactory.create(plan=Plan.TEAMS)
        answer = page.post(
            address("organizations_organization_change", organization.pk),
            {"plan": "enterprise"},
            REMOTE_ADDR="192.0.2.7",
        )
        assert answer.status_code == 302
        changed = Organization.objects.get(pk=organization.pk)
        assert (changed.plan, changed.routing_version) == ("enterprise", organization.routing_version + 1)
        row = newest_audit()
        assert (row.action, row.via, row.actor_id, row.actor_email) == (
            AuditAction.ORGANIZATION_PLAN_CHANGED,
            Via.ADMIN,
            staff.pk,
            staff.email,
        )
        assert (row.organization_id, row.address) == (organization.pk, "192.0.2.7")
        assert row.changes == {"plan": ["teams", "enterprise"]}

    def test_saving_without_a_change_writes_nothing(self, page: Client) -> None:
        organization = OrganizationFactory.create()
        page.post(address("organizations_organization_change", organization.pk), {"plan": organization.plan})
        assert not AuditLog.objects.exists()
        assert Organization.objects.get().routing_version == organization.routing_version

    def test_nothing_but_the_plan_is_changed(self, page: Client) -> None:
        organization = OrganizationFactory.create(name="Acme")
        fields = {"plan": "teams", "name": "Evil", "settings": "{}", "routing_version": "99"}
        page.post(address("organizations_organization_change", organization.pk), fields)
        changed = Organization.objects.get()
        assert (changed.name, changed.routing_version) == ("Acme", organization.routing_version + 1)

    def test_what_the_service_refuses_is_said(self, page: Client) -> None:
        organization = OrganizationFactory.create(plan=Plan.TEAMS, settings={"org_auto_model": "nonsense"})
        there = address("organizations_organization_change", organization.pk)
        answer = page.post(there, {"plan": "enterprise"}, follow=True)
        assert "malformed" in text_of(answer)
        assert Organization.objects.get().plan == Plan.TEAMS

    def test_settings_are_shown_as_text(self, page: Client) -> None:
        organization = OrganizationFactory.create(settings={"note": "<script>alert(1)</script>"})
        shown = text_of(page.get(address("organizations_organization_change", organization.pk)))
        assert "<script>alert(1)" not in shown
        assert "&quot;note&quot;: &quot;&lt;script&gt;alert(1)" in shown

    def test_a_new_one_has_an_owner(self, page: Client) -> None:
        UserFactory.create(email="alice@example.com")
        there = address("organizations_organization_add")
        assert page.post(there, {"name": "Acme", "plan": "teams", "owner": "nobody@example.com"}).status_code == 200
        assert page.post(there, {"name": "Acme", "plan": "teams", "owner": "Alice@example.com"}).status_code == 302
        membership = Membership.objects.get()
        assert (membership.organization.name, membership.user.email, membership.role) == (
            "Acme",
            "alice@example.com",
            Role.OWNER,
        )
        assert set(AuditLog.objects.values_list("via", flat=True)) == {"admin"}

    def test_nobody_deletes_one(self, page: Client) -> None:
        organization = OrganizationFactory.create()
        assert (
            page.post(address("organizations_organization_delete", organization.pk), {"post": "yes"}).status_code == 403
        )


class TestUsers:
    FIELDS = {"name": "Bob", "is_active": "on", "password1": "", "password2": ""}

    def test_create(self, page: Client, staff: User) -> None:
        fields = {**self.FIELDS, "email": "Bob@Example.com", "password1": PASSWORD, "password2": PASSWORD}
        answer = page.post(address("organizations_user_add"), fields)
        bob = User.objects.get(email="bob@example.com")
        assert answer.status_code == 302
        assert bob.check_password(PASSWORD)
        assert (bob.is_active, bob.is_staff, bob.is_superuser) == (True, False, False)
        row = newest_audit()
        assert (row.action, row.via, row.actor_id, row.target_id) == ("user.created", "admin", staff.pk, str(bob.pk))
        assert PASSWORD not in str(row.changes) + row.message

    @pytest.mark.parametrize(
        ("first", "again", "told"),
        [
            ("", "", "This field is required"),
            (PASSWORD, "another-password-2", "not the same"),
            ("short", "short", "too short"),
            ("password1234", "password1234", "too common"),
        ],
    )
    def test_a_new_one_needs_a_good_password(self, page: Client, first: str, again: str, told: str) -> None:
        fields = {**self.FIELDS, "email": "bob@example.com", "password1": first, "password2": again}
        answer = page.post(address("organizations_user_add"), fields)
        assert told in text_of(answer)
        assert not User.objects.filter(email="bob@example.com").exists()

    def test_an_address_is_used_once_whatever_its_case(self, page: Client) -> None:
        UserFactory.create(email="bob@example.com")
        fields = {**self.FIELDS, "email": "BOB@example.com", "password1": PASSWORD, "password2": PASSWORD}
        assert "already exists" in text_of(page.post(address("organizations_user_add"), fields))

    def test_deactivate_and_make_staff(self, page: Client) -> None:
        bob = UserFactory.create(email="bob@example.com", name="Bob", password=PASSWORD)
        there = address("organizations_user_change", bob.pk)
        page.post(there, {"name": "Bob", "is_staff": "on", "password1": "", "password2": ""})
        bob.refresh_from_db()
        assert (bob.is_active, bob.is_staff) == (False, True)
        assert bob.check_password(PASSWORD)
        row = newest_audit()
        assert row.message == "User bob@example.com deactivated, made a member of staff"
        assert row.changes == {"is_active": [True, False], "is_staff": [False, True]}

    def test_a_new_password_is_audited_without_it(self, page: Client) -> None:
        bob = UserFactory.create(name="Bob", password=PASSWORD)
        new = "another-password-2"
        page.post(
            address("organizations_user_change", bob.pk),
            {**self.FIELDS, "password1": new, "password2": new, "email": "x"},
        )
        bob.refresh_from_db()
        assert bob.check_password(new)
        assert newest_audit().changes == {"password": ["set", "replaced"]}

    def test_own_access_stays(self, page: Client, staff: User) -> None:
        there = address("organizations_user_change", staff.pk)
        answer = page.post(there, {"name": "Sue", "is_active": "on", "password1": "", "password2": ""}, follow=True)
        assert "your own access" in text_of(answer)
        assert User.objects.get(pk=staff.pk).is_staff

    def test_an_own_new_password_keeps_the_session(self, page: Client, staff: User) -> None:
        new = "another-password-2"
        fields = {"name": "Sue", "is_active": "on", "is_staff": "on", "password1": new, "password2": new}
        page.post(address("organizations_user_change", staff.pk), fields)
        assert page.get("/admin/").status_code == 200

    def test_saving_without_a_change_writes_nothing(self, page: Client) -> None:
        bob = UserFactory.create(name="Bob")
        page.post(address("organizations_user_change", bob.pk), self.FIELDS)
        assert not AuditLog.objects.exists()

    def test_nobody_deletes_one(self, page: Client) -> None:
        bob = UserFactory.create()
        assert page.post(address("organizations_user_delete", bob.pk), {"post": "yes"}).status_code == 403


class TestSecondFactors:
    @pytest.fixture
    def bob(self) -> User:
        bob: User = UserFactory.create(email="bob@example.com", password=PASSWORD)
        self.protect(bob)
        return bob

    def protect(self, person: User) -> None:
        TOTP.activate(person, generate_totp_secret())
        RecoveryCodes.activate(person)

    def remove(self, page: Client, *people: User, **fields: str) -> str:
        return text_of(run_action(page, "organizations_user", "remove_second_factor", list(people), **fields))

    def test_it_asks_and_then_lets_in_by_the_password_alone(
        self, page: Client, staff: User, bob: User, mailoutbox: list[EmailMessage]
    ) -> None:
        credentials = {"login": bob.email, "password": PASSWORD}
        assert Client().post("/accounts/login", credentials)["Location"] == "/accounts/second-factor"
        plain = UserFactory.create(email="plain@example.com")
        asked = self.remove(page, bob, plain, index="0")
        assert "with the password alone" in asked
        assert "<li>bob@example.com</li>" in asked
        assert "<li>plain@example.com</li>" not in asked
        assert Authenticator.objects.filter(user=bob).count() == 2
        assert "Removed: bob@example.com." in self.remove(page, bob, plain, confirmed="yes")
        assert not Authenticator.objects.exists()
        row = AuditLog.objects.get(action=AuditAction.USER_UPDATED)
        assert (row.via, row.actor_id, row.target_id) == ("admin", staff.pk, str(bob.pk))
        assert row.changes == {"second_factor": [True, False]}
        assert [mail.to for mail in mailoutbox] == [["bob@example.com"]]
        assert Client().post("/accounts/login", credentials)["Location"] == "/"

    def test_an_own_one_takes_the_password(self, page: Client, staff: User, bob: User) -> None:
        self.protect(staff)
        assert "on the page of your account" in self.remove(page, bob, staff, confirmed="yes")
        assert Authenticator.objects.count() == 4
        assert not AuditLog.objects.exists()

    def test_nobody_else_may(self, client: Client, bob: User) -> None:
        client.force_login(MembershipFactory.create(role=Role.OWNER).user)
        action = {"action": "remove_second_factor", "_selected_action": str(bob.pk), "confirmed": "yes"}
        assert client.post(address("organizations_user_changelist"), action).status_code == 302
        assert Authenticator.objects.count() == 2
