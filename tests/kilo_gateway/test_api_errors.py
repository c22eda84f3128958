"""Errors as clients see them."""

from __future__ import annotations

import ast
import json
import logging
import re
from typing import Any

import psycopg
import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.test import Client
from psycopg_pool import PoolTimeout
from rest_framework import exceptions

from kilo_gateway import logs
from kilo_gateway.api_errors import (
    ErrorType,
    GatewayError,
    as_gateway_error,
    authentication_required,
    error_body,
    error_response,
    exception_handler,
    invalid_token,
    method_not_allowed,
    outer_error_response,
    temporarily_unavailable,
)
from routing.domain.types import RefusalCode
from tests.support.errors import ANTHROPIC_TYPES, check_error
from tests.support.inprocess import call
from tests.support.live import ROOT

ERROR = GatewayError(ErrorType.INVALID_REQUEST, 400, "Wrong.", code="why")


class TestDocumentation:
    @pytest.fixture
    def rows(self) -> list[tuple[str, list[int]]]:
        """The table of docs/api-errors.md: each error type with its statuses."""
        text = (ROOT / "docs" / "api-errors.md").read_text(encoding="utf-8")
        _, _, table = text.partition("| `error_type` | status | what to do |\n|---|---|---|\n")
        lines = table.partition("\n\n")[0].splitlines()
        found = [re.findall(r"^\| `(\w+)`[^|]*\| ([\d, ]+|the upstream's) \| .+ \|$", line)[0] for line in lines]
        return [(name, [int(status) for status in re.findall(r"\d+", statuses)]) for name, statuses in found]

    def test_every_error_type_has_one_row_and_there_is_no_other(self, rows: list[tuple[str, list[int]]]) -> None:
        assert sorted(name for name, _ in rows) == sorted(ErrorType)

    def test_the_statuses(self, rows: list[tuple[str, list[int]]]) -> None:
        documented = dict(rows)
        made = [authentication_required(), invalid_token(), temporarily_unavailable("x"), method_not_allowed("GET")]
        made += [as_gateway_error(error) for error in (Http404(), PermissionDenied(), ValueError("x"))]
        made += [as_gateway_error(error) for error in (exceptions.ParseError(), exceptions.Throttled())]
        for error in made:
            assert error.status in documented[error.error_type]

    def test_every_code_that_the_source_gives_is_in_it(self) -> None:
        """Whatever is a text in `code=...` of a call, and the closed set of refusals."""
        text = (ROOT / "docs" / "api-errors.md").read_text(encoding="utf-8")
        documented = set(re.findall(r"`(\w+)`", text))
        given: set[str] = set(RefusalCode)
        for package in ("kilo_gateway", "organizations", "byok", "routing"):
            for path in (ROOT / package).rglob("*.py"):
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.Call):
                        codes = [word.value for word in node.keywords if word.arg == "code"]
                        given |= {str(code.value) for code in codes if isinstance(code, ast.Constant)}
        given = {code for code in given if code.islower()}
        assert len(given) > 50
        assert given - documented == set()


class TestBody:
    def test_it_works(self) -> None:
        assert error_body(ERROR) == {
            "error": {"message": "Wrong.", "type": "invalid_request", "code": "why"},
            "error_type": "invalid_request",
            "message": "Wrong.",
        }

    def test_the_messages_api(self) -> None:
        assert error_body(ERROR, anthropic=True) == {
            "type": "error",
            "error": {"message": "Wrong.", "type": "invalid_request_error", "code": "why"},
            "error_type": "invalid_request",
            "message": "Wrong.",
        }

    @pytest.mark.parametrize(
        ("status", "word"), [*ANTHROPIC_TYPES.items(), (409, "invalid_request_error"), (502, "api_error")]
    )
    def test_anthropics_words(self, status: int, word: str) -> None:
        body = error_body(GatewayError(ErrorType.CONFLICT, status, "x"), anthropic=True)
        assert body["error"]["type"] == word

    def test_the_code_is_the_type_unless_told(self) -> None:
        assert error_body(GatewayError(ErrorType.NOT_FOUND, 404, "x"))["error"]["code"] == "not_found"

    @pytest.mark.parametrize("message", ['"quoted"\r\n', "<script>", "é\U0001f600\x00", "\ud800"])
    def test_any_message_is_json(self, message: str) -> None:
        response = error_response(GatewayError(ErrorType.NOT_FOUND, 404, message))
        assert json.loads(response.content)["message"] == message
        assert response.content.isascii()

    @pytest.mark.parametrize("anthropic", [False, True])
    def test_outside_of_an_exchange_it_has_an_id_of_its_own(self, anthropic: bool) -> None:
        path = "/api/gateway/messages" if anthropic else "/api/gateway/responses"
        ids = set()
        for _ in range(2):
            response = outer_error_response(method_not_allowed("POST"), anthropic=anthropic)
            headers = {name.lower(): value for name, value in response.items()}
            check_error(405, headers, json.loads(response.content), path)
            ids.add(headers["x-request-id"])
        assert len(ids) == 2


