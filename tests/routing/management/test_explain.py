from __future__ import annotations

from typing import Any

import pytest

from organizations.models import AuditLog
from routing.catalog.tiers import forget_tier_table
from routing.domain.types import MAX_ROUTES, Tier
from routing.models import AutoTierRule
from tests.factories import CredentialFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team, refused


def ask(team: Team, who: str = "bob", **question: Any) -> dict[str, Any]:
    response = team.api(getattr(team, who)).post("explain", question)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    assert response["ETag"] == f'"{answer["routing_version"]}"'
    return answer


class TestStored:
    @pytest.mark.parametrize("who", ["alice", "dave", "carol", "bob"])
    def test_it_works_for_every_member(self, team: Team, who: str) -> None:
        team.configure(**organization_auto({"code": CLAUDE}))
        with team.nothing_changes():
            answer = ask(team, who, mode=" Build ")
        assert (answer["mode"], answer["mode_source"], answer["route"]) == ("build", "header", "alias:build->code")
        assert (answer["target"], answer["kind"], answer["resolved_models"]) == (CLAUDE, "hosted", [CLAUDE])
        assert (answer["provider"], answer["credential"], answer["refusal"]) == (None, None, None)
        assert [step["name"] for step in answer["steps"]][:3] == ["model", "mode", "eligible"]

    def test_a_direct_target_names_provider_and_public_id(self, team: Team) -> None:
        secret = "sk-canary-9182"
        credential = CredentialFactory.create(organization=team.organization, secret=secret)
        team.configure(**organization_auto({"code": "neuralwatt/kimi-k2.6"}))
        answer = ask(team, mode="code", api_kind="chat_completions")
        assert (answer["provider"], answer["credential"]) == ("neuralwatt", str(credential.pk))
        assert answer["resolved_models"] == ["Kimi-K2.6"]
        assert secret not in str(answer)
        assert "9182" not in str(answer)

    def test_a_refusal_is_an_answer(self, team: Team) -> None:
        answer = ask(team)
        assert answer["refusal"] == {
            "code": "organization_auto_not_configured",
            "message": "Organization Auto is not configured for this organization.",
        }
        assert answer["target"] is None
        assert answer["steps"][-1]["outcome"] == "refused"

    def test_malformed_settings(self, team: Team) -> None:
        team.configure(org_auto_model=3)
        assert ask(team)["refusal"]["code"] == "malformed_settings"

    def test_the_model_says_the_mode(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}))
        answer = ask(team, model="kilo-auto/org:code")
        assert (answer["mode_source"], answer["route"]) == ("model suffix", "exact:code")

    def test_another_model(self, team: Team) -> None:
        team.configure(provider_allow_list=["bedrock"])
        answer = ask(team, model=CLAUDE)
        assert (answer["route"], answer["only_providers"]) == ("direct", {CLAUDE: ["bedrock"]})
        assert ask(team, model=GPT)["refusal"]["code"] == "provider_not_allowed"

    def test_a_tier(self, team: Team) -> None:
        answer = ask(team, model="kilo-auto/free", api_kind="messages")
        assert (answer["kind"], answer["resolved_models"]) == ("tier", ["openai/gpt:free"])

    def test_without_an_api_it_tells_which_differ(self, team: Team) -> None:
        AutoTierRule.objects.create(tier=Tier.BALANCED, api_kind="messages", model_ids=[CLAUDE], verbosity="low")
        AutoTierRule.objects.create(tier=Tier.BALANCED, api_kind="responses", model_ids=["gone/model"])
        forget_tier_table()
        answer = ask(team, model="kilo-auto/balanced")
        assert answer["resolved_models"] == [GPT]
        responses, messages = answer["by_api_kind"]["responses"], answer["by_api_kind"]["messages"]
        assert set(answer["by_api_kind"]) == {"responses", "messages"}
        assert (messages["resolved_models"], messages["verbosity"], messages["refusal"]) == ([CLAUDE], "low", None)
        assert (responses["resolved_models"], responses["refusal"]["code"]) == ([], "model_unavailable")
        assert ask(team, model="kilo-auto/balanced", api_kind="messages")["by_api_kind"] == {}
        assert ask(team, model=GPT)["by_api_kind"] == {}

    def test_a_direct_model_that_speaks_one_api(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization)
        answer = ask(team, mode="code", draft=organization_auto({"code": "neuralwatt/demo-model"}))
        assert answer["refusal"] is None
        told = {kind: other["refusal"]["code"] for kind, other in answer["by_api_kind"].items()}
        assert told == {"responses": "api_kind_not_supported", "messages": "api_kind_not_supported"}

    def test_text_that_no_client_sends(self, team: Team) -> None:
        team.configure(**organization_auto())
        assert ask(team, mode="x" * 5000)["mode"] == "x" * 500
        assert ask(team, model="☃ " * 300)["refusal"]["code"] == "model_unavailable"


