"""Fields with which a body could go around the decision: other models, their routing, and what an upstream remembers.

The upstreams have many ways to name a second model: a list of fallbacks, a stored preset, a plugin or a tool that asks
a model of its own. A check of the model alone would be passed by all of them. What is known to be harmless goes
through, and what is not known goes through as long as it speaks of no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kilo_gateway.api_errors import ErrorType, GatewayError
from routing.proxy.body import invalid_request

# Fields of the three APIs that say nothing about what serves a request, or that are looked at elsewhere. Inside of them
# a model may be spoken of: they hold what the client says, or the shape of what it wants to hear.
_ORDINARY = frozenset(
    {
        *("model", "messages", "input", "instructions", "system", "provider", "mcp_servers", "metadata", "user"),
        *("session_id", "trace", "usage", "include", "tools", "tool_choice", "parallel_tool_calls", "max_tool_calls"),
        *("plugins", "functions", "function_call", "web_search_options", "stop", "stop_sequences", "stream"),
        *("stream_options", "n", "seed", "logprobs", "top_logprobs", "logit_bias", "temperature", "top_p", "top_k"),
        *("top_a", "min_p", "typical_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "max_tokens"),
        *("max_completion_tokens", "max_output_tokens", "truncation", "transforms", "prediction", "modalities"),
        *("audio", "verbosity", "response_format", "text", "format", "json_schema", "guided_json"),
        *("structured_outputs", "grammar", "output_config", "output_format", "reasoning", "reasoning_effort"),
        *("include_reasoning", "thinking", "chat_template_kwargs", "safety_identifier", "service_tier"),
        *("cache_control", "prompt_cache_key", "prompt_cache_retention", "store", "previous_response_id"),
        *("conversation", "background", "prompt"),
    }
)
# A field that nobody knows here, and that is called so, decides where a request goes.
_DECISIVE = ("model", "provider", "fallback", "preset", "rout")
_STORED_AGENTS = frozenset({"agent", "agent_id", "agent_reference"})
# Keys inside of a plugin or of a tool that an upstream runs.
_SPEAKS_OF_A_MODEL = ("model", "fallback", "preset")

_PLUGINS = frozenset({"web", "web-fetch", "file-parser", "response-healing", "context-compression"})

# Tools that a client runs, or a server that it names: what is inside is for them.
_TOOLS_OF_OTHERS = ("function", "custom", "mcp", "mcp_toolset")
# In a tool without a type, which is a client's: what the model reads of it.
_READ_BY_THE_MODEL = frozenset({"name", "description", "parameters", "input_schema", "input_examples", "function"})
# Types without a namespace belong to the model's own API. Of the others, those that ask no other model.
_PLAIN_TYPE = re.compile(r"[a-z][a-z0-9_-]*")
_NAMESPACED_TOOLS = frozenset(
    f"openrouter:{name}"
    for name in ("web_search", "web_fetch", "datetime", "apply_patch", "bash", "shell", "tool_search")
)
_ASKS_ANOTHER = ("advisor", "agent", "fusion", "model", "rout")


def unsupported_field(message: str) -> GatewayError:
    """400: a field that the gateway does not take, because it would go around a decision or need a memory."""
    return GatewayError(ErrorType.UNSUPPORTED_FIELD, 400, message)


def check_fields(values: Mapping[str, Any]) -> None:
    """Refuse what could lead to another model, provider or routing than was decided. Null, an empty text and an empty
    list say nothing, but for `models`: a list of models has no place here.

    Raises:
        GatewayError: 400 `unsupported_field`; 400 `invalid_request` for tools and plugins of the wrong shape.
    """
    for key in values.keys() - _ORDINARY:
        _check_unknown(key, values[key])
    if (plugins := values.get("plugins")) is not None:
        _check_plugins(plugins)
    if (tools := values.get("tools")) is not None:
        check_tools(tools)
    choice = values.get("tool_choice")
    if isinstance(choice, dict) and not _says_nothing(choice.get("type")):
        _check_tool_type(choice["type"])


def _check_unknown(key: str, value: Any) -> None:
    name = key.casefold()
    if name in _ORDINARY:
        # Some parsers match keys whatever their case: one of them would take this one for the one that was looked at.
        raise unsupported_field(f'"{name}" is spelled in another case.')
    if _says_nothing(value) and name != "models":
        return
    if name in _STORED_AGENTS or _has_one_of(_DECISIVE, name) or _speaks_of(_DECISIVE, value):
        raise unsupported_field(
            f'"{_shown(key)}" is not supported: a request goes to the model that was decided, or to none.'
        )


def _check_plugins(plugins: Any) -> None:
    if not isinstance(plugins, list) or not all(isinstance(plugin, dict) for plugin in plugins):
        raise invalid_request('"plugins" must be a list of objects.')
    for plugin in plugins:
        name = plugin.get("id")
        if not isinstance(name, str) or name not in _PLUGINS or _speaks_of(_SPEAKS_OF_A_MODEL, plugin):
            known = ", ".join(sorted(_PLUGINS))
            raise unsupported_field(
                f'The plugin "{_shown(name)}" is not supported as it is asked for: it could lead to another model than '
                f"was decided. Without a model of their own, these are: {known}."
            )


def check_tools(tools: Any) -> None:
    """The same for tools; those that the client runs itself are left alone.

    Raises:
        GatewayError: as `check_fields`.
    """
    if not isinstance(tools, list):
        raise invalid_request('"tools" must be a list.')
    for tool in tools:
        if not isinstance(tool, dict):
            raise invalid_request('Each of "tools" must be an object.')
        kind: Any = tool.get("type")
        if kind in _TOOLS_OF_OTHERS:
            continue
        if _says_nothing(kind):
            _check_untyped_tool(tool)
            continue
        if kind == "namespace":
            check_tools(tool.get("tools") or [])
            tool = {key: value for key, value in tool.items() if key != "tools"}  # noqa: PLW2901 - what is left of it
        else:
            _check_tool_type(kind)
        if _speaks_of(_SPEAKS_OF_A_MODEL, tool):
            raise _unsupported_tool(kind)


def _check_untyped_tool(tool: Mapping[str, Any]) -> None:
    """A tool of the client's too, but for what an upstream would read out of its keys."""
    for key, value in tool.items():
        if key in _READ_BY_THE_MODEL:
            continue
        name = key.casefold()
        if ":" in name or _has_one_of((*_ASKS_ANOTHER, *_SPEAKS_OF_A_MODEL), name):
            raise _unsupported_tool(key)
        if _speaks_of(_SPEAKS_OF_A_MODEL, value):
            raise _unsupported_tool(key)


def _check_tool_type(kind: Any) -> None:
    if not isinstance(kind, str):
        raise invalid_request("The type of a tool must be a text.")
    if kind in _NAMESPACED_TOOLS:
        return
    if not _PLAIN_TYPE.fullmatch(kind) or _has_one_of(_ASKS_ANOTHER, kind):
        raise _unsupported_tool(kind)


def _unsupported_tool(kind: str) -> GatewayError:
    name = _shown(kind)
    return unsupported_field(
        f'The tool "{name}" is not supported as it is asked for: it could lead to another model than was decided.'
    )


def _speaks_of(words: Iterable[str], value: Any) -> bool:
    """Whether a key at any depth that says something has one of these words."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if any(not _says_nothing(inner) and _has_one_of(words, key.casefold()) for key, inner in value.items()):
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


def _has_one_of(words: Iterable[str], name: str) -> bool:
    return any(word in name for word in words)


def _says_nothing(value: Any) -> bool:
    # Not an empty object, which is how some things are turned on.
    return value is None or value == "" or value == []  # noqa: PLR1714 - zero and false say something


def _shown(name: Any) -> str:
    return name[:100] if isinstance(name, str) else ""
