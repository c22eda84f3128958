"""Explain: which model a request would go to and why, under the stored settings and under a draft of others."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from django import forms
from django.http import HttpResponse

from byok.providers import PROVIDERS
from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_kinds import ApiKind
from organizations.models import Organization
from organizations.modes.config import BUILT_IN_MODES
from organizations.modes.selectors import modes_of
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.selectors import routing_settings
from routing.catalog.cache import CatalogUnreadable
from routing.domain.resolve import MAX_MODE_LENGTH, ROUTE_ALIASES, Asked, read_request
from routing.domain.types import DEFAULT_FALLBACK, ORGANIZATION_AUTO, RouteKind
from routing.explanation import differing, explain, explain_draft, explanation
from routing.pages.targets import TargetField, TargetGroup, target_choices
from routing.selectors import Offer, offer_to

EVERY, ONLY = "every", "only"
ON, OFF = "on", "off"
NO_ROUTE: Final = "none"
FIRST_MODE: Final = "code"
REFUSED: Final = "refused"
_API_KINDS: Final = {
    ApiKind.CHAT_COMPLETIONS: "chat completions",
    ApiKind.RESPONSES: "responses",
    ApiKind.MESSAGES: "messages",
}
STEPS: Final = {
    "model": "Model asked for",
    "mode": "Mode",
    "eligible": "Plan",
    "configured": "Organization Auto is set up",
    "enabled": "Organization Auto is on",
    "route": "Route",
    "target": "Target",
    "credential": "Provider key",
    "api kind": "API",
    "offer": "Models of the key",
    "model policy": "Model policy",
    "tier": "Auto tier",
    "catalog": "Catalog",
}


class RequestForm(forms.Form):
    """The id of a request that was made."""

    request = forms.UUIDField(
        label="Request id",
        error_messages={"invalid": "That is no request id: it is in the header x-request-id of the answer."},
        widget=forms.TextInput({"class": "mono", "placeholder": "x-request-id", "autocomplete": "off"}),
    )
    is_filter = True


class ExplainForm(forms.Form):
    """A request, and what of the stored settings is otherwise in the draft; blank is as stored."""

    mode = forms.CharField(
        label="Mode",
        required=False,
        max_length=MAX_MODE_LENGTH,
        widget=forms.TextInput({"list": "mode-options", "class": "mono", "autocomplete": "off", "placeholder": "none"}),
    )
    model = TargetField(label="Model", required=False, placeholder=ORGANIZATION_AUTO)
    api_kind = forms.ChoiceField(
        label="API", required=False, choices=[("", "any"), *((kind.value, name) for kind, name in _API_KINDS.items())]
    )
    enabled = forms.ChoiceField(
        label="Organization Auto", required=False, choices=[("", "as stored"), (ON, "on"), (OFF, "off")]
    )
    route_is = forms.ChoiceField(
        label="Its route",
        required=False,
        choices=[("", "as stored"), (ONLY, "this model"), (NO_ROUTE, "none of its own")],
    )
    route = TargetField(label="Model of the route", required=False)
    fallback = TargetField(label="Fallback", required=False, placeholder="as stored")
    providers_are = forms.ChoiceField(
        label="Allowed providers",
        required=False,
        choices=[("", "as stored"), (EVERY, "every provider"), (ONLY, "only these")],
    )
    providers = forms.CharField(
        label="Providers",
        required=False,
        max_length=4000,
        widget=forms.TextInput({"class": "mono", "placeholder": "anthropic, openai", "autocomplete": "off"}),
    )
    denied = forms.CharField(
        label="Deny these models too",
        required=False,
        max_length=4000,
        widget=forms.TextInput({"class": "mono", "placeholder": "openai/gpt-5-mini, ...", "autocomplete": "off"}),
    )
    is_filter = True

    def clean(self) -> dict[str, Any]:
        """A model in the route's field means that it is the route."""
        cleaned = super().clean() or {}
        if cleaned.get("route") and not cleaned.get("route_is"):
            cleaned["route_is"] = ONLY
        if cleaned.get("providers") and not cleaned.get("providers_are"):
            cleaned["providers_are"] = ONLY
        if cleaned.get("route_is") == ONLY and not cleaned.get("route"):
            self.add_error("route", "Choose a model, or leave the route as it is stored.")
        return cleaned

    @property
    def has_draft(self) -> bool:
        names = ("enabled", "route_is", "route", "fallback", "providers_are", "providers", "denied")
        return any(self.data.get(name, "").strip() for name in names)


