from __future__ import annotations

import dataclasses
import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byok.providers import (
    PROVIDERS,
    ApiKindNotSupportedError,
    Endpoint,
    KeyStyle,
    ModelList,
    Provider,
    UnsendableSecretError,
    base_url_overrides,
    endpoint_for,
    endpoint_url,
    models_url,
    override_variable,
    provider_for_model,
    standard_endpoints,
)
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.env import SettingError
from kilo_gateway.secret import Secret

CHAT, RESPONSES, MESSAGES = ApiKind.CHAT_COMPLETIONS, ApiKind.RESPONSES, ApiKind.MESSAGES

# Written out here once more, so that a change of the registry is a change that somebody meant.
TABLE: dict[str, tuple[str, set[ApiKind]]] = {
    "anthropic-byok": ("https://api.anthropic.com/v1", {MESSAGES, CHAT}),
    "openai-byok": ("https://api.openai.com/v1", {CHAT, RESPONSES}),
    "google-byok": ("https://generativelanguage.googleapis.com/v1beta/openai", {CHAT}),
    "mistral-byok": ("https://api.mistral.ai/v1", {CHAT}),
    "deepseek-byok": ("https://api.deepseek.com", {CHAT}),
    "xai-byok": ("https://api.x.ai/v1", {CHAT, RESPONSES}),
    "moonshot-byok": ("https://api.moonshot.ai/v1", {CHAT}),
    "groq-byok": ("https://api.groq.com/openai/v1", {CHAT, RESPONSES}),
    "fireworks-byok": ("https://api.fireworks.ai/inference/v1", {CHAT}),
    "together-byok": ("https://api.together.xyz/v1", {CHAT}),
    "cerebras-byok": ("https://api.cerebras.ai/v1", {CHAT}),
    "openrouter-byok": ("https://openrouter.ai/api/v1", {CHAT, RESPONSES, MESSAGES}),
    "vercel-ai-gateway": ("https://ai-gateway.vercel.sh/v1", {CHAT, RESPONSES, MESSAGES}),
    "alibaba-token-plan": ("https://token-plan.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1", {CHAT}),
    "byteplus-coding": ("https://ark.ap-southeast.bytepluses.com/api/coding/v3", {CHAT}),
    "chutes-byok": ("https://llm.chutes.ai/v1", {CHAT}),
    "edenai": ("https://api.edenai.run/v3", {CHAT, MESSAGES, RESPONSES}),
    "inceptron-byok": ("https://api.inceptron.io/v1", {CHAT}),
    "kimi-coding": ("https://api.kimi.com/coding/v1", {CHAT}),
    "neuralwatt": ("https://api.neuralwatt.com/v1", {CHAT}),
    "nvidia-byok": ("https://integrate.api.nvidia.com/v1", {CHAT}),
    "ollama-cloud": ("https://ollama.com/v1", {CHAT}),
    "opencode-go": ("https://opencode.ai/zen/go/v1", {CHAT, MESSAGES, RESPONSES}),
    "synthetic": ("https://api.synthetic.new/v1", {CHAT}),
    "zai-coding": ("https://api.z.ai/api/coding/paas/v4", {CHAT}),
}
USUAL_PATHS = {CHAT: "/chat/completions", RESPONSES: "/responses", MESSAGES: "/messages"}
UNUSUAL_URLS = {("edenai", MESSAGES): "https://api.edenai.run/v3/v1/messages"}
# Every other provider takes the key as a bearer token, in every format.
X_API_KEY = {("anthropic-byok", MESSAGES), ("opencode-go", MESSAGES)}

every_provider = pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.id)
every_endpoint = pytest.mark.parametrize(
    ("provider", "kind"),
    [(provider, kind) for provider in PROVIDERS.values() for kind in ApiKind if kind in provider.api_kinds],
    ids=lambda value: value.id if isinstance(value, Provider) else str(value),
)


