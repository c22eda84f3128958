"""The hosted upstreams: whether they are reached, and take the installation's key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final

import requests

from routing.doctor.findings import Finding, clock_finding, failed, good, warned
from routing.proxy.hosted import HostedUpstream, hosted_upstreams

CHECK = "upstream"
LIMIT_SECONDS = 5.0
# What tells whether a key is good; the list of models answers to any.
_KEY_PATHS: Final = {"openrouter": "/key", "vercel-ai-gateway": "/credits"}
_SETTINGS: Final = {"openrouter": "OPENROUTER_API_KEY", "vercel-ai-gateway": "VERCEL_AI_GATEWAY_API_KEY"}


def check_upstreams() -> Iterator[Finding]:
    """Up to two requests to each; ten seconds at most for each."""
    upstreams = hosted_upstreams()
    if not upstreams:
        yield warned(
            CHECK,
            "No hosted upstream is configured: only organizations' own provider keys serve models.",
            "Set OPENROUTER_API_KEY or VERCEL_AI_GATEWAY_API_KEY, unless that is what you want.",
        )
    for upstream in upstreams:
        yield from _check(upstream)


def _check(upstream: HostedUpstream) -> Iterator[Finding]:
    try:
        status, ahead_seconds = _asked(upstream, _KEY_PATHS[upstream.id])
        checked = "takes the installation's key"
        if status == 404:
            status, ahead_seconds = _asked(upstream, "/models")
            checked = "answers; whether it takes the key, it does not tell"
    except (requests.RequestException, OSError, ValueError) as error:
        yield failed(
            CHECK,
            f"{upstream.id} cannot be reached at {upstream.base_url} ({type(error).__name__}).",
            "Check the address, the name server, the firewall and HTTPS_PROXY.",
        )
        return
    yield _told(upstream, status, checked)
    if ahead_seconds is not None:
        yield clock_finding(upstream.id, ahead_seconds)


def _told(upstream: HostedUpstream, status: int, checked: str) -> Finding:
    if 200 <= status < 300:
        return good(CHECK, f"{upstream.id} {checked}.")
    if status in {401, 402, 403}:
        return failed(
            CHECK,
            f"{upstream.id} refuses the installation's key ({status}).",
            f"Check {_SETTINGS[upstream.id]} and the account behind it.",
        )
    return warned(CHECK, f"{upstream.id} answers {status}.", f"Check that {upstream.base_url} is its API's address.")


def _asked(upstream: HostedUpstream, path: str) -> tuple[int, float | None]:
    """The status, and how far its clock is ahead of ours; the answer's body is left where it is."""
    before = time.time()
    with requests.get(
        f"{upstream.base_url}{path}",
        headers={"Authorization": f"Bearer {upstream.key.reveal()}"},
        # Else a netrc file would replace the key.
        auth=_as_it_is,
        timeout=LIMIT_SECONDS,
        allow_redirects=False,
        stream=True,
    ) as answer:
        there = answer.headers.get("Date")
        between = (before + time.time()) / 2
        try:
            # It tells whole seconds, so it is half a second late on average.
            ahead = parsedate_to_datetime(there).timestamp() + 0.5 - between if there else None
        except ValueError:
            ahead = None
        return answer.status_code, ahead


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
