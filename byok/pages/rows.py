"""Provider keys as the pages show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from byok.dependents import Dependent, DependentKind
from byok.encryption import SecretOwner
from byok.key_check import KeyResult
from byok.models import Credential, CustomProvider
from byok.providers import Provider
from kilo_gateway.api_errors import GatewayError
from kilo_gateway.api_kinds import ApiKind
from organizations.pages.frame import Page

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ApiKind.CHAT_COMPLETIONS.value: "Chat completions",
        ApiKind.RESPONSES.value: "Responses",
        ApiKind.MESSAGES.value: "Messages",
    }
)
_TONES: Final[Mapping[KeyResult, str]] = MappingProxyType(
    {
        KeyResult.WORKS: "ok",
        KeyResult.REFUSED: "danger",
        KeyResult.NO_CREDIT: "warning",
        KeyResult.RATE_LIMITED: "warning",
        KeyResult.UNAVAILABLE: "warning",
        KeyResult.TIMED_OUT: "warning",
        KeyResult.UNREADABLE: "danger",
        KeyResult.NOT_CHECKED: "neutral",
    }
)
CONFIRM_FIELD: Final = "confirm_broken_routes"
GONE: Final = "its provider is gone"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A stored key, with its provider and what leads to it.

    Attributes:
        provider: None when the installation does not know it any more.
        broken: Those of the dependents that would be refused today; for one key alone, not in the list.
    """

    credential: Credential
    provider: Provider | None
    dependents: Sequence[Dependent]
    broken: Sequence[Dependent] = ()

    @property
    def id(self) -> str:
        return str(self.credential.pk)

    @property
    def name(self) -> str:
        return self.provider.name if self.provider is not None else self.credential.provider

    @property
    def host(self) -> str:
        return host_of(self.provider) if self.provider is not None else GONE

    @property
    def model_count(self) -> int | None:
        """How many models the provider's list has for this key; None while it is unknown."""
        offered = self.credential.offered_models
        return None if offered is None else len(offered)

    @property
    def has_model_list(self) -> bool:
        return self.provider is not None and self.provider.has_model_list

    @property
    def test_words(self) -> str:
        """What the newest test found out; blank when there was none."""
        return self.credential.last_test_result.replace("_", " ") if self.credential.last_tested_at else ""

    @property
    def test_tone(self) -> str:
        try:
            return _TONES[KeyResult(self.credential.last_test_result)]
        except ValueError:
            return "neutral"

    @property
    def models_told(self) -> str:
        return "" if self.model_count is None else f"{self.model_count:,}"

    @property
    def told_tested(self) -> str:
        """What the newest test found out, in a sentence."""
        return f"{self.name}: {self.credential.last_test_message}"

    @property
    def told_discovered(self) -> str:
        """What the newest reading of the provider's list came to."""
        if self.credential.discovery_error:
            return f"{self.name}: {self.credential.discovery_error}"
        return f"{self.name} has {_models(self.model_count or 0)} for this key.{self._told_broken}"

    def told_stored(self, done: str) -> str:
        """What became of a key that was given: `done` says what was done with it."""
        if problem := self.credential.discovery_error:
            return f"The key for {self.name} {done}, but its models could not be read: {problem}"
        models = "" if self.model_count is None else f"; it can use {_models(self.model_count)}"
        return f"The key for {self.name} {done}{models}.{self._told_broken}"

    @property
    def _told_broken(self) -> str:
        """What is refused with these models, as a sentence more; blank for nothing."""
        if not self.broken:
            return ""
        return f" Refused now: {', '.join(map(_called, self.broken))}."

    @property
    def is_refused(self) -> bool:
        """Whether the provider has refused a request after the newest test."""
        refused, tested = self.credential.last_refused_at, self.credential.last_tested_at
        return refused is not None and (tested is None or refused > tested)

    @property
    def breaks(self) -> bool:
        """Whether requests are refused because the key is off."""
        return bool(self.dependents) and not self.credential.is_enabled


def _called(dependent: Dependent) -> str:
    if dependent.kind is DependentKind.ROUTE:
        return f"the route of {dependent.slug}"
    return "the fallback" if dependent.kind is DependentKind.FALLBACK else "the default model"


def _models(count: int) -> str:
    return f"{count:,} model{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class CustomRow:
    """A provider of the organization's own, and its key if there is one."""

    provider: CustomProvider
    key: KeyRow | None

    @property
    def kinds(self) -> list[str]:
        return [KINDS.get(kind, kind) for kind in self.provider.api_kinds]


def host_of(provider: Provider) -> str:
    """Where requests with its key go."""
    return urlsplit(settings.PROVIDER_BASE_URLS.get(provider.id) or provider.base_url).netloc


def owner_of_page(page: Page) -> SecretOwner:
    """The organization, as the owner of keys."""
    return SecretOwner.organization(page.organization.pk)


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the person has seen what breaks, and goes on."""
    return request.POST.get(CONFIRM_FIELD) == "on"


@contextmanager
def noting_broken(broken: list[Dependent]) -> Iterator[None]:
    """Around a service, within `Page.refusals`: what is refused because it would break routes fills this list instead.

    The page is then rendered with the list, and asks for a confirmation.
    """
    try:
        yield
    except GatewayError as error:
        if error.code != "routes_would_break":
            raise
        entries = error.details["broken"]
        broken[:] = [Dependent(DependentKind(each["kind"]), each["slug"], each["target"]) for each in entries]
