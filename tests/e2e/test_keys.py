"""Whose key serves a request: the enabled one of this organization, and nothing else reaches anybody."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.keys import KEY_TENANTS, MODEL, PROVIDER, SECRET
from tests.e2e.lab import KINDS, Lab, answers_whole, recorded
from tests.e2e.scripted import Line
from tests.e2e.wire import Reply

CLIENTS = 64
WAYS = {
    "route": {"mode": "code"},
    "fallback": {"mode": "unknown"},
    "asked for": {"mode": "", "model": MODEL},
}


@pytest.fixture(scope="module", autouse=True)
def _undecryptable(running_lab: Lab) -> None:
    """As after the loss of an encryption key."""
    credential = running_lab.tenants["key undecryptable"].credentials[PROVIDER]
    running_lab.gateway.sql("UPDATE byok_credential SET key_id = 'gone' WHERE id = %s", credential)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tenant", KEY_TENANTS)
def test_every_key_every_way(lab: Lab, tenant: str, way: str, kind: str) -> None:
    for upstream in lab.upstreams:
        upstream.script = answers_whole(kind)
    reply = lab.ask(kind, tenant=tenant, **WAYS[way])  # type: ignore[arg-type]
    if tenant == "key enabled":
        assert (reply.status, reply.content) == (200, recorded(kind).whole)
        assert lab.asked == 1
        (seen,) = lab.provider.requests
        assert seen.path == f"/{PROVIDER}/v1/{kind.replace('_', '/')}"
        assert seen.header("authorization") == f"Bearer {SECRET}"
        assert seen.json()["model"] == "maker/model"
        return
    assert reply.status == 400
    assert reply.error_type == ("byok_key_required" if way == "asked for" else "organization_auto_configuration")
    wanted = "credential_unusable" if tenant == "key undecryptable" else "no_enabled_credential"
    assert reply.json()["error"]["code"] == wanted
    assert SECRET.encode() not in reply.content
    assert sum(upstream.accepted for upstream in lab.upstreams) == 0, "somebody was connected to"


def manage(lab: Lab, tenant: str, method: str, path: str) -> tuple[int, Any]:
    """One request to the management API, over HTTP."""
    who = lab.tenants[tenant]
    connection = http.client.HTTPConnection(urlsplit(lab.gateway.base_url).netloc, timeout=20)
    headers = {"Authorization": f"Bearer {who.key}"}
    connection.request(method, f"/api/organizations/{who.organization_id}/{path}", headers=headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def test_a_key_is_deleted_while_streams_run(lab: Lab) -> None:
    """Streams that began before go on to their end; whoever asks afterwards is refused, and nobody else is asked."""
    tenant, kind = "key deleted meanwhile", "chat_completions"
    who = lab.tenants[tenant]
    began, deleted = threading.Semaphore(0), threading.Event()
    events = recorded(kind).events

    def script(line: Line) -> None:
        line.event_stream()
        line.chunk(events[0])
        began.release()
        deleted.wait(20)
        for event in events[1:]:
            line.chunk(event)
        line.end()

    lab.provider.script = script
    replies: list[Reply] = []
    streams = [
        threading.Thread(target=lambda: replies.append(lab.ask(kind, tenant=tenant, mode="code", stream=True)))
        for _ in range(CLIENTS)
    ]
    for stream in streams:
        stream.start()
    for _ in streams:
        assert began.acquire(timeout=20)
    path = f"byok/{who.credentials[PROVIDER]}"
    status, body = manage(lab, tenant, "DELETE", path)
    assert (status, body["error"]["code"]) == (409, "routes_would_break")
    assert [entry["kind"] for entry in body["error"]["broken"]] == ["route", "fallback"]
    try:
        assert manage(lab, tenant, "DELETE", f"{path}?confirm_broken_routes=true")[0] == 200
        for way in WAYS.values():
            reply = lab.ask(kind, tenant=tenant, **way)  # type: ignore[arg-type]
            assert (reply.status, reply.json()["error"]["code"]) == (400, "no_enabled_credential")
    finally:
        deleted.set()
        for stream in streams:
            stream.join(20)
    assert [(reply.status, reply.content) for reply in replies] == [(200, recorded(kind).stream)] * CLIENTS
    assert (len(lab.provider.requests), lab.asked) == (CLIENTS, CLIENTS)


def test_the_log_has_no_key(lab: Lab) -> None:
    assert SECRET not in lab.gateway.log()
    assert "Traceback" not in lab.gateway.log()
