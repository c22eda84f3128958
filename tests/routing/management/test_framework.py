"""What holds for every endpoint of the management API, shown on a few of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from organizations.models import AuditLog, Membership, Role, Scope, User
from tests.factories import ApiKeyFactory, MembershipFactory, OrganizationFactory, bearer, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Api, Team, refused
from tests.support.inprocess import call
from tests.support.openapi import check_answer

READS = ("organization-auto", "model-policy", "history", "modes")
WRITES: tuple[tuple[str, str, Any], ...] = (
    ("PUT", "default-model", {"behavior": "global"}),
    ("PUT", "organization-auto/routes/code", {"model": GPT}),
    ("DELETE", "organization-auto/routes/code", None),
    ("PUT", "organization-auto/fallback", {"model": GPT}),
    ("PUT", "model-policy", {"provider_allow_list": None, "model_deny_list": []}),
    ("PUT", "data-collection", {"data_collection": "deny"}),
    ("POST", "modes", {"name": "A", "slug": "a", "config": {"roleDefinition": "x"}}),
    ("POST", "history/1/restore", {}),
)
EVERYTHING = (*(("GET", path, None) for path in READS), *WRITES, ("POST", "explain", {}))


def address(team: Team, path: str) -> str:
    return f"/api/organizations/{team.organization.pk}/{path}"


class TestWhoAsks:
    @pytest.mark.parametrize(("method", "path", "body"), EVERYTHING)
    def test_nobody(self, team: Team, method: str, path: str, body: Any) -> None:
        full = address(team, path)
        response = Client().generic(method, full, json.dumps(body), content_type="application/json")
        check_answer(method, full, response)
        refused(response, 401, "authentication_required")
        assert response["WWW-Authenticate"] == "Bearer"

    @pytest.mark.parametrize(("method", "path", "body"), EVERYTHING)
    def test_a_key_for_model_requests_only(self, team: Team, method: str, path: str, body: Any) -> None:
        response = team.api(scopes=[Scope.INFERENCE.value]).request(method, path, body)
        if (method, path) == ("GET", "modes"):
            assert response.status_code == 200
        else:
            refused(response, 403, "scope_required")

    @pytest.mark.parametrize(("method", "path", "body"), EVERYTHING)
    def test_strangers_and_unknown_organizations_are_told_the_same(
        self, team: Team, mallory: User, method: str, path: str, body: Any
    ) -> None:
        answers = [
            Api(mallory, organization).request(method, path, body)
            for organization in (team.organization, OrganizationFactory.build())
        ]
        for answer in answers:
            refused(answer, 404, "not_found")
        assert answers[0].content == answers[1].content

    def test_a_bound_key_knows_its_organization_only(self, team: Team) -> None:
        other = MembershipFactory.create(user=team.alice, role=Role.OWNER).organization
        key = ApiKeyFactory.create(user=team.alice, organization=other, scopes=[Scope.MANAGEMENT.value])
        client = Client(**bearer(key))
        refused(client.get(address(team, "organization-auto")), 404, "not_found")
        assert client.get(f"/api/organizations/{other.pk}/organization-auto").status_code == 200

    def test_a_key_that_has_ended(self, team: Team) -> None:
        past = datetime.now(UTC) - timedelta(minutes=1)
        for fields in ({"revoked_at": past}, {"expires_at": past}):
            key = ApiKeyFactory.create(user=team.alice, scopes=[Scope.MANAGEMENT.value], **fields)
            refused(Client(**bearer(key)).get(address(team, "history")), 401, "INVALID_TOKEN")

    def test_somebody_who_left(self, team: Team) -> None:
        api = team.api(team.dave)
        assert api.get("history").status_code == 200
        Membership.objects.filter(user=team.dave).delete()
        refused(api.get("history"), 404, "not_found")
        refused(api.put("organization-auto/fallback", {"model": GPT}), 404, "not_found")


class TestSession:
    @pytest.fixture
    def browser(self, team: Team) -> Client:
        client = Client(enforce_csrf_checks=True)
        client.force_login(team.alice)
        client.cookies["csrftoken"] = "c" * 32
        return client

    def put(self, browser: Client, team: Team, **headers: str) -> Any:
        return browser.put(
            address(team, "data-collection"),
            {"data_collection": "deny"},
            content_type="application/json",
            headers=headers,
        )

    def test_reading(self, team: Team, browser: Client) -> None:
        assert browser.get(address(team, "modes")).status_code == 200

    def test_writing_with_the_token(self, team: Team, browser: Client) -> None:
        assert self.put(browser, team, **{"X-CSRFToken": "c" * 32}).status_code == 200
        row = AuditLog.objects.get()
        assert (row.actor_email, row.via) == (team.alice.email, "api")

    @pytest.mark.parametrize("token", ["", "d" * 32, "x"])
    def test_writing_without_it(self, team: Team, browser: Client, token: str) -> None:
        with team.nothing_changes():
            refused(self.put(browser, team, **({"X-CSRFToken": token} if token else {})), 403, "csrf_failed")

    def test_a_form_is_not_parsed(self, team: Team, browser: Client) -> None:
        broken = b'--x\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n' + b"c" * 32
        with team.nothing_changes():
            for content_type in ("multipart/form-data; boundary=x", "multipart/form-data", "text/plain"):
                response = browser.generic("POST", address(team, "explain"), broken, content_type=content_type)
                refused(response, 415, "unsupported_media_type")

    def test_a_person_who_was_deactivated(self, team: Team, browser: Client) -> None:
        User.objects.filter(pk=team.alice.pk).update(is_active=False)
        refused(browser.get(address(team, "modes")), 401, "authentication_required")

    def test_a_key_wins_over_the_session(self, team: Team, mallory: User, browser: Client) -> None:
        key = ApiKeyFactory.create(user=mallory, scopes=[Scope.MANAGEMENT.value])
        refused(browser.get(address(team, "modes"), **bearer(key)), 404, "not_found")


class TestVersions:
    @pytest.mark.parametrize("path", READS[:3])
    def test_reads_have_it(self, team: Team, path: str) -> None:
        response = team.api().get(path)
        assert (response["ETag"], response.json()["routing_version"]) == ('"1"', 1)

    def test_the_modes_have_it_and_stay_as_clients_read_them(self, team: Team) -> None:
        response = team.api().get("modes")
        assert (response["ETag"], set(response.json())) == ('"1"', {"modes"})
        assert team.api().post("modes", WRITES[6][2], **{"If-Match": response["ETag"]}).status_code == 201

    def test_a_write_on_the_version_that_was_read(self, team: Team) -> None:
        api = team.api()
        response = api.put("organization-auto/fallback", {"model": GPT}, **{"If-Match": '"1"'})
        assert response["ETag"] == '"2"'
        assert api.put("organization-auto/fallback", {"model": KIMI}, **{"If-Match": '"2"'}).status_code == 200
        assert api.put("organization-auto/fallback", {"model": GPT}, **{"If-Match": "*"}).status_code == 200

    def test_the_tag_of_an_answer_that_was_compressed(self, team: Team) -> None:
        team.configure(**organization_auto(dict.fromkeys(("code", "plan", "debug"), CLAUDE)))
        api = team.api()
        read = api.client.get(address(team, "organization-auto"), headers={"Accept-Encoding": "gzip"})
        assert (read["Content-Encoding"], read["ETag"]) == ("gzip", 'W/"1"')
        response = api.put("data-collection", {"data_collection": "deny"}, **{"If-Match": read["ETag"]})
        assert (response.status_code, response["ETag"]) == (200, '"2"')
        refused(
            api.put("data-collection", {"data_collection": None}, **{"If-Match": read["ETag"]}),
            412,
            "routing_version_moved",
        )

    @pytest.mark.parametrize(("method", "path", "body"), WRITES[:7])
    def test_it_has_moved_on(self, team: Team, method: str, path: str, body: Any) -> None:
        for version in ('"0"', '"2"', '"999999999999999999"'):
            with team.nothing_changes():
                response = team.api().request(method, path, body, **{"If-Match": version})
            error = refused(response, 412, "routing_version_moved")
            assert error["routing_version"] == 1

    @pytest.mark.parametrize(
        "header", ["1", 'w/"1"', "W/1", "W/*", '"1", "2"', '"x"', '""', '"-1"', '"' + "9" * 30 + '"', "1\u0663"]
    )
    def test_what_is_no_version(self, team: Team, header: str) -> None:
        with team.nothing_changes():
            response = team.api().put("data-collection", {"data_collection": "deny"}, **{"If-Match": header})
        refused(response, 400, "invalid_if_match")

    def test_modes_without_a_route_do_not_raise_it(self, team: Team) -> None:
        response = team.api().post("modes", WRITES[6][2], **{"If-Match": '"1"'})
        assert (response.status_code, response["ETag"]) == (201, '"1"')


def send(team: Team, raw: bytes, *, content_type: str = "application/json", method: str = "PUT") -> Any:
    key = ApiKeyFactory.create(user=team.alice, scopes=[Scope.MANAGEMENT.value])
    full = address(team, "organization-auto/fallback")
    response = Client(**bearer(key)).generic(method, full, raw, content_type=content_type)
    check_answer(method, full, response)
    return response


class TestBodies:
    @pytest.mark.parametrize(
        "raw",
        [
            b"{",
            b"nonsense",
            b'{"model": "a/b"} x',
            b"{'model': 'a/b'}",
            b'{"model": "a/b", "model": "c/d"}',
            b'{"model": NaN}',
            b'{"model": Infinity}',
            b'{"model": 1e999}',
            b'{"model": ' + b"9" * 5000 + b"}",
            b'{"model": "\\ud800"}',
            b'{"model": "a\\u0000b"}',
            b'{"mod\\u0000el": "a"}',
            b'{"model": "\xff"}',
            '{"model": "a/b"}'.encode("utf-16"),
            b'\xef\xbb\xbf{"model": "a/b"}',
            b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"model": ' + b"[" * 40 + b"]" * 40 + b"}",
        ],
    )
    def test_what_is_not_strictly_json(self, team: Team, raw: bytes) -> None:
        with team.nothing_changes():
            refused(send(team, raw), 400, "not_json")

    @pytest.mark.parametrize("raw", [b"[]", b'"text"', b"7", b"null", b"true", b'[{"model": "a/b"}]'])
    def test_what_is_no_object(self, team: Team, raw: bytes) -> None:
        with team.nothing_changes():
            refused(send(team, raw), 400, "invalid", field="body")

    def test_unknown_fields(self, team: Team) -> None:
        with team.nothing_changes():
            error = refused(send(team, b'{"modle": "a/b", "x": 1}'), 400, "invalid", field="modle")
        assert set(error["fields"]) == {"modle", "x", "model"}
        many = json.dumps({"x" * 200 + str(number): 1 for number in range(1000)}).encode()
        with team.nothing_changes():
            assert len(refused(send(team, many), 400, "invalid")["fields"]) < 20

    @pytest.mark.parametrize("value", [10**300, -1, 1.5, True, None, [], {}, ["a/b"], {"a": "b"}])
    def test_values_of_another_type(self, team: Team, value: Any) -> None:
        with team.nothing_changes():
            refused(send(team, json.dumps({"model": value}).encode()), 400, "invalid", field="model")

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "nonsense", "a/b/c"]
    )
    def test_what_is_not_said_to_be_json(self, team: Team, content_type: str) -> None:
        with team.nothing_changes():
            refused(send(team, b'{"model": "a/b"}', content_type=content_type), 415, "unsupported_media_type")

    @pytest.mark.parametrize(
        "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;x"]
    )
    def test_ways_to_say_json(self, team: Team, content_type: str) -> None:
        assert send(team, json.dumps({"model": GPT}).encode(), content_type=content_type).status_code == 200

    def test_no_body(self, team: Team) -> None:
        with team.nothing_changes():
            refused(send(team, b""), 400, "invalid", field="model")

    def test_too_large(self, team: Team) -> None:
        with team.nothing_changes():
            refused(send(team, b'{"model": "' + b"x" * 1024 * 1024 + b'"}'), 413, "request_too_large")


class TestAddresses:
    @pytest.mark.parametrize("query", ["?a=1", "?model=x", "?%00=1", "?=", "?organization_id=5"])
    def test_unknown_parameters(self, team: Team, query: str) -> None:
        refused(team.api().get(f"organization-auto{query}"), 400, "invalid")
        with team.nothing_changes():
            refused(team.api().put(f"organization-auto/fallback{query}", {"model": GPT}), 400, "invalid")

    @pytest.mark.parametrize(
        "path",
        [
            "organization-auto/routes/",
            "organization-auto/routes/a/b",
            "modes/not-a-uuid",
            "modes/",
            "history/-1",
            "history/" + "9" * 5000,
            "history/٣",
            "nothing",
            "",
        ],
    )
    def test_what_does_not_exist(self, committed_db: None, path: str) -> None:
        # As a server hands paths on: the bytes of UTF-8 as characters.
        answer = call(f"/api/organizations/{uuid4()}/{path}".encode().decode("latin-1"), {}, method="PUT")
        assert (answer.status, answer.error_type) == (404, "not_found")

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            ("organization-auto", "GET, HEAD, OPTIONS"),
            ("default-model", "PUT, OPTIONS"),
            ("organization-auto/routes/code", "PUT, DELETE, OPTIONS"),
            ("modes", "GET, POST, HEAD, OPTIONS"),
            ("explain", "POST, OPTIONS"),
            ("history/1/restore", "POST, OPTIONS"),
        ],
    )
    def test_methods(self, team: Team, path: str, allowed: str) -> None:
        client = team.api().client
        for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "TRACE", "BREW"} - set(allowed.split(", ")):
            response = client.generic(method, address(team, path))
            assert (response.status_code, response["Allow"]) == (405, allowed)
            assert response.json()["error_type"] == "method_not_allowed"
        options = client.options(address(team, path))
        assert (options.status_code, options["Allow"], options.content) == (204, allowed, b"")

    def test_head(self, team: Team) -> None:
        response = team.api().client.head(address(team, "organization-auto"))
        assert (response.status_code, response["ETag"], response.content) == (200, '"1"', b"")


class TestAnswers:
    def test_headers(self, team: Team) -> None:
        for response in (team.api().get("history"), team.api().get("history/9")):
            assert response["Cache-Control"] == "private, no-store"
            assert response["X-Content-Type-Options"] == "nosniff"
            assert response["X-Frame-Options"] == "DENY"
            assert response["Referrer-Policy"] == "same-origin"
            assert response["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert response["x-request-id"]

    def test_the_request_id_is_in_the_audit_log(self, team: Team) -> None:
        response = team.api().put("organization-auto/fallback", {"model": GPT})
        assert AuditLog.objects.get().request_id == response["x-request-id"]

    @pytest.mark.parametrize("accept", ["text/html", "application/xml", "nonsense"])
    def test_json_whatever_is_accepted(self, team: Team, accept: str) -> None:
        assert team.api().get("history", Accept=accept)["Content-Type"] == "application/json"

    def test_a_defect_of_ours_says_nothing(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(**_: Any) -> None:
            raise RuntimeError("text-of-a-traceback")

        monkeypatch.setattr("routing.management_api.model_policy.data_collection_set", broken)
        api = team.api()
        response = api.client.put(
            address(team, "data-collection"), {"data_collection": "deny"}, content_type="application/json"
        )
        assert (response.status_code, response.json()["error_type"]) == (500, "internal_error")
        assert b"text-of-a-traceback" not in response.content


class TestClientAddress:
    """By the trusted proxies, the address of the connection, and what it says for whom it speaks."""

    @pytest.mark.parametrize(
        "case",
        [
            ((), "203.0.113.9", "198.51.100.1", "203.0.113.9"),
            (("10.0.0.0/8",), "203.0.113.9", "198.51.100.1", "203.0.113.9"),
            (("10.0.0.0/8",), "10.1.2.3", "198.51.100.1", "198.51.100.1"),
            (("10.0.0.0/8",), "10.1.2.3", "1.1.1.1, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
            (("10.0.0.0/8",), "10.1.2.3", "1.1.1.1, nonsense", "10.1.2.3"),
            (("10.0.0.0/8",), "10.1.2.3", "10.4.4.4", "10.4.4.4"),
            (("10.0.0.0/8",), "10.1.2.3", "", "10.1.2.3"),
            (("10.0.0.0/8",), "::ffff:10.1.2.3", "2001:DB8::1", "2001:db8::1"),
            (("fe80::/10",), "fe80::1%eth0", "198.51.100.1", "198.51.100.1"),
            ((), "fe80::1%eth0", "", "fe80::1"),
            ((), "", "198.51.100.1", None),
        ],
    )
    def test_it_is_audited(self, team: Team, settings: Any, case: tuple[tuple[str, ...], str, str, str | None]) -> None:
        proxies, remote, forwarded, kept = case
        settings.TRUSTED_PROXIES = tuple(map(ip_network, proxies))
        team.api().client.put(
            address(team, "organization-auto/routes/code"),
            {"model": CLAUDE},
            content_type="application/json",
            REMOTE_ADDR=remote,
            HTTP_X_FORWARDED_FOR=forwarded,
        )
        assert AuditLog.objects.get().address == kept


def test_unknown_settings_survive_every_write(team: Team) -> None:
    others = {"budget": {"monthly": 5}, "theme": None, "list": [1, "two"]}
    team.configure(**organization_auto({"code": CLAUDE}), **others)
    api = team.api()
    for method, path, body in WRITES[:7]:
        assert api.request(method, path, body).status_code in {200, 201}
        assert {key: team.settings[key] for key in others} == others
