"""What goes upstream: the client's body with the model that was decided, and headers of ours with the right key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings

from byok.custom_providers import opened_headers
from byok.encryption import OwnerKind, UndecryptableSecret
from byok.keys import keyring
from byok.providers import PATHS, Provider, endpoint_for, endpoint_url
from byok.selectors import StoredCredential
from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.secret import Secret
from kilo_gateway.version import USER_AGENT
from routing.catalog.parse import provider_slug
from routing.domain.targets import ModelChoice, ValidTarget
from routing.domain.types import TargetKind
from routing.proxy.body import JsonBody, invalid_request
from routing.proxy.hosted import HostedUpstream
from routing.resolution import Settled

ANTHROPIC_VERSION = "2023-06-01"
MAX_HEADER_LENGTH = 500
# A provider's slug or name, and what narrows it down.
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*(/[A-Za-z0-9._-]+)*")
# Other ways to say in `reasoning` how much of it there is to be.
_OTHER_EFFORTS = frozenset({"effort", "enabled", "max_tokens"})


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request to one upstream.

    Attributes:
        secrets: What the upstream must not repeat to the client: the key, and the values of a provider's own headers.
        guarded: An organization has written the address: no connection to this network may come of it.
        account: Whose account at which provider it is, as a sentence begins; blank for the installation's.
    """

    provider_id: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    secrets: tuple[Secret, ...]
    guarded: bool = False
    account: str = ""


class UnusableHeaderError(Exception):
    """The value of one of a custom provider's headers cannot be opened; the message does not show it."""


def rewrite(body: JsonBody, api_kind: ApiKind, settled: Settled, target: ValidTarget, choice: ModelChoice) -> bytes:
    """The body for upstream: another `model`, what the policy and a tier demand, and all else as the client sent it.

    Raises:
        GatewayError: the client confined the request to providers that the policy does not allow.
    """
    if body.get("model") != choice.upstream_id:
        body.replace("model", choice.upstream_id)
    if api_kind is ApiKind.CHAT_COMPLETIONS and body.get("stream") is True:
        options = body.mapping("stream_options")
        if options.get("include_usage") is not True:
            body.replace("stream_options", {**options, "include_usage": True})
    if target.kind is not TargetKind.DIRECT:
        _confine(body, choice, settled.data_collection)
    if target.kind is TargetKind.TIER:
        _tune(body, api_kind, target)
    return body.encode()


def _confine(body: JsonBody, choice: ModelChoice, data_collection: str | None) -> None:
    """Put the policy into `provider`: merged with what the client asked for, never widened by it."""
    if choice.only_providers is None and data_collection != "deny":
        return
    provider: dict[str, Any] = dict(body.mapping("provider"))
    if data_collection == "deny":
        provider["data_collection"] = "deny"
    if choice.only_providers is not None:
        provider["only"] = _allowed_of(provider.get("only"), choice.only_providers)
    body.replace("provider", provider)


def _allowed_of(wanted: Any, allowed: Sequence[str]) -> list[str]:
    """Of the providers that the client wants, those that the policy allows; all that it allows when he names none.

    A provider has several tags, one for each of its regions or precisions: a narrower one stays what it is.
    """
    if wanted is None or wanted == []:
        return list(allowed)
    if not isinstance(wanted, list) or not all(isinstance(entry, str) for entry in wanted):
        raise invalid_request('"provider.only" must be a list of provider slugs.')
    kept = [
        slug if "/" not in entry else entry.strip()
        for entry in wanted
        if (slug := provider_slug(entry)) in allowed and _TAG.fullmatch(entry.strip())
    ]
    if not kept:
        raise GatewayError(
            ErrorType.MODEL_NOT_ALLOWED,
            404,
            'The model policy of the organization allows none of the providers in "provider.only".',
        )
    return list(dict.fromkeys(kept))


def is_confined(body: JsonBody) -> bool:
    """Whether a rewritten request may be served by certain providers only, because of the policy or its client.

    This is said in OpenRouter's own words. An upstream that does not know them would serve the request anyhow.
    """
    provider = body.get("provider")
    if not isinstance(provider, dict):
        return provider is not None
    return (
        provider.get("data_collection") == "deny"
        or provider.get("allow_fallbacks") is False
        or any(provider.get(name) for name in ("ignore", "only", "zdr"))
    )


