"""With which key, and for which organization."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kilo_gateway.secret import Secret
from organizations.api_keys import api_key_create
from organizations.audit import COMMAND
from organizations.models import ApiKey, Membership, Role, Scope
from routing.demo import DemoUpstream
from routing.models import HostedBalance
from routing.proxy.urls import PREFIXES
from routing.proxy.usage_writer import Usage, writer
from tests.support.errors import check_error
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, Answer, call
from tests.support.tenants import Tenant, auto_settings, make_tenant

PATHS = (CHAT, RESPONSES, MESSAGES)
ORGANIZATION_HEADER = "X-KiloCode-OrganizationId"
BODY = {"model": "kilo-auto/org", "messages": [{"role": "user", "content": "hello"}], "input": "hello"}


@pytest.fixture(autouse=True)
def written(db: None, hosted_upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> list[Usage]:
    records: list[Usage] = []
    monkeypatch.setattr(writer, "put", records.append)
    return records


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def foreign() -> Tenant:
    """Another organization, whose routes lead elsewhere."""
    return make_tenant(settings=auto_settings({"code": "openai/gpt-5-mini"}))


def new_key(tenant: Tenant, **fields: Any) -> str:
    """A key of the tenant's person, bound to no organization unless told."""
    chosen = {"scopes": [Scope.INFERENCE], **fields}
    return api_key_create(user=tenant.user, name="another", actor=COMMAND, **chosen).secret.reveal()


def ask(key: str = "", path: str = CHAT, body: Any = BODY, **headers: str) -> Answer:
    return call(path, body, key, headers={name.replace("_", "-"): value for name, value in headers.items()})


def refused(answer: Answer, status: int, error_type: str, path: str = CHAT) -> None:
    assert (answer.status, answer.error_type) == (status, error_type)
    check_error(answer.status, answer.headers, answer.json(), path)


def without_id(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All of an answer that a caller could compare with another one."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "request-id"}}
    return answer.status, headers, answer.content


class TestPresenting:
    @pytest.mark.parametrize("path", PATHS)
    def test_it_works(self, tenant: Tenant, path: str) -> None:
        assert ask(tenant.key, path).status == 200

    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize("name", ["chat/completions", "responses", "messages"])
    def test_all_prefixes_are_equal(self, tenant: Tenant, prefix: str, name: str) -> None:
        path = f"/{prefix}/{name}"
        answer = ask(tenant.key, path, x_kilocode_mode="code")
        assert (answer.status, answer.headers["x-kilo-route"]) == (200, "exact:code")
        refused(ask("", path), 401, "authentication_required", path)
        refused(ask("kilo_unknown", path), 401, "invalid_token", path)

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
    def test_the_scheme_in_any_case(self, tenant: Tenant, scheme: str) -> None:
        assert ask(Authorization=f"{scheme} {tenant.key} ").status == 200

    def test_messages_take_x_api_key(self, tenant: Tenant) -> None:
        assert ask(path=MESSAGES, x_api_key=tenant.key).status == 200

    @pytest.mark.parametrize("path", [CHAT, RESPONSES])
    def test_the_other_apis_do_not(self, tenant: Tenant, path: str) -> None:
        refused(ask(path=path, x_api_key=tenant.key), 401, "authentication_required", path)

    def test_a_bearer_key_is_stronger_than_x_api_key(self, tenant: Tenant) -> None:
        assert ask(tenant.key, MESSAGES, x_api_key="kilo_unknown").status == 200
        refused(ask("kilo_unknown", MESSAGES, x_api_key=tenant.key), 401, "invalid_token", MESSAGES)

    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            " ",
            "Bearer",
            "Bearer ",
            "Basic a2lsbzpraWxv",
            "kilo_key_without_scheme",
            "Token kilo_key",
            "Bearerkilo_key",
        ],
    )
    def test_nothing_that_could_be_a_key(self, authorization: str) -> None:
        answer = ask(Authorization=authorization)
        refused(answer, 401, "authentication_required")
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize(
        "key",
        [
            "kilo_unknown",
            "x",
            "kilo_" + "a" * 195,
            "kilo_" + "a" * 196,
            "a" * 100_000,
            "kilo_\xe9\xff\x85",
            "kilo_\x00",
            "kilo_\udcff",
            "two words",
            "' OR 1=1 --",
            "{{ 7*7 }}%s%(key)s",
        ],
    )
    def test_an_unknown_key(self, key: str) -> None:
        answer = ask(key)
        refused(answer, 401, "invalid_token")
        assert answer.json()["error"]["code"] == "INVALID_TOKEN"
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert key not in answer.json()["message"].split()

    @pytest.mark.parametrize("change", [str.upper, str.swapcase, lambda key: key[:-1], lambda key: key + "A"])
    def test_nearly_the_key(self, tenant: Tenant, change: Any) -> None:
        refused(ask(change(tenant.key)), 401, "invalid_token")

    def test_what_the_database_holds_is_no_key(self, tenant: Tenant) -> None:
        row = ApiKey.objects.get(user=tenant.user)
        for text in (bytes(row.key_hash).hex(), str(row.pk), f"{row.prefix}{row.last_four}"):
            refused(ask(text), 401, "invalid_token")


