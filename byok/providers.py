"""The direct providers, as data: where each one is, which request formats it speaks, and how it takes its key.

Facts were read from the providers' own documentation where it says so, else from a report that is named at the row.
A custom provider of an organization is a `Provider` too, made from its stored settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from byok.encryption import SealedSecret
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.env import Environment, SettingError
from kilo_gateway.secret import Secret

OVERRIDE_PREFIX: Final = "PROVIDER_BASE_URL_"

CHAT: Final = ApiKind.CHAT_COMPLETIONS
RESPONSES: Final = ApiKind.RESPONSES
MESSAGES: Final = ApiKind.MESSAGES

PATHS: Final[Mapping[ApiKind, str]] = MappingProxyType(
    {CHAT: "/chat/completions", RESPONSES: "/responses", MESSAGES: "/messages"}
)

Headers = tuple[tuple[str, str], ...]

# Required by Anthropic on every request of its own API (platform.claude.com/docs/en/api/versioning). Used where the
# client did not send a version.
ANTHROPIC_VERSION: Final[Headers] = (("anthropic-version", "2023-06-01"),)

_HEADER_SAFE: Final = re.compile(r"[!-~]+")


class ApiKindNotSupportedError(ValueError):
    """The provider does not speak this request format."""


class UnsendableSecretError(ValueError):
    """The key has characters that a request header cannot carry. The message does not show it."""


class KeyStyle(StrEnum):
    """How a provider takes its key."""

    BEARER = "bearer"
    X_API_KEY = "x-api-key"

    def header(self, secret: Secret) -> tuple[str, str]:
        """The name and the value of the header that carries the key."""
        if not _HEADER_SAFE.fullmatch(secret.reveal()):
            raise UnsendableSecretError("the key is empty or has a space, a line break or another unusual character")
        if self is KeyStyle.X_API_KEY:
            return "x-api-key", secret.reveal()
        return "Authorization", f"Bearer {secret.reveal()}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how one request format is asked; `headers` are defaults that the client's own values replace."""

    path: str
    key_style: KeyStyle = KeyStyle.BEARER
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class ModelList:
    """How a provider tells which models it has.

    `checks_key` is false where the list is public: there, a good answer does not say that the key is good.
    `is_complete` is false where the provider serves models that the list lacks: there, others are accepted as well.
    `id_prefix` stands before every id of the list and is no part of the model's id.
    """

    path: str = "/models"
    key_style: KeyStyle = KeyStyle.BEARER
    headers: Headers = ()
    checks_key: bool = True
    is_complete: bool = True
    id_prefix: str = ""


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """A header that goes with every request, its value sealed."""

    name: str
    value: SealedSecret


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that an organization has written down, in the provider's spelling; what it does not say is None."""

    id: str
    name: str
    context_length: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """A provider that is asked directly, with the owner's own key.

    Those of the registry are trusted with their addresses. One that `is_custom` is not: connections to it are made
    with `byok.addresses.connect_checked`.
    """

    id: str
    name: str
    base_url: str
    endpoints: Mapping[ApiKind, Endpoint]
    model_list: ModelList | None = ModelList()
    # Answers 401 or 403 to a wrong key at no cost, where the model list does not.
    key_check_path: str | None = None
    # A model for the one-token test request, where the first of the list would be a bad choice.
    probe_model: str | None = None
    # The provider demands this header: one value per conversation, so that its turns stay on one machine.
    session_header: str | None = None
    is_custom: bool = False
    headers: tuple[SealedHeader, ...] = ()
    models: tuple[KnownModel, ...] = ()

    @property
    def api_kinds(self) -> frozenset[ApiKind]:
        """The request formats that the provider speaks."""
        return frozenset(self.endpoints)

    @property
    def has_model_list(self) -> bool:
        """Whether discovery can ask the provider for its models; else any model id after its prefix is accepted."""
        return self.model_list is not None


def standard_endpoints(
    api_kinds: Iterable[ApiKind], *, key_style: KeyStyle = KeyStyle.BEARER
) -> Mapping[ApiKind, Endpoint]:
    """Endpoints at the usual paths, all with the key sent in the same way."""
    return MappingProxyType(
        {kind: Endpoint(PATHS[kind], key_style, ANTHROPIC_VERSION if kind is MESSAGES else ()) for kind in api_kinds}
    )


def _anthropic_endpoints() -> Mapping[ApiKind, Endpoint]:
    # platform.claude.com/docs/en/cli-sdks-libraries/libraries/openai-sdk: the OpenAI-compatible endpoint takes the key
    # as an OpenAI SDK sends it, as a bearer token. The API of Anthropic's own takes it as x-api-key.
    return MappingProxyType(
        {CHAT: Endpoint(PATHS[CHAT]), MESSAGES: Endpoint(PATHS[MESSAGES], KeyStyle.X_API_KEY, ANTHROPIC_VERSION)}
    )


# Lists that answer without a key.
_PUBLIC_LIST: Final = ModelList(checks_key=False)

