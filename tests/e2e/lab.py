"""What the tests of this folder share: the laboratory, the requests they send, and the answers of upstreams."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from routing.demo import DemoUpstream
from tests.e2e import wire
from tests.e2e.scripted import Line, ScriptedUpstream
from tests.e2e.tenants import LiveTenant
from tests.support.live import Gateway

HOSTED_KEY = "sk-or-installation-key-0001"
VERCEL_KEY = "vck-installation-key-0002"
CREDENTIALS = {
    "neuralwatt": {"secret": "sk-neuralwatt-acme-1111", "offered_models": ["Kimi-K2.6"]},
    "anthropic-byok": {"secret": "sk-ant-acme-2222"},
    "openai-byok": {"secret": "sk-openai-acme-3333"},
    "opencode-go": {"secret": "sk-opencode-acme-4444"},
    "xai-byok": {"secret": "sk-xai-acme-5555"},
}
FIRST_BYTE_SECONDS = 4.0
IDLE_SECONDS = 1.5

KINDS = ("chat_completions", "responses", "messages")
PATHS = {kind: f"/api/gateway/v1/{kind.replace('_', '/')}" for kind in KINDS}
PROMPT = "canary-of-the-prompt"
# What every recorded answer says of itself; see `recorded`.
USAGE = {"input": 1000, "output": 200, "cached": 100, "cache_write": 50, "reasoning": 20}
TOKENS = {
    "input_tokens": 1000,
    "output_tokens": 200,
    "cache_read_tokens": 100,
    "cache_write_tokens": 50,
    "reasoning_tokens": 20,
}


def body_of(kind: str, *, stream: bool = False, model: str = "kilo-auto/org", **fields: Any) -> dict[str, Any]:
    """A request of this API kind."""
    asked = {"input": PROMPT} if kind == "responses" else {"messages": [{"role": "user", "content": PROMPT}]}
    limit = {"max_tokens": 100} if kind == "messages" else {}
    return {"model": model, **asked, **limit, **({"stream": True} if stream else {}), **fields}


@dataclass(frozen=True, slots=True)
class Recorded:
    """Answers of the demo upstream to one request: as events and as one object."""

    events: tuple[bytes, ...]
    whole: bytes

    @property
    def stream(self) -> bytes:
        return b"".join(self.events)


@cache
def recorded(kind: str) -> Recorded:
    """What an upstream of this API kind answers, recorded once from the demo upstream without a gateway."""
    with DemoUpstream() as upstream:
        upstream.behave(text="Grüße, 世界 🌍! " * 4, events=6, usage=USAGE)
        path = f"/v1/{kind.replace('_', '/')}"
        options = {"stream_options": {"include_usage": True}} if kind == "chat_completions" else {}
        stream = wire.ask(upstream.base_url, path, body_of(kind, stream=True, **options)).content
        whole = wire.ask(upstream.base_url, path, body_of(kind)).content
    return Recorded(tuple(re.findall(rb".*?\n\n", stream, re.DOTALL)), whole)


@dataclass
class Lab:
    """A gateway with short patience, its upstreams, and organizations to ask it for."""

    gateway: Gateway
    openrouter: ScriptedUpstream
    vercel: ScriptedUpstream
    provider: ScriptedUpstream
    secure: ScriptedUpstream
    tenants: dict[str, LiveTenant]

    @property
    def upstreams(self) -> tuple[ScriptedUpstream, ...]:
        return (self.openrouter, self.vercel, self.provider, self.secure)

    @property
    def asked(self) -> int:
        """How many requests reached any upstream at all."""
        return sum(len(upstream.requests) for upstream in self.upstreams)

    def send(
        self,
        kind: str = "chat_completions",
        *,
        mode: str | bytes = "code",
        tenant: str = "acme",
        headers: Mapping[str, str | bytes] | None = None,
        body: Any = None,
        **fields: Any,
    ) -> wire.Exchange:
        """Send a request as this organization."""
        all_headers = {"x-kilocode-mode": mode, **(headers or {})}
        content = body_of(kind, **fields) if body is None else body
        return wire.send(self.gateway.base_url, PATHS[kind], content, self.tenants[tenant].key, all_headers)

    def ask(self, kind: str = "chat_completions", **options: Any) -> wire.Reply:
        """Send a request and wait for its whole answer."""
        return self.send(kind, **options).reply()

    def set_balance(self, microdollars: int | None) -> None:
        """What Acme may still spend on hosted models; None keeps no balance, as everywhere else."""
        self.gateway.sql(
            "INSERT INTO routing_hostedbalance (organization_id, balance_microdollars, updated_at)"
            " VALUES (%s, %s, now())"
            " ON CONFLICT (organization_id) DO UPDATE SET balance_microdollars = EXCLUDED.balance_microdollars",
            self.tenants["acme"].organization_id,
            microdollars,
        )

    def usage(self, answer: wire.Reply | wire.Exchange) -> dict[str, Any]:
        return self.gateway.usage(answer.request_id)


def answers_stream(kind: str) -> Callable[[Line], None]:
    """A script: the recorded stream, an event a chunk."""

    def script(line: Line) -> None:
        line.event_stream()
        for event in recorded(kind).events:
            line.chunk(event)
        line.end()

    return script


def answers_whole(kind: str) -> Callable[[Line], None]:
    """A script: the recorded answer that is not streamed."""
    return lambda line: line.answer("200 OK", recorded(kind).whole, content_type="application/json")


def answers_status(status: str, payload: Any = None, **headers: str) -> Callable[[Line], None]:
    """A script: a status with a JSON body."""
    return lambda line: line.answer_json(
        {"error": {"message": "no"}} if payload is None else payload, status, **headers
    )


def events_in(content: bytes) -> list[tuple[str, Any]]:
    """The events of a stream as a client parses them: name and decoded data; every one must be JSON or `[DONE]`."""
    found = []
    for block in content.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        if not lines:
            continue
        name = b"".join(line[6:].strip() for line in lines if line.startswith(b"event:")).decode()
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        found.append((name, data.decode() if data == b"[DONE]" else json.loads(data)))
    return found


def is_error_event(kind: str, event: tuple[str, Any]) -> bool:
    """Whether an event is an error in the shape of its API, and says what became of the upstream in our words."""
    name, data = event
    words = {"upstream_broke", "upstream_timeout"}
    if kind == "messages":
        return name == "error" and data["type"] == "error" and bool(data["error"]["message"])
    if kind == "responses":
        return name == "error" and data["type"] == "error" and bool(data["message"]) and data["code"] in words
    error = data.get("error", {})
    return name == "" and set(data) == {"error"} and bool(error["message"]) and error["type"] == error["code"] in words


RECEIPT = {"x-request-id", "x-kilo-mode", "x-kilo-route", "x-kilo-target", "x-kilo-model", "x-kilo-provider"}
RECEIPT |= {"x-kilo-byok", "x-kilo-routing-version"}


def assert_error_of_ours(reply: wire.Reply, status: int, error_type: str, kind: str = "chat_completions") -> None:
    """Our body, in the shape of the API, with the whole receipt."""
    assert reply.status == status, reply.content
    assert reply["content-type"] == "application/json"
    body = reply.json()
    assert body["error_type"] == error_type
    assert body["message"] == body["error"]["message"] != ""
    assert body.get("type") == ("error" if kind == "messages" else None)
    assert {name for name, _ in reply.headers} >= RECEIPT
    if status == 503:
        assert int(reply["retry-after"]) > 0


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether something becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A TLS context for 127.0.0.1, and the certificate to trust for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_pem)
    return context, pem
