"""Overview: how Organization Auto and its routes stand, what was used, what needs attention, and how to connect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from django.conf import settings
from django.http import HttpResponse

from byok.troubles import KeyState, key_states
from kilo_gateway.api_errors import GatewayError
from kilo_gateway.charts import BarChart, Column, bar_chart
from organizations.pages.frame import Page, PageRequest, Permit, organization_page
from organizations.pages.navigation import organization_path
from routing.catalog.cache import CatalogUnreadable
from routing.catalog.status import CatalogStatus, catalog_status
from routing.domain.settings import RoutingSettings, State, state_of
from routing.domain.types import DEFAULT_FALLBACK, ORGANIZATION_AUTO
from routing.models import Installation
from routing.pages.attention import Notice, notices
from routing.pages.connect import Client, clients
from routing.pages.wording import dollars, dollars_short
from routing.selectors import offer_to
from routing.services.health import RouteHealth, offered_health
from routing.services.organization_auto import SLUG
from routing.settings_selectors import readable_settings
from routing.usage.sums import Group, UsageScope, total, usage_scope
from routing.usage_selectors import usage_overview

ROUTES_SHOWN: Final = 8
CHART_HEIGHT: Final = 150


@dataclass(frozen=True, slots=True)
class Tab:
    """An entry of the clients' tabs."""

    key: str
    label: str
    href: str
    count: None = None


