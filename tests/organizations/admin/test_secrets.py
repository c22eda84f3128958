"""What the staff's pages never change and never show."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from byok.custom_providers import header_purpose
from byok.encryption import SecretOwner
from byok.keys import keyring
from byok.models import Credential, CustomProvider, CustomProviderHeader
from kilo_gateway.secret import Secret
from organizations.models import ApiKey, User
from routing.models import AutoTierRule, BrokenRoute, Installation, MemberSpending
from tests.factories import (
    ApiKeyFactory,
    CredentialFactory,
    CustomModeFactory,
    HostedBalanceFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
)
from tests.organizations.admin.helpers import (
    address,
    make_usage,
    text_of,
    write_audit,
)

pytestmark = pytest.mark.django_db


READ_ONLY = ["organizations_auditlog", "routing_usagerecord", "routing_catalogsnapshot", "routing_installation"]


class TestReadOnly:
    @pytest.mark.parametrize(
        "name", [*READ_ONLY, "organizations_settingsversion", "routing_brokenroute", "routing_memberspending"]
    )
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
