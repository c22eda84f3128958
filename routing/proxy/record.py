"""What is found out about a request on its way, as its usage record and as the headers that tell the client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from kilo_gateway.api_kinds import ApiKind
from routing.domain.resolve import Asked
from routing.domain.targets import ModelChoice
from routing.domain.types import TargetKind
from routing.proxy.identity import Caller
from routing.proxy.outgoing import client_text
from routing.proxy.request_ids import new_request_id
from routing.proxy.usage_writer import Usage
from routing.resolution import Settled


@dataclass(slots=True)
class Facts:
    """What is known of a request so far, in the order in which it is found out.

    Attributes:
        credential_id: Of the credential that was opened for the request; one that could not be has not been used.
    """

    api_kind: ApiKind
    started_at: datetime
    request_id: UUID = field(default_factory=new_request_id)
    caller: Caller | None = None
    streamed: bool = False
    asked: Asked | None = None
    settled: Settled | None = None
    choice: ModelChoice | None = None
    credential_id: UUID | None = None

    @property
    def is_byok(self) -> bool:
        """Whether an account of the organization's or the person's own pays."""
        target = self.settled.decision.target if self.settled is not None else None
        return self.choice is not None and target is not None and target.kind is TargetKind.DIRECT


def begin_usage(facts: Facts, environ: Mapping[str, Any]) -> Usage | None:
    """The usage record as far as it is known before the upstream answers; None before it is known who asks for what."""
    caller, asked, settled = facts.caller, facts.asked, facts.settled
    if caller is None or asked is None:
        return None
    usage = Usage(
        request_id=facts.request_id,
        created_at=facts.started_at,
        organization_id=caller.organization_id,
        user_id=caller.user_id,
        api_key_id=caller.key_id,
        api_kind=facts.api_kind.value,
        requested_model=_plain(asked.model, 200),
        mode=_plain(asked.mode, 500),
        is_byok=facts.is_byok,
        credential_id=facts.credential_id,
        streamed=facts.streamed,
        task_id=client_text(environ, "HTTP_X_KILOCODE_TASKID"),
        editor=client_text(environ, "HTTP_X_KILOCODE_EDITORNAME"),
        feature=client_text(environ, "HTTP_X_KILOCODE_FEATURE"),
        traceparent=environ.get("HTTP_TRACEPARENT", ""),
    )
    if settled is None:
        return usage
    decision = settled.decision
    usage.auto_model = decision.auto_model
    if caller.organization_id is not None:
        usage.routing_version = settled.stamp.routing_version
    if decision.route is not None:
        usage.route_kind, usage.route = decision.route.kind.value, _plain(decision.route.label, 1100)
        usage.target = _plain(decision.route.target, 200)
    if decision.target is not None and facts.choice is not None:
        usage.target, usage.resolved_model = _plain(decision.target.id, 200), _plain(facts.choice.id, 200)
    return usage


def decision_headers(facts: Facts) -> dict[str, str]:
    """What the receipt says of the decision; nothing before there is one."""
    settled, caller, choice = facts.settled, facts.caller, facts.choice
    if settled is None or caller is None:
        return {}
    decision = settled.decision
    headers = {"x-kilo-mode": _header_text(decision.asked.mode)}
    if caller.organization_id is not None:
        headers["x-kilo-routing-version"] = str(settled.stamp.routing_version)
    if decision.route is not None:
        headers["x-kilo-route"] = _header_text(decision.route.label)
        headers["x-kilo-target"] = _header_text(_plain(decision.route.target, 200))
    if decision.target is not None and choice is not None:
        headers["x-kilo-target"] = _header_text(decision.target.id)
        headers["x-kilo-model"] = _header_text(choice.upstream_id)
        headers["x-kilo-byok"] = "true" if facts.is_byok else "false"
    return headers


def _header_text(text: str) -> str:
    """A value as a header can carry it: without line breaks, and what is not ASCII escaped."""
    return text if text.isascii() and text.isprintable() else json.dumps(text)[1:-1]


def _plain(text: str, length: int) -> str:
    """A text of the client's as it is stored: cut, and without control characters."""
    text = text[:length]
    return text if text.isprintable() else "".join(character for character in text if character.isprintable())