class TestRegistry:
    def test_it_is_the_table(self) -> None:
        assert {provider.id: (provider.base_url, set(provider.api_kinds)) for provider in PROVIDERS.values()} == TABLE
        assert len(PROVIDERS) == 25

    @every_provider
    def test_every_row_is_complete(self, provider: Provider) -> None:
        assert PROVIDERS[provider.id] is provider
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", provider.id)
        # The prefix belongs to the organizations' own providers.
        assert not provider.id.startswith("custom-")
        assert provider.name.strip() == provider.name != ""
        assert provider.endpoints
        assert provider.has_model_list

    @every_provider
    def test_only_https(self, provider: Provider) -> None:
        parts = urlsplit(provider.base_url)
        assert parts.scheme == "https"
        assert parts.hostname
        assert (parts.port, parts.query, parts.fragment, parts.username) == (None, "", "", None)
        assert not provider.base_url.endswith("/")

    def test_nothing_is_there_twice(self) -> None:
        for values in (
            [provider.id for provider in PROVIDERS.values()],
            [provider.name.lower() for provider in PROVIDERS.values()],
            [provider.base_url for provider in PROVIDERS.values()],
            [override_variable(provider.id) for provider in PROVIDERS.values()],
        ):
            assert len(values) == len(set(values))

    def test_it_cannot_be_changed(self) -> None:
        provider = PROVIDERS["openai-byok"]
        with pytest.raises(TypeError):
            PROVIDERS["x"] = provider  # type: ignore[index]
        with pytest.raises(TypeError):
            provider.endpoints[MESSAGES] = Endpoint("/x")  # type: ignore[index]
        with pytest.raises(dataclasses.FrozenInstanceError):
            provider.base_url = "https://elsewhere.example"  # type: ignore[misc]

    @every_provider
    def test_a_public_list_never_vouches_for_a_key(self, provider: Provider) -> None:
        assert provider.model_list is not None
        if provider.key_check_path:
            assert not provider.model_list.checks_key
            assert provider.key_check_path.startswith("/")

    def test_rows_that_differ(self) -> None:
        """What is special at a provider and was looked up; see the sources in the registry."""
        lists = {provider.id: provider.model_list or ModelList() for provider in PROVIDERS.values()}
        assert {name for name, listed in lists.items() if not listed.checks_key} == {
            "chutes-byok",
            "edenai",
            "inceptron-byok",
            "neuralwatt",
            "nvidia-byok",
            "ollama-cloud",
            "opencode-go",
            "openrouter-byok",
            "synthetic",
            "vercel-ai-gateway",
        }
        assert {name for name, listed in lists.items() if not listed.is_complete} == {
            "byteplus-coding",
            "fireworks-byok",
        }
        assert {name: listed.id_prefix for name, listed in lists.items() if listed.id_prefix} == {
            "google-byok": "models/"
        }
        assert {name for name, provider in PROVIDERS.items() if provider.session_header} == {"opencode-go"}
        assert lists["anthropic-byok"].key_style is KeyStyle.X_API_KEY
        assert lists["anthropic-byok"].headers == (("anthropic-version", "2023-06-01"),)


