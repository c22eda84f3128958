"""Django admin: what staff sees and may do, and that no secret is ever on a page."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import quote
from uuid import uuid4

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib import admin
from django.core.mail import EmailMessage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from byok.custom_providers import header_purpose
from byok.encryption import SecretOwner
from byok.keys import keyring
from byok.models import Credential, CustomProvider, CustomProviderHeader
from byok.services.credentials import credential_disable
from kilo_gateway import newest_first
from kilo_gateway.secret import Secret
from organizations import audit
from organizations.audit import verify_chain
from organizations.models import ApiKey, AuditAction, AuditLog, Membership, Organization, Plan, Role, User, Via
from routing.catalog.bundled import bundled_models
from routing.catalog.index import forget_index, load_current_index
from routing.catalog.tiers import load_tier_table
from routing.demo import DemoUpstream
from routing.domain.types import Tier
from routing.models import AutoTierRule, BrokenRoute, CatalogSnapshot, Installation, MemberSpending, UsageRecord
from tests.factories import (
    ApiKeyFactory,
    CredentialFactory,
    CustomModeFactory,
    HostedBalanceFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
)
from tests.support.examined import Examined

pytestmark = pytest.mark.django_db

PASSWORD = "correct-horse-battery-1"


@pytest.fixture
def staff() -> User:
    return UserFactory.create(email="staff@example.com", name="Sue", is_staff=True)


@pytest.fixture
def page(client: Client, staff: User) -> Client:
    """A browser in which a member of staff is signed in."""
    client.force_login(staff)
    return client


def address(name: str, *args: Any, **query: Any) -> str:
    found = reverse(f"admin:{name}", args=args)
    return f"{found}?{'&'.join(f'{key}={quote(str(value))}' for key, value in query.items())}" if query else found


def newest_audit() -> AuditLog:
    return AuditLog.objects.order_by("-pk")[0]


def text_of(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return content.decode()


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


def every_list() -> list[str]:
    return [f"{model._meta.app_label}_{model._meta.model_name}_changelist" for model in admin.site._registry]


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


def run_action(page: Client, name: str, action: str, rows: list[Any], **fields: str) -> Any:
    selected = {"action": action, "_selected_action": [str(row.pk) for row in rows], **fields}
    return page.post(address(f"{name}_changelist"), selected, follow=True)


class TestApiKeys:
    def test_revoke_asks_and_then_does(self, page: Client, staff: User) -> None:
        key = ApiKeyFactory.create(organization=OrganizationFactory.create())
        asked = run_action(page, "organizations_apikey", "revoke", [key], index="0")
        assert "stop working at once" in text_of(asked)
        assert ApiKey.objects.get().revoked_at is None
        done = run_action(page, "organizations_apikey", "revoke", [key], confirmed="yes")
        assert f"Revoked: {key}" in text_of(done)
        assert ApiKey.objects.get().revoked_at is not None
        row = newest_audit()
        assert (row.action, row.via, row.actor_id) == ("api_key.revoked", "admin", staff.pk)

    def test_nobody_changes_or_makes_one(self, page: Client) -> None:
        key = ApiKeyFactory.create()
        assert page.post(address("organizations_apikey_change", key.pk), {"name": "Mine"}).status_code == 403
        assert page.get(address("organizations_apikey_add")).status_code == 403


class TestCredentials:
    def test_disable(self, page: Client, staff: User) -> None:
        credential = CredentialFactory.create(secret="sk-a-secret-key-wxyz")
        before = credential.organization.routing_version
        assert "refused at once" in text_of(run_action(page, "byok_credential", "disable", [credential], index="0"))
        assert Credential.objects.get().is_enabled
        run_action(page, "byok_credential", "disable", [credential], confirmed="yes")
        assert not Credential.objects.get().is_enabled
        assert Organization.objects.get(pk=credential.organization_id).routing_version == before + 1
        row = newest_audit()
        assert (row.action, row.via, row.actor_id) == ("byok.disabled", "admin", staff.pk)
        assert (row.organization_id, row.target_id) == (credential.organization_id, str(credential.pk))
        assert row.message == "Key of neuralwatt (…wxyz) disabled"

    def test_a_persons_own(self, page: Client) -> None:
        credential = CredentialFactory.create(user=UserFactory.create())
        run_action(page, "byok_credential", "disable", [credential], confirmed="yes")
        assert not Credential.objects.get().is_enabled
        assert newest_audit().organization_id is None

    def test_disabling_twice_writes_once(self) -> None:
        credential = CredentialFactory.create()
        for _ in range(2):
            credential_disable(credential_id=credential.pk, actor=audit.SYSTEM)
        assert AuditLog.objects.count() == 1

    def test_staff_cannot_enable_or_change_one(self, page: Client) -> None:
        credential = CredentialFactory.create(is_enabled=False)
        answer = page.post(address("byok_credential_change", credential.pk), {"is_enabled": "on"})
        assert answer.status_code == 403
        assert not Credential.objects.get().is_enabled


class TestAutoTiers:
    @pytest.fixture
    def model(self) -> str:
        return min(load_current_index().models)

    def fields(self, **fields: str) -> dict[str, str]:
        return {
            "tier": "frontier",
            "mode": "",
            "api_kind": "",
            "model_ids": "",
            "free_model_ids": "",
            "reasoning_effort": "",
            "verbosity": "",
            **fields,
        }

    def test_create(self, page: Client, staff: User, model: str) -> None:
        version = Installation.objects.get().tier_version
        fields = self.fields(mode="Docs-Writer", model_ids=f"{model.upper()}\n{model}", reasoning_effort="high")
        assert page.post(address("routing_autotierrule_add"), fields).status_code == 302
        rule = AutoTierRule.objects.get(mode="docs-writer")
        assert (rule.model_ids, rule.reasoning_effort) == ([model], "high")
        assert Installation.objects.get().tier_version == version + 1
        row = newest_audit()
        assert (row.action, row.via, row.actor_id, row.organization_id) == (
            "auto_tier.changed",
            "admin",
            staff.pk,
            None,
        )
        assert row.message == f'Auto tier rule frontier / docs-writer / any API created: "{model}"'
        choice = load_tier_table().choice(Tier.FRONTIER, "docs-writer", None)
        assert choice is not None
        assert choice.models == (model,)

    def test_edit(self, page: Client, model: str) -> None:
        rule = AutoTierRule.objects.exclude(model_ids=[model]).exclude(tier="free")[0]
        version = Installation.objects.get().tier_version
        before = list(rule.model_ids)
        fields = self.fields(tier=rule.tier, mode=rule.mode, api_kind=rule.api_kind, model_ids=model)
        assert page.post(address("routing_autotierrule_change", rule.pk), fields).status_code == 302
        assert AutoTierRule.objects.get(pk=rule.pk).model_ids == [model]
        assert Installation.objects.get().tier_version == version + 1
        assert newest_audit().changes["model_ids"] == [before, [model]]

    def test_saving_without_a_change_writes_nothing(self, page: Client) -> None:
        rule = AutoTierRule.objects.filter(tier="frontier")[0]
        version = Installation.objects.get().tier_version
        fields = self.fields(
            tier=rule.tier,
            mode=rule.mode,
            api_kind=rule.api_kind,
            model_ids="\n".join(rule.model_ids),
            free_model_ids="\n".join(rule.free_model_ids),
            reasoning_effort=rule.reasoning_effort,
            verbosity=rule.verbosity,
        )
        assert page.post(address("routing_autotierrule_change", rule.pk), fields).status_code == 302
        assert Installation.objects.get().tier_version == version
        assert not AuditLog.objects.exists()

    @pytest.mark.parametrize(
        "model_id",
        [
            "kilo-auto/org",
            "KILO-AUTO/balanced",
            "kilo-auto/never-heard-of",
            "kilo-internal/router",
            "nobody/nothing",
            "",
        ],
    )
    @pytest.mark.parametrize("field", ["model_ids", "free_model_ids"])
    def test_refused(self, page: Client, model: str, field: str, model_id: str) -> None:
        if field == "free_model_ids" and not model_id:
            return
        version = Installation.objects.get().tier_version
        fields = self.fields(mode="docs-writer", **{"model_ids": model, field: model_id})
        answer = page.post(address("routing_autotierrule_add"), fields)
        assert answer.status_code == 200
        assert "errorlist" in text_of(answer)
        assert Installation.objects.get().tier_version == version
        assert not AutoTierRule.objects.filter(mode="docs-writer").exists()

    def test_only_the_free_tier_has_several_models(self, page: Client) -> None:
        several = "\n".join(sorted(load_current_index().models)[:2])
        there = address("routing_autotierrule_add")
        assert "Only the tier free" in text_of(page.post(there, self.fields(mode="docs-writer", model_ids=several)))
        fields = self.fields(tier="free", mode="docs-writer", model_ids=several)
        assert page.post(there, fields).status_code == 302

    def test_a_second_rule_for_the_same_case_is_refused(self, page: Client, model: str) -> None:
        rule = AutoTierRule.objects.exclude(mode="")[0]
        fields = self.fields(tier=rule.tier, mode=rule.mode.upper(), api_kind=rule.api_kind, model_ids=model)
        answer = page.post(address("routing_autotierrule_add"), fields)
        assert "already exists" in text_of(answer)

    def test_delete_one_and_several(self, page: Client) -> None:
        version = Installation.objects.get().tier_version
        first, second, third = AutoTierRule.objects.all()[:3]
        page.post(address("routing_autotierrule_delete", first.pk), {"post": "yes"})
        run_action(page, "routing_autotierrule", "delete_selected", [second, third], post="yes")
        assert not AutoTierRule.objects.filter(pk__in=[first.pk, second.pk, third.pk]).exists()
        assert Installation.objects.get().tier_version == version + 3
        rows = AuditLog.objects.filter(action="auto_tier.changed", via="admin")
        assert {row.target_id for row in rows} == {str(first.pk), str(second.pk), str(third.pk)}


class TestCatalog:
    def test_sync_now(self, page: Client, settings: Any) -> None:
        with DemoUpstream(bundled_models()) as upstream:
            settings.OPENROUTER_BASE_URL = f"{upstream.base_url}/api/v1"
            answer = page.post(address("routing_catalogsnapshot_sync"), follow=True)
        assert "A new snapshot is in force" in text_of(answer)
        forget_index()
        in_force = Installation.objects.get().catalog_snapshot
        assert in_force.origin == CatalogSnapshot.Origin.SYNCED
        row = newest_audit()
        assert (row.action, row.via, row.target_id) == ("catalog.synced", "admin", str(in_force.pk))

    def test_a_failure_is_told(self, page: Client, settings: Any) -> None:
        settings.OPENROUTER_BASE_URL = "http://127.0.0.1:9/api/v1"
        before = Installation.objects.get().catalog_snapshot_id
        answer = page.post(address("routing_catalogsnapshot_sync"), follow=True)
        assert 'class="error"' in text_of(answer)
        assert Installation.objects.get().catalog_snapshot_id == before

    def test_reading_a_page_does_not_sync(self, page: Client) -> None:
        assert page.get(address("routing_catalogsnapshot_sync")).status_code == 405

    def test_a_snapshot_shows_its_models(self, page: Client) -> None:
        snapshot = Installation.objects.get().catalog_snapshot
        shown = text_of(page.get(address("routing_catalogsnapshot_change", snapshot.pk)))
        assert snapshot.entries[0]["id"] in shown


SPENDING = ["routing_hostedbalance", "routing_memberspending"]
READ_ONLY = ["organizations_auditlog", "routing_usagerecord", "routing_catalogsnapshot", "routing_installation"]


class TestReadOnly:
    @pytest.mark.parametrize("name", [*READ_ONLY, "organizations_settingsversion", "routing_brokenroute", *SPENDING])
    def test_even_for_a_superuser(self, client: Client, name: str) -> None:
        client.force_login(User.objects.create_superuser("root@example.com"))
        key = Sample.make().keys[name]
        assert client.get(address(f"{name}_change", key)).status_code == 200
        assert client.get(address(f"{name}_add")).status_code == 403
        assert client.post(address(f"{name}_add"), {}).status_code == 403
        assert client.post(address(f"{name}_change", key), {"message": "rewritten"}).status_code == 403
        assert client.post(address(f"{name}_delete", key), {"post": "yes"}).status_code == 403
        fields = {"action": "delete_selected", "_selected_action": key, "post": "yes", "index": "0"}
        client.post(address(f"{name}_changelist"), fields)
        assert client.get(address(f"{name}_change", key)).status_code == 200


CANARY = {
    "password": "canary-password-7f3a",
    "api_key": "kilo_canaryapikey_b81c_wxyz",
    "provider": "sk-canary-provider-2e9d-wxyz",
    "header": "canary-header-4c0e-wxyz",
}


class Sample:
    """One object of every kind, those with secrets with secrets that tests know."""

    def __init__(self) -> None:
        self.organization = OrganizationFactory.create(name="Canary & Sons", settings={"data_collection": "deny"})
        self.user = UserFactory.create(email="canary@example.com", password=CANARY["password"])
        self.key = ApiKeyFactory.create(
            user=self.user, organization=self.organization, plaintext=CANARY["api_key"], name="canary"
        )
        self.credential = CredentialFactory.create(organization=self.organization, secret=CANARY["provider"])
        own = CredentialFactory.create(user=self.user, secret=CANARY["provider"])
        membership = MembershipFactory.create(user=self.user, organization=self.organization)
        mode = CustomModeFactory.create(organization=self.organization, created_by=self.user)
        row = write_audit(self.organization)
        version = self.organization.settings_versions.create(
            routing_version=1, settings=self.organization.settings, audit_log=row
        )
        broken = BrokenRoute.objects.create(organization=self.organization, slug="code", target="a/b")
        usage = make_usage(self.organization, self.user)
        HostedBalanceFactory.create(organization=self.organization)
        spending = MemberSpending.objects.create(organization=self.organization, user_id=self.user.pk)
        self.keys: dict[str, Any] = {
            "organizations_organization": self.organization.pk,
            "organizations_user": self.user.pk,
            "organizations_membership": membership.pk,
            "organizations_invitation": self._invitation(),
            "organizations_deviceauthorization": self._device(),
            "organizations_apikey": self.key.pk,
            "organizations_auditlog": row.pk,
            "organizations_settingsversion": version.pk,
            "modes_custommode": mode.pk,
            "byok_credential": own.pk,
            "byok_customprovider": self._custom_provider(),
            "routing_catalogsnapshot": Installation.objects.get().catalog_snapshot_id,
            "routing_installation": 1,
            "routing_brokenroute": broken.pk,
            "routing_hostedbalance": self.organization.pk,
            "routing_memberspending": spending.pk,
            "routing_autotierrule": AutoTierRule.objects.all()[0].pk,
            "routing_usagerecord": usage.pk,
        }

    @classmethod
    def make(cls) -> Sample:
        return cls()

    def _device(self) -> Any:
        from organizations.device_authorization import device_authorization_create

        return device_authorization_create(address="192.0.2.1", client="Kilo").row.pk

    def _custom_provider(self) -> Any:
        provider = CustomProvider.objects.create(
            organization=self.organization,
            provider_id="custom-acme",
            name="Canary",
            base_url="https://models.example.com/v1",
            api_kinds=["chat_completions"],
            key_style="bearer",
        )
        owner = SecretOwner.organization(self.organization.pk)
        sealed = keyring().encrypt(
            Secret(CANARY["header"]), owner=owner, provider_id="custom-acme", purpose=header_purpose("x-tenant")
        )
        provider.headers.create(name="x-tenant", key_id=sealed.key_id, ciphertext=sealed.ciphertext, last_four="wxyz")
        return provider.pk

    def _invitation(self) -> Any:
        from organizations.models import Invitation

        expires = datetime.now(UTC) + timedelta(days=1)
        return Invitation.objects.create(
            organization=self.organization,
            email="invited@example.com",
            invited_by=self.user,
            token_hash=b"canarytokenhash-canarytokenhash!",
            expires_at=expires,
        ).pk

    def secrets(self) -> list[bytes]:
        """Everything that no page may show, in each form in which it could be shown."""
        hidden = [
            bytes(Credential.objects.get(pk=self.credential.pk).ciphertext),
            bytes(CustomProviderHeader.objects.get().ciphertext),
            bytes(ApiKey.objects.get(pk=self.key.pk).key_hash),
            b"canarytokenhash-canarytokenhash!",
        ]
        forms = [form for value in hidden for form in (value, value.hex().encode(), repr(value)[2:-1].encode())]
        password = User.objects.get(pk=self.user.pk).password.encode()
        return [
            *forms,
            password,
            password.rsplit(b"$", 1)[1],
            b"argon2",
            *(value.encode() for value in CANARY.values()),
        ]


def write_audit(organization: Organization | None, message: str = "Something changed", **fields: Any) -> AuditLog:
    actor = audit.Actor(via=Via.WEB, id=uuid4(), email="alice@example.com", name="Alice")
    return audit.record(
        **{
            "action": AuditAction.MODE_UPDATED,
            "organization": organization,
            "actor": actor,
            "message": message,
            **fields,
        }
    )


def make_usage(organization: Organization, user: User, **fields: Any) -> UsageRecord:
    return UsageRecord.objects.create(
        **{
            "request_id": uuid4(),
            "created_at": datetime.now(UTC),
            "organization_id": organization.pk,
            "user_id": user.pk,
            "api_kind": "chat_completions",
            "requested_model": "kilo-auto/org",
            "resolved_model": "a/b",
            "status": 200,
            "duration_ms": 12,
            "hosted_cost_microdollars": 1_234,
            **fields,
        }
    )


class TestSecrets:
    def test_no_page_shows_one(self, page: Client) -> None:
        sample = Sample()
        secrets = sample.secrets()
        seen = 0
        for url in self.every_address(sample):
            answer = page.get(url, follow=True)
            content = b"".join(answer.streaming_content) if answer.streaming else answer.content
            assert answer.status_code in {200, 403, 404}, url
            seen += answer.status_code == 200
            assert not [secret for secret in secrets if secret in content], url
        assert seen > 60

    def test_links_from_an_organization_to_its_lists_work(self, page: Client) -> None:
        sample = Sample()
        shown = text_of(page.get(address("organizations_organization_change", sample.organization.pk)))
        lists = re.findall(r'<a href="(/admin/[^"]*\?organization[^"]*)"', shown)
        assert len(lists) >= 9
        for url in lists:
            assert page.get(url).status_code == 200, url

    def every_address(self, sample: Sample) -> list[str]:
        found = ["/admin/"]
        names = {f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry}
        assert names == set(sample.keys), "a page without a sample object"
        for name, key in sample.keys.items():
            found += [address(f"{name}_{view}", key) for view in ("change", "history", "delete")]
            found += [address(f"{name}_add"), address(f"{name}_changelist")]
            found += [address(f"{name}_changelist", q=word) for word in ("canary", "wxyz", str(key))]
            found.append(address(f"{name}_changelist", o="1"))
        found += [address("organizations_auditlog_export", kind, q="") for kind in ("csv", "jsonl")]
        found += [address("app_list", label) for label in ("organizations", "modes", "byok", "routing")]
        return found

    @pytest.mark.parametrize(
        ("name", "lookup"),
        [
            ("organizations_user", "password__startswith"),
            ("organizations_apikey", "key_hash__gt"),
            ("organizations_apikey", "user__password__startswith"),
            ("organizations_membership", "user__password__startswith"),
            ("byok_credential", "ciphertext__gt"),
            ("byok_credential", "user__password__startswith"),
            ("organizations_invitation", "token_hash"),
            ("organizations_auditlog", "message__regex"),
            ("organizations_organization", "settings__contains"),
            ("routing_usagerecord", "task_id__contains"),
        ],
    )
    def test_no_lookup_in_the_address_guesses_one(self, page: Client, name: str, lookup: str) -> None:
        Sample()
        assert page.get(address(f"{name}_changelist", **{lookup: "a"})).status_code == 400

    def test_hidden_columns_are_not_read_for_a_list(self, page: Client) -> None:
        Sample()
        for name, column in (
            ("organizations_user", "password"),
            ("organizations_apikey", "key_hash"),
            ("byok_credential", "ciphertext"),
            ("organizations_invitation", "token_hash"),
        ):
            with CaptureQueriesContext(
                connection,
            ) as queries:
                page.get(address(f"{name}_changelist"))
            listed = [row["sql"] for row in queries.captured_queries if f'FROM "{name}"' in row["sql"]]
            of_signed_in = [sql for sql in listed if "LIMIT 21" in sql]
            assert listed, name
            assert not [sql for sql in listed if f'"{column}"' in sql and sql not in of_signed_in], name


class TestAuditLog:
    @pytest.fixture
    def acme(self) -> Organization:
        return OrganizationFactory.create(name="Acme")

    def shown(self, page: Client, **query: Any) -> list[str]:
        content = text_of(page.get(address("organizations_auditlog_changelist", **query)))
        return re.findall(r'class="field-message">([^<]*)<', content)

    def test_filters(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "one", action=AuditAction.ROUTE_SET)
        write_audit(OrganizationFactory.create(name="Other"), "two")
        write_audit(None, "three", actor=audit.SYSTEM, target_kind="user", target_id="u-1")
        assert self.shown(page) == ["three", "two", "one"]
        assert self.shown(page, organization="acm") == ["one"]
        assert self.shown(page, organization=acme.pk) == ["one"]
        assert self.shown(page, organization="-") == ["three"]
        assert self.shown(page, action="organization_auto.route.set") == ["one"]
        assert self.shown(page, actor="Alice@example.com") == ["two", "one"]
        assert self.shown(page, target="u-1") == ["three"]
        today = datetime.now(UTC).date()
        assert self.shown(page, **{"from": today, "to": today}) == ["three", "two", "one"]
        assert self.shown(page, to=today - timedelta(days=1)) == []
        assert self.shown(page, **{"from": today + timedelta(days=1)}) == []

    def test_search(self, page: Client, acme: Organization) -> None:
        write_audit(acme, 'Route for "code" set to "a/b"')
        write_audit(acme, "100% of it", target_id="T-77", actor=audit.SYSTEM)
        assert self.shown(page, q="ROUTE FOR") == ["Route for &quot;code&quot; set to &quot;a/b&quot;"]
        assert self.shown(page, q="alice@") == ["Route for &quot;code&quot; set to &quot;a/b&quot;"]
        assert self.shown(page, q="t-77") == ["100% of it"]
        assert self.shown(page, q="0% o") == ["100% of it"]
        assert self.shown(page, q="_oute") == []

    @pytest.mark.parametrize(
        "query",
        [{"from": "yesterday"}, {"to": "9999-12-31"}, {"action": "nothing"}, {"before": "x"}, {"after": "987654321"}],
    )
    def test_nonsense_in_the_address_leads_back_to_the_list(self, page: Client, query: dict[str, str]) -> None:
        answer = page.get(address("organizations_auditlog_changelist", **query))
        assert answer.status_code == 302
        assert page.get(answer["Location"]).status_code == 200

    def test_nul_is_no_server_error(self, page: Client) -> None:
        for name in ("organization", "actor", "target", "q"):
            assert page.get(address("organizations_auditlog_changelist", **{name: "a\0b"})).status_code in {200, 302}

    def test_pages_lead_through_all_rows_and_back(self, page: Client, acme: Organization) -> None:
        moment = datetime.now(UTC)
        with mock.patch("django.utils.timezone.now", return_value=moment):
            for number in range(7):
                write_audit(acme, f"row {number}")
        with mock.patch("organizations.admin.audit_log.AuditLogAdmin.list_per_page", 3):
            expected = [["row 6", "row 5", "row 4"], ["row 3", "row 2", "row 1"], ["row 0"]]
            url, seen = address("organizations_auditlog_changelist"), []
            while url:
                content = text_of(page.get(url))
                seen.append(re.findall(r'class="field-message">([^<]*)<', content))
                last, url = url, self.link(content, "next")
            assert seen == expected
            back = text_of(page.get(self.link(text_of(page.get(last)), "prev")))
            assert re.findall(r'class="field-message">([^<]*)<', back) == expected[1]

    def link(self, content: str, rel: str) -> str:
        found = re.search(rf'<a href="([^"]*)"\s+rel="{rel}"', content)
        base = address("organizations_auditlog_changelist")
        return base + found[1].replace("&amp;", "&") if found else ""

    def test_a_search_looks_through_a_bounded_number_of_rows(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "needle")
        for number in range(9):
            write_audit(acme, f"hay {number}")
        with mock.patch.object(newest_first, "WINDOW", 4):
            url, pages, found = address("organizations_auditlog_changelist", q="needle"), 0, []
            while url:
                content = text_of(page.get(url))
                found += re.findall(r'class="field-message">([^<]*)<', content)
                pages, url = pages + 1, self.link(content, "next")
        assert found == ["needle"]
        assert pages == 3

    def test_a_row_links_to_what_it_is_about(self, page: Client, acme: Organization) -> None:
        credential = CredentialFactory.create(organization=acme)
        about = write_audit(acme, target_kind="credential", target_id=str(credential.pk))
        route = write_audit(acme, target_kind="route", target_id="code")
        content = text_of(page.get(address("organizations_auditlog_changelist")))
        assert f'href="{address("byok_credential_change", credential.pk)}"' in content
        shown = text_of(page.get(address("organizations_auditlog_change", route.pk)))
        assert f'href="{address("organizations_organization_change", acme.pk)}"' in shown
        strange = write_audit(None, target_kind="user", target_id="../../evil")
        assert "evil</a>" not in text_of(page.get(address("organizations_auditlog_change", strange.pk)))
        assert page.get(address("organizations_auditlog_change", about.pk)).status_code == 200

    def test_changes_are_shown_as_text(self, page: Client, acme: Organization) -> None:
        row = write_audit(acme, "<b>bold</b>", changes={"<i>field": ("<script>x", {"a": ["<img>"]})})
        for url in (address("organizations_auditlog_changelist"), address("organizations_auditlog_change", row.pk)):
            content = text_of(page.get(url))
            assert not re.search(r"<b>bold|<script>x|<img>|<i>field", content)

    def test_the_history_of_an_object_is_its_audit_log(self, page: Client) -> None:
        bob = UserFactory.create(name="Bob")
        page.post(address("organizations_user_change", bob.pk), {"name": "Rob", "is_active": "on"})
        answer = page.get(address("organizations_user_history", bob.pk), follow=True)
        assert f"User {bob.email} renamed" in text_of(answer)

    def test_export_as_csv(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "=HYPERLINK(1)", changes={"a": (1, "b")})
        write_audit(acme, "  @SUM(1)")
        write_audit(None, "other", actor=audit.SYSTEM)
        answer = page.get(address("organizations_auditlog_export", "csv", organization=acme.pk))
        assert answer.streaming
        assert "attachment" in answer["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(text_of(answer))))
        assert [row["message"] for row in rows] == ["'  @SUM(1)", "'=HYPERLINK(1)", "Head of the chain"]
        assert {row["organization_id"] for row in rows} == {str(acme.pk)}
        assert json.loads(rows[1]["changes"]) == {"a": [1, "b"]}
        assert rows[2]["hash"] == rows[0]["hash"]

    def test_export_as_jsonl(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "one")
        write_audit(None, "two")
        answer = page.get(address("organizations_auditlog_export", "jsonl"))
        lines = [json.loads(line) for line in text_of(answer).splitlines()]
        assert [line["message"] for line in lines[:2]] == ["two", "one"]
        heads = {line["head"]["organization_id"]: line["head"]["hash"] for line in lines[2:]}
        assert heads == {None: lines[0]["hash"], str(acme.pk): lines[1]["hash"]}

    def test_export_of_what_was_searched(self, page: Client, acme: Organization) -> None:
        for number in range(9):
            write_audit(acme, f"hay {number}" if number % 4 else "needle")
        with mock.patch.object(newest_first, "WINDOW", 2), mock.patch.object(newest_first, "BATCH", 2):
            lines = text_of(page.get(address("organizations_auditlog_export", "jsonl", q="needle"))).splitlines()
        assert [json.loads(line).get("message") for line in lines] == ["needle", "needle", "needle", None]

    def test_there_are_no_other_formats(self, page: Client) -> None:
        assert page.get(address("organizations_auditlog_export", "xlsx")).status_code == 404

    def test_reading_leaves_the_chain_intact(self, page: Client, acme: Organization) -> None:
        row = write_audit(acme)
        page.post(address("organizations_auditlog_change", row.pk), {"message": "rewritten"})
        assert verify_chain(acme.pk) == (1, None)


class TestUsage:
    def shown(self, page: Client, **query: Any) -> int:
        content = text_of(page.get(address("routing_usagerecord_changelist", **query)))
        return len(re.findall(r'class="field-time', content))

    def test_filters_and_search(self, page: Client) -> None:
        acme, bob = OrganizationFactory.create(name="Acme"), UserFactory.create(email="bob@example.com")
        row = make_usage(acme, bob, status=404, is_byok=True)
        make_usage(OrganizationFactory.create(), UserFactory.create(), resolved_model="c/d")
        make_usage(acme, UserFactory.create(), organization_id=None)
        assert self.shown(page) == 3
        for query in (
            {"organization": "Acme"},
            {"person": "bob@example.com"},
            {"person": bob.pk},
            {"status": "404"},
            {"status": "4xx"},
            {"key": "byok"},
            {"model": "C/D"},
            {"organization": "-"},
            {"q": row.request_id},
        ):
            assert self.shown(page, **query) == 1, query
        assert self.shown(page, q="bob") == 0
        assert page.get(address("routing_usagerecord_changelist", status="40")).status_code == 302

    def test_an_unknown_cost_is_not_zero(self, page: Client) -> None:
        row = make_usage(OrganizationFactory.create(), UserFactory.create(), market_cost_microdollars=None)
        shown = text_of(page.get(address("routing_usagerecord_change", row.pk)))
        assert "$0.001234" in shown
        assert "unknown" in shown


ROWS = 100_000
MANY_AUDIT_ROWS = f"""
    INSERT INTO organizations_auditlog (organization_id, sequence, created_at, action, actor_id, actor_email,
        actor_name, via, request_id, target_kind, target_id, changes, message, previous_hash, hash)
    SELECT (%s::uuid[])[1 + n %% 10], n, now() - (n || ' seconds')::interval,
        CASE WHEN n %% 1000 = 0 THEN 'mode.deleted' ELSE 'mode.updated' END, gen_random_uuid(),
        'person' || n %% 500 || '@example.com', 'Person', 'web', '', 'mode', gen_random_uuid()::text, '{{}}',
        'Mode number ' || n || ' updated', '', ''
    FROM generate_series(1, {ROWS}) AS n
