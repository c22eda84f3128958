"""The pages of custom providers."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import QueryDict

from byok.models import Credential, CustomProvider
from byok.pages.custom_provider_form import CustomProviderForm, models_text
from byok.services.custom_providers import custom_provider_create
from organizations.acting import Acting
from organizations.audit import COMMAND
from tests.byok.pages.test_keys import client_of, text_of, url
from tests.factories import CredentialFactory, organization_auto
from tests.routing.management.conftest import Team

# An address, so that nothing has to be resolved.
BASE, ELSEWHERE = "https://93.184.215.14/v1", "https://93.184.215.15/v1"
BODY = {
    "name": "Lab",
    "base_url": BASE,
    "api_kinds": ["chat_completions", "responses"],
    "key_style": "bearer",
    "header_name": ["x-team", ""],
    "header_value": ["canary-of-a-header", ""],
    "models": "Llama-4 | Llama 4 | 128,000 | 8000\n\ntiny",
}


@pytest.fixture
def lab(team: Team) -> CustomProvider:
    client = client_of(team.carol)
    answer = client.post(url("custom-provider-add", team.organization), {**BODY, "id": "custom-lab"})
    assert answer.status_code == 303, text_of(answer)
    return CustomProvider.objects.get()


def edit_url(team: Team, name: str = "custom-provider") -> str:
    return url(name, team.organization, provider_id="custom-lab")


class TestAdd:
    def test_it_works(self, team: Team, lab: CustomProvider) -> None:
        assert (lab.name, lab.base_url, lab.api_kinds) == ("Lab", BASE, ["chat_completions", "responses"])
        assert [model["id"] for model in lab.known_models] == ["Llama-4", "tiny"]
        assert lab.known_models[0]["context_length"] == 128_000
        assert [header.name for header in lab.headers.all()] == ["x-team"]
        text = text_of(client_of(team.alice).get(url("provider-keys", team.organization)))
        assert f"{url('provider-key-add', team.organization)}?provider=custom-lab" in text

    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("base_url", "https://169.254.169.254/v1", "This base URL cannot be used"),
            ("base_url", "http://llm.example.com/v1", "it must start with https://"),
            ("id", "custom-Lab", "small letters, digits and hyphens"),
            ("api_kinds", [], "This field is required."),
            ("header_name", ["authorization", ""], "&quot;authorization&quot; cannot be chosen"),
            ("header_value", ["", ""], "These need a value: x-team."),
            ("models", "a\nb | B | many", "Line 2: &quot;many&quot; is no number of tokens."),
            ("models", "a | b | 1 | 2 | 3", "Line 1 has more than 4 parts."),
        ],
    )
    def test_refused(self, team: Team, field: str, value: Any, told: str) -> None:
        body = {**BODY, "id": "custom-lab", field: value}
        answer = client_of(team.alice).post(url("custom-provider-add", team.organization), body)
        assert answer.status_code == 422
        assert told in text_of(answer)
        assert not CustomProvider.objects.exists()

    def test_what_was_typed_is_kept_but_for_values(self, team: Team) -> None:
        body = {**BODY, "id": "no", "header_name": ["x-mine", ""]}
        text = text_of(client_of(team.alice).post(url("custom-provider-add", team.organization), body))
        assert 'value="x-mine"' in text
        assert "Type the values again" in text


class TestEdit:
    def test_headers_keep_their_values(self, team: Team, lab: CustomProvider) -> None:
        before = bytes(lab.headers.get().ciphertext)
        text = text_of(client_of(team.alice).get(edit_url(team)))
        assert "…ader is kept" in text
        body = {**BODY, "header_stored": "x-team", "header_name": ["x-team", "x-new"], "header_value": ["", "other"]}
        assert client_of(team.alice).post(edit_url(team), {**body, "name": "Renamed"}).status_code == 303
        lab.refresh_from_db()
        assert lab.name == "Renamed"
        assert {header.name for header in lab.headers.all()} == {"x-team", "x-new"}
        assert bytes(lab.headers.get(name="x-team").ciphertext) == before

    def test_a_header_goes(self, team: Team, lab: CustomProvider) -> None:
        body = {**BODY, "header_stored": "x-team", "header_name": ["x-team"], "header_value": [""]}
        answer = client_of(team.alice).post(edit_url(team), {**body, "header_gone": "x-team"})
        assert answer.status_code == 303
        assert not lab.headers.exists()

    def test_another_host_gets_no_secret(self, team: Team, lab: CustomProvider) -> None:
        CredentialFactory.create(organization=team.organization, provider="custom-lab")
        kept = {**BODY, "header_stored": "x-team", "header_name": ["x-team"], "header_value": [""]}
        client = client_of(team.alice)
        answer = client.post(edit_url(team), {**kept, "base_url": ELSEWHERE})
        assert answer.status_code == 422
        assert "give the values of all headers again" in text_of(answer)
        assert client.post(edit_url(team), {**BODY, "base_url": ELSEWHERE}).status_code == 303
        assert "its key was deleted: add it again" in text_of(client.get(url("provider-keys", team.organization)))
        assert not Credential.objects.exists()

    def test_what_breaks_is_asked_about(self, team: Team, lab: CustomProvider) -> None:
        team.configure(**organization_auto({"code": "custom-lab/llama-4"}, "kilo-auto/small"))
        client, body = client_of(team.alice), {**BODY, "api_kinds": ["responses"]}
        answer = client.post(edit_url(team), body)
        text = text_of(answer)
        assert answer.status_code == 422
        assert "custom-lab/llama-4" in text
        assert 'name="confirm_broken_routes"' in text
        lab.refresh_from_db()
        assert len(lab.api_kinds) == 2
        assert client.post(edit_url(team), {**body, "confirm_broken_routes": "on"}).status_code == 303
        lab.refresh_from_db()
        assert lab.api_kinds == ["responses"]

    def test_somebody_was_quicker(self, team: Team, lab: CustomProvider) -> None:
        body = {**BODY, "name": "Mine", "routing_version": team.routing_version + 1}
        answer = client_of(team.alice).post(edit_url(team), body)
        text = text_of(answer)
        assert answer.status_code == 412
        assert 'value="Mine"' in text
        assert ">Lab</td>" in text


class TestDelete:
    def test_it_works(self, team: Team, lab: CustomProvider) -> None:
        CredentialFactory.create(organization=team.organization, provider="custom-lab")
        team.configure(**organization_auto({"code": "custom-lab/llama-4"}, "kilo-auto/small"))
        client, path = client_of(team.alice), edit_url(team, "custom-provider-delete")
        text = text_of(client.get(path))
        assert "Its key is deleted with it." in text
        assert "custom-lab/llama-4" in text
        assert client.post(path).status_code == 422
        assert client.post(path, {"confirm_broken_routes": "on"}).status_code == 303
        assert not CustomProvider.objects.exists()
        assert not Credential.objects.exists()


def test_saving_what_is_shown_changes_nothing(team: Team) -> None:
    """The text of the models and the rows of the headers say all that is stored."""
    stored = {"id": "Llama-4", "name": "Llama 4", "context_length": None, "max_output_tokens": 8000}
    row = custom_provider_create(
        organization_id=team.organization.pk,
        acting=Acting(COMMAND),
        provider_id="custom-lab",
        name="Lab",
        base_url=BASE,
        api_kinds=["responses"],
    )
    row.known_models = [stored, {"id": "b", "name": "b", "context_length": 1000, "max_output_tokens": None}]
    assert models_text(row.known_models) == "Llama-4 | Llama 4 |  | 8000\r\nb |  | 1000"
    initial = CustomProviderForm(row).initial
    query = QueryDict(mutable=True)
    query.setlist("api_kinds", initial["api_kinds"])
    query.update({name: value for name, value in initial.items() if name != "api_kinds"})
    form = CustomProviderForm(row, query)
    assert form.is_valid(), form.errors
    edit = form.edit()
    assert [model.max_output_tokens for model in edit.models or ()] == [8000, None]
    assert [model.name for model in edit.models or ()] == ["Llama 4", ""]
    assert edit.headers == []