class TestValidity:
    def test_a_revoked_key(self, tenant: Tenant) -> None:
        assert ask(tenant.key).status == 200
        ApiKey.objects.update(revoked_at=datetime.now(UTC))
        refused(ask(tenant.key), 401, "invalid_token")

    def test_an_expired_key(self, tenant: Tenant) -> None:
        ApiKey.objects.update(expires_at=datetime.now(UTC) + timedelta(minutes=1))
        assert ask(tenant.key).status == 200
        ApiKey.objects.update(expires_at=datetime.now(UTC) - timedelta(milliseconds=1))
        refused(ask(tenant.key), 401, "invalid_token")

    def test_a_person_who_may_no_longer_sign_in(self, tenant: Tenant) -> None:
        tenant.user.is_active = False
        tenant.user.save()
        refused(ask(tenant.key), 401, "invalid_token")

    def test_a_deleted_key(self, tenant: Tenant) -> None:
        ApiKey.objects.all().delete()
        refused(ask(tenant.key), 401, "invalid_token")

    @pytest.mark.parametrize("path", PATHS)
    def test_a_key_for_management_only(self, tenant: Tenant, path: str, written: list[Usage]) -> None:
        key = new_key(tenant, organization=tenant.organization, scopes=[Scope.MANAGEMENT])
        answer = ask(key, path)
        refused(answer, 403, "access_denied", path)
        assert "www-authenticate" not in answer.headers
        assert written == []

    def test_a_key_with_both_scopes(self, tenant: Tenant) -> None:
        key = new_key(tenant, organization=tenant.organization, scopes=[Scope.MANAGEMENT, Scope.INFERENCE])
        assert ask(key).status == 200

    def test_a_secret_prints_as_nothing(self, tenant: Tenant) -> None:
        assert tenant.key not in repr(Secret(tenant.key))


