"""How many requests of one organization run at the same time: no more than there are places for."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from byok.models import CustomProvider
from kilo_gateway.api_errors import GatewayError
from routing.models import UsageRecord
from routing.proxy import concurrency
from routing.proxy.concurrency import HeldPlaces, Places
from routing.proxy.usage_writer import writer
from tests.e2e.scripted import Line, ScriptedUpstream, ok_chat
from tests.support.inprocess import CHAT, MESSAGES, Opened, call, chat, opened
from tests.support.tenants import Tenant, auto_settings, make_tenant


def silent(line: Line) -> None:
    """A stream of which nothing comes."""
    line.event_stream()
    line.wait_for_peer_to_leave(20)
    line.close()


def whole(line: Line) -> None:
    line.answer_json(ok_chat())


@pytest.fixture
def upstream(settings: Any) -> Iterator[ScriptedUpstream]:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    with ScriptedUpstream() as running:
        settings.OPENROUTER_API_KEY, settings.VERCEL_AI_GATEWAY_API_KEY = "sk-hosted-key-0001", ""
        settings.OPENROUTER_BASE_URL = f"{running.base_url}/api/v1"
        running.script = silent
        yield running


def with_provider(upstream: ScriptedUpstream, *names: str) -> Tenant:
    """An organization whose own providers answer in the modes of these names, and a hosted model in all others."""
    tenant = make_tenant(settings=auto_settings({name: f"custom-{name}/scout" for name in names}))
    for name in names:
        CustomProvider.objects.create(
            organization=tenant.organization,
            provider_id=f"custom-{name}",
            name=name,
            base_url=f"{upstream.base_url}/{name}/v1",
            key_style="bearer",
            api_kinds=["chat_completions", "messages"],
        )
        tenant.store_credential(f"custom-{name}", offered_models=["scout"])
    return tenant


def stream(stack: ExitStack, tenant: Tenant, mode: str) -> Opened:
    headers = {"x-kilocode-mode": mode}
    return stack.enter_context(opened(CHAT, chat(stream=True), tenant.key, headers=headers))


@pytest.mark.usefixtures("committed_db")
class TestCustomProviders:
    def test_slow_ones_hold_no_more_places_than_there_are(self, upstream: ScriptedUpstream, settings: Any) -> None:
        """All custom providers of an organization together; hosted models and other organizations go on."""
        settings.MAX_CONCURRENT_CUSTOM = 3
        tenant, other = with_provider(upstream, "slow", "slower"), with_provider(upstream, "slow")
        with ExitStack() as stack:
            for mode in ("slow", "slower", "slow"):
                assert stream(stack, tenant, mode).status == 200
            for path, mode in ((CHAT, "slow"), (CHAT, "slower"), (MESSAGES, "slow")):
                refused = call(path, chat(max_tokens=9), tenant.key, headers={"x-kilocode-mode": mode})
                assert (refused.status, refused.error_type) == (429, "rate_limited")
                assert refused.headers["retry-after"] == "2"
                assert "3 requests to custom providers of this organization" in refused.json()["message"]
            assert len(upstream.requests) == 3
            upstream.script = whole
            for each, mode in ((tenant, "anything"), (other, "slow")):
                assert call(CHAT, chat(), each.key, headers={"x-kilocode-mode": mode}).status == 200
        assert call(CHAT, chat(), tenant.key, headers={"x-kilocode-mode": "slow"}).status == 200
        writer.flush()
        statuses = UsageRecord.objects.order_by("id").values_list("status", "error_type", "provider")
        assert list(statuses).count((429, "rate_limited", "")) == 3

    def test_a_place_is_free_again_however_a_request_ends(
        self, upstream: ScriptedUpstream, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.MAX_CONCURRENT_CUSTOM = settings.MAX_CONCURRENT_PER_ORGANIZATION = 1
        tenant = with_provider(upstream, "lab")

        def status(**fields: Any) -> int:
            return call(CHAT, chat(**fields), tenant.key, headers={"x-kilocode-mode": "lab"}).status

        def breaks(line: Line) -> None:
            line.event_stream()
            line.close(reset=True)

        def ends(line: Line) -> None:
            line.event_stream()
            line.chunk(b"")

        for script, streamed, expected in (
            (whole, False, 200),
            (lambda line: line.answer_json({}, "500 Broken"), False, 500),
            (lambda line: line.answer_json({}, "429 Slower"), True, 429),
            (lambda line: line.close(), False, 503),
            (breaks, True, 200),
            (ends, True, 200),
        ):
            upstream.script = script
            assert status(stream=streamed) == expected
        assert status(messages="none") == 400
        with ExitStack() as stack:
            upstream.script = silent
            stream(stack, tenant, "lab")
        upstream.stop()
        assert status() == 503
        upstream.start()
        upstream.script = whole
        assert status() == 200
        assert (concurrency.requests._taken, concurrency.custom_upstreams._taken) == ({}, {})


@pytest.mark.usefixtures("committed_db")
class TestOrganizations:
    def test_it_works(self, upstream: ScriptedUpstream, settings: Any) -> None:
        settings.MAX_CONCURRENT_PER_ORGANIZATION = 2
        tenant, other = make_tenant(), make_tenant()
        with ExitStack() as stack:
            for _ in range(2):
                assert stream(stack, tenant, "code").status == 200
            refused = call(CHAT, chat(), tenant.key)
            assert refused.json()["error"]["code"] == "too_many_requests_at_once"
            assert (refused.status, refused.headers["retry-after"]) == (429, "2")
            upstream.script = whole
            assert call(CHAT, chat(), other.key).status == 200
        assert call(CHAT, chat(), tenant.key).status == 200

    def test_without_a_limit_nothing_is_counted(self, upstream: ScriptedUpstream, settings: Any) -> None:
        settings.MAX_CONCURRENT_PER_ORGANIZATION = settings.MAX_CONCURRENT_CUSTOM = 0
        tenant = with_provider(upstream, "lab")
        with ExitStack() as stack:
            for mode in ("lab", "code"):
                assert stream(stack, tenant, mode).status == 200
            assert (concurrency.requests._taken, concurrency.custom_upstreams._taken) == ({}, {})


def test_what_is_limited_where_nobody_says_otherwise(settings: Any) -> None:
    """A quarter of the 1,024 threads for custom providers; a thousand streams of one organization are ordinary."""
    assert (settings.MAX_CONCURRENT_CUSTOM, settings.MAX_CONCURRENT_PER_ORGANIZATION) == (256, 0)


def test_many_threads_and_one_limit() -> None:
    places = Places(lambda: 5, "full", "{limit} are taken.")
    holder, passed, refused = uuid.uuid4(), [], []
    start, taken = threading.Barrier(32), threading.Barrier(32)

    def work() -> None:
        held = HeldPlaces()
        start.wait(10)
        for _ in range(200):
            try:
                held.take(places, holder)
            except GatewayError:
                continue
            held.give_back()
            held.give_back()
        start.wait(10)
        try:
            held.take(places, holder)
            passed.append(1)
        except GatewayError as error:
            refused.append(error.message)
        taken.wait(10)
        held.give_back()

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(passed), len(refused), set(refused)) == (5, 27, {"5 are taken."})
    assert places._taken == {}
