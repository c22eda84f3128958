"""History: every version of the routing settings, what each changed, and going back to one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

from django import forms
from django.http import HttpRequest, HttpResponse

from organizations.models import SettingsVersion, Via
from organizations.pages.frame import NOT_RELEASED, Page, PageRequest, organization_page
from organizations.permissions import Ability
from routing.pages.differences import told
from routing.services.history import RestoreEffects, settings_restore, settings_restore_effects
from routing.settings_selectors import HISTORY_PAGE, settings_comparison, settings_versions

MAX_VERSION: Final = 10**18 - 1
_NOBODY: Final = {
    Via.ADMIN.value: "staff",
    Via.COMMAND.value: "the operator",
    Via.SYSTEM.value: "the installation",
}


class VersionForm(forms.Form):
    """A number of a version, of the address."""

    version = forms.IntegerField(min_value=1, max_value=MAX_VERSION)


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A kept version, and who made it."""

    version: SettingsVersion
    is_current: bool

    @property
    def number(self) -> int:
        return self.version.routing_version

    @property
    def who(self) -> str:
        row = self.version.audit_log
        return row.actor_name or self.version.actor_email or _NOBODY.get(row.via, "staff")

    @property
    def email(self) -> str:
        return self.version.actor_email if self.version.audit_log.actor_name else ""


def _asked(request: HttpRequest, name: str) -> int | None:
    form = VersionForm({"version": request.GET.get(name, "")})
    found: int | None = form.cleaned_data["version"] if form.is_valid() else None
    return found


@organization_page("history", methods=("GET",))
def history(request: PageRequest, page: Page) -> HttpResponse:
    """The kept versions, newest first, a hundred at a time. Two queries."""
    before = _asked(request, "before")
    found = settings_versions(page.organization.pk, before=before)
    newest = found[0] if before is None and found else _newest(page)
    here = page.url("history")
    context = {
        "rows": [VersionRow(row, row.pk == (newest.pk if newest else None)) for row in found],
        "restore": page.can[Ability.CONFIGURE_ROUTING],
        "newest": here if before is not None else "",
        "older": f"{here}?before={found[-1].routing_version}" if len(found) == HISTORY_PAGE else "",
    }
    return page.render("history/page.html", context)


def _newest(page: Page) -> SettingsVersion | None:
    return SettingsVersion.objects.filter(organization_id=page.organization.pk).order_by("-routing_version").first()


@organization_page("history", methods=("GET",))
def version_page(request: PageRequest, page: Page, version: int) -> HttpResponse:
    """What a version changed, or with `against` what differs from that one. Four queries."""
    newest = _newest(page)
    comparison = settings_comparison(page.organization.pk, version, against=_asked(request, "against"))
    context = {
        "row": VersionRow(comparison.version, comparison.version == newest),
        "against": comparison.against,
        "is_from_now": comparison.against is not None and comparison.against == newest,
        "newest": newest,
        "differences": told(comparison.differences),
        "settings": json.dumps(comparison.settings, indent=2, ensure_ascii=False, sort_keys=True),
        "restore": page.can[Ability.CONFIGURE_ROUTING],
    }
    return page.render("history/version.html", context)


@organization_page("history", requires=Ability.CONFIGURE_ROUTING)
def restore(request: PageRequest, page: Page, version: int) -> HttpResponse:
    """Bring a version back, after a look at what that changes and what of it does not validate today."""
    organization_id = page.organization.pk
    if request.method == "POST":
        with page.refusals():
            settings_restore(organization_id=organization_id, acting=page.acting(), version=version)
            return page.done(f"The settings of version {version} are in force again.", to=page.url("history"))
    # What is shown is what is in force now, whatever the form has seen.
    acting = replace(page.acting(), expected_version=None)
    effects = settings_restore_effects(organization_id=organization_id, acting=acting, version=version)
    context = {
        "row": VersionRow(settings_comparison(organization_id, version).version, is_current=False),
        "effects": effects,
        "differences": told(effects.differences),
        "refused": _why_not(page, effects),
    }
    return page.render("history/restore.html", context)


def _why_not(page: Page, effects: RestoreEffects) -> str:
    """Why it cannot be restored at the moment."""
    if not effects.differences:
        return "These settings are in force already."
    if effects.refusal:
        return effects.refusal
    return NOT_RELEASED if effects.sets_up_auto and not page.is_released else ""