def _tune(body: JsonBody, api_kind: ApiKind, target: ValidTarget) -> None:
    """A tier's reasoning effort and verbosity, in the shape of the API."""
    effort, verbosity = target.reasoning_effort, target.verbosity
    if api_kind is ApiKind.MESSAGES:
        if effort:
            body.replace("thinking", {"type": "disabled" if effort == "none" else "adaptive"})
        # The only word of this API for how much is to be said, too.
        if told := verbosity if effort in {"", "none"} else effort:
            # Anthropic knows nothing below "low".
            told = "low" if told == "minimal" else told
            body.replace("output_config", {**body.mapping("output_config"), "effort": told})
        return
    if effort:
        _set_effort(body, api_kind, effort)
    if verbosity and api_kind is ApiKind.RESPONSES:
        body.replace("text", {**body.mapping("text"), "verbosity": verbosity})
    elif verbosity:
        body.replace("verbosity", verbosity)


def _set_effort(body: JsonBody, api_kind: ApiKind, effort: str) -> None:
    """The tier's effort in place of whatever the client said about reasoning.

    OpenRouter refuses a request that says it in two ways: `reasoning` beside the older `reasoning_effort` of chat, or
    an effort beside a budget of tokens.
    """
    if api_kind is ApiKind.CHAT_COMPLETIONS and "reasoning_effort" in body.values and body.get("reasoning") is None:
        body.replace("reasoning_effort", effort)
        return
    kept = {key: value for key, value in body.mapping("reasoning").items() if key not in _OTHER_EFFORTS}
    body.replace("reasoning", {**kept, "effort": effort})


def hosted_request(
    upstream: HostedUpstream, api_kind: ApiKind, environ: Mapping[str, Any], body: bytes, *, streamed: bool
) -> Outgoing:
    """A request to a hosted upstream, with the installation's own key."""
    headers = _headers(api_kind, environ, streamed=streamed)
    headers["Authorization"] = f"Bearer {upstream.key.reveal()}"
    headers["HTTP-Referer"] = settings.BASE_URL
    headers["X-Title"] = "Kilo Gateway"
    return Outgoing(upstream.id, f"{upstream.base_url}{PATHS[api_kind]}", headers, body, (upstream.key,))


def direct_request(
    credential: StoredCredential,
    api_kind: ApiKind,
    environ: Mapping[str, Any],
    body: bytes,
    *,
    provider: Provider,
    streamed: bool,
) -> Outgoing:
    """A request to a provider's own address, with its owner's key, opened for this request alone.

    Raises:
        UndecryptableSecret, UnsendableSecretError: the credential cannot be used.
        UnusableHeaderError: a header of the provider cannot be used. Neither is ever replaced or left out.
    """
    endpoint = endpoint_for(provider, api_kind)
    headers = {**dict(endpoint.headers), **_headers(api_kind, environ, streamed=streamed)}
    owner = credential.owner
    secret = keyring().decrypt(credential.sealed, owner=owner, provider_id=provider.id)
    name, value = endpoint.key_style.header(secret)
    headers[name] = value
    own = _own_headers(owner.id, provider) if provider.headers else {}
    headers |= {name: value.reveal() for name, value in own.items()}
    if provider.session_header:
        headers[provider.session_header] = client_text(environ, "HTTP_X_KILOCODE_TASKID") or str(owner.id)
    url = endpoint_url(provider, api_kind, settings.PROVIDER_BASE_URLS.get(provider.id))
    whose = "Your own account" if owner.kind is OwnerKind.USER else "The organization's own account"
    return Outgoing(
        provider.id,
        url,
        headers,
        body,
        (secret, *own.values()),
        guarded=provider.is_custom,
        account=f"{whose} at {provider.name}",
    )


def _own_headers(organization_id: UUID, provider: Provider) -> dict[str, Secret]:
    try:
        return opened_headers(organization_id, provider)
    except UndecryptableSecret as error:
        raise UnusableHeaderError(str(error)) from None


def _headers(api_kind: ApiKind, environ: Mapping[str, Any], *, streamed: bool) -> dict[str, str]:
    """Ours, and of the client's only the two that choose a version of the messages API."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if streamed else "application/json",
        # The bytes are passed on as they come, and usage is read from a copy: neither works on compressed ones.
        "Accept-Encoding": "identity",
        "User-Agent": USER_AGENT,
    }
    if api_kind is ApiKind.MESSAGES:
        headers["anthropic-version"] = client_text(environ, "HTTP_ANTHROPIC_VERSION") or ANTHROPIC_VERSION
        if beta := client_text(environ, "HTTP_ANTHROPIC_BETA"):
            headers["anthropic-beta"] = beta
    return headers


def client_text(environ: Mapping[str, Any], name: str) -> str:
    """A header of the client's: its first 500 characters, without control characters, safe to store, log and send."""
    text = environ.get(name, "")[:MAX_HEADER_LENGTH]
    return text if text.isprintable() else "".join(character for character in text if character.isprintable())