class TestBoundKey:
    @pytest.mark.parametrize("header", ["", "not-a-uuid", "\x00", str(uuid.UUID(int=0))])
    def test_the_header_does_not_matter(self, tenant: Tenant, header: str, written: list[Usage]) -> None:
        assert ask(tenant.key, X_KiloCode_OrganizationId=header).status == 200
        assert [usage.organization_id for usage in written] == [tenant.organization.pk]

    def test_not_even_for_another_organization_of_the_person(self, tenant: Tenant, foreign: Tenant) -> None:
        Membership.objects.create(organization=foreign.organization, user=tenant.user, role=Role.OWNER)
        answer = ask(tenant.key, x_kilocode_mode="code", X_KiloCode_OrganizationId=str(foreign.organization.pk))
        assert answer.headers["x-kilo-model"] == "anthropic/claude-sonnet-5"

    @pytest.mark.parametrize("path", PATHS)
    def test_a_person_who_left_the_organization(self, tenant: Tenant, path: str, written: list[Usage]) -> None:
        assert ask(tenant.key, path).status == 200
        written.clear()
        Membership.objects.filter(user=tenant.user).delete()
        refused(ask(tenant.key, path), 403, "access_denied", path)
        assert written == []

    def test_leaving_does_not_lead_to_the_organization_of_the_header(self, tenant: Tenant, foreign: Tenant) -> None:
        Membership.objects.filter(user=tenant.user).delete()
        Membership.objects.create(organization=foreign.organization, user=tenant.user, role=Role.OWNER)
        refused(ask(tenant.key, X_KiloCode_OrganizationId=str(foreign.organization.pk)), 403, "access_denied")


class TestUnboundKey:
    @pytest.fixture
    def key(self, tenant: Tenant) -> str:
        return new_key(tenant)

    def test_alone_it_acts_for_no_organization(self, key: str, written: list[Usage]) -> None:
        answer = ask(key)
        refused(answer, 400, "organization_auto_configuration")
        assert answer.json()["error"]["code"] == "organization_auto_not_available"
        assert ask(key, body={**BODY, "model": "kilo-auto/free"}).status == 200
        assert [usage.organization_id for usage in written] == [None, None]

    @pytest.mark.parametrize("spelling", [str, lambda pk: str(pk).upper(), lambda pk: f"  {pk} "])
    def test_with_its_persons_organization(self, tenant: Tenant, key: str, spelling: Any, written: list[Usage]) -> None:
        answer = ask(key, x_kilocode_mode="code", X_KiloCode_OrganizationId=spelling(tenant.organization.pk))
        assert (answer.status, answer.headers["x-kilo-model"]) == (200, "anthropic/claude-sonnet-5")
        assert [usage.organization_id for usage in written] == [tenant.organization.pk]

    @pytest.mark.parametrize("path", PATHS)
    def test_a_foreign_and_an_unknown_organization_look_the_same(self, key: str, foreign: Tenant, path: str) -> None:
        answers = [ask(key, path, X_KiloCode_OrganizationId=str(pk)) for pk in (foreign.organization.pk, uuid.uuid4())]
        for answer in answers:
            refused(answer, 403, "access_denied", path)
        assert without_id(answers[0]) == without_id(answers[1])
        assert foreign.organization.name not in answers[0].content.decode()

    @pytest.mark.parametrize(
        "header", ["1", "acme", "0" * 31, "0" * 33, "null", "' OR 1=1 --", "\x00", "\xe9" * 32, "a" * 100_000, "[]"]
    )
    def test_a_malformed_organization(self, key: str, header: str) -> None:
        refused(ask(key, X_KiloCode_OrganizationId=header), 400, "invalid_organization_id")

    def test_a_foreign_balance_is_not_touched_or_told(self, key: str, foreign: Tenant) -> None:
        HostedBalance.objects.create(organization=foreign.organization, balance_microdollars=0)
        refused(ask(key, X_KiloCode_OrganizationId=str(foreign.organization.pk)), 403, "access_denied")

    @pytest.mark.parametrize("role", Role)
    def test_every_role_may_ask(self, tenant: Tenant, key: str, role: Role) -> None:
        Membership.objects.filter(user=tenant.user).update(role=role)
        assert ask(key, X_KiloCode_OrganizationId=str(tenant.organization.pk)).status == 200


