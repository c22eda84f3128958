"""The Kilo CLI, unmodified, with nothing but KILO_API_URL set: what it lists, and where its agents' questions go.

It says nothing when a response has the wrong shape, it just shows less; so its lists are compared with what is stored.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import SignIn
from tests.clients.expected import ROUTED, Expected, by_mode, only_completion
from tests.clients.kilo import KiloCli
from tests.support.live import Gateway

pytestmark = pytest.mark.usefixtures("quiet_upstream")

ASKED_WITH_A_KEY = {"code", "ask"}


def fetch(gateway: Gateway, name: str, path: str) -> Any:
    """A read endpoint, asked as this person."""
    user = gateway.user(name)
    organization_id = gateway.organization(user["organization"])["id"]
    request = urllib.request.Request(
        gateway.base_url + path.replace("{id}", organization_id),
        headers={"Authorization": f"Bearer {user['api_key']}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def assert_question_reaches(gateway: Gateway, cli: KiloCli, expected: Expected) -> None:
    """One question of this agent is one request to the model of its route, and the answer is shown."""
    finished = cli.ask(expected.mode)
    assert finished.code == 0, finished.errors
    assert f"model {expected.model}," in finished.output
    sent = only_completion(gateway)
    assert sent["path"].endswith("/chat/completions")
    assert (sent["body"]["model"], sent["body"]["stream"]) == (expected.model, True)
    assert sent["body"]["stream_options"] == {"include_usage": True}
    assert sent["key_last_four"] != gateway.user("alice")["api_key"][-4:]
    assert not [name for name in sent["headers"] if name.startswith(("x-kilo", "x-session"))]


# A question costs the CLI ten seconds of processor time, so each mode is asked with one of the two ways to sign in.
@pytest.mark.parametrize("expected", [each for each in ROUTED if each.mode not in ASKED_WITH_A_KEY], ids=by_mode)
def test_agents_of_a_stored_login_reach_their_models(
    gateway: Gateway, stored_login: SignIn, expected: Expected
) -> None:
    assert_question_reaches(gateway, stored_login("alice"), expected)


@pytest.mark.parametrize("expected", [each for each in ROUTED if each.mode in ASKED_WITH_A_KEY], ids=by_mode)
def test_agents_with_a_key_in_the_environment_reach_their_models(
    gateway: Gateway, key_login: SignIn, expected: Expected
) -> None:
    assert_question_reaches(gateway, key_login("alice"), expected)


@pytest.fixture
def orphaned_mode(gateway: Gateway) -> Iterator[str]:
    """The sparsest mode that can be stored: its author has left, and its configuration says nothing."""
    organization_id = gateway.organization("Acme")["id"]
    gateway.sql(
        "INSERT INTO modes_custommode (id, organization_id, name, slug, config, created_at, updated_at)"
        " VALUES (gen_random_uuid(), %s, 'Orphan', 'orphan', '{}', now(), now())",
        organization_id,
    )
    yield "orphan"
    gateway.sql("DELETE FROM modes_custommode WHERE organization_id = %s AND slug = 'orphan'", organization_id)


def test_the_organization_s_modes_are_agents(gateway: Gateway, stored_login: SignIn, orphaned_mode: str) -> None:
    """The CLI drops all modes for one that it does not understand."""
    stored = {mode["slug"] for mode in fetch(gateway, "bob", "/api/organizations/{id}/modes")["modes"]}
    assert {"docs-writer", "security-review", orphaned_mode} <= stored
    finished = stored_login("bob").run("agent", "list")
    assert finished.code == 0, finished.errors
    listed = set(re.findall(r"^(\S+) \((?:primary|subagent|all)\)$", finished.output, re.MULTILINE))
    assert stored <= listed, finished.errors


def test_every_model_with_tools_is_listed(gateway: Gateway, stored_login: SignIn) -> None:
    """The CLI drops the whole catalog for one entry that it does not understand, and each model that has no tools."""
    offered = fetch(gateway, "bob", "/api/organizations/{id}/models")["data"]
    usable = {row["id"] for row in offered if "tools" in row.get("supported_parameters", ["tools"])}
    assert "kilo-auto/org" in usable
    assert {expected.model for expected in ROUTED} <= usable
    finished = stored_login("bob").run("models", "kilo")
    assert finished.code == 0, finished.errors
    assert {line.removeprefix("kilo/") for line in finished.output.split() if line.startswith("kilo/")} == usable


def test_the_profile_shows_person_organization_and_balance(gateway: Gateway, stored_login: SignIn) -> None:
    profile = fetch(gateway, "alice", "/api/profile")
    finished = stored_login("alice").run("profile")
    assert finished.code == 0, finished.errors
    assert f"Email: {gateway.user('alice')['email']}" in finished.output
    assert f"Name: {profile['user']['name']}" in finished.output
    assert "Team: Acme" in finished.output
    balance = fetch(gateway, "alice", "/api/profile/balance")["balance"] or 0
    assert f"Balance: ${balance:.2f}" in finished.output


def test_organization_auto_is_not_offered_on_the_teams_plan(stored_login: SignIn) -> None:
    """The CLI refuses a model that is not on its list by itself."""
    finished = stored_login("mallory").run("models", "kilo")
    assert finished.code == 0, finished.errors
    listed = finished.output.split()
    assert "kilo/kilo-auto/balanced" in listed
    assert "kilo/kilo-auto/org" not in listed


def test_an_upstream_s_refusal_is_shown(gateway: Gateway, stored_login: SignIn) -> None:
    """In the upstream's words and at once: the question is not put again."""
    gateway.upstream.behave("status", status=400, body={"error": {"message": "No such tool.", "code": 400}})
    try:
        finished = stored_login("alice").ask("code")
    finally:
        gateway.upstream.reset_behaviour()
    assert finished.code != 0
    assert "No such tool." in finished.errors
    assert len(gateway.upstream.completions()) == 1


def manage(gateway: Gateway, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The management API, asked as Alice."""
    request = urllib.request.Request(
        f"{gateway.base_url}/api/organizations/{gateway.organization('Acme')['id']}/{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={
            "Authorization": f"Bearer {gateway.user('alice')['management_key']}",
            "Content-Type": "application/json",
        },
        method=method,
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read() or b"null")


@pytest.fixture
def api_mode(gateway: Gateway) -> Iterator[str]:
    """A mode that was made through the API, with a route that was set through the API."""
    config = {"roleDefinition": "You draw diagrams.", "description": "Draws diagrams", "groups": ["read"]}
    mode = manage(gateway, "POST", "modes", {"name": "Diagrams", "slug": "diagrams", "config": config})
    manage(gateway, "PUT", "organization-auto/routes/diagrams", {"model": "openai/gpt-5.4"})
    yield "diagrams"
    manage(gateway, "DELETE", f"modes/{mode['id'] if 'id' in mode else mode['mode']['id']}")


def test_a_mode_of_the_api_is_an_agent_and_follows_its_route(
    gateway: Gateway, stored_login: SignIn, api_mode: str
) -> None:
    cli = stored_login("alice")
    listed = cli.run("agent", "list")
    assert f"{api_mode} (" in listed.output, listed.errors
    finished = cli.ask(api_mode)
    assert finished.code == 0, finished.errors
    assert only_completion(gateway)["body"]["model"] == "openai/gpt-5.4"