@dataclass(frozen=True, slots=True)
class FirstStep:
    """One of the steps by which an organization gets going."""

    title: str
    text: str
    action: str
    href: str
    is_done: bool
    permit: Permit
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route with its health, and where it is changed: blank for whoever cannot."""

    route: RouteHealth
    href: str


class Overview:
    """What the page shows. Each part is read when the template asks for it, so that a part alone costs little."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._client = page.request.GET.get("client", "")

    # ------------------------------------------------------------ Organization Auto and its routes

    @cached_property
    def malformed(self) -> str:
        """Why the stored settings cannot be read; blank when they can."""
        try:
            readable_settings(self._page.organization)
        except GatewayError as error:
            return error.message
        return ""

    @cached_property
    def settings(self) -> RoutingSettings:
        return RoutingSettings() if self.malformed else readable_settings(self._page.organization)

    @cached_property
    def state(self) -> State:
        return state_of(self._page.organization.plan, self.settings)

    @property
    def fallback(self) -> str:
        auto = self.settings.organization_auto
        return (auto.fallback_model if auto else None) or ""

    @property
    def policy(self) -> str:
        """The model policy in a few words."""
        allowed, denied = self.settings.provider_allow_list, len(self.settings.model_deny_list)
        providers = "every provider" if allowed is None else f"{len(allowed)} provider{'s' * (len(allowed) != 1)}"
        return f"{providers}, {denied} denied model{'s' * (denied != 1)}" if denied else providers

    @cached_property
    def health(self) -> list[RouteHealth] | None:
        """Broken routes first, the fallback last; None when the catalog cannot be read."""
        try:
            found = [] if self.malformed else offered_health(offer_to(self._page.organization))
        except CatalogUnreadable:
            return None
        return sorted(found, key=lambda route: not route.code)

    @property
    def routes(self) -> list[RouteRow]:
        return [RouteRow(route, self._change(route)) for route in (self.health or [])[:ROUTES_SHOWN]]

    def _change(self, route: RouteHealth) -> str:
        """Only of what has to be changed."""
        if not route.code or not self._page.setup:
            return ""
        if not route.slug:
            return self._page.url("fallback")
        return self._page.url("mode-route", slug=route.slug) if SLUG.fullmatch(route.slug) else ""

    @property
    def routes_left_out(self) -> int:
        return max(0, len(self.health or []) - ROUTES_SHOWN)

    @property
    def route_count(self) -> int:
        auto = self.settings.organization_auto
        return len(auto.routes) if auto else 0

    @property
    def broken(self) -> list[RouteHealth]:
        return [route for route in self.health or [] if route.code]

    # ------------------------------------------------------------ what needs attention

    @cached_property
    def provider_keys(self) -> list[KeyState]:
        return key_states(self._page.organization.pk)

    @cached_property
    def catalog(self) -> CatalogStatus | None:
        try:
            return None if self.health is None else catalog_status()
        except Installation.DoesNotExist:
            return None

    @cached_property
    def notices(self) -> list[Notice]:
        return notices(
            self._page,
            broken=self.broken,
            is_enabled=self.state.enabled,
            keys=self.provider_keys,
            catalog=self.catalog,
        )

    # ------------------------------------------------------------ usage

    @cached_property
    def scope(self) -> UsageScope:
        return usage_scope(self._page.membership)

    @cached_property
    def days(self) -> list[Group]:
        return usage_overview(self.scope)

    @property
    def newest_days(self) -> list[Group]:
        """Those with a request, newest first: the table beside the charts."""
        return [day for day in reversed(self.days) if day.sums["requests"]]

    @cached_property
    def totals(self) -> dict[str, int]:
        sums = total(self.days)
        return sums | {"tokens": sums["input_tokens"] + sums["output_tokens"]}

    @property
    def spend_chart(self) -> BarChart:
        columns = []
        for day in self.days:
            hosted, own = day.sums["hosted_cost_microdollars"], day.sums["byok_market_cost_microdollars"]
            label = f"{day.key:%-d %b}"
            told = f"{label}: {dollars(hosted)} hosted, {dollars(own)} with own keys"
            columns.append(Column(label, (hosted, own), told))
        return bar_chart(columns, height=CHART_HEIGHT, shown=dollars_short)

    @property
    def requests_chart(self) -> BarChart:
        columns = []
        for day in self.days:
            failed = day.sums["failed_requests"]
            answered = day.sums["requests"] - failed
            label = f"{day.key:%-d %b}"
            # The third colour is the one that warns.
            columns.append(Column(label, (answered, 0, failed), f"{label}: {answered:,} answered, {failed:,} failed"))
        return bar_chart(columns, height=CHART_HEIGHT)

    # ------------------------------------------------------------ first steps

    @cached_property
    def steps(self) -> list[FirstStep]:
        """What there is to do before the first request of Organization Auto; empty once all of it is done."""
        page, start = self._page, organization_path(self._page.organization.pk)
        is_used = bool(self.totals["requests"])
        connect = FirstStep(
            "Connect a client",
            "Create an API key and point an agent at this gateway; the snippets are below.",
            "Create an API key",
            page.url("api-key-create"),
            is_used,
            Permit(),
        )
        may_set_up = page.can["configure_routing"] and (page.setup or self.state.configured)
        if not self.state.eligible or not may_set_up:
            return [] if is_used else [connect]
        steps = [
            FirstStep(
                "Add a provider key",
                "Requests for its models then go straight to the provider. Hosted models work without.",
                "Add a key",
                f"{start}byok",
                bool(self.provider_keys),
                page.can["manage_credentials"],
                is_optional=True,
            ),
            FirstStep(
                "Set routes",
                "Which model serves which mode. Modes without a route follow the fallback.",
                "Open Modes",
                f"{start}modes",
                bool(self.route_count),
                page.setup,
            ),
            FirstStep(
                "Turn Organization Auto on",
                "From then on the organization decides, and developers ask for one model.",
                "Default model",
                f"{page.url('default-model')}?to=auto",
                self.state.enabled,
                page.setup,
            ),
            connect,
        ]
        return [] if all(step.is_done or step.is_optional for step in steps) else steps

    @property
    def steps_done(self) -> int:
        return sum(step.is_done for step in self.steps)

    # ------------------------------------------------------------ connect a client

    @property
    def asked_model(self) -> str:
        """What a client asks for: Organization Auto while it is on, else the default model."""
        if self.state.enabled:
            return ORGANIZATION_AUTO
        default = self.settings.default_model
        return default if default and default != ORGANIZATION_AUTO else DEFAULT_FALLBACK

    @cached_property
    def clients(self) -> list[Client]:
        return clients(settings.BASE_URL, self._page.organization.pk, self.asked_model)

    @property
    def client(self) -> Client:
        return next((client for client in self.clients if client.key == self._client), self.clients[0])

    @property
    def client_tabs(self) -> list[Tab]:
        here = self._page.url("overview")
        return [Tab(client.key, client.label, f"{here}?client={client.key}#connect") for client in self.clients]


@organization_page("overview", methods=("GET",))
def overview(request: PageRequest, page: Page) -> HttpResponse:
    """The organization at a glance. At most nine queries."""
    context = {"overview": Overview(page), "start": organization_path(page.organization.pk)}
    return page.render("overview/page.html", context, partials={"connect": "overview/connect.html"})
