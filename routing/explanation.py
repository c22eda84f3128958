"""A decision in words and as data: what was looked at, what came out, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from django.db import transaction

from byok.providers import Provider
from byok.selectors import StoredCredential, enabled_credentials
from kilo_gateway.api_kinds import ApiKind
from organizations.models import Organization
from routing.direct import direct_providers
from routing.domain.resolve import Asked
from routing.proxy.identity import Stamp
from routing.resolution import Settled, resolve_locked, settle_for, world_at
from routing.selectors import Offer, current_stamp


def explain(
    organization: Organization, asked: Asked, api_kind: ApiKind | None, *, draft: Mapping[str, Any] | None = None
) -> Settled:
    """What the proxy would decide now; with a draft, what it would decide under those settings in place of the stored.

    Raises:
        CatalogUnreadable: the catalog cannot be read, so nobody knows.
    """
    stamp = current_stamp()
    if draft is None:
        return resolve_locked(organization.pk, stamp, asked, api_kind)
    credentials, providers = enabled_credentials(organization.pk), direct_providers(organization)
    return _settle_draft(
        organization, draft, asked, api_kind, credentials=credentials, providers=providers, stamp=stamp
    )


def explain_draft(
    organization: Organization, draft: Mapping[str, Any], asked: Asked, api_kind: ApiKind | None, *, offer: Offer
) -> Settled:
    """The same for a draft of an organization whose offer has been read already: no query."""
    return _settle_draft(
        organization,
        draft,
        asked,
        api_kind,
        credentials=offer.credentials,
        providers=offer.providers,
        stamp=offer.stamp,
    )


def _settle_draft(
    organization: Organization,
    draft: Mapping[str, Any],
    asked: Asked,
    api_kind: ApiKind | None,
    *,
    credentials: Mapping[str, StoredCredential],
    providers: Mapping[str, Provider],
    stamp: Stamp,
) -> Settled:
    return settle_for(
        organization.plan,
        draft,
        credentials,
        world_at(stamp),
        asked,
        providers=providers,
        api_kind=api_kind,
        stamp=replace(stamp, routing_version=organization.routing_version),
    )


def explained(
    organization: Organization, asked: Asked, api_kind: ApiKind | None, *, draft: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`explain` as JSON values; where no API is named, also what another one would be told, by API.

    Raises what `explain` raises. Without an API it resolves four times, all under one lock.
    """
    with transaction.atomic():
        answer = explanation(explain(organization, asked, api_kind, draft=draft), api_kind)
        if api_kind is not None:
            return answer
        others = {kind: explanation(explain(organization, asked, kind, draft=draft), kind) for kind in ApiKind}
    answer["by_api_kind"] = differing(answer, others)
    return answer


def differing(answer: Mapping[str, Any], others: Mapping[ApiKind, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What other APIs would be told otherwise than where none is named, by API."""
    return {kind.value: told for kind, other in others.items() if (told := _outcome(other)) != _outcome(answer)}


def _outcome(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an explanation that may be another one in another API."""
    return {name: answer[name] for name in ("resolved_models", "reasoning_effort", "verbosity", "refusal")}


def explanation(settled: Settled, api_kind: ApiKind | None) -> dict[str, Any]:
    """A decision and its trace as JSON values; nothing of a credential but its public id."""
    decision = settled.decision
    target, refusal = decision.target, decision.refusal
    return {
        "model": decision.asked.model,
        "mode": decision.asked.mode,
        "mode_source": decision.asked.mode_source,
        "api_kind": api_kind.value if api_kind else None,
        "routing_version": settled.stamp.routing_version,
        "route": decision.route_label or None,
        "target": target.id if target else (decision.route.target if decision.route else None),
        "kind": target.kind.value if target else None,
        # Of several, a session is given one.
        "resolved_models": [model.upstream_id for model in target.models] if target else [],
        "provider": (target.provider_id or None) if target else None,
        "credential": (target.credential_id or None) if target else None,
        "only_providers": _only_providers(settled),
        "reasoning_effort": (target.reasoning_effort or None) if target else None,
        "verbosity": (target.verbosity or None) if target else None,
        "refusal": {"code": refusal.code.value, "message": refusal.message} if refusal else None,
        "by_api_kind": {},
        "steps": [asdict(step) for step in decision.steps],
    }


def _only_providers(settled: Settled) -> dict[str, list[str]]:
    """The providers to which the model policy confines each model; a model that it does not confine is absent."""
    models = settled.decision.target.models if settled.decision.target else ()
    return {model.id: list(model.only_providers) for model in models if model.only_providers is not None}


def in_words(told: dict[str, Any]) -> Iterator[str]:
    """The same for a person, line by line."""
    yield f"Model {told['model']}, mode {told['mode'] or 'none'} (from: {told['mode_source']})"
    width = max((len(step["name"]) for step in told["steps"]), default=0)
    for number, step in enumerate(told["steps"], start=1):
        reason = f" ({step['reason']})" if step["reason"] else ""
        yield f"  {number}. {step['name']:<{width}}  {step['looked_at'] or '-'}: {step['outcome']}{reason}"
    yield _outcome_in_words(told)
    for kind, other in told["by_api_kind"].items():
        yield f"With the API {kind}: {_outcome_in_words({**told, **other})}"


def _outcome_in_words(told: Mapping[str, Any]) -> str:
    if told["refusal"]:
        return f"Refused, {told['refusal']['code']}: {told['refusal']['message']}"
    models = " or ".join(told["resolved_models"])
    by = f" by {told['provider']} with credential {told['credential']}" if told["provider"] else ""
    return f"Route {told['route']} -> {told['target']}; served as {models}{by}"