_CHAT_ONLY: Final = standard_endpoints([CHAT])
_CHAT_AND_RESPONSES: Final = standard_endpoints([CHAT, RESPONSES])
_ALL: Final = standard_endpoints([CHAT, RESPONSES, MESSAGES])

_REGISTRY: Final[tuple[Provider, ...]] = (
    Provider(
        "anthropic-byok",
        "Anthropic",
        "https://api.anthropic.com/v1",
        _anthropic_endpoints(),
        # platform.claude.com/docs/en/api/models-list: a page has 20 models unless asked for up to 1000.
        ModelList("/models?limit=1000", KeyStyle.X_API_KEY, ANTHROPIC_VERSION),
    ),
    # developers.openai.com/api/reference: GET /models.
    Provider("openai-byok", "OpenAI", "https://api.openai.com/v1", _CHAT_AND_RESPONSES),
    Provider(
        "google-byok",
        "Google Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        _CHAT_ONLY,
        # ai.google.dev/api/compatibility: "models/" is put before a model's name where it has none.
        ModelList(id_prefix="models/"),
    ),
    Provider("mistral-byok", "Mistral AI", "https://api.mistral.ai/v1", _CHAT_ONLY),
    # api-docs.deepseek.com/api/list-models: GET https://api.deepseek.com/models, without /v1.
    Provider("deepseek-byok", "DeepSeek", "https://api.deepseek.com", _CHAT_ONLY),
    Provider("xai-byok", "xAI", "https://api.x.ai/v1", _CHAT_AND_RESPONSES),
    Provider("moonshot-byok", "Moonshot AI", "https://api.moonshot.ai/v1", _CHAT_ONLY),
    Provider("groq-byok", "Groq", "https://api.groq.com/openai/v1", _CHAT_AND_RESPONSES),
    Provider(
        "fireworks-byok",
        "Fireworks AI",
        "https://api.fireworks.ai/inference/v1",
        _CHAT_ONLY,
        # Served, but undocumented and without many models that answer (SillyTavern pull request 5831,
        # simonw/llm-fireworks pull request 4).
        ModelList(is_complete=False),
    ),
    # docs.together.ai/reference/models: the answer is a bare array, without "data" around it.
    Provider("together-byok", "Together AI", "https://api.together.xyz/v1", _CHAT_ONLY),
    # inference-docs.cerebras.ai/api-reference/models.
    Provider("cerebras-byok", "Cerebras", "https://api.cerebras.ai/v1", _CHAT_ONLY),
    Provider(
        "openrouter-byok",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        _ALL,
        # The list answers 200 to any key, GET /key answers 401 to a wrong one (accomplish-ai/coworker pull request
        # 208).
        _PUBLIC_LIST,
        key_check_path="/key",
    ),
    # vercel.com/docs/ai-gateway/anthropic-compat: the key as bearer or x-api-key, on all three formats. Whether the
    # list checks the key is not documented; taken as public, because a wrong "the key works" is the worse mistake.
    Provider("vercel-ai-gateway", "Vercel AI Gateway", "https://ai-gateway.vercel.sh/v1", _ALL, _PUBLIC_LIST),
    # alibabacloud.com/help/en/model-studio/trae-tool-guide for the address; the list gives what the key is entitled to
    # (tangled.org/ptr.pet/prime-alibaba).
    Provider(
        "alibaba-token-plan",
        "Alibaba Token Plan",
        "https://token-plan.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1",
        _CHAT_ONLY,
    ),
    Provider(
        "byteplus-coding",
        "BytePlus Coding Plan",
        "https://ark.ap-southeast.bytepluses.com/api/coding/v3",
        _CHAT_ONLY,
        # The same service in China lists the whole platform there, and not every model of the plan
        # (can1357/oh-my-pi issue 4201).
        ModelList(is_complete=False),
    ),
    # chutes.ai/agents/connect: GET /v1/models needs no key, and x-api-key is ignored.
    Provider("chutes-byok", "Chutes", "https://llm.chutes.ai/v1", _CHAT_ONLY, _PUBLIC_LIST),
    Provider(
        "edenai",
        "Eden AI",
        "https://api.edenai.run/v3",
        MappingProxyType(
            {
                CHAT: Endpoint(PATHS[CHAT]),
                RESPONSES: Endpoint(PATHS[RESPONSES]),
                # Anthropic's /v1/messages is mounted under /v3 and takes either key style (Eden AI's API guide).
                MESSAGES: Endpoint("/v1/messages", headers=ANTHROPIC_VERSION),
            }
        ),
        _PUBLIC_LIST,
    ),
    # docs.inceptron.io; the list answers without a key, as do Neuralwatt's and Synthetic's (juspay/neurolink's notes on
    # these providers).
    Provider("inceptron-byok", "Inceptron", "https://api.inceptron.io/v1", _CHAT_ONLY, _PUBLIC_LIST),
    # The list is per key (openclaw/openclaw issue 42499).
    Provider("kimi-coding", "Kimi Code", "https://api.kimi.com/coding/v1", _CHAT_ONLY),
    Provider("neuralwatt", "Neuralwatt", "https://api.neuralwatt.com/v1", _CHAT_ONLY, _PUBLIC_LIST),
    Provider(
        "nvidia-byok",
        "NVIDIA",
        "https://integrate.api.nvidia.com/v1",
        _CHAT_ONLY,
        # The list is the same for every account, and what an account may use is not: the first model of the list is
        # often refused or hangs (gethouston/houston pull request 1243, diegosouzapw/OmniRoute pull request 3223).
        _PUBLIC_LIST,
        probe_model="meta/llama-3.1-8b-instruct",
    ),
    # docs.ollama.com/api/openai-compatibility. Models are listed to anyone, chat is not (taketwo/llm-ollama issue 67).
    Provider("ollama-cloud", "Ollama Cloud", "https://ollama.com/v1", _CHAT_ONLY, _PUBLIC_LIST),
    Provider(
        "opencode-go",
        "OpenCode Go",
        "https://opencode.ai/zen/go/v1",
        MappingProxyType(
            {
                CHAT: Endpoint(PATHS[CHAT]),
                RESPONSES: Endpoint(PATHS[RESPONSES]),
                MESSAGES: Endpoint(PATHS[MESSAGES], KeyStyle.X_API_KEY, ANTHROPIC_VERSION),
            }
        ),
        _PUBLIC_LIST,
        # Without it every request gets 400 MissingSessionID (opencode.ai/docs/go, anomalyco/opencode issue 47763).
        session_header="x-opencode-session",
    ),
    # dev.synthetic.new: GET /models lists the models that are always on.
    Provider("synthetic", "Synthetic", "https://api.synthetic.new/v1", _CHAT_ONLY, _PUBLIC_LIST),
    # GET /models answers 401 without a key (rgarciade/airecorder issue 164).
    Provider("zai-coding", "Z.ai Coding Plan", "https://api.z.ai/api/coding/paas/v4", _CHAT_ONLY),
)

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType({provider.id: provider for provider in _REGISTRY})


