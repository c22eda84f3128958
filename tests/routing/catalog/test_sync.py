"""The sync against a real HTTP server: what it puts in force, and everything that it refuses."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from routing.catalog import fetch, sync
from routing.catalog.fetch import Deadline
from routing.catalog.index import load_current_index
from routing.catalog.sync import ADVISORY_LOCK, KEPT_SNAPSHOTS, MOST_FAILURES, Outcome, sync_catalog
from routing.models import CatalogSnapshot, Installation
from tests.routing.catalog.upstream import (
    FakeUpstream,
    document,
    dripping,
    endpoint,
    gzipped,
    model,
    models,
    status,
)

ENOUGH = 200  # more than half of the bundled catalog


@pytest.fixture(autouse=True)
def _installed(installation: Installation) -> None:
    pass


def in_force() -> CatalogSnapshot:
    return Installation.objects.select_related("catalog_snapshot").get().catalog_snapshot


def refused(expected: str, *, force: bool = False) -> None:
    """A sync leaves everything as it was, and says why in the result and with the installation."""
    before, count = in_force(), CatalogSnapshot.objects.count()
    checked_at = Installation.objects.get().catalog_checked_at
    result = sync_catalog(force=force)
    assert result.outcome is Outcome.FAILED
    assert expected in result.message
    assert in_force().pk == before.pk
    assert CatalogSnapshot.objects.count() == count
    installation = Installation.objects.get()
    assert installation.catalog_error == result.message
    assert installation.catalog_checked_at == checked_at


# ------------------------------------------------------------------ what is put in force


def test_it_works(upstream: FakeUpstream) -> None:
    upstream.lists([model("Anthropic/Claude-Sonnet-5"), *models(ENOUGH)])
    result = sync_catalog()
    assert result.outcome is Outcome.UPDATED
    assert (result.model_count, result.skipped) == (ENOUGH + 1, 0)
    assert f"{ENOUGH + 1} models" in result.message
    snapshot = in_force()
    assert (snapshot.origin, snapshot.source, snapshot.model_count) == ("synced", upstream.base_url, ENOUGH + 1)
    installation = Installation.objects.get()
    assert installation.catalog_checked_at is not None
    assert installation.catalog_error == ""
    index = load_current_index()
    assert index.models["anthropic/claude-sonnet-5"].name == "Name of Anthropic/Claude-Sonnet-5"


def test_an_unchanged_catalog_makes_no_new_snapshot(upstream: FakeUpstream) -> None:
    upstream.lists(models(ENOUGH))
    upstream.serves("author-0/model-0", endpoint("b"), endpoint("a"))
    sync_catalog()
    first, checked_at = in_force(), Installation.objects.get().catalog_checked_at
    upstream.lists([{**entry, "another_new_field": time.time()} for entry in models(ENOUGH)])
    upstream.serves("author-0/model-0", endpoint("a", uptime_last_30m=1), endpoint("b"))
    result = sync_catalog()
    assert result.outcome is Outcome.UNCHANGED
    assert in_force().pk == first.pk
    assert Installation.objects.get().catalog_checked_at > checked_at


def test_a_good_sync_forgets_the_last_fault(upstream: FakeUpstream) -> None:
    refused("404")
    upstream.lists(models(ENOUGH))
    sync_catalog()
    assert Installation.objects.get().catalog_error == ""
    refused_error = "The upstream answered 500."
    upstream.answer("/models", status(500))
    refused(refused_error)
    upstream.lists(models(ENOUGH))
    assert sync_catalog().outcome is Outcome.UNCHANGED
    assert Installation.objects.get().catalog_error == ""


def test_entries_that_are_no_models_are_skipped_and_counted(upstream: FakeUpstream) -> None:
    upstream.lists([*models(ENOUGH), {"id": 7}, model("kilo-auto/org"), model("author-0/MODEL-0")])
    result = sync_catalog()
    assert (result.model_count, result.skipped) == (ENOUGH, 3)
    assert "3 unusable entries skipped" in result.message


def test_texts_that_postgresql_cannot_store_are_stored_without_the_worst(upstream: FakeUpstream) -> None:
    worst = model("a/b", name="N\0UL", description="\ud800", supported_parameters=["\0\udfff"], expiration_date="\0")
    upstream.lists([worst, *models(ENOUGH)])
    upstream.serves("a/b", endpoint("x", provider_name="\0", data_policy={"\0": "\ud800"}))
    upstream.answer("/providers", document({"data": [{"slug": "x", "name": "\0\ud800"}]}))
    assert sync_catalog().outcome is Outcome.UPDATED
    assert load_current_index().models["a/b"].name == "N\ufffdUL"


def test_numbers_that_are_no_prices_are_unknown(upstream: FakeUpstream) -> None:
    body = json.dumps({"data": [model("a/b", pricing={"prompt": "-1", "completion": "NaN"}), *models(ENOUGH)]})
    upstream.answer("/models", status(200, body.replace('"NaN"', "1e999").encode()))
    sync_catalog()
    pricing = load_current_index().models["a/b"].pricing
    assert (pricing.prompt, pricing.completion) == (None, None)
    assert not pricing.is_free


def test_old_snapshots_are_deleted(upstream: FakeUpstream) -> None:
    for number in range(KEPT_SNAPSHOTS + 3):
        upstream.lists([*models(ENOUGH), model(f"new/{number}")])
        assert sync_catalog().outcome is Outcome.UPDATED
    assert CatalogSnapshot.objects.count() == KEPT_SNAPSHOTS
    assert in_force() == CatalogSnapshot.objects.latest("pk")
    assert not CatalogSnapshot.objects.filter(origin="bundled").exists()


def test_a_packed_answer_is_unpacked(upstream: FakeUpstream) -> None:
    upstream.answer("/models", gzipped(json.dumps({"data": models(ENOUGH)}).encode()))
    assert sync_catalog().outcome is Outcome.UPDATED


def test_an_installation_without_any_catalog_gets_one(upstream: FakeUpstream) -> None:
    Installation.objects.all().delete()
    CatalogSnapshot.objects.all().delete()
    upstream.lists(models(2))
    assert sync_catalog().outcome is Outcome.UPDATED
    assert in_force().model_count == 2


# ------------------------------------------------------------------ providers


def test_the_serving_providers_are_asked_for_each_model(upstream: FakeUpstream) -> None:
    upstream.lists([model("Anthropic/Claude:beta"), *models(ENOUGH)])
    upstream.serves("Anthropic/Claude:beta", endpoint("google-vertex/us"), endpoint("anthropic"))
    upstream.answer("/providers", document({"data": [{"slug": "google-vertex", "name": "Google Vertex"}]}))
    result = sync_catalog()
    assert result.with_providers == 1
    index = load_current_index()
    assert index.models["anthropic/claude:beta"].providers == ("anthropic", "google-vertex")
    assert index.models["author-1/model-1"].providers == ("author-1",)
    assert [served["tag"] for served in index.serving("anthropic/claude:beta")] == ["anthropic", "google-vertex/us"]
    names = {provider.slug: provider.name for provider in index.providers()}
    assert names["google-vertex"] == "Google Vertex"
    assert names["anthropic"] == "Anthropic"
    assert names["author-1"] == "author-1"
    assert len(upstream.requests) == ENOUGH + 3


def test_an_upstream_without_endpoints_is_asked_a_few_times_only(upstream: FakeUpstream) -> None:
    upstream.lists(models(ENOUGH))
    assert sync_catalog().with_providers == 0
    assert len(upstream.requests) == 2 + sync.PROBES


def test_an_upstream_that_fails_for_endpoints_is_left_in_peace(upstream: FakeUpstream) -> None:
    upstream.lists(models(ENOUGH))
    upstream.serves("author-0/model-0", endpoint("a"))
    for number in range(1, ENOUGH):
        upstream.answer(f"/models/author-{number}/model-{number}/endpoints", status(429))
    result = sync_catalog()
    assert result.outcome is Outcome.UPDATED
    assert result.with_providers == 1
    assert len(upstream.requests) < 2 + 1 + MOST_FAILURES + sync.CONNECTIONS + 1


def test_providers_that_cannot_be_asked_this_time_stay_as_they_were(upstream: FakeUpstream) -> None:
    upstream.lists(models(ENOUGH))
    upstream.serves("author-0/model-0", endpoint("a"))
    upstream.serves("author-1/model-1", endpoint("b"))
    upstream.serves("author-2/model-2", endpoint("c"))
    upstream.answer("/providers", document({"data": [{"slug": "listed", "name": "Listed"}]}))
    sync_catalog()
    upstream.lists([*models(ENOUGH), model("new/model")])
    upstream.answer("/models/author-0/model-0/endpoints", status(500))
    upstream.answer("/models/author-1/model-1/endpoints", status(404))
    upstream.answer("/providers", status(200, b"<html>"))
    assert sync_catalog().outcome is Outcome.UPDATED
    index = load_current_index()
    assert index.models["author-0/model-0"].providers == ("a",)
    assert index.models["author-1/model-1"].providers == ("author-1",)
    assert index.models["author-2/model-2"].providers == ("c",)
    assert "listed" in {provider.slug for provider in index.providers()}


def test_what_another_upstream_said_of_providers_does_not_stay(upstream: FakeUpstream) -> None:
    upstream.lists(models(ENOUGH))
    upstream.serves("author-0/model-0", endpoint("a"))
    sync_catalog()
    CatalogSnapshot.objects.filter(pk=in_force().pk).update(source="https://another.example.com")
    upstream.answer("/models/author-0/model-0/endpoints", status(500))
    assert sync_catalog().outcome is Outcome.UPDATED
    assert load_current_index().models["author-0/model-0"].providers == ("author-0",)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(404), "404"),
        (status(500), "500"),
        (status(503, b""), "503"),
        (status(401), "refused the key"),
        (status(403), "refused the key"),
        (status(204, b""), "204"),
        (status(200, b""), "not JSON"),
        (status(200, b"<html>Sign in</html>"), "not JSON"),
        (status(200, b'{"data": [NaN]}'), "not JSON"),
        (status(200, b"\xff\xfe{}"), "not JSON"),
        (status(200, b"[" * 200_000), "not JSON"),
        (status(200, b'{"data": ' + b"9" * 5000 + b"}"), "not JSON"),
        (document({"data": []}), "empty"),
        (document({"data": {}}), "another shape"),
        (document([]), "another shape"),
        (document({"models": models(ENOUGH)}), "another shape"),
        (document({"data": ["wrong"] * ENOUGH}), "are not models"),
        (document({"data": models(100)}), "fewer than half"),
        (status(200, b"not packed", Content_Encoding="gzip"), "malformed"),
    ],
)
def test_a_faulty_answer_leaves_the_catalog_as_it_is(upstream: FakeUpstream, answer: Any, expected: str) -> None:
    upstream.answer("/models", answer)
    refused(expected)


def test_a_catalog_of_half_the_size_is_accepted_and_a_smaller_one_by_force_only(upstream: FakeUpstream) -> None:
    upstream.lists(models(300))
    sync_catalog()
    upstream.lists(models(150))
    assert sync_catalog().outcome is Outcome.UPDATED
    upstream.lists(models(74))
    refused("74 models, fewer than half of the 150 of the current catalog")
    assert sync_catalog(force=True).outcome is Outcome.UPDATED
    assert in_force().model_count == 74


@pytest.mark.parametrize("entries", [[], ["wrong"], [{"id": 7}] * 3 + models(3)])
def test_force_accepts_no_nonsense(upstream: FakeUpstream, entries: list[Any]) -> None:
    upstream.lists(entries)
    assert sync_catalog(force=True).failed


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(upstream: FakeUpstream, settings: Settings, code: int) -> None:
    settings.OPENROUTER_API_KEY = "sk-canary-000000000000"
    with FakeUpstream() as elsewhere:
        elsewhere.lists(models(ENOUGH))
        upstream.answer("/models", status(code, Location=f"{elsewhere.base_url}/models"))
        refused("redirects elsewhere")
        assert elsewhere.requests == []


def test_nobody_at_the_address(upstream: FakeUpstream, settings: Settings) -> None:
    with FakeUpstream() as gone:
        settings.OPENROUTER_BASE_URL = gone.base_url
    refused("could not be reached")


def test_no_such_host(settings: Settings) -> None:
    settings.OPENROUTER_BASE_URL = "http://no-such-host.invalid/api/v1"
    refused("could not be reached")


def test_no_tls_at_an_address_that_says_https(upstream: FakeUpstream, settings: Settings) -> None:
    settings.OPENROUTER_BASE_URL = upstream.base_url.replace("http://", "https://")
    refused("TLS")


def test_an_answer_that_breaks_off(upstream: FakeUpstream) -> None:
    def break_off(handler: Any) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"data": [')
        handler.close_connection = True

    upstream.answer("/models", break_off)
    refused("broke off")


def test_an_answer_that_is_not_http(upstream: FakeUpstream) -> None:
    def babble(handler: Any) -> None:
        handler.wfile.write(b"hello\r\n\r\n")
        handler.close_connection = True

    upstream.answer("/models", babble)
    refused("broke off or was malformed")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def test_a_silent_server_is_given_up(upstream: FakeUpstream, settings: Settings) -> None:
    ended = threading.Event()
    upstream.answer("/models", lambda _handler: ended.wait(30))
    settings.CATALOG_SYNC_TIMEOUT = 0.5
    with within(3):
        refused("within the time for a sync")
    ended.set()


@pytest.mark.parametrize("headers", [False, True])
def test_a_server_that_drips_is_given_up(upstream: FakeUpstream, settings: Settings, *, headers: bool) -> None:
    ended = threading.Event()
    upstream.answer("/models", dripping(0.05, ended, headers=headers))
    settings.CATALOG_SYNC_TIMEOUT = 0.7
    with within(3):
        refused("within the time for a sync")
    assert ended.wait(3), "the connection stays open"


def test_slow_endpoints_cost_their_providers_and_not_the_catalog(upstream: FakeUpstream, settings: Settings) -> None:
    ended = threading.Event()
    upstream.lists(models(ENOUGH))
    upstream.serves("author-0/model-0", endpoint("a"))
    for number in range(1, ENOUGH):
        upstream.answer(f"/models/author-{number}/model-{number}/endpoints", dripping(0.05, ended))
    settings.CATALOG_SYNC_TIMEOUT = 3.0
    with within(8):
        result = sync_catalog()
    assert result.outcome is Outcome.UPDATED
    assert (result.model_count, result.with_providers) == (ENOUGH, 1)


def test_a_huge_answer_is_not_read_to_its_end(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "MOST_BYTES", 2 * fetch.MIB)
    sent = []

    def flood(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        handler.close_connection = True
        for _ in range(1000):
            handler.wfile.write(b" " * fetch.MIB)
            sent.append(1)

    upstream.answer("/models", flood)
    refused("larger than 2 MiB")
    assert len(sent) < 100


def test_a_small_answer_that_swells_is_not_unpacked_to_its_end(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "MOST_BYTES", 2 * fetch.MIB)
    upstream.answer("/models", gzipped(b" " * (128 * fetch.MIB)))
    with within(5):
        refused("larger than 2 MiB")


def test_many_answers_are_bounded_together(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_BYTES_IN_ALL", fetch.MIB)
    upstream.lists(models(ENOUGH))
    padding = "x" * (fetch.MIB // 4)
    for number in range(ENOUGH):
        upstream.serves(f"author-{number}/model-{number}", endpoint("a", padding=padding))
    result = sync_catalog()
    assert result.outcome is Outcome.UPDATED
    assert 0 < result.with_providers < 10


# ------------------------------------------------------------------ key, logs, locks


def test_the_key_is_sent_and_shown_nowhere(
    upstream: FakeUpstream, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OPENROUTER_API_KEY = "sk-canary-000000000000"
    with caplog.at_level(logging.DEBUG):
        refused("404")
    assert upstream.requests[0][1]["authorization"] == "Bearer sk-canary-000000000000"
    assert "sk-canary" not in caplog.text
    assert "sk-canary" not in Installation.objects.get().catalog_error


def test_without_a_key_none_is_looked_for(
    upstream: FakeUpstream, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    sync_catalog()
    assert "authorization" not in upstream.requests[0][1]


@pytest.mark.parametrize("key", ["sk-canary\r\nx: y", "sk-canary-\u20ac"])
def test_a_key_that_no_header_can_carry_is_a_fault_that_does_not_show_it(
    upstream: FakeUpstream, settings: Settings, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    settings.OPENROUTER_API_KEY = key
    refused("malformed")
    assert "canary" not in caplog.text + Installation.objects.get().catalog_error


def test_a_fault_is_a_warning_in_the_log(upstream: FakeUpstream, caplog: pytest.LogCaptureFixture) -> None:
    refused("404")
    (record,) = [record for record in caplog.records if record.name == "routing.catalog.sync"]
    assert record.levelno == logging.WARNING
    assert "404" in record.getMessage()


def test_a_second_process_says_that_one_is_running(upstream: FakeUpstream) -> None:
    upstream.lists(models(ENOUGH))
    with psycopg.connect(**connection_parameters()) as another:
        another.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        result = sync_catalog()
        assert result.outcome is Outcome.ALREADY_RUNNING
        assert not result.failed
        assert upstream.requests == []
    assert sync_catalog().outcome is Outcome.UPDATED


def connection_parameters() -> dict[str, Any]:
    keys = ("host", "port", "user", "password", "dbname")
    return {key: value for key, value in connection.get_connection_params().items() if key in keys and value}


def test_no_row_is_locked_while_the_network_is_used(upstream: FakeUpstream) -> None:
    executed: list[str] = []
    before_the_network: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        executed.append(sql)
        return execute(sql, params, many, context)

    def look(handler: Any) -> None:
        before_the_network.extend(executed)
        document({"data": models(ENOUGH)})(handler)

    upstream.answer("/models", look)
    with connection.execute_wrapper(note):
        sync_catalog()
    (only,) = [sql for sql in before_the_network if "SAVEPOINT" not in sql]
    assert "pg_try_advisory_xact_lock" in only
    assert any("FOR UPDATE" in sql for sql in executed)


def test_an_interrupted_sync_changes_nothing_and_is_no_fault(upstream: FakeUpstream) -> None:
    before = in_force()
    deadline = Deadline(20)

    def interrupt(handler: Any) -> None:
        deadline.interrupt()
        document({"data": models(ENOUGH)})(handler)

    upstream.answer("/models", interrupt)
    assert sync_catalog(deadline=deadline).outcome is Outcome.INTERRUPTED
    installation = Installation.objects.get()
    assert (installation.catalog_snapshot_id, installation.catalog_error) == (before.pk, "")