def draft_settings(stored: Mapping[str, Any], asked: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """The stored settings with what the form says otherwise."""
    draft = copy.deepcopy(dict(stored))
    if asked["enabled"]:
        draft["default_model"] = ORGANIZATION_AUTO if asked["enabled"] == ON else None
    auto: dict[str, Any] = {"routes": {}, "fallback_model": DEFAULT_FALLBACK, **(draft.get("org_auto_model") or {})}
    routes = dict(auto.get("routes") or {})
    if asked["route_is"] == ONLY and mode:
        routes[mode] = asked["route"]
    elif asked["route_is"] == NO_ROUTE:
        routes.pop(mode, None)
    if asked["fallback"]:
        auto["fallback_model"] = asked["fallback"]
    if asked["enabled"] == ON or asked["route_is"] or asked["fallback"]:
        draft["org_auto_model"] = {**auto, "routes": routes}
    if asked["providers_are"]:
        draft["provider_allow_list"] = None if asked["providers_are"] == EVERY else _words(asked["providers"])
    if asked["denied"]:
        draft["model_deny_list"] = [*(draft.get("model_deny_list") or []), *_words(asked["denied"])]
    return draft


def _words(text: str) -> list[str]:
    return [word.lower() for word in text.replace(",", " ").split()]


@dataclass(frozen=True, slots=True)
class ToldStep:
    """A step of a decision."""

    label: str
    looked_at: str
    outcome: str
    reason: str

    @property
    def is_refused(self) -> bool:
        return self.outcome == REFUSED


@dataclass(frozen=True, slots=True)
class ToldOther:
    """What one API is told; `refusal` is blank where it is served."""

    api: str
    models: tuple[str, ...]
    refusal: str
    reasoning_effort: str
    verbosity: str


@dataclass(frozen=True, slots=True)
class ToldDecision:
    """A decision for the template: the API's explanation, in the words of the page.

    Attributes:
        others: Where no API is named, those that are told otherwise.
    """

    explained: Mapping[str, Any]
    others: tuple[ToldOther, ...] = ()

    @property
    def is_refused(self) -> bool:
        return self.explained["refusal"] is not None

    @property
    def models(self) -> list[str]:
        found: list[str] = self.explained["resolved_models"]
        return found

    @property
    def route(self) -> str:
        """By which rule the target was found, as a sentence's end."""
        kind, _, rest = (self.explained["route"] or "").partition(":")
        mode, _, followed = rest.partition("->")
        match kind:
            case RouteKind.EXACT:
                return f"the route of {mode}"
            case RouteKind.ALIAS:
                return f"{mode} follows the route of {followed}"
            case RouteKind.FALLBACK:
                return "the fallback"
            case RouteKind.DIRECT:
                return "asked for by name"
        return ""

    @property
    def provider(self) -> str:
        provider = self.explained["provider"]
        if not provider:
            return ""
        known = PROVIDERS.get(provider)
        return known.name if known is not None else str(provider)

    @property
    def only_providers(self) -> list[str]:
        confined: dict[str, list[str]] = self.explained["only_providers"]
        return sorted({slug for slugs in confined.values() for slug in slugs})

    @property
    def steps(self) -> list[ToldStep]:
        return [
            ToldStep(STEPS.get(step["name"], step["name"]), _looked_at(step), _outcome(step), step["reason"])
            for step in self.explained["steps"]
        ]

    @property
    def verdict(self) -> tuple[Any, ...]:
        """What two decisions have to have in common to be the same."""
        return (self.explained["target"], self.models, self.explained["refusal"], self.only_providers)


def _looked_at(step: Mapping[str, str]) -> str:
    """What was looked at, unless its name says it."""
    is_plain = step["name"] in {"configured", "enabled"} and step["outcome"] != REFUSED
    return "" if is_plain else step["looked_at"]


def _outcome(step: Mapping[str, str]) -> str:
    """What came out; of a provider key it is an id, which tells a person nothing."""
    outcome = step["outcome"]
    return "stored and enabled" if step["name"] == "credential" and outcome != REFUSED else outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What happens now and, with a draft, what would happen."""

    now: ToldDecision
    draft: ToldDecision | None = None

    @property
    def is_same(self) -> bool:
        return self.draft is not None and self.draft.verdict == self.now.verdict


@organization_page("explain", methods=("GET",))
def explain_page(request: PageRequest, page: Page) -> HttpResponse:
    """A decision and how it comes about. Nothing is sent anywhere. At most twelve queries."""
    opened = RequestForm(request.GET if "request" in request.GET else None)
    if opened.is_bound and opened.is_valid():
        found: UUID = opened.cleaned_data["request"]
        return page.go(page.url("request-receipt", request_id=found))
    is_asked = any(name in request.GET for name in ExplainForm.base_fields)
    form = ExplainForm(request.GET if is_asked else {"mode": FIRST_MODE, "model": ORGANIZATION_AUTO})
    choices = _Choices(page.organization)
    answer = _answer(page.organization, form, choices) if form.is_valid() else None
    context = {
        "form": form,
        "opened": opened,
        "answer": answer,
        "choices": choices,
    }
    status = 422 if opened.is_bound else None
    return page.render("explain/page.html", context, partials={"explanation": "explain/answer.html"}, status=status)


def _answer(organization: Organization, form: ExplainForm, choices: _Choices) -> Answer:
    asked = read_request(form.cleaned_data["model"] or ORGANIZATION_AUTO, form.cleaned_data["mode"])
    kind = ApiKind(form.cleaned_data["api_kind"]) if form.cleaned_data["api_kind"] else None
    try:
        found = explanation(explain(organization, asked, kind), kind)
        now = ToldDecision(found, () if kind else _others(choices, organization.settings, asked, found))
        if not form.has_draft:
            return Answer(now)
        draft = draft_settings(routing_settings(organization), form.cleaned_data, asked.mode)
        found = explanation(explain_draft(organization, draft, asked, kind, offer=choices.offer), kind)
        return Answer(now, ToldDecision(found, () if kind else _others(choices, draft, asked, found)))
    except CatalogUnreadable as error:
        raise GatewayError(ErrorType.TEMPORARILY_UNAVAILABLE, 503, str(error)) from error


def _others(
    choices: _Choices, settings: Mapping[str, Any], asked: Asked, answer: Mapping[str, Any]
) -> tuple[ToldOther, ...]:
    """The APIs that are told otherwise under these settings; no query beside the offer's."""
    try:
        offer = choices.offer
    except GatewayError:  # malformed settings, which are refused in every API
        return ()
    organization = choices.organization
    others = {
        kind: explanation(explain_draft(organization, settings, asked, kind, offer=offer), kind) for kind in ApiKind
    }
    return tuple(
        ToldOther(
            api=_API_KINDS[ApiKind(kind)],
            models=tuple(told["resolved_models"]),
            refusal=told["refusal"]["message"] if told["refusal"] else "",
            reasoning_effort=told["reasoning_effort"] or "",
            verbosity=told["verbosity"] or "",
        )
        for kind, told in differing(answer, others).items()
    )


class _Choices:
    """What the form offers, read only when it is asked for: the answer alone needs little of it."""

    def __init__(self, organization: Organization) -> None:
        self.organization = organization

    @cached_property
    def offer(self) -> Offer:
        return offer_to(self.organization)

    def groups(self) -> list[TargetGroup]:
        """The models; none while the stored settings or the catalog cannot be read."""
        try:
            return target_choices(self.offer)
        except (CatalogUnreadable, GatewayError):
            return []

    def modes(self) -> list[str]:
        """The slugs of all modes and of all routes."""
        custom = [mode.slug for mode in modes_of(self.organization.pk)]
        auto = self.organization.settings.get("org_auto_model")
        routed = auto.get("routes") if isinstance(auto, dict) else None
        return list(dict.fromkeys([*BUILT_IN_MODES, *ROUTE_ALIASES, *sorted(custom), *sorted(routed or ())]))