class TestAddresses:
    @every_endpoint
    def test_every_endpoint(self, provider: Provider, kind: ApiKind) -> None:
        usual = provider.base_url + USUAL_PATHS[kind]
        assert endpoint_url(provider, kind) == UNUSUAL_URLS.get((provider.id, kind), usual)

    @every_endpoint
    def test_every_key_style(self, provider: Provider, kind: ApiKind) -> None:
        expected = KeyStyle.X_API_KEY if (provider.id, kind) in X_API_KEY else KeyStyle.BEARER
        assert endpoint_for(provider, kind).key_style is expected

    @every_endpoint
    def test_messages_say_the_version(self, provider: Provider, kind: ApiKind) -> None:
        version = dict(endpoint_for(provider, kind).headers).get("anthropic-version")
        assert version == ("2023-06-01" if kind is MESSAGES else None)

    @every_provider
    def test_a_format_that_is_not_spoken_is_refused(self, provider: Provider) -> None:
        for kind in set(ApiKind) - provider.api_kinds:
            with pytest.raises(ApiKindNotSupportedError) as caught:
                endpoint_url(provider, kind)
            assert str(caught.value) == f"{provider.name} does not support {kind}"

    @every_endpoint
    def test_with_an_override_nothing_goes_to_the_usual_host(self, provider: Provider, kind: ApiKind) -> None:
        for base in ("http://127.0.0.1:9/base", "http://127.0.0.1:9/base/"):
            url = endpoint_url(provider, kind, base)
            assert url == "http://127.0.0.1:9/base" + endpoint_for(provider, kind).path
            assert (models_url(provider, base) or "").startswith("http://127.0.0.1:9/base/models")

    @pytest.mark.parametrize(
        ("provider_id", "url"),
        [
            ("openai-byok", "https://api.openai.com/v1/models"),
            ("deepseek-byok", "https://api.deepseek.com/models"),
            ("edenai", "https://api.edenai.run/v3/models"),
            ("anthropic-byok", "https://api.anthropic.com/v1/models?limit=1000"),
        ],
    )
    def test_model_lists(self, provider_id: str, url: str) -> None:
        assert models_url(PROVIDERS[provider_id]) == url

    def test_a_custom_provider_is_one_too(self) -> None:
        endpoints = standard_endpoints([CHAT, MESSAGES], key_style=KeyStyle.X_API_KEY)
        provider = Provider("custom-lab", "Lab", "https://llm.lab.example/v1/", endpoints, model_list=None)
        assert endpoint_url(provider, CHAT) == "https://llm.lab.example/v1/chat/completions"
        assert endpoint_for(provider, CHAT).key_style is KeyStyle.X_API_KEY
        assert provider.api_kinds == {CHAT, MESSAGES}
        assert not provider.has_model_list
        assert models_url(provider) is None


class TestKeyHeaders:
    def test_they_work(self) -> None:
        assert KeyStyle.BEARER.header(Secret("sk-12")) == ("Authorization", "Bearer sk-12")
        assert KeyStyle.X_API_KEY.header(Secret("sk-12")) == ("x-api-key", "sk-12")

    @pytest.mark.parametrize("style", KeyStyle)
    @pytest.mark.parametrize(
        "key", ["", " ", "sk-canary ", "sk-canary\r\nX-Admin: 1", "sk-canary\n", "sk-canarÿ", "\x00"]
    )
    def test_a_key_that_could_break_the_header_is_refused(self, style: KeyStyle, key: str) -> None:
        with pytest.raises(UnsendableSecretError) as caught:
            style.header(Secret(key))
        assert "canar" not in str(caught.value)

    @given(st.sampled_from(KeyStyle), st.text())
    def test_no_key_adds_a_header(self, style: KeyStyle, key: str) -> None:
        try:
            _, value = style.header(Secret(key))
        except UnsendableSecretError:
            return
        assert value.isascii()
        assert value.isprintable()


class TestProviderForModel:
    @every_provider
    def test_it_works(self, provider: Provider) -> None:
        assert provider_for_model(f"{provider.id}/some-model") == (provider, "some-model")
        assert provider_for_model(f"{provider.id}/vendor/some-model:free") == (provider, "vendor/some-model:free")

    @pytest.mark.parametrize(
        "model_id",
        [
            "",
            "/",
            "/x",
            "openai-byok",
            "openai-byok/",
            "openai/gpt-5",
            "anthropic/claude-sonnet-5",
            "kilo-auto/org",
            "openai-byok-2/gpt-5",
            " openai-byok/gpt-5",
            "OPENAI-BYOK/gpt-5",
            "x/openai-byok/gpt-5",
            "\u212aimi-coding/k3",
        ],
    )
    def test_other_models_have_none(self, model_id: str) -> None:
        assert provider_for_model(model_id) is None

    @given(st.sampled_from(sorted(PROVIDERS)), st.text(min_size=1))
    def test_the_rest_is_the_providers_own_id(self, provider_id: str, rest: str) -> None:
        assert provider_for_model(f"{provider_id}/{rest}") == (PROVIDERS[provider_id], rest)