class TestDefaultMode:
    @pytest.mark.parametrize(
        ("model", "headers", "route"),
        [
            ("kilo-auto/org", {}, "exact:architect"),
            ("kilo-auto/org", {"x_kilocode_mode": ""}, "exact:architect"),
            ("kilo-auto/org", {"x_kilocode_mode": " \t"}, "exact:architect"),
            ("kilo-auto/org:code", {}, "exact:code"),
            ("kilo-auto/org:", {}, "exact:architect"),
            ("kilo-auto/org", {"x_kilocode_mode": "code"}, "exact:code"),
            ("kilo-auto/org:architect", {"x_kilocode_mode": "CODE "}, "exact:code"),
            ("kilo-auto/org", {"x_kilocode_mode": "unheard-of"}, "fallback"),
        ],
    )
    def test_it_is_the_weakest_way(self, tenant: Tenant, model: str, headers: dict[str, str], route: str) -> None:
        key = new_key(tenant, organization=tenant.organization, default_mode="Architect")
        assert ask(key, body={**BODY, "model": model}, **headers).headers["x-kilo-route"] == route

    def test_an_odd_one_harms_nothing(self, tenant: Tenant) -> None:
        key = new_key(tenant, organization=tenant.organization, default_mode="a\r\nx-evil: é\x7f\U0001f600")
        answer = ask(key)
        assert (answer.status, answer.headers["x-kilo-route"]) == (200, "fallback")
        assert answer.headers["x-kilo-mode"].isascii()
        assert answer.headers["x-kilo-mode"].isprintable()


class TestStrangers:
    """Whoever has no valid key gets one answer, whatever else he sends: he learns nothing by asking."""

    def test_one_answer_to_every_question(self, tenant: Tenant) -> None:
        tenant.store_credential("neuralwatt")
        bodies: list[Any] = [
            BODY,
            {**BODY, "model": "nobody/nothing"},
            {**BODY, "model": "neuralwatt/kimi-k2"},
            {**BODY, "model": 5},
            {**BODY, "providerOptions": {}},
            {**BODY, "stream": True},
            {},
            b"",
            b"{",
            b"\xff",
            b'{"a": 1, "a": 2}',
            b"[" * 10_000,
        ]
        organizations = ["", str(tenant.organization.pk), str(uuid.uuid4()), "malformed"]
        for path in PATHS:
            answers = [
                without_id(ask("kilo_unknown", path, body, X_KiloCode_OrganizationId=organization))
                for body in bodies
                for organization in organizations
            ]
            assert {answer[0] for answer in answers} == {401}
            assert all(answer == answers[0] for answer in answers)

    def test_one_answer_for_unknown_revoked_and_expired(self, tenant: Tenant) -> None:
        expired = new_key(tenant, expires_at=datetime.now(UTC) - timedelta(days=1))
        revoked = new_key(tenant)
        ApiKey.objects.filter(expires_at=None, organization=None).update(revoked_at=datetime.now(UTC))
        management = new_key(tenant, scopes=[Scope.MANAGEMENT])
        ApiKey.objects.filter(scopes=[Scope.MANAGEMENT]).update(revoked_at=datetime.now(UTC))
        answers = [without_id(ask(key)) for key in ("kilo_unknown", expired, revoked, management, "x" * 5000)]
        assert all(answer == answers[0] for answer in answers)

    def test_no_receipt_and_no_usage(self, written: list[Usage]) -> None:
        answer = ask("kilo_unknown", x_kilocode_mode="code")
        assert [name for name in answer.headers if name.startswith("x-")] == ["x-request-id"]
        assert written == []

    def test_a_key_of_another_tenant_reaches_nothing(self, tenant: Tenant, foreign: Tenant) -> None:
        """Not its models, not its credential, not its name: whatever the request says about the organization."""
        tenant.store_credential("neuralwatt")
        private = {**BODY, "model": "neuralwatt/kimi-k2"}
        for key in (foreign.key, new_key(foreign)):
            for organization in ("", str(tenant.organization.pk)):
                answer = ask(key, body=private, X_KiloCode_OrganizationId=organization)
                assert answer.status in {400, 403}
                told = json.dumps(answer.headers) + answer.content.decode()
                assert tenant.organization.name not in told
                assert str(tenant.organization.pk) not in told
