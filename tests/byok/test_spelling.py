"""The id that a provider is asked for: in its own spelling where its list has it, else as it was written."""

from __future__ import annotations

import pytest

from routing.proxy.usage_writer import writer
from tests.e2e.scripted import ScriptedUpstream
from tests.support.inprocess import CHAT, Answer, call, chat
from tests.support.tenants import Tenant, auto_settings, make_tenant

ROUTES = {"code": "fireworks-byok/accounts/deepseek-v3", "ask": "fireworks-byok/accounts/unlisted"}


@pytest.fixture
def tenant(db: None, provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    monkeypatch.setattr(writer, "put", [].append)
    provider.script = lambda line: line.answer_json({"choices": []})
    tenant = make_tenant(settings=auto_settings(ROUTES))
    # The list of the first is known to be incomplete, that of the second is complete, and the third has none.
    tenant.store_credential("fireworks-byok", offered_models=["accounts/DeepSeek-V3"])
    tenant.store_credential("openai-byok", offered_models=["GPT-5"])
    tenant.store_credential("neuralwatt", offered_models=None)
    return tenant


def ask(tenant: Tenant, model: str, mode: str = "") -> Answer:
    return call(CHAT, chat(model), tenant.key, headers={"x-kilocode-mode": mode})


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("fireworks-byok/accounts/deepseek-v3", "accounts/DeepSeek-V3"),
        ("Fireworks-BYOK/Accounts/DEEPSEEK-v3", "accounts/DeepSeek-V3"),
        ("fireworks-byok/accounts/Other-Model", "accounts/Other-Model"),
        ("openai-byok/gpt-5", "GPT-5"),
        ("neuralwatt/Maker/Some-Model", "Maker/Some-Model"),
        (" neuralwatt/maker/some-model ", "maker/some-model"),
    ],
)
def test_asked_for(tenant: Tenant, provider: ScriptedUpstream, model: str, sent: str) -> None:
    answer = ask(tenant, model)
    assert answer.status == 200
    assert provider.requests[0].json()["model"] == sent
    assert answer.headers["x-kilo-model"] == sent


def test_two_spellings_are_two_decisions(tenant: Tenant, provider: ScriptedUpstream) -> None:
    for model in ("neuralwatt/A-b", "neuralwatt/a-B", "neuralwatt/A-b"):
        ask(tenant, model)
    assert [seen.json()["model"] for seen in provider.requests] == ["A-b", "a-B", "A-b"]


def test_routed(tenant: Tenant, provider: ScriptedUpstream) -> None:
    for mode in ROUTES:
        assert ask(tenant, "kilo-auto/org", mode).status == 200
    assert [seen.json()["model"] for seen in provider.requests] == ["accounts/DeepSeek-V3", "accounts/unlisted"]


def test_a_complete_list_is_all_there_is(tenant: Tenant, provider: ScriptedUpstream) -> None:
    assert ask(tenant, "openai-byok/gpt-6").error_type == "model_not_found"
    assert provider.accepted == 0