class TestOverrides:
    def test_it_works(self) -> None:
        environ = {
            "PROVIDER_BASE_URL_OPENAI_BYOK": " http://127.0.0.1:9000/v1/ ",
            "PROVIDER_BASE_URL_VERCEL_AI_GATEWAY": "https://gateway.example",
            "PROVIDER_BASE_URL_EDENAI": "http://[::1]:9000/v3",
            "PROVIDER_BASE_URL_GROQ_BYOK": "",
            "PROVIDER_BASE_URL_NOT_THERE": "  ",
            "PATH": "/usr/bin",
            "MY_PROVIDER_BASE_URL_X": "nonsense",
        }
        assert base_url_overrides(environ) == {
            "openai-byok": "http://127.0.0.1:9000/v1",
            "vercel-ai-gateway": "https://gateway.example",
            "edenai": "http://[::1]:9000/v3",
        }

    @every_provider
    def test_every_provider_can_be_moved(self, provider: Provider) -> None:
        variable = override_variable(provider.id)
        assert re.fullmatch(r"PROVIDER_BASE_URL_[A-Z0-9_]+", variable)
        assert base_url_overrides({variable: "http://upstream:8080"}) == {provider.id: "http://upstream:8080"}

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ("api.openai.com/v1", "it does not start with https:// or http://"),
            ("ftp://api.openai.com", "it does not start with https:// or http://"),
            ("file:///etc/passwd", "it does not start with https:// or http://"),
            ("https://", "its host or port is malformed"),
            ("https:///v1", "its host or port is malformed"),
            ("https://:443/v1", "its host or port is malformed"),
            ("https://host:0", "its host or port is malformed"),
            ("https://host:99999", "its host or port is malformed"),
            ("https://host:port", "its host or port is malformed"),
            ("https://[::1", "its host or port is malformed"),
            ("https://canary:canary@host/v1", "it has user info"),
            ("https://@host/v1", "it has user info"),
            ("https://host/v1?key=canary", "it has a query or a fragment"),
            ("https://host/v1?", "it has a query or a fragment"),
            ("https://host/v1#canary", "it has a query or a fragment"),
            ("https://host/v1#", "it has a query or a fragment"),
            ("https://ho st/v1", "it has a space, a backslash or a character outside ASCII"),
            ("https://host/\nv1", "it has a space, a backslash or a character outside ASCII"),
            ("https://host\\@other/v1", "it has a space, a backslash or a character outside ASCII"),
            ("https://höst/v1", "it has a space, a backslash or a character outside ASCII"),
        ],
    )
    def test_a_malformed_address_is_refused(self, value: str, problem: str) -> None:
        with pytest.raises(SettingError) as caught:
            base_url_overrides({"PROVIDER_BASE_URL_OPENAI_BYOK": value})
        assert str(caught.value) == (
            f"PROVIDER_BASE_URL_OPENAI_BYOK must be an address such as https://api.example.com/v1: {problem}."
        )

    @pytest.mark.parametrize(
        ("variable", "message"),
        [
            (
                "PROVIDER_BASE_URL_OPENAI",
                "PROVIDER_BASE_URL_OPENAI names no provider; did you mean PROVIDER_BASE_URL_OPENAI_BYOK?",
            ),
            (
                "PROVIDER_BASE_URL_openai-byok",
                "PROVIDER_BASE_URL_openai-byok names no provider; docs/configuration.md lists the names.",
            ),
            ("PROVIDER_BASE_URL_", "PROVIDER_BASE_URL_ names no provider; docs/configuration.md lists the names."),
        ],
    )
    def test_an_unknown_provider_is_refused(self, variable: str, message: str) -> None:
        with pytest.raises(SettingError) as caught:
            base_url_overrides({variable: "https://host/v1"})
        assert str(caught.value) == message

    @given(st.text(max_size=80))
    def test_what_is_accepted_makes_a_sound_address(self, value: str) -> None:
        try:
            overrides = base_url_overrides({"PROVIDER_BASE_URL_OPENAI_BYOK": f"http://{value}"})
        except SettingError:
            return
        url = urlsplit(endpoint_url(PROVIDERS["openai-byok"], CHAT, overrides["openai-byok"]))
        assert url.scheme == "http"
        assert url.hostname
        assert url.path.endswith("/chat/completions")
        assert (url.query, url.fragment, url.username) == ("", "", None)