class TestHeaders:
    def test_nothing_presented(self) -> None:
        assert authentication_required().headers == {"WWW-Authenticate": "Bearer"}

    def test_not_valid(self) -> None:
        error = invalid_token()
        assert error.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        assert error.code == "INVALID_TOKEN"

    def test_try_again(self) -> None:
        assert temporarily_unavailable("x").headers == {"Retry-After": "5"}
        assert temporarily_unavailable("x", retry_after_seconds=60).headers == {"Retry-After": "60"}

    def test_several_methods(self) -> None:
        assert method_not_allowed("GET", "HEAD").headers == {"Allow": "GET, HEAD"}

    def test_each_error_has_headers_of_its_own(self) -> None:
        headers = {"Retry-After": "1"}
        error = GatewayError(ErrorType.RATE_LIMITED, 429, "x", headers=headers)
        headers["Retry-After"] = "2"
        assert error.headers == {"Retry-After": "1"}


class TestExceptions:
    """Whatever a view raises."""

    @pytest.mark.parametrize(
        ("error", "status", "error_type"),
        [
            (ERROR, 400, "invalid_request"),
            (Http404("the table has no such row"), 404, "not_found"),
            (PermissionDenied("why"), 403, "access_denied"),
            (exceptions.ParseError(), 400, "invalid_request"),
            (exceptions.ValidationError({"name": ["Too long."]}), 400, "invalid_request"),
            (exceptions.NotAuthenticated(), 401, "authentication_required"),
            (exceptions.PermissionDenied(), 403, "access_denied"),
            (exceptions.NotFound(), 404, "not_found"),
            (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
            (exceptions.NotAcceptable(), 406, "invalid_request"),
            (exceptions.UnsupportedMediaType("text/plain"), 415, "invalid_request"),
            (exceptions.Throttled(7.2), 429, "rate_limited"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
    )
    def test_those_that_are_answers(self, error: Exception, status: int, error_type: str) -> None:
        response = exception_handler(error, {})
        body = json.loads(response.content)
        assert (response.status_code, body["error_type"]) == (status, error_type)
        assert set(body) == {"error", "error_type", "message"}
        assert isinstance(body["message"], str)
        assert body["message"]

    def test_what_drf_notes_for_the_head_is_kept(self) -> None:
        unauthenticated = exceptions.NotAuthenticated()
        unauthenticated.auth_header = "Bearer"  # type: ignore[attr-defined]  # as APIView does
        assert exception_handler(unauthenticated, {})["WWW-Authenticate"] == "Bearer"
        assert exception_handler(exceptions.Throttled(7.2), {})["Retry-After"] == "8"

    @pytest.mark.parametrize(
        "error",
        [OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout],
    )
    def test_no_database(self, error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
        """From Django's connections and from those that the proxy borrows without Django."""
        found = as_gateway_error(error("connection to 10.0.0.1 as secret-user failed"))
        assert (found.status, found.error_type, found.code) == (503, ErrorType.TEMPORARILY_UNAVAILABLE, "database")
        assert int(found.headers["Retry-After"]) > 0
        assert "secret-user" not in found.message + caplog.text

    @pytest.mark.parametrize("error", [ValueError, KeyError, RecursionError, AssertionError, psycopg.ProgrammingError])
    def test_what_nobody_expected(self, error: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
        """Nothing of it is shown; the log has it, under the request's id."""
        token = logs.request_id.set("the-request-id")
        try:
            with caplog.at_level(logging.ERROR):
                response: Any = exception_handler(error("canary"), {})
        finally:
            logs.request_id.reset(token)
        assert response.status_code == 500
        assert json.loads(response.content)["error_type"] == "internal_error"
        assert b"canary" not in response.content
        assert b"the-request-id" in response.content
        assert "canary" in caplog.text


class TestAddressesOfTheApi:
    def test_the_first_one_is_no_page(self) -> None:
        for path in ("/api", "/api/nothing"):
            answer = call(path, b"", method="GET")
            assert (answer.status, answer.error_type) == (404, "not_found")

    @pytest.mark.parametrize("path", ["/api/user", "/api/schema/", "/api/organizations/1/members", "/api"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_plain_http_is_refused_and_not_led_elsewhere(
        self, client: Client, settings: Any, path: str, method: str
    ) -> None:
        settings.SECURE_SSL_REDIRECT, settings.BASE_URL = True, "https://gateway.example.com"
        answer = client.generic(method, path, headers={"Authorization": "Bearer kilo_x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "https_required")
        assert "https://gateway.example.com" in answer.json()["message"]
        assert "Location" not in answer
        headers = {name.lower(): value for name, value in answer.items()}
        assert check_error(403, headers, answer.json(), path) == "access_denied"

    def test_browsers_are_led_to_https(self, client: Client, settings: Any) -> None:
        settings.SECURE_SSL_REDIRECT = True
        for path in ("/accounts/login", "/api/docs/", "/apiary"):
            answer = client.get(path)
            assert (answer.status_code, answer["Location"]) == (301, f"https://testserver{path}")

    def test_over_https_nothing_is_in_the_way(self, client: Client, settings: Any) -> None:
        settings.SECURE_SSL_REDIRECT = True
        assert client.get("/api/schema/", secure=True).status_code == 200
