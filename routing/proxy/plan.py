"""What a request will probably come to, found out while the database says who asks.

Between the question who asks and the answer there is time, and what a key's request comes to is the same nearly every
time. So it is worked out for the caller that the key had the last time, and used if the answer is that caller again:
the same row, with the same versions of all that decides. Nothing is sent, counted or kept for a plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kilo_gateway.api_kinds import ApiKind
from routing.domain.resolve import Asked, choose_model, read_request
from routing.domain.targets import ModelChoice
from routing.domain.types import TargetKind
from routing.proxy.body import JsonBody
from routing.proxy.identity import Caller
from routing.proxy.outgoing import Outgoing, client_text, direct_request, rewrite
from routing.resolution import Settled, remembered


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision for a request, and what goes upstream because of it."""

    asked: Asked
    settled: Settled
    choice: ModelChoice
    credential_id: UUID
    outgoing: Outgoing


def asked_for(caller: Caller, body: JsonBody, environ: Mapping[str, Any]) -> Asked:
    """The model and the mode that a request names."""
    mode_header = client_text(environ, "HTTP_X_KILOCODE_MODE")
    return read_request(body.values["model"], mode_header, caller.default_mode)


def session_of(caller: Caller, environ: Mapping[str, Any]) -> str:
    """What a request has in common with others that one model should serve: the client's task, or the person."""
    return client_text(environ, "HTTP_X_KILOCODE_TASKID") or str(caller.user_id)


def make_plan(caller: Caller, body: JsonBody, environ: Mapping[str, Any], api_kind: ApiKind) -> Plan | None:
    """The plan for a request whose decision is remembered and leads to a direct provider that every organization has;
    None for all others. No query, no lock; the body is left as it is.

    Hosted models are paid for before they are asked, and custom providers have limits of their own: neither can be done
    for somebody who may be another.

    Raises:
        Exception: what would be refused anyhow; to be found out again when it is certain who asks.
    """
    asked = asked_for(caller, body, environ)
    settled = remembered(caller, asked, api_kind)
    if settled is None or settled.provider is None or settled.credential is None or settled.provider.is_custom:
        return None
    target = settled.decision.target
    if settled.decision.refusal is not None or target is None or target.kind is not TargetKind.DIRECT:
        return None
    choice = choose_model(target, session=session_of(caller, environ), has_hosted_balance=caller.has_hosted_balance)
    content = rewrite(body.copy(), api_kind, settled, target, choice)
    outgoing = direct_request(
        settled.credential,
        api_kind,
        environ,
        content,
        provider=settled.provider,
        streamed=body.get("stream") is True,
    )
    return Plan(asked, settled, choice, settled.credential.id, outgoing)
