"""Log lines: one a record, readable by machines, and nothing in them that a client could have written as a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from kilo_gateway import logs

HOSTILE = 'a\r\n{"level": "error", "message": "forged"}\n'


@pytest.fixture
def request_id() -> Iterator[str]:
    token = logs.request_id.set("0b6e9a5e-0000-4000-8000-000000000001")
    yield logs.request_id.get()
    logs.request_id.reset(token)


def record(message: str, *arguments: object, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.getLogger("tests").makeRecord(
        "tests", logging.WARNING, "file", 1, message, arguments, exc_info, extra=extra
    )


def entry(told: logging.LogRecord) -> dict[str, Any]:
    """The line as a machine reads it."""
    line = logs.JsonFormatter().format(told)
    assert len(line.splitlines()) == 1
    return dict(json.loads(line))


class TestJson:
    def test_it_works(self, request_id: str) -> None:
        told = entry(record("%s of %d", "one", 2, organization="Acme"))
        assert datetime.fromisoformat(told.pop("time")).tzinfo is UTC
        assert told == {
            "level": "warning",
            "logger": "tests",
            "message": "one of 2",
            "request_id": request_id,
            "organization": "Acme",
        }

    def test_without_a_request(self) -> None:
        assert "request_id" not in entry(record("started"))

    def test_an_exception_is_in_the_line(self) -> None:
        try:
            raise ValueError(HOSTILE)
        except ValueError as error:
            told = entry(record("failed", error=error))
        assert told["exception"].startswith("Traceback")
        assert HOSTILE in told["exception"]

    def test_what_is_no_json_is_told_as_text(self) -> None:
        told = entry(record("x", at=datetime(2026, 1, 1, tzinfo=UTC), id=UUID(int=1), kind={1}, raw=b"\xff"))
        assert told["id"] == str(UUID(int=1))
        assert told["kind"] == "{1}"

    def test_the_request_object_is_left_out(self) -> None:
        """Django attaches it to the records of its own errors, with all headers in it."""
        request = RequestFactory().get("/", headers={"authorization": "Bearer canary"})
        assert "canary" not in json.dumps(entry(record("Not Found", request=request, status_code=404)))

    @given(text=st.text(), value=st.text())
    def test_any_text_stays_in_its_line(self, text: str, value: str) -> None:
        told = entry(record("%s", text, value=value))
        assert (told["message"], told["value"]) == (text, value)

    def test_half_characters(self) -> None:
        assert entry(record("%s", "\ud800"))["message"] == "\ud800"


class TestConsole:
    def format(self, told: logging.LogRecord) -> str:
        return logs.ConsoleFormatter().format(told)

    def test_it_works(self, request_id: str) -> None:
        line = self.format(record("%s of %d", "one", 2, organization="Acme"))
        assert line.endswith(f"WARNING tests: one of 2 organization='Acme' [{request_id}]")

    def test_a_value_cannot_begin_a_line(self) -> None:
        line = self.format(record("asked for %s", HOSTILE, value=HOSTILE))
        assert "\n" not in line
        assert "\r" not in line

    def test_a_terminal_is_given_no_orders(self) -> None:
        line = self.format(record("asked for %s", "a\x1b[2J\x07\x85\u2028\x9b31m"))
        assert line.isprintable()
        assert line.endswith(r"asked for a\x1b[2J\x07\x85\u2028\x9b31m")

    def test_an_exception_follows(self) -> None:
        try:
            raise ValueError("text")
        except ValueError as error:
            told = self.format(record("failed", error=error))
        assert told.splitlines()[1].startswith("Traceback")


class TestErrorReports:
    @pytest.mark.parametrize(
        "name",
        [
            "SECRET_KEY", "CREDENTIAL_KEYS", "OPENROUTER_API_KEY", "VERCEL_AI_GATEWAY_API_KEY", "POSTHOG_API_KEY",
            "DATABASE_URL", "DATABASES", "EMAIL_URL", "CACHE_URL", "SENTRY_DSN", "HTTP_AUTHORIZATION", "HTTP_X_API_KEY",
            "PASSWORD",
        ],
    )  # fmt: skip
    def test_secrets_are_hidden(self, name: str) -> None:
        cleansed = str(logs.ReporterFilter().cleanse_setting(name, "canary"))
        assert "canary" not in cleansed

    def test_other_settings_are_shown(self) -> None:
        assert logs.ReporterFilter().cleanse_setting("TIME_ZONE", "UTC") == "UTC"

    def test_a_report_hides_the_key_of_the_request(self) -> None:
        request = RequestFactory().get("/", headers={"authorization": "Bearer canary", "x-api-key": "canary"})
        assert "canary" not in str(logs.ReporterFilter().get_safe_request_meta(request))
