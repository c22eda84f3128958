"""The pages of a person's own provider keys, below his account."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from byok.models import Credential
from organizations.models import AuditAction, AuditLog, User
from tests.e2e.scripted import ScriptedUpstream
from tests.factories import CredentialFactory, UserFactory

KEY = "sk-canary-of-a-person-abcd"
OTHER = "sk-canary-of-a-person-wxyz"
ACCOUNT = "/account"
ADD = "/account/provider-keys/add"


@pytest.fixture(autouse=True)
def models(provider: ScriptedUpstream) -> None:
    provider.script = lambda line: line.answer_json({"data": [{"id": "GPT-5"}, {"id": "gpt-5-mini"}]})


@pytest.fixture
def alice(db: None) -> User:
    user: User = UserFactory.create(email="alice@example.com")
    return user


@pytest.fixture
def stored(alice: User) -> Credential:
    fields = {"provider": "openai-byok", "secret": KEY, "offered_models": ["GPT-5"]}
    credential: Credential = CredentialFactory.create(user=alice, **fields)
    return credential


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(name: str, credential: Credential) -> str:
    return reverse(name, kwargs={"own_credential_id": credential.pk})


def text_of(answer: Any) -> str:
    text: str = answer.content.decode()
    assert "canary" not in text
    return text


class TestAccount:
    def test_it_lists_ones_own_keys_only(self, stored: Credential, alice: User) -> None:
        text = text_of(client_of(alice).get(ACCOUNT))
        assert "…abcd" in text
        assert url("own-provider-key-test", stored) in text
        others = text_of(client_of(UserFactory.create()).get(ACCOUNT))
        assert "…abcd" not in others
        assert ADD in others

    def test_a_key_that_is_off_says_so(self, stored: Credential, alice: User) -> None:
        Credential.objects.update(is_enabled=False)
        text = text_of(client_of(alice).get(url("own-provider-key", stored)))
        assert "the same as no key" in text
        assert "Switch on" in text


class TestAdd:
    def test_it_works(self, alice: User) -> None:
        client = client_of(alice)
        answer = client.post(ADD, {"provider": "OpenAI", "api_key": KEY}, follow=True)
        text = text_of(answer)
        assert answer.redirect_chain == [(ACCOUNT, 302)]
        assert "is stored; it can use 2 models." in text
        row = Credential.objects.get()
        assert (row.user_id, row.organization_id, row.provider) == (alice.pk, None, "openai-byok")
        assert AuditLog.objects.get(action=AuditAction.BYOK_CREATED).organization_id is None

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"provider": "openai-byok", "api_key": OTHER}, "already: replace it"),
            ({"provider": "nobody", "api_key": OTHER}, "There is no provider with this id."),
            ({"provider": "groq-byok", "api_key": "two words"}, "A key has no spaces"),
            ({"provider": "groq-byok", "api_key": ""}, "This field is required."),
        ],
    )
    def test_refusals(self, stored: Credential, alice: User, given: dict[str, str], told: str) -> None:
        answer = client_of(alice).post(ADD, given)
        assert answer.status_code == 422
        assert told in text_of(answer)
        assert Credential.objects.count() == 1


class TestOne:
    def test_it_is_replaced(self, stored: Credential, alice: User) -> None:
        client = client_of(alice)
        assert "abcd" in text_of(client.get(url("own-provider-key-replace", stored)))
        assert "was replaced" in text_of(
            client.post(url("own-provider-key-replace", stored), {"api_key": OTHER}, follow=True)
        )
        stored.refresh_from_db()
        assert stored.last_four == "wxyz"

    def test_it_is_tested(self, stored: Credential, alice: User, provider: ScriptedUpstream) -> None:
        client = client_of(alice)
        client.post(url("own-provider-key-test", stored))
        stored.refresh_from_db()
        assert stored.last_test_result == "works"
        provider.script = lambda line: line.answer_json({"error": {"message": f"no {KEY}"}}, "401 Unauthorized")
        text = text_of(client.post(url("own-provider-key-test", stored), follow=True))
        stored.refresh_from_db()
        assert stored.last_test_result == "refused"
        assert stored.last_test_message in text
        assert "toast-error" in text

    def test_its_models_are_read(self, stored: Credential, alice: User) -> None:
        text = text_of(client_of(alice).post(url("own-provider-key-discover", stored), follow=True))
        assert "2 models for this key" in text
        assert "gpt-5-mini" in text

    def test_it_is_switched_and_deleted(self, stored: Credential, alice: User) -> None:
        client = client_of(alice)
        client.post(url("own-provider-key-enabled", stored), {"enabled": "off"})
        assert not Credential.objects.get().is_enabled
        client.post(url("own-provider-key-enabled", stored), {"enabled": "maybe"})
        assert not Credential.objects.get().is_enabled
        client.post(url("own-provider-key-enabled", stored), {"enabled": "on"})
        assert Credential.objects.get().is_enabled
        assert "deleted for good" in text_of(client.get(url("own-provider-key-delete", stored)))
        client.post(url("own-provider-key-delete", stored))
        assert not Credential.objects.exists()