"""
MANY_USAGE_ROWS = f"""
    INSERT INTO routing_usagerecord (request_id, created_at, organization_id, user_id, api_kind, requested_model,
        auto_model, mode, route_kind, route, target, resolved_model, provider, is_byok, streamed, cancelled, status,
        error_type, duration_ms, task_id, editor, feature)
    SELECT gen_random_uuid(), now() - (n || ' seconds')::interval, (%s::uuid[])[1 + n %% 10], gen_random_uuid(),
        'chat_completions', 'kilo-auto/org', '', 'code', '', '', '', 'a/b', 'openrouter', false, true, false, 200, '',
        5, '', '', ''
    FROM generate_series(1, {ROWS}) AS n
"""


class TestManyRows:
    """A hundred thousand rows in each log: no count, few queries, and every filter on an index."""

    @pytest.fixture
    def organizations(self) -> list[Organization]:
        return OrganizationFactory.create_batch(10)

    def pages(self, page: Client, name: str, queries: list[dict[str, Any]]) -> list[str]:
        """Open the list with each of these filters, and a page further; the statements over the table."""
        statements: list[str] = []
        for query in queries:
            url = address(f"{name}_changelist", **query)
            for _ in range(2):
                with CaptureQueriesContext(connection) as captured:
                    content = text_of(page.get(url))
                texts = [row["sql"] for row in captured.captured_queries]
                assert len(texts) <= 12, (query, len(texts))
                assert not [sql for sql in texts if "COUNT(" in sql.upper()], query
                statements += [sql for sql in texts if f'FROM "{name}"' in sql]
                following = re.search(r'<a href="([^"]*)"\s+rel="next"', content)
                if following is None:
                    break
                url = address(f"{name}_changelist") + following[1].replace("&amp;", "&")
        return statements

    def assert_on_an_index(self, statements: list[str], table: str) -> None:
        assert statements
        with connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert f"Seq Scan on {table}" not in plan, f"{sql}\n{plan}"

    def fill(self, statement: str, organizations: list[Organization], table: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, [[row.pk for row in organizations]])
            cursor.execute(f"ANALYZE {table}")

    def test_audit_log(self, page: Client, organizations: list[Organization]) -> None:
        self.fill(MANY_AUDIT_ROWS, organizations, "organizations_auditlog")
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        target = AuditLog.objects.order_by("pk")[500].target_id
        statements = self.pages(
            page,
            "organizations_auditlog",
            [
                {},
                {"organization": organizations[3].pk},
                {"action": "mode.deleted"},
                {"actor": "person77@example.com"},
                {"target": target},
                {"from": yesterday, "to": yesterday},
                {"organization": organizations[3].pk, "action": "mode.deleted", "to": yesterday},
                {"q": "number 99999 "},
                {"q": "updated"},
                {"q": "nothing like it", "organization": organizations[3].pk},
            ],
        )
        self.assert_on_an_index(statements, "organizations_auditlog")
        assert "about 100,000 in all" in text_of(page.get(address("organizations_auditlog_changelist")))

    def test_usage(self, page: Client, organizations: list[Organization]) -> None:
        quiet, person = OrganizationFactory.create(name="Quiet Inc"), UserFactory.create()
        for days in range(20, 25):
            make_usage(quiet, person, created_at=datetime.now(UTC) - timedelta(days=days))
        self.fill(MANY_USAGE_ROWS, organizations, "routing_usagerecord")
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        request_id = UsageRecord.objects.order_by("pk")[500].request_id
        statements = self.pages(
            page,
            "routing_usagerecord",
            [
                {},
                {"organization": organizations[3].pk},
                {"organization": organizations[3].name},
                {"from": yesterday, "to": yesterday},
                {"status": "5xx"},
                {"person": uuid4()},
                {"model": "c/d", "organization": organizations[3].pk},
                {"key": "byok"},
                {"q": request_id},
            ],
        )
        self.assert_on_an_index(statements, "routing_usagerecord")
        # Never a walk through what others did, or through what came later.
        for query, most in (
            ({"organization": quiet.pk}, 10),
            ({"organization": "Quiet Inc"}, 10),
            ({"organization": organizations[3].pk}, 110),
            ({"organization": quiet.pk, "status": "5xx", "to": yesterday}, 20),
            ({"to": yesterday - timedelta(days=10)}, 10),
            ({"to": yesterday}, 150),
        ):
            with CaptureQueriesContext(connection) as captured:
                content = text_of(page.get(address("routing_usagerecord_changelist", **query)))
            assert 'class="field-time' in content or "status" in query
            assert Examined(captured, "routing_usagerecord").rows <= most, query

    def test_other_lists_make_few_queries_too(self, page: Client) -> None:
        organizations = OrganizationFactory.create_batch(60)
        users = UserFactory.create_batch(60)
        for organization, user in zip(organizations, users, strict=True):
            MembershipFactory.create(organization=organization, user=user)
            ApiKeyFactory.create(organization=organization, user=user)
            CredentialFactory.create(organization=organization)
            CustomModeFactory.create(organization=organization, created_by=user)
            BrokenRoute.objects.create(organization=organization, slug="code", target="a/b")
            row = write_audit(organization)
            organization.settings_versions.create(routing_version=1, settings={}, audit_log=row)
        for name in every_list():
            for query in ({}, {"q": "a"}):
                with CaptureQueriesContext(connection) as captured:
                    assert page.get(address(name, **query)).status_code == 200
                assert len(captured) <= 12, (name, len(captured))


class TestStaticFiles:
    @pytest.mark.parametrize("path", ["admin/css/base.css", "admin_pages/admin.css"])
    def test_without_collecting_them(self, client: Client, path: str) -> None:
        with closing(client.get(f"/static/{path}")) as answer:
            assert answer.status_code == 200
            assert answer["Content-Type"].startswith("text/css")

    def test_nothing_else_is_served(self, client: Client) -> None:
        assert client.get("/static/../manage.py").status_code == 404
