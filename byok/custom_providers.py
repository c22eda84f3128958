"""What a custom provider may be, and a stored one as the provider that requests are sent to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from byok.encryption import SealedSecret, SecretOwner
from byok.keys import keyring
from byok.models import CustomProvider, CustomProviderHeader
from byok.providers import KeyStyle, KnownModel, ModelList, Provider, SealedHeader, standard_endpoints
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.secret import Secret
from organizations.refusals import invalid, invalid_fields

PREFIX: Final = "custom-"
MAX_PROVIDERS: Final = 50
MAX_HEADERS: Final = 20
MAX_HEADER_VALUE: Final = 2000
MAX_MODELS: Final = 200
MAX_MODEL_ID: Final = 150
MAX_TOKENS: Final = 100_000_000

_PROVIDER_ID: Final = re.compile(r"custom-[a-z0-9-]{1,40}")
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_MODEL_ID: Final = re.compile(r"\S{1,150}")
# What belongs to one connection, to the request itself, to the key, or to what the gateway says or withholds.
_RESERVED: Final = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "via", "forwarded"),
        *("host", "date", "content-length", "content-type", "content-encoding", "accept", "accept-encoding"),
        *("authorization", "x-api-key", "cookie", "cookie2", "set-cookie", "user-agent"),
        *("anthropic-version", "anthropic-beta", "x-request-id"),
    }
)
_RESERVED_BEGINNINGS: Final = ("proxy-", "sec-", "x-forwarded-", "x-kilo")


@dataclass(frozen=True, slots=True)
class HeaderDraft:
    """A header as it is written; without a value it keeps the one that is stored under its name."""

    name: str
    value: Secret | None = None


def valid_provider_id(text: str) -> str:
    """The id of a custom provider; raises 400 when it is none."""
    if not _PROVIDER_ID.fullmatch(text):
        raise invalid("id", 'It is "custom-" and then 1 to 40 characters: small letters, digits and hyphens.')
    return text


def valid_name(text: str) -> str:
    """The name that is shown, trimmed; raises 400 when it is none."""
    return _shown("name", text.strip(), 100)


def valid_api_kinds(kinds: Sequence[str]) -> list[str]:
    """The request formats, each once and in one order; raises 400 when there is none or an unknown one."""
    known = [kind.value for kind in ApiKind]
    if not kinds or not set(kinds) <= set(known):
        raise invalid("api_kinds", f"At least one of: {', '.join(known)}.")
    return [kind for kind in known if kind in kinds]


def valid_key_style(text: str) -> str:
    """How the key is sent; raises 400 for another word."""
    if text not in {style.value for style in KeyStyle}:
        raise invalid("key_style", f"One of: {', '.join(style.value for style in KeyStyle)}.")
    return text


def valid_headers(drafts: Iterable[HeaderDraft]) -> list[HeaderDraft]:
    """Headers by name, in small letters; raises 400 that says what is wrong with which name, and shows no value."""
    headers: dict[str, HeaderDraft] = {}
    problems: list[str] = []
    for draft in drafts:
        name = draft.name.strip().lower()
        if problem := _header_problem(name, draft.value):
            problems.append(problem)
        elif name in headers:
            problems.append(f'"{name}" is there twice.')
        headers[name] = HeaderDraft(name, draft.value)
    if len(headers) > MAX_HEADERS:
        problems.append(f"There are at most {MAX_HEADERS}.")
    if problems:
        raise invalid_fields({"headers": problems[:MAX_HEADERS]})
    return [headers[name] for name in sorted(headers)]


def _header_problem(name: str, value: Secret | None) -> str:
    if not _HEADER_NAME.fullmatch(name):
        return "A name has 1 to 100 letters, digits and hyphens."
    if name in _RESERVED or name.startswith(_RESERVED_BEGINNINGS):
        return f'"{name}" cannot be chosen: the gateway or the connection sets it, or it carries the key.'
    if value is None:
        return ""
    if len(value.reveal()) > MAX_HEADER_VALUE or not _HEADER_VALUE.fullmatch(value.reveal()):
        return f'The value of "{name}" must be 1 to {MAX_HEADER_VALUE} printable ASCII characters.'
    return ""


def valid_models(models: Iterable[KnownModel]) -> list[dict[str, Any]]:
    """Models written by hand, as they are stored; raises 400. Ids keep their spelling; no two differ by it alone."""
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        model_id = model.id.strip()
        if not _MODEL_ID.fullmatch(model_id) or not model_id.isprintable() or model_id.endswith("/*"):
            raise invalid("models", f"The id of a model has 1 to {MAX_MODEL_ID} characters without spaces.")
        if model_id.lower() in found:
            raise invalid("models", f'"{model_id}" is there twice.')
        limits = {"context_length": model.context_length, "max_output_tokens": model.max_output_tokens}
        if any(limit is not None and not 1 <= limit <= MAX_TOKENS for limit in limits.values()):
            raise invalid("models", f'The limits of "{model_id}" are whole numbers from 1 to {MAX_TOKENS}.')
        name = _shown("models", model.name.strip() or model_id, 200)
        found[model_id.lower()] = {"id": model_id, "name": name, **limits}
    if len(found) > MAX_MODELS:
        raise invalid("models", f"There are at most {MAX_MODELS}.")
    return list(found.values())


def _shown(field: str, text: str, longest: int) -> str:
    if not 1 <= len(text) <= longest or not text.isprintable():
        raise invalid(field, f"A name has 1 to {longest} printable characters.")
    return text


def header_purpose(name: str) -> str:
    """What a header's value is sealed for, so that it cannot be moved to another header or taken for the key."""
    return f"header:{name}"


def sealed_header(provider: CustomProvider, name: str, value: Secret) -> CustomProviderHeader:
    """A header's row, not yet saved."""
    owner = SecretOwner.organization(provider.organization_id)
    sealed = keyring().encrypt(value, owner=owner, provider_id=provider.provider_id, purpose=header_purpose(name))
    return CustomProviderHeader(
        custom_provider=provider,
        name=name,
        key_id=sealed.key_id,
        ciphertext=sealed.ciphertext,
        last_four=value.last_four,
    )


def opened_headers(organization_id: UUID, provider: Provider) -> dict[str, Secret]:
    """The values of a provider's headers by name; raises `UndecryptableSecret`."""
    owner = SecretOwner.organization(organization_id)
    return {
        header.name: keyring().decrypt(
            header.value, owner=owner, provider_id=provider.id, purpose=header_purpose(header.name)
        )
        for header in provider.headers
    }


def as_provider(row: CustomProvider) -> Provider:
    """A stored custom provider as the one that requests are sent to, its headers still sealed.

    Whether its model list asks for the key nobody knows, so a good answer of it does not say that the key is good.
    """
    style = KeyStyle(row.key_style)
    return Provider(
        row.provider_id,
        row.name,
        row.base_url,
        standard_endpoints((ApiKind(kind) for kind in row.api_kinds), key_style=style),
        ModelList(key_style=style, checks_key=False),
        is_custom=True,
        headers=tuple(
            SealedHeader(header.name, SealedSecret(header.key_id, bytes(header.ciphertext)))
            for header in sorted(row.headers.all(), key=lambda header: header.name)
        ),
        models=tuple(_known(model) for model in row.known_models),
    )


def _known(stored: Mapping[str, Any]) -> KnownModel:
    return KnownModel(stored["id"], stored["name"], stored["context_length"], stored["max_output_tokens"])