def provider_for_model(model_id: str) -> tuple[Provider, str] | None:
    """The direct provider of a canonical (lower-case) model id and the provider's own part of it, if there is one."""
    prefix, _, rest = model_id.partition("/")
    provider = PROVIDERS.get(prefix)
    return (provider, rest) if provider is not None and rest else None


def endpoint_for(provider: Provider, api_kind: ApiKind) -> Endpoint:
    """How the provider is asked in this request format; raises `ApiKindNotSupportedError`."""
    try:
        return provider.endpoints[api_kind]
    except KeyError:
        raise ApiKindNotSupportedError(f"{provider.name} does not support {api_kind.value}") from None


def endpoint_url(provider: Provider, api_kind: ApiKind, base_url_override: str | None = None) -> str:
    """The address for this request format. With an override nothing goes to the provider's usual host."""
    return (base_url_override or provider.base_url).rstrip("/") + endpoint_for(provider, api_kind).path


def models_url(provider: Provider, base_url_override: str | None = None) -> str | None:
    """The address of the provider's model list, if it has one."""
    if provider.model_list is None:
        return None
    return (base_url_override or provider.base_url).rstrip("/") + provider.model_list.path


def override_variable(provider_id: str) -> str:
    """The environment variable that replaces a provider's base URL."""
    return OVERRIDE_PREFIX + provider_id.upper().replace("-", "_")


def base_url_overrides(environ: Mapping[str, str]) -> dict[str, str]:
    """The base URLs that the environment replaces, by provider id. A blank variable is an unset one.

    Each may be in a file instead, as all settings may.

    Raises `SettingError`, which names the variable, for an unknown provider (whose key would silently go to the usual
    host) and for a malformed address. Plain http is accepted here: the installation's operator decides this one.
    """
    by_variable = {override_variable(provider_id): provider_id for provider_id in PROVIDERS}
    overrides: dict[str, str] = {}
    env = Environment(environ)
    for variable in sorted({name.removesuffix("_FILE") for name in environ if name.startswith(OVERRIDE_PREFIX)}):
        value = env.text(variable)
        if not value:
            continue
        provider_id = by_variable.get(variable)
        if provider_id is None:
            # Most ids end in -byok, which is easily forgotten.
            likely = f"{variable}_BYOK"
            hint = f"; did you mean {likely}?" if likely in by_variable else "; docs/configuration.md lists the names."
            raise SettingError(f"{variable} names no provider{hint}")
        if problem := _base_url_problem(value):
            raise SettingError(f"{variable} must be an address such as https://api.example.com/v1: {problem}.")
        overrides[provider_id] = value.rstrip("/")
    return overrides


def _base_url_problem(url: str) -> str | None:
    # The value is never quoted: what is wrong with it may be a password before the host.
    if not re.fullmatch(r"[!-~]+", url) or "\\" in url:
        return "it has a space, a backslash or a character outside ASCII"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "its host or port is malformed"
    if parts.scheme not in {"http", "https"}:
        return "it does not start with https:// or http://"
    if not host or port == 0:
        return "its host or port is malformed"
    if "@" in parts.netloc:
        return "it has user info"
    if "?" in url or "#" in url:
        return "it has a query or a fragment"
    return None
