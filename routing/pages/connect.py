"""How a client is connected: text to copy, for this installation, this organization and the model to ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from kilo_gateway import kilo_cli

KEY: Final = "YOUR_API_KEY"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Text to copy; `id` is unique on the page."""

    id: str
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Client:
    """A kind of client, in one tab.

    Attributes:
        lead: What it is about, in a sentence or two.
        notes: What else has to be known or done, in order.
    """

    key: str
    label: str
    lead: str
    snippets: tuple[Snippet, ...]
    notes: tuple[str, ...] = ()


def clients(base_url: str, organization_id: UUID, model: str) -> list[Client]:
    """The clients that the gateway is made for. No query.

    Args:
        model: What a client asks for: Organization Auto, or a model while it is off.
    """
    return [
        _kilo_cli(base_url, organization_id, model),
        _vs_code(base_url, model),
        _openai(base_url, model),
        _anthropic(base_url, model),
        _curl(base_url, model),
    ]


def _kilo_cli(base_url: str, organization_id: UUID, model: str) -> Client:
    sign_in = f"npm install -g {kilo_cli.PACKAGE}\nexport KILO_API_URL={base_url}\nkilo auth login --provider kilo"
    ask = f'kilo run --auto --agent plan -m kilo/{model} "say hello"'
    with_key = f"KILO_API_URL={base_url} KILO_API_KEY={KEY} KILO_ORG_ID={organization_id} \\\n  {ask}"
    return Client(
        "kilo-cli",
        "Kilo CLI",
        "Unmodified, with nothing but KILO_API_URL set. The organization's custom modes come along as agents.",
        (
            Snippet("kilo-sign-in", "Sign in with the browser", sign_in),
            Snippet("kilo-key", "With an API key, as on a build machine", with_key),
        ),
        (f"The agent that is chosen is the mode. In its list of models, choose {model}.",),
    )


def _vs_code(base_url: str, model: str) -> Client:
    return Client(
        "vs-code",
        "VS Code",
        "The Kilo Code extension takes the gateway's address from the environment in which VS Code was started.",
        (Snippet("vs-code-start", "Start VS Code", f"KILO_API_URL={base_url} code ."),),
        (
            "Close all windows of VS Code first: one that is open keeps its own environment.",
            "In the extension, sign in. The browser opens here: check the code, then approve.",
            f"Choose this organization, then the model {model}.",
        ),
    )


def _openai(base_url: str, model: str) -> Client:
    text = f"""from openai import OpenAI

client = OpenAI(
    base_url="{base_url}/api/gateway/v1",
    api_key="{KEY}",
    default_headers={{"x-kilocode-mode": "code"}},
)
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Say hello"}}],
)
print(answer.choices[0].message.content)"""
    return Client(
        "openai",
        "OpenAI SDK",
        "Chat completions and responses, streamed or not. The header says the mode.",
        (Snippet("openai-python", "Python", text),),
        ("Responses are stateless: store and previous_response_id are refused.",),
    )


def _anthropic(base_url: str, model: str) -> Client:
    text = f"""from anthropic import Anthropic

client = Anthropic(
    base_url="{base_url}/api/gateway",
    api_key="{KEY}",
    default_headers={{"x-kilocode-mode": "plan"}},
)
answer = client.messages.create(
    model="{model}",
    max_tokens=200,
    messages=[{{"role": "user", "content": "Say hello"}}],
)
print(answer.content[0].text)"""
    return Client(
        "anthropic",
        "Anthropic SDK",
        "Messages, streamed or not. The header says the mode.",
        (Snippet("anthropic-python", "Python", text),),
    )


def _curl(base_url: str, model: str) -> Client:
    text = f"""curl -i {base_url}/api/gateway/v1/chat/completions \\
  -H "Authorization: Bearer {KEY}" \\
  -H "Content-Type: application/json" \\
  -H "x-kilocode-mode: code" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Say hello"}}]}}'"""
    return Client(
        "curl",
        "curl",
        "The answer's headers are the receipt: which route, which model, which provider.",
        (Snippet("curl-chat", "Chat completions", text),),
        ("A client that cannot send headers says the mode in the model, kilo-auto/org:plan, or in its API key.",),
    )
