"""No field of a body leads to another model than was decided, and real clients' bodies go through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_kinds import ApiKind
from routing.demo import DemoUpstream
from routing.proxy.body import JsonBody
from routing.proxy.request import validate
from routing.proxy.usage_writer import Usage, writer
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, call
from tests.support.tenants import auto_settings, make_tenant

DENIED = "openai/gpt-5-pro"
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"model": {"type": "string"}, "fallbacks": {"type": "array"}}}


def check(api_kind: ApiKind, **fields: Any) -> None:
    content = {"input": "hello"} if api_kind is ApiKind.RESPONSES else {"messages": HELLO}
    validate(JsonBody(json.dumps({"model": "kilo-auto/org", **content, **fields}).encode()), api_kind)


def is_refused(api_kind: ApiKind, **fields: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        check(api_kind, **fields)
    assert (caught.value.error_type, caught.value.status) == (ErrorType.UNSUPPORTED_FIELD, 400), fields


@pytest.mark.parametrize("api_kind", list(ApiKind))
class TestEveryApi:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("models", [DENIED]),
            ("fallbacks", [{"model": DENIED}]),
            ("fallbacks", "default"),
            ("fallback_models", [DENIED]),
            ("preset", "cheap"),
            ("route", "fallback"),
            ("router", {}),
            ("routing", "sort"),
            ("provider_options", {"gateway": {"models": [DENIED]}}),
            ("providerMetadata", {}),
            ("custom_llm_provider", "openai"),
            ("gateway", {"models": [DENIED]}),
            ("extra_body", {"deep": [{"Models": [DENIED]}]}),
            ("compound_custom", {"models": {"answering_model": DENIED}}),
            ("moderation", {"model": "omni"}),
            ("extra_body", {"provider": {"order": ["azure"]}}),
            ("extra_body", {"route": "fallback"}),
            ("models", None),
            ("models", []),
            ("router", False),
            ("fallbacks", 0),
            ("safety_model", DENIED),
            ("agent", {"name": "x", "type": "agent_reference"}),
            ("agent_id", "ag_1"),
            # Whatever the case, and with letters that only look like others to a parser.
            ("Model", DENIED),
            ("mODELS", None),
            ("model\u017f", [DENIED]),
            ("FallBacks", [DENIED]),
            ("Provider", {"order": ["azure"]}),
            ("Tools", [{"type": "openrouter:advisor"}]),
            ("plugIns", []),
        ],
    )
    def test_a_field_that_names_another(self, api_kind: ApiKind, field: str, value: Any) -> None:
        is_refused(api_kind, **{field: value})

    @pytest.mark.parametrize("field", ["fallbacks", "preset", "route", "safety_model", "plugins", "tools"])
    def test_null_says_nothing(self, api_kind: ApiKind, field: str) -> None:
        check(api_kind, **{field: None})

    @pytest.mark.parametrize("value", ["", []])
    def test_what_is_empty_says_nothing(self, api_kind: ApiKind, value: Any) -> None:
        for field in ("fallbacks", "preset", "providers", "agent_id"):
            check(api_kind, **{field: value})
        check(api_kind, extra_body={"models": value, "route": value}, tools=[{"type": "web_search", "model": value}])

    def test_a_type_that_is_empty_is_none(self, api_kind: ApiKind) -> None:
        check(api_kind, tool_choice={"type": ""}, tools=[{"type": "", "name": "f"}])
        is_refused(api_kind, tools=[{"type": "", "openrouter:fusion": {}}])

    @pytest.mark.parametrize(
        "plugin",
        [
            {"id": "fusion", "model": DENIED, "analysis_models": ["z-ai/glm-5.3"]},
            {"id": "fusion"},
            {"id": "auto-router", "allowed_models": ["openai/*"]},
            {"id": "auto-router"},
            {"id": "pareto-router"},
            {"id": "next-years"},
            {"id": "Web"},
            {"id": ["web"]},
            {},
            {"id": "web", "model": DENIED},
            {"id": "file-parser", "pdf": {"engine_model": DENIED}},
        ],
    )
    def test_a_plugin_that_is_not_known_to_be_harmless(self, api_kind: ApiKind, plugin: Any) -> None:
        is_refused(api_kind, plugins=[{"id": "web"}, plugin])

    def test_harmless_plugins(self, api_kind: ApiKind) -> None:
        pdf = {"id": "file-parser", "max_files": 3, "pdf": {"engine": "native"}}
        check(api_kind, plugins=[{"id": "web", "max_results": 3}, pdf, {"id": "response-healing"}])

    @pytest.mark.parametrize(
        "tool",
        [
            {"type": "openrouter:advisor", "parameters": {"model": DENIED}},
            {"type": "openrouter:advisor"},
            {"type": "OpenRouter:Advisor"},
            {"type": "openrouter:subagent"},
            {"type": "openrouter:fusion"},
            {"type": "openrouter:image_generation"},
            {"type": "openrouter:experimental__search_models"},
            {"type": "openrouter:next_years"},
            {"type": "openrouter:web_search", "parameters": {"model": DENIED}},
            {"type": "other:web_search"},
            {"type": "vercel.advisor"},
            {"type": "vercel/search"},
            {"type": "Function"},
            {"type": "advisor_20260301", "name": "advisor", "model": DENIED},
            {"type": "advisor_20270101", "name": "advisor"},
            {"type": "image_generation", "model": "gpt-image-9"},
            {"type": "web_search", "options": [{"fallback_model": DENIED}]},
            {"name": "advisor", "model": DENIED},
            {"openrouter": {}, "fallbacks": []},
            {"openrouter:fusion": {"analysis": [DENIED]}},
            {"openrouter:web_search": {}},
            {"vercel:search": {}},
            {"advisor": {}},
            {"name": "f", "input_schema": SCHEMA, "helper": {"deep": [{"model": DENIED}]}},
            {"type": "namespace", "name": "n", "model": DENIED, "tools": []},
            {"type": "namespace", "name": "n", "tools": [{"openrouter:fusion": {}}]},
            {"type": "web-search", "model": DENIED},
            {"type": "the-advisor"},
            {"type": "namespace", "name": "n", "tools": [{"type": "openrouter:advisor"}]},
        ],
    )
    def test_a_tool_that_could_ask_another(self, api_kind: ApiKind, tool: Any) -> None:
        is_refused(api_kind, tools=[{"type": "function", "function": {"name": "f"}}, tool])

    @pytest.mark.parametrize("kind", ["openrouter:fusion", "advisor_20260301"])
    def test_a_tool_that_is_only_chosen(self, api_kind: ApiKind, kind: str) -> None:
        is_refused(api_kind, tool_choice={"type": kind})

    @pytest.mark.parametrize("field", ["tools", "plugins"])
    @pytest.mark.parametrize("value", [5, "web", {"type": "openrouter:advisor"}, ["openrouter:advisor"], [None], [[]]])
    def test_another_shape(self, api_kind: ApiKind, field: str, value: Any) -> None:
        with pytest.raises(GatewayError) as caught:
            check(api_kind, **{field: value})
        assert caught.value.error_type is ErrorType.INVALID_REQUEST

    @pytest.mark.parametrize("kind", [5, ["function"], {}, False])
    def test_a_type_of_another_type(self, api_kind: ApiKind, kind: Any) -> None:
        for fields in ({"tools": [{"type": kind}]}, {"tool_choice": {"type": kind}}):
            with pytest.raises(GatewayError) as caught:
                check(api_kind, **fields)
            assert caught.value.error_type is ErrorType.INVALID_REQUEST

    def test_what_clients_say_about_models_is_theirs(self, api_kind: ApiKind) -> None:
        """In the parameters of a tool, in the wanted shape of an answer, in metadata: none of it is an instruction."""
        check(
            api_kind,
            metadata={"model": "mine", "preset": "x"},
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
            text={"format": {"type": "json_schema", "schema": SCHEMA}},
            output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
            functions=[{"name": "f", "parameters": SCHEMA}],
            reasoning={"effort": "low"},
            enable_thinking=True,
            extra_body={"google": {"thinking_config": {"include_thoughts": True}}},
        )

    @pytest.mark.parametrize(
        "tool",
        [
            {"type": "function", "function": {"name": "task", "parameters": SCHEMA}},
            {"type": "function", "name": "task", "parameters": SCHEMA, "strict": False},
            {"name": "Task", "description": "Starts an agent", "input_schema": SCHEMA},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "definition": "model: x"}},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]},
            {"type": "mcp", "server_label": "x", "server_url": "https://example.com", "headers": {"x-model": "y"}},
            {"type": "mcp_toolset", "mcp_server_name": "x", "configs": {"list_models": {"enabled": True}}},
            {"google_search": {}},
            {"name": "f", "input_schema": SCHEMA, "input_examples": [{"model": "x"}], "cache_control": {"ttl": "1h"}},
            {"function": {"name": "f", "parameters": SCHEMA}},
            {"type": "computer-preview"},
            *[
                {"type": kind, "name": kind.rpartition("_")[0]}
                for kind in (
                    "web_search_20250305",
                    "web_search_20260209",
                    "web_fetch_20250910",
                    "bash_20250124",
                    "text_editor_20250728",
                    "code_execution_20250825",
                    "memory_20250818",
                    "tool_search_tool_regex_20251119",
                )
            ],
            {"type": "computer_20250124", "name": "computer", "display_width_px": 1024, "display_height_px": 768},
            *[
                {"type": kind}
                for kind in ("web_search", "web_search_preview", "local_shell", "shell", "apply_patch", "tool_search")
            ],
            {"type": "file_search", "vector_store_ids": ["vs_1"], "ranking_options": {"ranker": "auto"}},
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"type": "computer_use_preview", "display_width": 1, "environment": "linux"},
            {"type": "image_generation", "size": "auto"},
            {"type": "x_search"},
            {"type": "builtin_function", "function": {"name": "$web_search"}},
            {"type": "openrouter:web_search", "parameters": {"engine": "exa", "max_results": 3}},
            {"type": "openrouter:datetime"},
        ],
        ids=lambda tool: str(tool.get("type") or "untyped"),
    )
    def test_tools_of_real_clients(self, api_kind: ApiKind, tool: Any) -> None:
        check(api_kind, tools=[tool], tool_choice={"type": "function", "name": "f"})


@pytest.mark.parametrize(
    "fields",
    [
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1", "version": "2"}},
        {"background": True},
        {"background": 1},
        {"input": [*HELLO, {"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"type": "tool_search_output", "tools": [{"type": "openrouter:advisor"}]}]},
    ],
)
def test_responses_are_stateless(fields: dict[str, Any]) -> None:
    is_refused(ApiKind.RESPONSES, **fields)


def test_responses_that_say_no_to_state() -> None:
    found = {"type": "tool_search_output", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}
    listed = {"type": "mcp_list_tools", "tools": [{"name": "list_models", "input_schema": SCHEMA}]}
    check(ApiKind.RESPONSES, background=False, conversation=None, prompt=None, store=False, input=[found, listed])


@pytest.fixture
def records(db: None, monkeypatch: pytest.MonkeyPatch) -> list[Usage]:
    records: list[Usage] = []
    monkeypatch.setattr(writer, "put", records.append)
    return records


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (MESSAGES, "fallbacks", [{"model": DENIED}]),
        (CHAT, "tools", [{"type": "openrouter:advisor", "parameters": {"model": DENIED}}]),
        (RESPONSES, "tools", [{"type": "openrouter:advisor", "parameters": {"model": DENIED}}]),
        (CHAT, "plugins", [{"id": "fusion", "model": DENIED}]),
        (CHAT, "preset", "x"),
    ],
)
def test_nothing_of_it_is_sent(
    records: list[Usage], hosted_upstream: DemoUpstream, path: str, field: str, value: Any
) -> None:
    settings = auto_settings({"code": "anthropic/claude-sonnet-5"})
    tenant = make_tenant(settings={**settings, "model_deny_list": [DENIED]})
    content = {"input": "hello"} if path == RESPONSES else {"messages": HELLO, "max_tokens": 10}
    for fields, status in ({field: value}, 400), ({}, 200):
        answer = call(
            path, {"model": "kilo-auto/org", **content, **fields}, tenant.key, headers={"x-kilocode-mode": "code"}
        )
        assert answer.status == status, answer.content
        # What is refused for its shape has not been resolved, and is no use.
        assert len(hosted_upstream.completions()) == len(records) == (1 if status == 200 else 0)