class TestDraft:
    def test_it_stands_in_place_of_what_is_stored(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}), model_deny_list=[KIMI])
        with team.nothing_changes():
            answer = ask(team, mode="code", draft=organization_auto({"code": KIMI}))
        assert (answer["target"], answer["routing_version"]) == (KIMI, 1)
        assert ask(team, mode="code")["target"] == CLAUDE

    def test_it_is_judged_like_stored_settings(self, team: Team) -> None:
        draft = {**organization_auto({"code": CLAUDE}, fallback=GPT), "provider_allow_list": [" OpenAI"]}
        assert ask(team, mode="code", draft=draft)["refusal"]["code"] == "provider_not_allowed"
        assert ask(team, draft=draft)["target"] == GPT
        assert ask(team, draft={})["refusal"]["code"] == "organization_auto_not_configured"
        assert ask(team, draft={**draft, "default_model": None})["refusal"]["code"] == "organization_auto_not_enabled"
        assert ask(team, draft=organization_auto({}, fallback=None))["refusal"]["code"] == "no_fallback"

    def test_credentials_are_the_stored_ones(self, team: Team) -> None:
        draft = organization_auto({"code": "neuralwatt/demo-model"})
        assert ask(team, mode="code", draft=draft)["refusal"]["code"] == "no_enabled_credential"
        CredentialFactory.create(organization=team.organization)
        assert ask(team, mode="code", draft=draft)["provider"] == "neuralwatt"

    @pytest.mark.parametrize(
        ("draft", "field"),
        [
            ([], "draft"),
            (None, "draft"),
            ({"routes": {}}, "draft.routes"),
            ({"org_auto_model": {"routes": []}}, "draft.org_auto_model.routes"),
            ({"org_auto_model": {"routes": {"code": None}}}, "draft.org_auto_model.routes.code"),
            ({"org_auto_model": {"routes": {"Code!": GPT}}}, "draft.org_auto_model.routes"),
            (
                {"org_auto_model": {"routes": {f"m{number}": GPT for number in range(MAX_ROUTES + 1)}}},
                "draft.org_auto_model.routes",
            ),
            ({"org_auto_model": {"fallback": GPT}}, "draft.org_auto_model.fallback"),
            ({"model_deny_list": None}, "draft.model_deny_list"),
            ({"provider_allow_list": [1]}, "draft.provider_allow_list.0"),
            ({"data_collection": "maybe"}, "draft.data_collection"),
        ],
    )
    def test_shape(self, team: Team, draft: Any, field: str) -> None:
        refused(team.api().post("explain", {"draft": draft}), 400, "invalid", field=field)


@pytest.mark.parametrize(
    "question", [{"model": ""}, {"model": 1}, {"mode": None}, {"api_kind": "soap"}, {"modes": "x"}]
)
def test_shape(team: Team, question: Any) -> None:
    refused(team.api().post("explain", question), 400, "invalid", field=next(iter(question)))


def test_nothing_of_it_is_audited(team: Team) -> None:
    ask(team)
    assert not AuditLog.objects.exists()
