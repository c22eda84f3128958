"""One proxied request, from its bytes to its answer: every check in its order, the upstream, the receipt, the usage."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.http import HttpResponse

from byok.encryption import UndecryptableSecret
from byok.providers import UnsendableSecretError
from kilo_gateway import logs, metrics
from kilo_gateway.api_errors import ErrorType, GatewayError, as_gateway_error, error_response, temporarily_unavailable
from kilo_gateway.api_kinds import ApiKind
from organizations.api_keys import key_hash
from routing.catalog.cache import CatalogUnreadable
from routing.domain.estimates import Expected, with_estimates
from routing.domain.resolve import choose_model
from routing.domain.targets import ModelChoice, ValidTarget
from routing.domain.types import RefusalCode, TargetKind
from routing.proxy import answer, concurrency, rate_limit, spending
from routing.proxy.body import JsonBody
from routing.proxy.concurrency import HeldPlaces
from routing.proxy.connections import release_connection
from routing.proxy.costs import add_costs, count_answer
from routing.proxy.hosted import hosted_upstreams
from routing.proxy.identity import Caller, familiar_caller, identify, presented_key
from routing.proxy.lookout import requests_present
from routing.proxy.origins import UpstreamUnreachable
from routing.proxy.outgoing import (
    Outgoing,
    UnusableHeaderError,
    direct_request,
    hosted_request,
    is_confined,
    rewrite,
)
from routing.proxy.plan import Plan, asked_for, make_plan, session_of
from routing.proxy.record import Facts, begin_usage, decision_headers
from routing.proxy.refusals import refusal_error, unusable_error
from routing.proxy.reply import Reply
from routing.proxy.request import IncomingBody, stated_length
from routing.proxy.streaming import ERROR_TYPES, Ending, UpstreamStream
from routing.proxy.upstream import Answer, UpstreamBroke, UpstreamTimedOut, send
from routing.proxy.usage_writer import Usage, writer
from routing.resolution import Settled, settle

log = logging.getLogger(__name__)

# Another hosted upstream is tried only on these, and only before the first byte.
_TRY_NEXT = frozenset({502, 503, 529})
# An answer that is larger is not kept until its usage record is written.
COUNT_LATER_BYTES = 16 * 1024


class Exchange:
    """The state of one request while it is worked on."""

    def __init__(self, environ: Mapping[str, Any], api_kind: ApiKind) -> None:
        self.environ = environ
        self.api_kind = api_kind
        self._facts = Facts(api_kind, datetime.now(UTC))
        self._started = time.perf_counter()
        self._request_name = str(self._facts.request_id)
        self.receipt: dict[str, str] = {"x-request-id": self._request_name}
        if api_kind is ApiKind.MESSAGES:
            # The name by which Anthropic's clients report it.
            self.receipt["request-id"] = self._request_name
        self._provider_id = ""
        self._usage: Usage | None = None
        # Of a hosted request; None where the organization's own provider is paid.
        self._expected: Expected | None = None
        self._places = HeldPlaces()
        self._is_streaming = False

    def run(self) -> Reply | HttpResponse:
        """Answer the request; whatever goes wrong becomes an error of ours."""
        token = logs.request_id.set(self._request_name)
        try:
            with requests_present:
                return self._run()
        except Exception as error:  # noqa: BLE001 - the outermost place: a client always gets an answer of ours
            return self._refused(as_gateway_error(error))
        finally:
            if not self._is_streaming:
                self._places.give_back()
            release_connection()
            logs.request_id.reset(token)

    def _run(self) -> Reply:
        is_messages = self.api_kind is ApiKind.MESSAGES
        length = stated_length(self.environ)
        hashed = key_hash(presented_key(self.environ, accept_x_api_key=is_messages))
        incoming = IncomingBody(self.environ, length, self.api_kind)
        caller, plan = self._identify(hashed, incoming)
        rate_limit.check(caller.key_id)
        self._places.take(concurrency.requests, caller.organization_id or caller.user_id)
        body = incoming.get()
        facts = self._facts
        facts.caller, facts.streamed = caller, body.get("stream") is True
        if plan is not None:
            facts.asked, facts.settled, facts.choice = plan.asked, plan.settled, plan.choice
            facts.credential_id = plan.credential_id
            return self._forward([plan.outgoing])
        settled = self._settle(caller, body)
        target, choice = self._choose(caller, settled, body)
        outgoing = self._outgoing(settled, target, choice, body)
        return self._forward(outgoing)

    def _identify(self, hashed: bytes, incoming: IncomingBody) -> tuple[Caller, Plan | None]:
        """Who asks; and, if he is whom the key belonged to the last time, what was worked out for him meanwhile."""
        familiar, plan = familiar_caller(hashed), None

        def work_ahead() -> None:
            nonlocal plan
            # What is wrong is found out again, and told, in its turn.
            with suppress(Exception):
                if familiar is not None and (body := incoming.get_early()) is not None:
                    plan = make_plan(familiar, body, self.environ, self.api_kind)

        organization_header = self.environ.get("HTTP_X_KILOCODE_ORGANIZATIONID", "")
        caller = identify(hashed, organization_header, meanwhile=work_ahead)
        return caller, plan if caller is familiar else None

    # ------------------------------------------------------------ decision

    def _settle(self, caller: Caller, body: JsonBody) -> Settled:
        asked = self._facts.asked = asked_for(caller, body, self.environ)
        try:
            settled = self._facts.settled = settle(caller, asked, self.api_kind)
        except CatalogUnreadable as error:
            log.error("The catalog cannot be read: %s", error)  # noqa: TRY400 - says all
            raise temporarily_unavailable(
                "The model catalog cannot be read at the moment.", code=RefusalCode.CATALOG_UNAVAILABLE
            ) from None
        return settled

    def _choose(self, caller: Caller, settled: Settled, body: JsonBody) -> tuple[ValidTarget, ModelChoice]:
        """The concrete model, or the refusal; then whether it can be paid for."""
        decision = settled.decision
        if decision.refusal is not None:
            raise refusal_error(decision, decision.refusal)
        target = decision.target
        if target is None:
            raise RuntimeError("a decision has a target or a refusal")
        session = session_of(caller, self.environ)
        choice = choose_model(target, session=session, has_hosted_balance=caller.has_hosted_balance)
        self._facts.choice = choice
        if not self._facts.is_byok:
            spending.check(
                caller,
                choice,
                body,
                api_kind=self.api_kind,
                request_id=self._facts.request_id,
                at=self._facts.started_at,
                catalog_snapshot_id=caller.stamp.catalog_snapshot_id,
            )
        return target, choice

    def _describe(self) -> None:
        """Begin the usage record, and put into the receipt what was decided. Done once, as soon as there is time for
        it: while the upstream works, or when the request fails.
        """
        if self._usage is None:
            self._usage = begin_usage(self._facts, self.environ)
            self.receipt |= decision_headers(self._facts)

    def _described(self) -> Usage:
        """The usage record, with the upstream that was asked last."""
        self._describe()
        if self._usage is None:
            raise RuntimeError("an answer belongs to a request that was resolved")
        self._usage.provider = self._provider_id
        if self._provider_id:
            self.receipt["x-kilo-provider"] = self._provider_id
        return self._usage

    @property
    def _catalog_snapshot_id(self) -> int:
        return self._facts.caller.stamp.catalog_snapshot_id if self._facts.caller is not None else 0

    def _outgoing(self, settled: Settled, target: ValidTarget, choice: ModelChoice, body: JsonBody) -> list[Outgoing]:
        """The requests to try, in their order; for a direct target there is one, and never another."""
        content = rewrite(body, self.api_kind, settled, target, choice)
        if target.kind is TargetKind.DIRECT:
            return [self._direct(settled, content)]
        upstreams = hosted_upstreams()
        if not upstreams:
            raise temporarily_unavailable(
                "This installation has no hosted upstream: its operator has to set OPENROUTER_API_KEY or "
                "VERCEL_AI_GATEWAY_API_KEY.",
                code="no_hosted_upstream",
                retry_after_seconds=60,
            )
        self._expected = spending.expected(choice, self.api_kind, body, content, self._catalog_snapshot_id)
        if is_confined(body):
            upstreams = [upstream for upstream in upstreams if upstream.id == "openrouter"]
        if not upstreams:
            raise temporarily_unavailable(
                "Which providers may serve this request is a matter for OpenRouter, and it is not configured here.",
                code="policy_upstream_missing",
                retry_after_seconds=60,
            )
        return [
            hosted_request(upstream, self.api_kind, self.environ, content, streamed=self._facts.streamed)
            for upstream in upstreams
        ]

    def _direct(self, settled: Settled, content: bytes) -> Outgoing:
        provider, credential, caller = settled.provider, settled.credential, self._facts.caller
        if provider is None or credential is None or caller is None:
            raise RuntimeError("a direct target has a provider and a credential")
        if provider.is_custom and caller.organization_id is not None:
            self._places.take(concurrency.custom_upstreams, caller.organization_id)
        try:
            outgoing = direct_request(
                credential, self.api_kind, self.environ, content, provider=provider, streamed=self._facts.streamed
            )
        except (UndecryptableSecret, UnsendableSecretError, UnusableHeaderError) as error:
            log.error("Credential %s cannot be used: %s", credential.id, error)  # noqa: TRY400 - says all, and no more
            raise unusable_error(settled.decision, provider, error) from None
        # Only now: what could not be opened has not been used.
        self._facts.credential_id = credential.id
        return outgoing

    # ------------------------------------------------------------ upstream

    def _forward(self, requests: list[Outgoing]) -> Reply:
        last = len(requests) - 1
        for index, outgoing in enumerate(requests):
            self._provider_id = outgoing.provider_id
            try:
                response = send(
                    outgoing.url,
                    outgoing.headers,
                    outgoing.body,
                    guarded=outgoing.guarded,
                    meanwhile=self._describe,
                )
            except UpstreamUnreachable as error:
                if index < last:
                    continue
                raise self._unavailable(error) from None
            except UpstreamTimedOut as error:
                log.warning("The upstream %s did not answer in time (%s)", outgoing.provider_id, error)
                raise answer.upstream_timeout() from None
            except UpstreamBroke as error:
                raise self._unavailable(error) from None
            if index < last and response.status in _TRY_NEXT:
                response.close()
                continue
            return self._answer(response, outgoing)
        raise RuntimeError("there is at least one request to try")

    def _unavailable(self, error: Exception) -> GatewayError:
        log.warning("The upstream %s could not be used: %s (%s)", self._provider_id, type(error).__name__, error)
        return temporarily_unavailable("The upstream could not be reached or broke off. Try again.", code="upstream")

    def _answer(self, response: Answer, outgoing: Outgoing) -> Reply:
        usage = self._described()
        answer.refuse_redirect(response)
        usage.status = response.status
        usage.time_to_first_byte_ms = self._elapsed_ms()
        headers = answer.passed_headers(response.headers, streamed=usage.streamed) | self.receipt
        if answer.is_stream(response.status, headers):
            stream = UpstreamStream(
                response, self.api_kind, self._stream_ended, measures_text=self._expected is not None
            )
            self._is_streaming = True
            return Reply(response.status, headers, stream)
        content = answer.read_whole(response)
        if response.status >= 400:
            content, headers = answer.without_secrets(content, headers, outgoing.secrets)
            return self._upstream_refused(usage, content, headers, outgoing.account)
        # Nothing of this request but its content: its headers have the client's key.
        count = partial(
            count_answer,
            api_kind=self.api_kind,
            content=content,
            expected=self._expected,
            catalog_snapshot_id=self._catalog_snapshot_id,
        )
        if requests_present.is_alone and len(content) <= COUNT_LATER_BYTES and writer.keeps_up:
            # What it took is nothing that this client waits for.
            usage.complete = count
        else:
            count(usage)
        self._finish()
        return Reply(response.status, headers, [content])

    def _upstream_refused(self, usage: Usage, content: bytes, headers: Mapping[str, str], account: str) -> Reply:
        """An error of the upstream: passed on as it is, but for those that are about an account and its key."""
        status = usage.status
        if usage.is_byok and status in answer.ACCOUNT_STATUSES:
            retry_after = {name: value for name, value in headers.items() if name == "retry-after"}
            raise answer.byok_error(status, content, account, retry_after)
        if not usage.is_byok and status in {401, 402, 403}:
            log.error("The hosted upstream %s refused the installation's own key: %d", usage.provider, status)
            if status != 403:
                raise temporarily_unavailable(
                    "The hosted upstream refused the installation's account; its operator has to look into it.",
                    code="hosted_account",
                    retry_after_seconds=60,
                )
        usage.error_type = ErrorType.UPSTREAM_ERROR.value
        self._finish()
        return Reply(status, headers, [content])

    # ------------------------------------------------------------ ends

    def _refused(self, error: GatewayError) -> HttpResponse:
        if self._facts.asked is None:
            metrics.count(metrics.Event.REFUSALS, error.error_type)
        elif not (usage := self._described()).duration_ms:
            usage.status, usage.error_type = error.status, error.error_type.value
            self._finish()
        response = error_response(error, anthropic=self.api_kind is ApiKind.MESSAGES)
        for name, value in self.receipt.items():
            response.headers[name] = value
        return response

    def _stream_ended(self, stream: UpstreamStream, ending: Ending) -> None:
        self._places.give_back()
        usage = self._usage
        if usage is None:
            return
        usage.cancelled = ending is Ending.CANCELLED
        if ending in {Ending.BROKEN, Ending.TIMED_OUT}:
            usage.error_type = ERROR_TYPES[ending].value
            token = logs.request_id.set(self._request_name)
            log.warning("A stream from %s ended early: %s", usage.provider, ending.name.lower())
            logs.request_id.reset(token)
        if stream.first_byte_at is not None:
            usage.time_to_first_byte_ms = round((stream.first_byte_at - self._started) * 1000)
        counts = stream.usage.counts()
        if self._expected is not None:
            counts = with_estimates(counts, self._expected, stream.usage.text_bytes(), was_left=usage.cancelled)
        add_costs(usage, counts, self._catalog_snapshot_id)
        self._finish()

    def _finish(self) -> None:
        if self._usage is not None:
            self._usage.duration_ms = max(1, self._elapsed_ms())
            writer.put(self._usage)

    def _elapsed_ms(self) -> int:
        return round((time.perf_counter() - self._started) * 1000)
