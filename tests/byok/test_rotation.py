"""Sealing everything with another key: nothing is lost, nothing is in the way, and what cannot be read is named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import decrypt, encrypt
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections, transaction

from byok import rotation
from byok.custom_providers import opened_headers, sealed_header
from byok.encryption import generate_key
from byok.keys import keyring
from byok.models import Credential, CustomProvider
from byok.rotation import TABLES, rotate
from byok.selectors import enabled_credentials, provider_for
from kilo_gateway.secret import Secret
from routing.demo import DemoUpstream
from tests.factories import CredentialFactory, OrganizationFactory, UserFactory
from tests.support.inprocess import CHAT, call, chat
from tests.support.tenants import Tenant, make_tenant

OLD, NEW = generate_key("old"), generate_key("new")
CANARY = "sk-canary-of-rotation-1234"


@pytest.fixture
def keys(settings: Any) -> Iterator[Callable[[str], None]]:
    """Start the process anew with these keys, as far as keys are concerned."""

    def use(text: str) -> None:
        settings.CREDENTIAL_KEYS = text
        keyring.cache_clear()

    use(OLD)
    yield use
    keyring.cache_clear()


def command() -> str:
    out = StringIO()
    call_command("rotate_credential_keys", stdout=out, stderr=out)
    return out.getvalue()


def make_rows() -> CustomProvider:
    CredentialFactory.create(provider="openai-byok", secret=CANARY)
    CredentialFactory.create(user=UserFactory.create(), provider="neuralwatt", secret=CANARY)
    organization = OrganizationFactory.create()
    custom = CustomProvider.objects.create(
        organization=organization,
        provider_id="custom-acme",
        name="Acme",
        base_url="https://models.acme.example",
        api_kinds=["chat_completions"],
        key_style="bearer",
    )
    CredentialFactory.create(organization=organization, provider="custom-acme", secret=CANARY)
    sealed_header(custom, "x-team", Secret(CANARY)).save()
    return custom


@pytest.mark.django_db
class TestRotation:
    def test_everything_is_sealed_anew(self, keys: Callable[[str], None]) -> None:
        custom = make_rows()
        updated = list(Credential.objects.order_by("pk").values_list("updated_at", flat=True))
        keys(f"{NEW},{OLD}")
        assert command() == '4 sealed with the key "new", 0 were so already.\n'
        keys(NEW)
        assert command() == '0 sealed with the key "new", 4 were so already.\n'
        assert list(Credential.objects.order_by("pk").values_list("updated_at", flat=True)) == updated
        provider = provider_for(custom.organization_id, "custom-acme")
        assert provider is not None
        assert opened_headers(custom.organization_id, provider)["x-team"].reveal() == CANARY

    def test_no_sealed_column_is_forgotten(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT table_name FROM information_schema.columns WHERE column_name = 'ciphertext'")
            assert {name for (name,) in cursor.fetchall()} == {table.model._meta.db_table for table in TABLES}

    def test_in_many_batches(self, keys: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rotation, "BATCH", 3)
        for number in range(10):
            CredentialFactory.create(secret=f"{CANARY}-{number}")
        keys(f"{NEW},{OLD}")
        assert rotate().resealed == 10
        assert set(Credential.objects.values_list("key_id", flat=True)) == {"new"}

    def test_it_may_be_stopped_and_started_again(
        self, keys: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rotation, "BATCH", 2)
        for _ in range(6):
            CredentialFactory.create(secret=CANARY)
        keys(f"{NEW},{OLD}")
        reseal, calls = rotation._reseal, []

        def stops(*args: Any) -> None:
            calls.append(args)
            if len(calls) == 4:
                raise KeyboardInterrupt
            reseal(*args)

        monkeypatch.setattr(rotation, "_reseal", stops)
        with pytest.raises(KeyboardInterrupt):
            rotate()
        monkeypatch.setattr(rotation, "_reseal", reseal)
        assert Credential.objects.filter(key_id="new").count() == 2, "whole batches only"
        again = rotate()
        assert (again.resealed, again.current) == (4, 2)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"key_id": "gone"}, "no key with the id 'gone'"),
            ({"ciphertext": b"short"}, "too short"),
            ({"provider": "edenai"}, "belongs to another owner, provider or key"),
            ({"ciphertext": b"x" * 60}, "was changed"),
        ],
    )
    def test_what_cannot_be_read_is_named_and_left(
        self, keys: Callable[[str], None], change: dict[str, Any], why: str
    ) -> None:
        make_rows()
        broken = CredentialFactory.create(secret=CANARY)
        Credential.objects.filter(pk=broken.pk).update(**change)
        before = Credential.objects.values().get(pk=broken.pk)
        keys(f"{NEW},{OLD}")
        out = StringIO()
        with pytest.raises(CommandError, match="1 cannot be opened"):
            call_command("rotate_credential_keys", stdout=out, stderr=out)
        told = out.getvalue()
        assert '4 sealed with the key "new"' in told
        assert f"credential {broken.pk} of {before['provider']}, organization {broken.organization_id}: " in told
        assert why in told
        assert CANARY not in told
        assert Credential.objects.values().get(pk=broken.pk) == before

    def test_second_factors_too(self, keys: Callable[[str], None]) -> None:
        user = UserFactory.create()
        for kind, name in (("totp", "secret"), ("recovery_codes", "seed")):
            Authenticator.objects.create(user=user, type=kind, data={name: encrypt(CANARY), "used_mask": 0})
        keys(f"{NEW},{OLD}")
        assert rotate().resealed == 2
        keys(NEW)
        assert rotate().current == 2
        totp, codes = Authenticator.objects.order_by("pk")
        assert (decrypt(totp.data["secret"]), decrypt(codes.data["seed"])) == (CANARY, CANARY)
        assert codes.data["used_mask"] == 0
        keys(OLD)
        assert [(row.table, row.owner.id) for row in rotate().unreadable] == [("second factor", user.pk)] * 2

    def test_moved_to_another_owner(self, keys: Callable[[str], None]) -> None:
        first, second = (CredentialFactory.create(secret=CANARY) for _ in range(2))
        Credential.objects.filter(pk=second.pk).update(ciphertext=Credential.objects.get(pk=first.pk).ciphertext)
        assert [row.row_id for row in rotate().unreadable] == [str(second.pk)]


class TestBesideOthers:
    @pytest.fixture
    def tenant(self, committed_db: None, keys: Callable[[str], None], settings: Any) -> Iterator[Tenant]:
        with DemoUpstream() as upstream:
            settings.PROVIDER_BASE_URLS = {"neuralwatt": f"{upstream.base_url}/v1"}
            tenant = make_tenant()
            tenant.store_credential("neuralwatt", CANARY)
            yield tenant

    def test_requests_go_on(self, tenant: Tenant, keys: Callable[[str], None]) -> None:
        """Those that remember the old ciphertext, and those that read the new one; then the old key may go."""
        others = [make_tenant() for _ in range(20)]
        for other in others:
            other.store_credential("neuralwatt", CANARY)
        keys(f"{NEW},{OLD}")
        stopped, statuses = threading.Event(), []

        def ask() -> None:
            number = 0
            while not stopped.is_set():
                both = (tenant, others[number % len(others)])
                statuses.extend(call(CHAT, chat("neuralwatt/m"), asking.key).status for asking in both)
                number += 1
            connections.close_all()

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            result = rotate()
        finally:
            stopped.set()
            for thread in threads:
                thread.join(10)
        assert (result.resealed, result.unreadable) == (21, [])
        assert set(statuses) == {200}
        assert call(CHAT, chat("neuralwatt/m"), tenant.key).status == 200, "decided before, and remembered"
        keys(NEW)
        for asking in (*others, tenant):
            sealed = enabled_credentials(asking.organization.pk)["neuralwatt"]
            assert keyring().decrypt(sealed.sealed, owner=sealed.owner, provider_id="neuralwatt").reveal() == CANARY

    def test_a_row_that_somebody_holds_comes_last(self, tenant: Tenant, keys: Callable[[str], None]) -> None:
        others = [make_tenant().store_credential("neuralwatt", CANARY) for _ in range(3)]
        keys(f"{NEW},{OLD}")
        held = threading.Event()
        release = threading.Event()

        def hold() -> None:
            with transaction.atomic():
                Credential.objects.select_for_update().get(pk=others[0].pk)
                held.set()
                release.wait(10)
            connections.close_all()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(5)
        done: list[int] = []

        def turn() -> None:
            done.append(rotate().resealed)
            connections.close_all()

        rotating = threading.Thread(target=turn)
        rotating.start()
        for _ in range(500):
            if Credential.objects.filter(key_id="new").count() == 3:
                break
            threading.Event().wait(0.01)
        assert Credential.objects.filter(key_id="new").count() == 3
        assert not done
        release.set()
        holder.join(5)
        rotating.join(5)
        assert done == [4]
