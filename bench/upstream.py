"""The upstreams that all subjects share: nginx that answers at once, and a small server that streams slowly.

`python -m bench.upstream --port N` runs the streaming one. It sends `--events` events spread evenly over `--seconds`,
then the end; a request that does not ask for a stream is answered at once. Each event carries its number and the
moment of sending, from which the load client computes what a gateway added.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from bench.model import HERE, LOCAL_HOST, ROOT, BenchError, Plan
from bench.processes import LOAD_CORE, Program, run

_ANSWER_TEXT = (
    "For an even number of values the median is the mean of the two middle ones; your function returns the upper of "
    "them. The smallest change keeps the sort and looks at both: `return (ordered[(len(ordered) - 1) // 2] + "
    "ordered[middle]) / 2`. For an odd length both indexes are the same and the result is that value, as a float. "
    "I read may be fractional as: a float is fine for every length."
)


def completion() -> str:
    """A chat completion of about 0.9 KB with usage, as a provider sends it."""
    return json.dumps(
        {
            "id": "chatcmpl-bench0000000000000000000000",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "bench-model",
            "system_fingerprint": "fp_bench",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _ANSWER_TEXT, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 212,
                "completion_tokens": 104,
                "total_tokens": 316,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
        }
    )


NGINX_COMMON = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_buffer_size 64k;
    tcp_nodelay on;
{temporary}
{body}
}}
"""


def nginx_configuration(directory: Path, body: str) -> str:
    """A complete nginx configuration that writes nothing outside `directory`."""
    # Modules that this nginx was built without do not know their directive.
    build = run(["sh", "-c", "nginx -V 2>&1"], seconds=20)
    optional = [kind for kind in ("fastcgi", "uwsgi", "scgi") if f"without-http_{kind}_module" not in build]
    temporary = "\n".join(f"    {kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", *optional))
    return NGINX_COMMON.format(directory=directory, files=16384, connections=8000, temporary=temporary, body=body)


def start_nginx(name: str, directory: Path, body: str, *, core: int) -> Program:
    """Start nginx with a server of ours, on one core."""
    if shutil.which("nginx") is None:
        raise BenchError("nginx is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "nginx.conf"
    file.write_text(nginx_configuration(directory, body), encoding="utf-8")
    command = ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(file)]
    return Program(name, command, log=directory / "nginx.log", core=core)


def start_instant(directory: Path, port: int) -> Program:
    """The upstream for throughput: the same completion for every request, at once."""
    text = completion()
    if "'" in text or "$" in text:
        raise BenchError("the completion cannot stand in an nginx string")
    quoted = text.replace("\\", "\\\\")
    body = f"""
    server {{
        listen {LOCAL_HOST}:{port} backlog=4096;
        default_type application/json;
        location / {{ return 200 '{quoted}'; }}
    }}"""
    return start_nginx("upstream", directory, body, core=LOAD_CORE)


def start_streaming(directory: Path, port: int, plan: Plan) -> Program:
    """The upstream for streams."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port)]
    command += ["--events", str(plan.stream_events), "--seconds", str(plan.stream_seconds)]
    return Program("streaming upstream", command, log=directory / "upstream.log", core=LOAD_CORE, directory=ROOT)


def event(number: int, *, last: bool, sent_ns: int) -> bytes:
    """One server-sent event with its number and the moment of sending in the text."""
    delta: dict[str, object] = {"content": f"#{number}@{sent_ns}# "}
    if number == 0:
        delta = {"role": "assistant", **delta}
    chunk: dict[str, object] = {
        "id": "chatcmpl-bench0000000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "bench-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": "stop" if last else None}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


USAGE_EVENT = (
    b'data: {"id":"chatcmpl-bench0000000000000000000000","object":"chat.completion.chunk","created":1767225600,'
    b'"model":"bench-model","choices":[],"usage":{"prompt_tokens":212,"completion_tokens":40,"total_tokens":252}}\n\n'
)
DONE_EVENT = b"data: [DONE]\n\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class StreamingServer(asyncio.Protocol):
    """Just enough HTTP for gateways: reads a POST, streams events on a fixed beat, keeps the connection."""

    def __init__(self, *, events: int, seconds: float, answer: bytes) -> None:
        self._events = events
        self._beat = seconds / events
        self._answer = answer
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or self._transport is None:
            return
        headers = head.lower()
        if b"transfer-encoding: chunked" in headers:
            body, complete, left = rest.partition(b"0\r\n\r\n")
            if not complete:
                return
        else:
            _, _, length = headers.partition(b"content-length:")
            size = int(length.partition(b"\r\n")[0] or 0)
            if len(rest) < size:
                return
            body, left = rest[:size], rest[size:]
        self._buffer = left
        self._respond(body)

    def _respond(self, body: bytes) -> None:
        if self._transport is None:
            return
        if b'"stream":true' not in body.replace(b" ", b""):
            self._transport.write(self._answer)
            return
        self._transport.write(_STREAM_HEAD)
        self._beat_once(0, asyncio.get_running_loop().time())

    def _beat_once(self, number: int, started: float) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if number == self._events:
            self._transport.write(_chunked(USAGE_EVENT) + _chunked(DONE_EVENT) + b"0\r\n\r\n")
            return
        last = number == self._events - 1
        self._transport.write(_chunked(event(number, last=last, sent_ns=time.monotonic_ns())))
        # From the start, not from now: a late beat must not delay the following ones.
        due = started + (number + 1) * self._beat
        self._timer = asyncio.get_running_loop().call_at(due, self._beat_once, number + 1, started)


async def serve(port: int, *, events: int, seconds: float) -> None:
    """Serve until cancelled."""
    text = completion().encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)

    def protocol() -> StreamingServer:
        return StreamingServer(events=events, seconds=seconds, answer=answer)

    server = await asyncio.get_running_loop().create_server(protocol, LOCAL_HOST, port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Entry point of the streaming upstream."""
    parser = argparse.ArgumentParser(description=f"Streaming upstream of {HERE.name}.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.port, events=arguments.events, seconds=arguments.seconds))


if __name__ == "__main__":
    main()
