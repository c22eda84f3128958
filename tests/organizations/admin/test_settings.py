"""Keys, credentials, auto tiers and the catalog on the staff's pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from byok.models import Credential
from byok.services.credentials import credential_disable
from organizations import audit
from organizations.models import ApiKey, AuditLog, Organization, User
from routing.catalog.bundled import bundled_models
from routing.catalog.index import forget_index, load_current_index
from routing.catalog.tiers import load_tier_table
from routing.demo import DemoUpstream
from routing.domain.types import Tier
from routing.models import AutoTierRule, CatalogSnapshot, Installation
from tests.factories import (
    ApiKeyFactory,
    CredentialFactory,
    OrganizationFactory,
    UserFactory,
)
from tests.organizations.admin.helpers import (
    address,
    newest_audit,
    run_action,
    text_of,
)

pytestmark = pytest.mark.django_db


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
