"""The record of each request: every column, what it cost, and that no word of the conversation is anywhere."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import psycopg
import pytest

from tests.e2e.lab import (
    CREDENTIALS,
    HOSTED_KEY,
    KINDS,
    TOKENS,
    VERCEL_KEY,
    Lab,
    answers_status,
    answers_stream,
    answers_whole,
    body_of,
)
from tests.e2e.scripted import Line, ok_chat
from tests.e2e.tenants import make_tenants

NOTHING_KNOWN = dict.fromkeys((*TOKENS, "hosted_cost_microdollars", "market_cost_microdollars"))
SONNET = "anthropic/claude-sonnet-5"


def prices(lab: Lab, model: str) -> dict[str, Decimal]:
    """What the catalog in force says that a token of this model costs."""
    query = (
        "SELECT entry->'pricing' AS pricing FROM routing_installation i JOIN routing_catalogsnapshot s ON s.id ="
        " i.catalog_snapshot_id, jsonb_array_elements(s.entries) AS entry WHERE entry->>'id' = %s"
    )
    (row,) = lab.gateway.sql(query, model)
    return {name: Decimal(price) for name, price in row["pricing"].items()}


def whole(microdollars: Decimal) -> int:
    return int(microdollars.quantize(Decimal(1), rounding=ROUND_HALF_UP))


class TestColumns:
    @staticmethod
    def cost(lab: Lab) -> int:
        """Of 1,000 input tokens, of which 100 were read from the cache and 50 written to it, and 200 output tokens."""
        price = prices(lab, SONNET)
        cached = 100 * price["input_cache_read"] + 50 * price["input_cache_write"]
        return whole(1_000_000 * (850 * price["prompt"] + cached + 200 * price["completion"]))

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_one_of_a_success(self, lab: Lab, kind: str, stream: bool) -> None:
        lab.openrouter.script = answers_stream(kind) if stream else answers_whole(kind)
        headers = {
            "x-kilocode-taskid": "task-7",
            "x-kilocode-editorname": "vscode 1.99",
            "x-kilocode-feature": "chat",
            "x-kilocode-machineid": "machine-not-kept",
        }
        started = datetime.now(UTC)
        reply = lab.ask(kind, stream=stream, headers=headers)
        row = lab.usage(reply)
        took_ms = (datetime.now(UTC) - started).total_seconds() * 1000
        cost = self.cost(lab)
        assert cost > 0
        assert started - timedelta(seconds=1) < row.pop("created_at") < datetime.now(UTC)
        assert 0 <= row.pop("time_to_first_byte_ms") <= row["duration_ms"]
        assert 1 <= row.pop("duration_ms") <= took_ms
        acme = lab.tenants["acme"]
        assert {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in row.items()} == {
            "id": row["id"],
            "request_id": reply.request_id,
            "organization_id": acme.organization_id,
            "user_id": acme.user_id,
            "api_key_id": acme.key_id,
            "api_kind": kind,
            "requested_model": "kilo-auto/org",
            "auto_model": "kilo-auto/org",
            "mode": "code",
            "route_kind": "exact",
            "route": "exact:code",
            "target": SONNET,
            "resolved_model": SONNET,
            "provider": "openrouter",
            "is_byok": False,
            "credential_id": None,
            "streamed": stream,
            "cancelled": False,
            "status": 200,
            "error_type": "",
            **TOKENS,
            "hosted_cost_microdollars": cost,
            "market_cost_microdollars": cost,
            "task_id": "task-7",
            "editor": "vscode 1.99",
            "feature": "chat",
            "routing_version": int(reply["x-kilo-routing-version"]),
        }

    @pytest.mark.parametrize(
        ("mode", "route_kind", "route"),
        [
            ("CODE ", "exact", "exact:code"),
            ("build", "alias", "alias:build->code"),
            ("ask", "fallback", "fallback"),
            ("", "fallback", "fallback"),
        ],
    )
    def test_how_the_route_was_found(self, lab: Lab, mode: str, route_kind: str, route: str) -> None:
        lab.openrouter.script = answers_whole("chat_completions")
        reply = lab.ask(mode=mode)
        row = lab.usage(reply)
        assert (row["route_kind"], row["route"], row["mode"]) == (route_kind, route, mode.strip().lower())
        assert reply["x-kilo-route"] == route
        if route_kind == "fallback":
            assert row["target"] == "kilo-auto/balanced"
            assert row["resolved_model"] == reply["x-kilo-model"] == lab.openrouter.requests[0].json()["model"]
            assert "kilo-auto" not in row["resolved_model"]

    def test_a_tier_that_was_asked_for(self, lab: Lab) -> None:
        lab.openrouter.script = answers_whole("chat_completions")
        row = lab.usage(lab.ask(model="kilo-auto/frontier", mode="architect"))
        assert (row["requested_model"], row["auto_model"]) == ("kilo-auto/frontier", "kilo-auto/frontier")
        assert (row["route_kind"], row["route"], row["target"]) == ("direct", "direct", "kilo-auto/frontier")
        assert row["resolved_model"] == lab.openrouter.requests[0].json()["model"]
        assert row["hosted_cost_microdollars"] > 0

    def test_a_model_that_was_asked_for(self, lab: Lab) -> None:
        lab.openrouter.script = answers_whole("chat_completions")
        row = lab.usage(lab.ask(model=" OpenAI/GPT-5-mini ", mode="code"))
        assert (row["requested_model"], row["auto_model"]) == ("openai/gpt-5-mini", "")
        assert (row["route"], row["target"], row["resolved_model"]) == (
            "direct",
            "openai/gpt-5-mini",
            "openai/gpt-5-mini",
        )

    def test_a_model_that_nobody_knows(self, lab: Lab) -> None:
        reply = lab.ask("messages", model="nobody/nothing", stream=True)
        assert (reply.status, reply.error_type) == (404, "model_not_found")
        row = lab.usage(reply)
        assert (row["status"], row["error_type"], row["streamed"]) == (404, "model_not_found", True)
        assert (row["requested_model"], row["target"], row["resolved_model"]) == (
            "nobody/nothing",
            "nobody/nothing",
            "",
        )
        assert (row["provider"], row["time_to_first_byte_ms"]) == ("", None)
        assert NOTHING_KNOWN.items() <= row.items()

    def test_a_refusal_of_organization_auto(self, lab: Lab) -> None:
        reply = lab.ask("responses", mode="neuralwatt")
        row = lab.usage(reply)
        assert (row["status"], row["error_type"]) == (400, "organization_auto_configuration")
        assert (row["route"], row["target"], row["resolved_model"]) == ("exact:neuralwatt", "neuralwatt/kimi-k2.6", "")
        assert NOTHING_KNOWN.items() <= row.items()

    def test_what_never_reached_resolution_leaves_none(self, lab: Lab) -> None:
        before = lab.gateway.sql("SELECT count(*) AS n FROM routing_usagerecord")
        assert lab.ask(body=b"{").status == 400
        assert lab.ask(body={"model": "kilo-auto/org", "messages": []}).status == 400
        assert lab.ask(body={**body_of("chat_completions"), "providerOptions": {}}).status == 400
        assert lab.ask(headers={"Authorization": "Bearer kilo_unknown"}).status == 401
        lab.openrouter.script = answers_whole("chat_completions")
        lab.usage(lab.ask())
        (after,) = lab.gateway.sql("SELECT count(*) AS n FROM routing_usagerecord")
        assert after["n"] == before[0]["n"] + 1

    def test_a_key_with_a_mode_of_its_own_and_no_organization(self, lab: Lab) -> None:
        made = make_tenants(
            lab.gateway,
            {
                "mode": {"settings": _settings(), "key": {"default_mode": "build"}},
                "alone": {"settings": _settings(), "key": {"organization": None}},
            },
        )
        lab.tenants.update(made)
        lab.openrouter.script = answers_whole("chat_completions")
        assert lab.usage(lab.ask(tenant="mode", mode=""))["route"] == "alias:build->code"
        row = lab.usage(lab.ask(tenant="alone", mode="", model="openai/gpt-5-mini"))
        assert (row["organization_id"], row["routing_version"]) == (None, None)
        header = {"x-kilocode-organizationid": made["alone"].organization_id}
        row = lab.usage(lab.ask(tenant="alone", headers=header))
        assert str(row["organization_id"]) == made["alone"].organization_id


def _settings() -> dict[str, Any]:
    from tests.support.tenants import auto_settings

    return auto_settings({"code": SONNET})


class TestCosts:
    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            # All input: 1000 x 2 + 200 x 10 microdollars, at 2 and 10 dollars per million.
            ({"prompt_tokens": 1000, "completion_tokens": 200}, 4000),
            # 400 of the 1000 from the cache, at a tenth.
            ({"prompt_tokens": 1000, "completion_tokens": 200, "cached": 400}, 600 * 2 + 400 * 0.2 + 2000),
            # Half a microdollar is rounded up: 1 token from the cache costs 0.2, 3 input tokens 6.
            ({"prompt_tokens": 4, "completion_tokens": 0, "cached": 1}, 6),
            ({"prompt_tokens": 0, "completion_tokens": 0}, 0),
        ],
        ids=str,
    )
    def test_by_hand(self, lab: Lab, usage: dict[str, Any], expected: float | None) -> None:
        assert prices(lab, SONNET)["prompt"] * 10**6 == 2, "the figures below are for this price"
        told = {key: value for key, value in usage.items() if key != "cached"}
        if "cached" in usage:
            told["prompt_tokens_details"] = {"cached_tokens": usage["cached"]}
        lab.openrouter.script = lambda line: line.answer_json(ok_chat(usage=told))
        row = lab.usage(lab.ask())
        assert row["hosted_cost_microdollars"] == row["market_cost_microdollars"] == expected

    @pytest.mark.parametrize(
        ("told", "input_tokens", "output_tokens"),
        [
            ({"prompt_tokens": 5}, 5, 2),
            ({}, None, 2),
            ({"prompt_tokens": -5, "completion_tokens": 3}, None, 3),
            ({"prompt_tokens": "5", "completion_tokens": 3}, None, 3),
            ({"prompt_tokens": 10**30, "completion_tokens": 3}, None, 3),
        ],
        ids=str,
    )
    def test_not_known_is_not_nothing(
        self, lab: Lab, told: dict[str, Any], input_tokens: int | None, output_tokens: int
    ) -> None:
        """What the upstream does not tell is estimated: a token for four bytes, of the body and of "hello"."""
        lab.openrouter.script = lambda line: line.answer_json(ok_chat(usage=told))
        row = lab.usage(lab.ask())
        expected = input_tokens or -(-len(lab.openrouter.requests[0].body) // 4)
        assert (row["input_tokens"], row["output_tokens"]) == (expected, output_tokens)
        assert row["hosted_cost_microdollars"] == row["market_cost_microdollars"] == expected * 2 + output_tokens * 10

    def test_the_balance_pays_what_was_hosted_and_nothing_else(self, lab: Lab) -> None:
        acme = lab.tenants["acme"].organization_id
        lab.set_balance(1_000_000)
        try:
            lab.openrouter.script = lab.provider.script = answers_whole("chat_completions")
            spent = 0
            for mode in ("code", "code", "neuralwatt", "code"):
                spent += lab.usage(lab.ask(mode=mode))["hosted_cost_microdollars"]
            lab.openrouter.script = answers_status("500 Oops")
            lab.usage(lab.ask())
            query = "SELECT balance_microdollars AS left FROM routing_hostedbalance WHERE organization_id = %s"
            assert lab.gateway.sql(query, acme) == [{"left": 1_000_000 - spent}]
        finally:
            lab.set_balance(None)

    def test_what_a_provider_is_paid_directly_is_known_where_its_price_is(self, lab: Lab) -> None:
        lab.provider.script = answers_whole("chat_completions")
        row = lab.usage(lab.ask(mode="", model="openai-byok/gpt-5-mini"))
        assert row["hosted_cost_microdollars"] == 0
        assert row["market_cost_microdollars"] > 0
        row = lab.usage(lab.ask(mode="", model="openai-byok/nobody-knows-this-one"))
        assert (row["hosted_cost_microdollars"], row["market_cost_microdollars"]) == (0, None)

    def test_a_cancelled_stream_of_messages_costs_what_is_known(self, lab: Lab) -> None:
        """Its input is known from the start; so is the first of its output."""

        def script(line: Line) -> None:
            line.event_stream()
            usage = {"input_tokens": 500, "output_tokens": 1, "cache_read_input_tokens": 0}
            start = {"type": "message_start", "message": {"id": "m", "usage": usage}}
            line.chunk(f"event: message_start\ndata: {json.dumps(start)}\n\n".encode())
            line.wait_for_peer_to_leave()
            line.close()

        lab.openrouter.script = script
        exchange = lab.send("messages", stream=True)
        next(exchange.pieces())
        exchange.close()
        row = lab.usage(exchange)
        assert (row["cancelled"], row["input_tokens"], row["output_tokens"]) == (True, 500, 1)
        assert row["hosted_cost_microdollars"] == 500 * 2 + 10


class TestWords:
    """Canaries in prompt, answer, header and keys: nowhere in the database, nowhere in the log."""

    PROMPT = "told-prompt-5f1c"
    ANSWER = "told-answer-9e2d"

    @pytest.fixture
    def conversation(self, lab: Lab) -> Iterator[None]:
        """The same words through every way that a request can end."""
        body = {
            **body_of("chat_completions"),
            "messages": [{"role": "user", "content": self.PROMPT}],
            "user": self.PROMPT,
        }
        lab.openrouter.script = lab.provider.script = lambda line: line.answer_json(
            ok_chat(self.ANSWER, {"prompt_tokens": 5, "completion_tokens": 5, "note": self.ANSWER})
        )
        lab.ask(body=body)
        lab.ask(body=body, mode="neuralwatt")
        for status in ("400 Bad Request", "401 Unauthorized", "500 Oops", "503 Busy"):
            lab.openrouter.script = lab.provider.script = lab.vercel.script = answers_status(
                status, {"error": {"message": f"{self.PROMPT} {self.ANSWER}"}}
            )
            lab.ask(body=body)
            lab.ask(body=body, mode="neuralwatt")
        lab.openrouter.script = self._breaks_off
        lab.ask(body={**body, "stream": True})
        lab.openrouter.script = lambda line: line.close()
        lab.ask(body=body)
        lab.ask(body=json.dumps(body).encode()[:-5])
        lab.ask(body={**body, "messages": self.PROMPT})
        last = lab.ask(body={**body, "model": "nobody/nothing"})
        lab.usage(last)
        return

    def _breaks_off(self, line: Line) -> None:
        line.event_stream()
        line.chunk(f'data: {{"choices": [], "text": "{self.ANSWER}"}}\n\ndata: {{"{self.ANSWER}'.encode())
        line.close()

    @pytest.mark.usefixtures("conversation")
    def test_nowhere(self, lab: Lab) -> None:
        secrets = [HOSTED_KEY, VERCEL_KEY, *(str(fields["secret"]) for fields in CREDENTIALS.values())]
        secrets += [tenant.key for tenant in lab.tenants.values()]
        assert self._found_in_the_database(lab, [self.PROMPT, self.ANSWER, *secrets]) == []
        log = lab.gateway.log()
        assert [word for word in (self.PROMPT, self.ANSWER, *secrets) if word in log] == []

    def test_the_search_finds_what_is_there(self, lab: Lab) -> None:
        """A search that finds nothing proves something only if it finds what there is."""
        lab.openrouter.script = answers_whole("chat_completions")
        lab.usage(lab.ask(headers={"x-kilocode-editorname": "editor-1b7a"}))
        assert self._found_in_the_database(lab, ["editor-1b7a", SONNET]) == ["editor-1b7a", SONNET]

    @staticmethod
    def _found_in_the_database(lab: Lab, words: list[str]) -> list[str]:
        """Those of the words that stand in any row of any table, as text."""
        tables = lab.gateway.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        found: set[str] = set()
        with psycopg.connect(lab.gateway.environment["DATABASE_URL"]) as connection:
            for table in tables:
                name = table["tablename"]
                for word in words:
                    query = f'SELECT EXISTS (SELECT FROM "{name}" t WHERE position(%s IN t::text) > 0)'
                    row = connection.execute(query, [word]).fetchone()
                    if row and row[0]:
                        found.add(word)
        return [word for word in words if word in found]
