"""Requests to an organization's own provider: what it gets, what it cannot reach, and what its client never sees."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from byok import addresses
from byok.custom_providers import sealed_header
from byok.models import Credential, CustomProvider, CustomProviderHeader
from kilo_gateway.secret import Secret
from organizations.models import Organization
from routing.demo import DemoUpstream
from routing.models import UsageRecord
from routing.proxy.usage_writer import Usage, writer
from routing.services.health import route_health
from tests.e2e.lab import self_signed
from tests.e2e.scripted import ScriptedUpstream
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, Answer, call, chat, counted_statements
from tests.support.tenants import Tenant, auto_settings, make_tenant

CANARY = "canary-header-value-41c8"
KEY = "sk-own-provider-key-0007"
ALL_KINDS = ["chat_completions", "responses", "messages"]


@pytest.fixture
def tenant(committed_db: None) -> Tenant:
    return make_tenant(settings=auto_settings({"code": "custom-lab/Scout"}))


@pytest.fixture
def private_allowed(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True


@pytest.fixture
def upstream(private_allowed: None) -> Iterator[DemoUpstream]:
    """A provider on this machine, where that is allowed."""
    with DemoUpstream() as running:
        yield running


def register(tenant: Tenant, base_url: str, **fields: Any) -> CustomProvider:
    """Store a provider past the services, which would look at the address, with its key."""
    defaults: dict[str, Any] = {
        "provider_id": "custom-lab",
        "name": "Lab",
        "key_style": "bearer",
        "api_kinds": ALL_KINDS,
    }
    row = CustomProvider.objects.create(organization=tenant.organization, base_url=base_url, **{**defaults, **fields})
    sealed_header(row, "x-tenant", Secret(CANARY)).save()
    tenant.store_credential("custom-lab", KEY, offered_models=["Scout"])
    tenant.change()
    return row


def ask(tenant: Tenant, path: str = CHAT, **fields: Any) -> Answer:
    body = chat(**fields)
    if path == RESPONSES:
        body = {"model": body["model"], "input": "hello"}
    if path == MESSAGES:
        body |= {"max_tokens": 10}
    return call(path, body, tenant.key, headers={"x-kilocode-mode": "code", "cookie": "a=b", "x-kilo-session": "s"})


class TestWhatItGets:
    @pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
    @pytest.mark.parametrize("model", ["kilo-auto/org", "custom-lab/scout"])
    def test_the_organization_s_key_and_headers(
        self, tenant: Tenant, upstream: DemoUpstream, path: str, model: str
    ) -> None:
        register(tenant, f"{upstream.base_url}/deep/v1")
        answer = ask(tenant, path, model=model)
        assert answer.status == 200, answer.content
        (sent,) = upstream.completions()
        assert sent["path"] == f"/deep/v1{path.removeprefix('/api/gateway/v1')}"
        assert sent["model"] == "Scout"
        assert sent["key_last_four"] == KEY[-4:]
        assert set(sent["headers"]) == {
            *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"),
            *("authorization", "x-tenant"),
            *(["anthropic-version"] if path == MESSAGES else []),
        }
        assert sent["headers"]["x-tenant"] == CANARY
        assert (answer.headers["x-kilo-provider"], answer.headers["x-kilo-byok"]) == ("custom-lab", "true")
        writer.flush()
        usage = UsageRecord.objects.get()
        assert (usage.provider, usage.is_byok, usage.hosted_cost_microdollars) == ("custom-lab", True, 0)
        assert usage.target == "custom-lab/scout"

    def test_the_key_as_it_wants_it(self, tenant: Tenant, upstream: DemoUpstream) -> None:
        register(tenant, f"{upstream.base_url}/v1", key_style="x-api-key")
        assert ask(tenant).status == 200
        (sent,) = upstream.completions()
        assert "authorization" not in sent["headers"]
        assert sent["key_last_four"] == KEY[-4:]
        assert "x-api-key" in sent["headers"]

    def test_a_format_that_it_does_not_speak(self, tenant: Tenant, upstream: DemoUpstream) -> None:
        register(tenant, f"{upstream.base_url}/v1", api_kinds=["responses"])
        for model in ("kilo-auto/org", "custom-lab/scout"):
            answer = ask(tenant, model=model)
            assert (answer.status, answer.json()["error"]["code"]) == (400, "api_kind_not_supported")
        assert upstream.requests() == []

    def test_one_query_in_the_steady_state(self, tenant: Tenant, upstream: DemoUpstream) -> None:
        """Address, key and headers travel with the remembered decision."""
        register(tenant, f"{upstream.base_url}/v1")
        assert ask(tenant).status == 200
        writer.flush()
        with counted_statements() as statements:
            assert {ask(tenant).status for _ in range(5)} == {200}
            sent = statements.of_this_thread()
        assert len(sent) == 5

    def test_the_next_request_after_a_change_sees_it(self, tenant: Tenant, upstream: DemoUpstream) -> None:
        register(tenant, f"{upstream.base_url}/one")
        ask(tenant)
        CustomProvider.objects.update(base_url=f"{upstream.base_url}/two")
        CustomProviderHeader.objects.all().delete()
        tenant.change()
        ask(tenant)
        first, second = upstream.completions()
        assert (first["path"], second["path"]) == ("/one/chat/completions", "/two/chat/completions")
        assert "x-tenant" not in second["headers"]

    def test_another_organization_does_not_reach_it(self, tenant: Tenant, upstream: DemoUpstream) -> None:
        register(tenant, f"{upstream.base_url}/v1")
        other = make_tenant(settings=auto_settings({"code": "custom-lab/scout"}))
        other.store_credential("custom-lab", "sk-of-another-one", offered_models=["Scout"])
        other.change()
        assert ask(other).status == 400
        assert ask(other, model="custom-lab/scout").status == 404
        assert upstream.requests() == []

    def test_a_header_that_cannot_be_opened_stops_the_request(self, tenant: Tenant, upstream: DemoUpstream) -> None:
        register(tenant, f"{upstream.base_url}/v1")
        CustomProviderHeader.objects.update(name="x-moved")
        tenant.change()
        answer = ask(tenant)
        assert (answer.status, answer.json()["error"]["code"]) == (400, "header_unusable")
        assert answer.json()["message"].startswith("A stored header of Lab ")
        assert upstream.requests() == []

    @pytest.mark.parametrize("spoiled", [{"key_id": "gone"}, {"ciphertext": b""}])
    def test_a_key_that_cannot_be_opened_was_not_used(
        self, tenant: Tenant, upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch, spoiled: dict[str, Any]
    ) -> None:
        records: list[Usage] = []
        monkeypatch.setattr(writer, "put", records.append)
        register(tenant, f"{upstream.base_url}/v1")
        credential = Credential.objects.get()
        assert ask(tenant).status == 200
        Credential.objects.update(**spoiled)
        tenant.change()
        answer = ask(tenant)
        assert answer.json()["message"] == "The stored credential for Lab cannot be used; store its key again."
        assert [record.credential_id for record in records] == [credential.pk, None]

    def test_a_provider_that_is_gone_is_named(self, tenant: Tenant) -> None:
        answer = ask(tenant)
        assert (answer.status, answer.json()["error"]["code"]) == (400, "model_unavailable")
        gone = '"custom-lab/scout" is unavailable: the organization has no provider "custom-lab".'
        assert answer.json()["message"] == gone
        assert (ask(tenant, model="custom-lab/scout").json()["message"]) == gone
        (health,) = [health for health in route_health(tenant.organization) if health.slug]
        assert health.reason.endswith('the organization has no provider "custom-lab".')


class TestWhatComesBack:
    @pytest.mark.parametrize("status", [400, 401, 500])
    def test_an_error_does_not_repeat_secrets(
        self, tenant: Tenant, upstream: DemoUpstream, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        register(tenant, f"{upstream.base_url}/v1")
        upstream.behave("status", status=status, body={"error": {"message": f"No {CANARY} here, nor {KEY}."}})
        answer = ask(tenant)
        assert answer.status == status
        told = answer.content.decode() + str(answer.headers) + caplog.text
        assert "No ******** here, nor ********." in told
        assert CANARY not in told
        assert KEY not in told

    @pytest.mark.parametrize("status", [301, 302, 307])
    def test_a_redirect_is_not_followed_and_not_passed_on(
        self, tenant: Tenant, upstream: DemoUpstream, status: int
    ) -> None:
        with DemoUpstream() as elsewhere:
            register(tenant, f"{upstream.base_url}/v1")
            location = {"Location": f"{elsewhere.base_url}/v1/chat/completions"}
            upstream.behave("status", status=status, body={}, headers=location)
            answer = ask(tenant)
            assert (answer.status, answer.error_type) == (503, "temporarily_unavailable")
            assert "location" not in answer.headers
            assert elsewhere.base_url not in answer.content.decode()
            assert elsewhere.stats()["connections"] == 0
        assert len(upstream.requests()) == 1


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on this machine that notices whoever connects."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0)
        yield server


def nobody_came(server: socket.socket) -> bool:
    try:
        connection, _ = server.accept()
    except BlockingIOError:
        return True
    connection.close()
    return False


class TestTls:
    def test_the_certificate_is_the_name_s(
        self, tenant: Tenant, private_allowed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Connecting to a checked address does not change whose certificate is asked for."""
        context, certificate = self_signed(tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with ScriptedUpstream(context) as upstream:
            port = upstream.base_url.rpartition(":")[2]
            row = register(tenant, f"https://localhost:{port}/v1")
            assert ask(tenant).status == 503
            assert upstream.requests == []
            CustomProvider.objects.filter(pk=row.pk).update(base_url=f"https://127.0.0.1:{port}/v1")
            tenant.change()
            # What an upstream without a script says.
            assert ask(tenant).status == 418
            assert len(upstream.requests) == 1


class TestForbiddenAddresses:
    """Whatever is stored, the connection itself is what is guarded."""

    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0"],  # noqa: S104
    )
    def test_this_machine(self, tenant: Tenant, listener: socket.socket, host: str) -> None:
        register(tenant, f"http://{host}:{listener.getsockname()[1]}/v1")
        answer = ask(tenant)
        assert (answer.status, answer.error_type) == (503, "temporarily_unavailable")
        assert host not in answer.content.decode()
        assert nobody_came(listener)

    def test_a_name_that_moves_after_it_was_written(
        self, tenant: Tenant, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = listener.getsockname()[1]
        answers = iter([[("93.184.215.14", port)]])
        monkeypatch.setattr(
            addresses,
            "resolve",
            lambda _, port: [(socket.AF_INET, each) for each in next(answers, [("127.0.0.1", port)])],
        )
        url = addresses.check_base_url(f"https://provider.example.com:{port}/v1")
        register(tenant, url)
        assert ask(tenant).status == 503
        assert nobody_came(listener)

    def test_no_environment_proxy_takes_its_place(
        self, tenant: Tenant, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy would resolve the name by itself, to what nobody has checked."""
        port = listener.getsockname()[1]
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for scheme in ("http", "https"):
            CustomProvider.objects.all().delete()
            Organization.objects.get(pk=tenant.organization.pk).credentials.all().delete()
            register(tenant, f"{scheme}://10.255.255.1:{port}/v1")
            assert ask(tenant).status == 503
        assert nobody_came(listener)

    @pytest.mark.parametrize(
        "host", ["169.254.169.254", "0.0.0.1", "[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::a9fe:a9fe]"]
    )
    def test_the_setting_opens_private_ones_only(
        self,
        tenant: Tenant,
        private_allowed: None,
        listener: socket.socket,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
    ) -> None:
        attempts: list[Any] = []
        monkeypatch.setattr(addresses, "_connected", lambda *details: attempts.append(details))
        register(tenant, f"http://{host}:{listener.getsockname()[1]}/v1")
        assert ask(tenant).status == 503
        assert attempts == []
        assert nobody_came(listener)

    def test_a_guarded_connection_is_none_of_an_unguarded_one_s(self, tenant: Tenant, settings: Any) -> None:
        """The operator's own address and an organization's lead to the same server, through pools that do not mix."""
        with DemoUpstream() as upstream:
            settings.PROVIDER_BASE_URLS = {"neuralwatt": f"{upstream.base_url}/v1"}
            tenant.store_credential("neuralwatt", offered_models=["Kimi"])
            register(tenant, f"{upstream.base_url}/v1")
            assert ask(tenant, model="neuralwatt/kimi").status == 200
            assert ask(tenant, model="custom-lab/scout").status == 503
            assert ask(tenant, model="neuralwatt/kimi").status == 200
            assert {sent["model"] for sent in upstream.completions()} == {"Kimi"}
