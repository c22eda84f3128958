"""What a request that is alone does ahead of time or later, and that nobody can tell it from its answers."""

from __future__ import annotations

import gc
import io
import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from kilo_gateway.api_errors import GatewayError
from kilo_gateway.api_kinds import ApiKind
from organizations.models import ApiKey
from routing.catalog.index import forget_index
from routing.demo import DemoUpstream
from routing.models import UsageRecord
from routing.proxy import costs, exchange, identity, usage_writer, views
from routing.proxy.exchange import Exchange
from routing.proxy.lookout import requests_present
from routing.proxy.request import EARLY_BYTES, IncomingBody
from routing.proxy.usage_writer import UsageWriter
from tests.support.inprocess import CHAT, call, chat, counted_statements
from tests.support.tenants import Tenant, make_tenant

HELLO = json.dumps(chat()).encode()


@pytest.fixture
def tenant(committed_db: None, hosted_upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    monkeypatch.setattr(identity, "_familiar", {})
    return make_tenant()


class Body(io.BytesIO):
    """A body that notes how many statements had been sent when it was read first."""

    def __init__(self, content: bytes, statements: Any) -> None:
        super().__init__(content)
        self._statements = statements
        self.read_after: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.read_after is None:
            self.read_after = len(self._statements)
        return super().read(size)


def read_after(tenant: Tenant, status: int, content: bytes = HELLO, key: str = "") -> int | None:
    """After how many statements the body of a request was read; None when it was not read at all."""
    with counted_statements() as statements:
        body = Body(content, statements)
        assert call(CHAT, body, key or tenant.key).status == status
    return body.read_after


class TestReading:
    def test_the_body_of_a_familiar_key_is_read_while_the_database_works(self, tenant: Tenant) -> None:
        assert read_after(tenant, 200) == 1
        assert read_after(tenant, 200) == 0

    def test_a_stranger_s_body_is_not_read(self, tenant: Tenant) -> None:
        assert read_after(tenant, 401, key="kilo_nobody") is None
        assert read_after(tenant, 401, key="kilo_nobody") is None

    def test_a_key_that_was_revoked_is_a_stranger_s(self, tenant: Tenant) -> None:
        assert read_after(tenant, 200) == 1
        ApiKey.objects.update(revoked_at=timezone.now())
        assert read_after(tenant, 401) == 0
        assert read_after(tenant, 401) is None

    def test_beside_other_requests_it_is_read_in_its_turn(self, tenant: Tenant) -> None:
        assert read_after(tenant, 200) == 1
        with requests_present:
            assert read_after(tenant, 200) == 1

    def test_a_large_one_too(self, tenant: Tenant) -> None:
        assert read_after(tenant, 200) == 1
        assert read_after(tenant, 200, json.dumps(chat(user="x" * EARLY_BYTES)).encode()) == 1

    def test_what_is_wrong_with_it_is_told_in_its_turn(self, tenant: Tenant, settings: Any) -> None:
        settings.RATE_LIMIT_PER_KEY = 2
        assert call(CHAT, HELLO, tenant.key).status == 200
        assert call(CHAT, b"{", tenant.key).status == 400
        assert call(CHAT, b"{", tenant.key).status == 429

    def test_what_nobody_expects_goes_wrong_in_its_turn_too(
        self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert read_after(tenant, 200) == 1

        class Broken(Body):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError

        ApiKey.objects.update(revoked_at=timezone.now())
        with counted_statements() as statements:
            assert call(CHAT, Broken(HELLO, statements), tenant.key).status == 401


class TestParsing:
    def incoming(self, content: bytes, *, length: int | None = None, chunked: bool = False) -> IncomingBody:
        environ = {"wsgi.input": io.BytesIO(content), "wsgi.input_terminated": True}
        stated = None if chunked else len(content) if length is None else length
        return IncomingBody(environ, stated, ApiKind.CHAT_COMPLETIONS)

    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("early", [False, True])
    def test_it_is_the_same_body(self, *, early: bool, chunked: bool) -> None:
        incoming = self.incoming(HELLO, chunked=chunked)
        if early:
            incoming.get_early()
        assert incoming.get().values == json.loads(HELLO)
        assert incoming.get() is incoming.get()

    @pytest.mark.parametrize("content", [b"{", b'{"model": 5}', b"\xff"])
    @pytest.mark.parametrize("early", [False, True])
    def test_it_is_the_same_failure(self, content: bytes, *, early: bool) -> None:
        incoming = self.incoming(content)
        if early:
            incoming.get_early()
        with pytest.raises(GatewayError) as caught:
            incoming.get()
        with pytest.raises(GatewayError) as usual:
            self.incoming(content).get()
        assert (caught.value.status, str(caught.value)) == (usual.value.status, str(usual.value))

    def test_one_that_ends_early_is_refused_when_it_is_asked_for(self) -> None:
        incoming = self.incoming(HELLO, length=len(HELLO) + 1)
        assert incoming.get_early() is None
        with pytest.raises(GatewayError, match="shorter"):
            incoming.get()


class TestCounting:
    """What an answer took is found out after it has gone, by whoever writes the record."""

    @pytest.fixture
    def own(self, monkeypatch: pytest.MonkeyPatch) -> UsageWriter:
        own = UsageWriter()
        # Nothing is written until the test says so.
        monkeypatch.setattr(own, "_start", lambda: None)
        monkeypatch.setattr(exchange, "writer", own)
        return own

    def test_when_alone(self, tenant: Tenant, own: UsageWriter) -> None:
        assert call(CHAT, HELLO, tenant.key).status == 200
        usage = own._queue.get_nowait()
        assert (usage.complete is None, usage.output_tokens) == (False, None)
        own.put(usage)
        own.flush()
        record = UsageRecord.objects.get(request_id=usage.request_id)
        assert record.output_tokens
        assert record.market_cost_microdollars

    def test_beside_other_requests_at_once(self, tenant: Tenant, own: UsageWriter) -> None:
        with requests_present:
            assert call(CHAT, HELLO, tenant.key).status == 200
        usage = own._queue.get_nowait()
        assert usage.complete is None
        assert usage.output_tokens

    def test_nothing_else_of_the_request_is_kept(
        self, tenant: Tenant, own: UsageWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its headers have the client's key."""
        made: list[weakref.ref[Exchange]] = []

        def noted(*arguments: Any) -> Exchange:
            made.append(weakref.ref(made_now := Exchange(*arguments)))
            return made_now

        monkeypatch.setattr(views, "Exchange", noted)
        gc.disable()
        try:
            assert call(CHAT, HELLO, tenant.key).status == 200
            assert call(CHAT, b"{", tenant.key).status == 400
            assert [exchange() for exchange in made] == [None, None]
        finally:
            gc.enable()

    def test_while_records_cannot_be_written_it_is_not_put_off(
        self, tenant: Tenant, own: UsageWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(usage_writer, "MAX_BATCH", 2)
        for _ in range(3):
            assert call(CHAT, HELLO, tenant.key).status == 200
        waiting = [own._queue.get_nowait() for _ in range(3)]
        assert [usage.complete is None for usage in waiting] == [False, False, True]

    def test_whoever_writes_keeps_no_connection(self, tenant: Tenant, own: UsageWriter) -> None:
        def write() -> object:
            own.flush()
            return connections["default"].connection

        assert call(CHAT, HELLO, tenant.key).status == 200
        forget_index()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(write).result() is None

    def test_a_large_answer_is_not_kept_for_it(
        self, tenant: Tenant, own: UsageWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exchange, "COUNT_LATER_BYTES", 100)
        assert call(CHAT, HELLO, tenant.key).status == 200
        assert own._queue.get_nowait().complete is None

    def test_what_cannot_be_found_out_keeps_no_record_from_being_written(
        self, tenant: Tenant, own: UsageWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails(*_: Any) -> None:
            raise RuntimeError("of the client's text")

        monkeypatch.setattr(costs, "usage_of_answer", fails)
        answer = call(CHAT, HELLO, tenant.key)
        own.flush()
        record = UsageRecord.objects.get(request_id=answer.headers["x-request-id"])
        assert (record.status, record.output_tokens) == (200, None)
        assert "RuntimeError" in caplog.text
        assert str(record.request_id) in caplog.text
        assert "client's text" not in caplog.text
