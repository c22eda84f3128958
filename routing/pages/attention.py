"""What needs somebody's attention: for the Overview, worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from byok.providers import PROVIDERS
from byok.troubles import KeyState, Trouble
from organizations.models import ApiKey
from organizations.pages.frame import Page
from organizations.pages.navigation import organization_path
from organizations.people_selectors import keys_expiring
from organizations.permissions import Ability
from routing.catalog.status import CatalogStatus
from routing.services.health import RouteHealth

# How long before, and after, the end of an API key it is told.
EXPIRES_WITHIN: Final = timedelta(days=14)
EXPIRED_WITHIN: Final = timedelta(days=7)
MOST_KEYS: Final = 5
DANGER, WARNING, INFO = "danger", "warning", "info"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing, with where something can be done about it; `at` is when it happened or will."""

    tone: str
    title: str
    text: str
    href: str = ""
    action: str = ""
    at: datetime | None = None

    @property
    def icon(self) -> str:
        return {DANGER: "error", WARNING: "alert"}.get(self.tone, "info")


def notices(
    page: Page,
    *,
    broken: Sequence[RouteHealth],
    is_enabled: bool,
    keys: Sequence[KeyState],
    catalog: CatalogStatus | None,
) -> list[Notice]:
    """All of it. One query, for API keys; and the release toggle is asked for whoever may configure routing."""
    found = [
        *_routes(page, broken, is_enabled=is_enabled),
        *_provider_keys(page, keys),
        *_catalog(catalog),
        *_toggle(page),
        *_api_keys(page),
    ]
    order = (DANGER, WARNING, INFO)
    return sorted(found, key=lambda notice: order.index(notice.tone))


def _below(page: Page, section: str) -> str:
    return organization_path(page.organization.pk) + section


def _routes(page: Page, broken: Sequence[RouteHealth], *, is_enabled: bool) -> Iterator[Notice]:
    if not broken:
        return
    names = ", ".join(route.slug or "the fallback" for route in broken[:MOST_KEYS])
    more = f" and {len(broken) - MOST_KEYS} more" if len(broken) > MOST_KEYS else ""
    title = "A route is broken" if len(broken) == 1 else f"{len(broken)} routes are broken"
    if is_enabled:
        text = f"Requests that it serves are refused: {names}{more}."
        yield Notice(
            DANGER,
            title,
            text.replace("it serves", "they serve") if len(broken) > 1 else text,
            _below(page, "modes"),
            "See the routes",
        )
        return
    text = f"{names[:1].upper()}{names[1:]}{more}: Organization Auto is refused while these do not validate."
    yield Notice(WARNING, title, text, _below(page, "modes"), "See the routes")


def _provider_keys(page: Page, keys: Sequence[KeyState]) -> Iterator[Notice]:
    href = _below(page, "byok")
    for state in keys:
        row = state.credential
        provider = PROVIDERS.get(row.provider)
        name = provider.name if provider is not None else row.provider
        if state.trouble is Trouble.UNREADABLE:
            text = (
                f"The key …{row.last_four} cannot be decrypted: the installation no longer has what opens it. "
                "Requests with it are refused. Replace it, or ask your operator."
            )
            yield Notice(DANGER, f"The key of {name} cannot be read", text, href, "Provider keys")
        elif state.trouble is Trouble.REFUSED:
            status = f" with status {row.last_refusal_status}" if row.last_refusal_status else ""
            text = f"{name} refused the key …{row.last_four}{status}. Test it, or replace it."
            at = row.last_refused_at or row.last_tested_at
            yield Notice(DANGER, f"The key of {name} is refused", text, href, "Provider keys", at)


def _catalog(catalog: CatalogStatus | None) -> Iterator[Notice]:
    if catalog is None:
        text = "Which models there are is not known, so requests for hosted models are refused. Tell your operator."
        yield Notice(DANGER, "The model catalog cannot be read", text)
    elif catalog.is_bundled:
        text = "It came with the gateway and was never read from the upstream: prices and models may be out of date."
        yield Notice(INFO, "The model catalog is the bundled one", text)
    elif catalog.is_stale(datetime.now(UTC)):
        reason = f" The last sync failed: {catalog.error}" if catalog.error else " Tell your operator."
        text = f"Prices and models may have changed since it was read.{reason}"
        yield Notice(WARNING, "The model catalog is old", text, at=catalog.read_at)


def _toggle(page: Page) -> Iterator[Notice]:
    if page.is_enterprise and page.can[Ability.CONFIGURE_ROUTING] and not page.is_released:
        yield Notice(INFO, "Organization Auto is not released to you", page.setup.reason)


def _api_keys(page: Page) -> Iterator[Notice]:
    now = datetime.now(UTC)
    everybody = bool(page.can[Ability.MANAGE_MEMBERS])
    found = keys_expiring(
        page.organization.pk,
        since=now - EXPIRED_WITHIN,
        before=now + EXPIRES_WITHIN,
        user=None if everybody else page.user,
    )
    for key in found[:MOST_KEYS]:
        yield _api_key(page, key, now)
    if len(found) > MOST_KEYS:
        text = f"{len(found) - MOST_KEYS} others end in the next days, or have ended."
        yield Notice(WARNING, "More API keys expire", text, _below(page, "api-keys"), "API keys")


def _api_key(page: Page, key: ApiKey, now: datetime) -> Notice:
    is_over = key.expires_at is not None and key.expires_at <= now
    whose = "Yours" if key.user_id == page.user.pk else f"Of {key.user}"
    text = f"{whose}, …{key.last_four}. Whatever uses it {'is' if is_over else 'will be'} refused."
    title = f"API key “{key.name}” {'has expired' if is_over else 'expires soon'}"
    return Notice(WARNING, title, text, _below(page, "api-keys"), "API keys", key.expires_at)
