"""What a request that is alone does ahead of time or later, and that nobody can tell it from its answers."""

from __future__ import annotations

import gc
import io
import json
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from django.db import connections
from django.utils import timezone

from byok.models import Credential
from kilo_gateway.api_errors import GatewayError
from kilo_gateway.api_kinds import ApiKind
from organizations.models import ApiKey, Membership, Role
from routing.catalog.index import forget_index
from routing.demo import DemoUpstream
from routing.models import UsageRecord
from routing.proxy import costs, exchange, identity, plan, rate_limit, usage_writer, views
from routing.proxy.exchange import Exchange
from routing.proxy.lookout import requests_present
from routing.proxy.outgoing import direct_request
from routing.proxy.request import EARLY_BYTES, IncomingBody
from routing.proxy.usage_writer import UsageWriter, writer
from routing.resolution import settle
from tests.support.inprocess import CHAT, Answer, call, chat
from tests.support.tenants import Tenant, auto_settings, make_tenant

HELLO = json.dumps(chat()).encode()


@pytest.fixture
def tenant(committed_db: None, hosted_upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> Tenant:
    monkeypatch.setattr(identity, "_familiar", {})
    return make_tenant()


class Body(io.BytesIO):
    """A body that notes whether it was read before it was known who asks."""

    def __init__(self, content: bytes, known: list[object]) -> None:
        super().__init__(content)
        self._known = known
        self.was_early: bool | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.was_early is None:
            self.was_early = not self._known
        return super().read(size)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The keys of the requests of which it is known who asks."""
    keys: list[object] = []
    check = rate_limit.check

    def noted(key_id: UUID) -> None:
        keys.append(key_id)
        check(key_id)

    monkeypatch.setattr(rate_limit, "check", noted)
    return keys


def noted_exchanges(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Exchange]]:
    """The exchanges that are made from now on, unless they are gone."""
    made: list[weakref.ref[Exchange]] = []

    def noted(*arguments: Any) -> Exchange:
        made.append(weakref.ref(made_now := Exchange(*arguments)))
        return made_now

    monkeypatch.setattr(views, "Exchange", noted)
    return made


class TestReading:
    @pytest.fixture(autouse=True)
    def _noted(self, known: list[object]) -> None:
        self.known = known

    def was_early(self, tenant: Tenant, status: int, content: bytes = HELLO, key: str = "") -> bool | None:
        """Whether the body of a request was read before it was known who asks; None when it was not read at all."""
        self.known.clear()
        body = Body(content, self.known)
        assert call(CHAT, body, key or tenant.key).status == status
        return body.was_early

    def test_the_body_of_a_familiar_key_is_read_while_the_database_works(self, tenant: Tenant) -> None:
        assert self.was_early(tenant, 200) is False
        assert self.was_early(tenant, 200) is True

    def test_a_stranger_s_body_is_not_read(self, tenant: Tenant) -> None:
        assert self.was_early(tenant, 401, key="kilo_nobody") is None
        assert self.was_early(tenant, 401, key="kilo_nobody") is None

    def test_a_key_that_was_revoked_is_a_stranger_s(self, tenant: Tenant) -> None:
        assert self.was_early(tenant, 200) is False
        ApiKey.objects.update(revoked_at=timezone.now())
        assert self.was_early(tenant, 401) is True
        assert self.was_early(tenant, 401) is None

    def test_beside_other_requests_it_is_read_in_its_turn(self, tenant: Tenant) -> None:
        assert self.was_early(tenant, 200) is False
        with requests_present:
            assert self.was_early(tenant, 200) is False

    def test_a_large_one_too(self, tenant: Tenant) -> None:
        assert self.was_early(tenant, 200) is False
        assert self.was_early(tenant, 200, json.dumps(chat(user="x" * EARLY_BYTES)).encode()) is False

    def test_what_is_wrong_with_it_is_told_in_its_turn(self, tenant: Tenant, settings: Any) -> None:
        settings.RATE_LIMIT_PER_KEY = 2
        assert call(CHAT, HELLO, tenant.key).status == 200
        assert call(CHAT, b"{", tenant.key).status == 400
        assert call(CHAT, b"{", tenant.key).status == 429

    def test_what_nobody_expects_goes_wrong_in_its_turn_too(self, tenant: Tenant) -> None:
        assert self.was_early(tenant, 200) is False

        class Broken(Body):
            def read(self, size: int | None = -1, /) -> bytes:
                raise OSError

        ApiKey.objects.update(revoked_at=timezone.now())
        assert call(CHAT, Broken(HELLO, self.known), tenant.key).status == 401


class TestPlanning:
    """What a request comes to is worked out for whoever had its key the last time."""

    @pytest.fixture
    def provider(self, settings: Any) -> Iterator[DemoUpstream]:
        with DemoUpstream() as upstream:
            settings.PROVIDER_BASE_URLS = dict.fromkeys(("neuralwatt", "edenai"), f"{upstream.base_url}/v1")
            yield upstream

    @pytest.fixture
    def direct(self, tenant: Tenant, provider: DemoUpstream) -> Tenant:
        """Asks its own provider, and has asked once."""
        tenant.store_credential("neuralwatt")
        tenant.change(**auto_settings({"code": "neuralwatt/kimi"}))
        assert self.ask(tenant).status == 200
        return tenant

    @pytest.fixture
    def settled(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        """The requests that were decided when it was known who asks."""
        decided: list[object] = []

        def noted(*arguments: Any) -> object:
            decided.append(arguments)
            return settle(*arguments)

        monkeypatch.setattr(exchange, "settle", noted)
        return decided

    def ask(self, tenant: Tenant, **headers: str) -> Answer:
        # Spaces and order tell whether it arrives as it was sent.
        body = b'{ "messages": [{"role": "user", "content": "hello"}],  "model": "kilo-auto/org" }'
        return call(CHAT, body, tenant.key, headers={"x-kilocode-mode": "code", **headers})

    def test_in_the_steady_state_it_is_used(self, direct: Tenant, settled: list[object]) -> None:
        assert self.ask(direct).status == 200
        assert settled == []
        with requests_present:
            assert self.ask(direct).status == 200
        assert len(settled) == 1

    def test_nobody_can_tell(self, direct: Tenant, provider: DemoUpstream) -> None:
        planned = self.ask(direct)
        with requests_present:
            usual = self.ask(direct)
        its_own = ("x-request-id", "date")
        assert [{**answer.headers, **dict.fromkeys(its_own)} for answer in (planned, usual)] == [
            {**usual.headers, **dict.fromkeys(its_own)}
        ] * 2
        writer.flush()
        mine = ("id", "request_id", "created_at", "time_to_first_byte_ms", "duration_ms")
        records = UsageRecord.objects.filter(
            request_id__in=[answer.headers["x-request-id"] for answer in (planned, usual)]
        ).values()
        first, second = ({name: value for name, value in one.items() if name not in mine} for one in records)
        assert first == second
        assert first["credential_id"] is not None
        assert str(first["routing_version"]) == planned.headers["x-kilo-routing-version"]
        sent = [{name: one[name] for name in ("path", "headers", "body")} for one in provider.requests()[-2:]]
        assert sent[0] == sent[1]

    def test_a_route_that_was_changed_is_obeyed(
        self, direct: Tenant, provider: DemoUpstream, settled: list[object]
    ) -> None:
        direct.change(**auto_settings({"code": "neuralwatt/glm"}))
        assert self.ask(direct).headers["x-kilo-target"] == "neuralwatt/glm"
        assert provider.requests()[-1]["body"]["model"] == "glm"
        assert len(settled) == 1

    def test_a_credential_that_was_replaced_is_used(self, direct: Tenant, provider: DemoUpstream) -> None:
        before = provider.requests()[-1]["key_last_four"]
        Credential.objects.all().delete()
        direct.store_credential("neuralwatt", "sk-another-secret-wxyz")
        direct.change()
        assert self.ask(direct).status == 200
        assert (before, provider.requests()[-1]["key_last_four"]) == ("abcd", "wxyz")

    def test_a_key_that_was_revoked_reaches_nobody(self, direct: Tenant, provider: DemoUpstream) -> None:
        sent = provider.stats()["total"]
        ApiKey.objects.update(revoked_at=timezone.now())
        assert self.ask(direct).status == 401
        assert provider.stats()["total"] == sent

    def test_nor_does_somebody_who_left(self, direct: Tenant, provider: DemoUpstream) -> None:
        sent = provider.stats()["total"]
        Membership.objects.filter(user=direct.user).delete()
        assert self.ask(direct).status == 403
        assert provider.stats()["total"] == sent

    def test_no_credential_is_opened_for_whoever_was_refused(
        self, direct: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A key without an organization names one that its owner does not belong to, again and again."""
        opened: list[object] = []

        def noted(*arguments: Any, **named: Any) -> object:
            opened.append(named)
            return direct_request(*arguments, **named)

        monkeypatch.setattr(plan, "direct_request", noted)
        stranger, name = make_tenant(organization=None), str(direct.organization.pk)
        for _ in range(3):
            assert self.ask(stranger, **{"x-kilocode-organizationid": name}).status == 403
        assert opened == []
        assert self.ask(direct).status == 200
        assert len(opened) == 1

    def test_a_credential_that_cannot_be_opened_is_told_as_ever(self, direct: Tenant, provider: DemoUpstream) -> None:
        sent = provider.stats()["total"]
        Credential.objects.update(ciphertext=b"x" * 64)
        direct.change()
        answers = [self.ask(direct) for _ in range(2)]
        with requests_present:
            answers.append(self.ask(direct))
        assert len({(answer.status, answer.content) for answer in answers}) == 1
        assert answers[0].status >= 400
        assert provider.stats()["total"] == sent

    def test_nothing_is_kept_of_the_request(
        self, direct: Tenant, provider: DemoUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its headers have the client's key, the plan the provider's."""
        made = noted_exchanges(monkeypatch)
        gc.disable()
        try:
            assert self.ask(direct).status == 200
            provider.behave("status", status=500)
            assert self.ask(direct).status == 500
            ApiKey.objects.update(revoked_at=timezone.now())
            assert self.ask(direct).status == 401
            assert [exchange() for exchange in made] == [None] * 3
        finally:
            gc.enable()

    def test_the_rate_limit_counts_it(self, direct: Tenant, provider: DemoUpstream, settings: Any) -> None:
        settings.RATE_LIMIT_PER_KEY = 1
        rate_limit._full_at.clear()
        sent = provider.stats()["total"]
        assert [self.ask(direct).status for _ in range(2)] == [200, 429]
        assert provider.stats()["total"] == sent + 1

    def test_one_key_in_two_organizations_uses_each_one_s_own_credential(
        self, tenant: Tenant, provider: DemoUpstream
    ) -> None:
        other = make_tenant()
        both = make_tenant(organization=None)
        for organization, secret in ((tenant, "sk-provider-secret-1111"), (other, "sk-provider-secret-2222")):
            organization.store_credential("neuralwatt", secret)
            organization.change(**auto_settings({"code": "neuralwatt/kimi"}))
            Membership.objects.create(organization=organization.organization, user=both.user, role=Role.MEMBER)
        for organization, last_four in ((tenant, "1111"), (other, "2222")) * 2:
            name = str(organization.organization.pk)
            for _ in range(2):
                assert self.ask(both, **{"x-kilocode-organizationid": name}).status == 200
                assert provider.requests()[-1]["key_last_four"] == last_four

    def test_hosted_models_are_decided_in_their_turn(self, tenant: Tenant, settled: list[object]) -> None:
        for _ in range(3):
            assert call(CHAT, HELLO, tenant.key).status == 200
        assert len(settled) == 3


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
        made = noted_exchanges(monkeypatch)
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
