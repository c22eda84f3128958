"""The clock of a gateway's machine jumps, forwards and back again, while streams run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e import wire
from tests.e2e.lab import PATHS, body_of
from tests.support.live import Gateway, server_beside

CHAT = "chat_completions"
STREAM_MS = 1500
HOUR = 3600


def library() -> Path:
    """What lets a process see another time; Debian's package `libfaketime`."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        pytest.skip("libfaketime is missing: apt-get install libfaketime")
    return found


def test_it_jumps_by_an_hour(gateway: Gateway, tmp_path: Path) -> None:
    """Nothing that lasts is measured by it: no stream is cut, no request refused, no duration wrong, no record lost."""
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    faked = {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "RATE_LIMIT_PER_KEY": "1000",
    }
    with server_beside(gateway, tmp_path, **faked) as server:
        usual = server.usage(_send(server).reply().request_id)
        ahead = _streams_over_a_step(server, offset, HOUR)
        back = _streams_over_a_step(server, offset, 0)
    for rows, step in ((ahead, HOUR), (back, 0)):
        assert all(0 <= row["time_to_first_byte_ms"] <= row["duration_ms"] < 60_000 for row in rows)
        assert rows[0]["duration_ms"] >= STREAM_MS * 0.8
        moved = (rows[-1]["created_at"] - usual["created_at"]).total_seconds()
        assert abs(moved - step) < HOUR / 6, "the gateway has seen the clock jump"


def _send(server: Gateway, *, stream: bool = False) -> wire.Exchange:
    key = server.user("alice")["api_key"]
    body = body_of(CHAT, stream=stream)
    return wire.send(server.base_url, PATHS[CHAT], body, key, {"x-kilocode-mode": "code"})


def _streams_over_a_step(server: Gateway, offset: Path, seconds: int) -> list[dict[str, Any]]:
    """Let the clock jump in the middle of a stream; the records of the stream and of requests after it."""
    server.upstream.behave(events=10, interval_ms=STREAM_MS / 10)
    try:
        stream = _send(server, stream=True)
        pieces = stream.pieces()
        next(pieces)
        offset.write_text(f"+{seconds}\n")
        assert b"".join(piece for _, piece in pieces).endswith(b"data: [DONE]\n\n")
    finally:
        server.upstream.reset_behaviour()
    replies = [_send(server).reply() for _ in range(10)]
    assert {reply.status for reply in replies} == {200}
    return [server.usage(exchange.request_id) for exchange in (stream, *replies)]
