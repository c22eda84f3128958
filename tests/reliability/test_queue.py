"""The queue of usage records is bounded, and says so when one does not fit."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from routing.proxy import usage_writer
from routing.proxy.usage_writer import Usage, UsageWriter
from tests.support.logs import said_by


def record() -> Usage:
    return Usage(uuid4(), datetime.now(UTC), None, uuid4(), uuid4(), "chat_completions", "kilo-auto/org")


def test_what_does_not_fit_is_counted_and_logged_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage_writer, "MAX_QUEUE", 3)
    writer = UsageWriter()
    # As if its thread waited for the database.
    writer._thread = threading.current_thread()
    for _ in range(5):
        writer.put(record())
    assert (writer.depth, writer.dropped) == (3, 2)
    assert said_by(usage_writer, caplog) == ["The usage queue is full: 1 records dropped so far"]
