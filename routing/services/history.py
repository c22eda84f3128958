"""Going back to an earlier version of the settings: an ordinary change, validated like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import Http404

from kilo_gateway.api_errors import GatewayError
from organizations.models import AuditAction, Organization, SettingsVersion
from organizations.permissions import Ability
from organizations.selectors import ROUTING_KEYS
from routing.domain.diff import Difference, settings_difference
from routing.domain.settings import MalformedSettings, parse_settings
from routing.domain.types import MAX_ROUTES, ORGANIZATION_AUTO, Refusal
from routing.services.frame import Acting, Change, changing, stored_auto
from routing.services.model_policy import breaking
from routing.services.organization_auto import ADMINS_CONFIGURE, KEY, not_concrete, valid_slug
from routing.services.refusals import conflict, invalid, invalid_target

NOT_VALID = "version_does_not_validate"
_POLICY_KEYS = ("provider_allow_list", "model_deny_list")


def settings_restore(*, organization_id: UUID, acting: Acting, version: int) -> Organization:
    """Bring back the routing settings of a version. What does not validate today refuses the restore whole, by name.

    Setting up Organization Auto again (turning it on, other routes, another fallback) needs the release toggle and the
    plan, as it does otherwise; leaving it does not.
    """
    toggle_asked = _sets_up_auto(organization_id, version)
    if toggle_asked:
        acting.require_toggle(organization_id)
    with _restoring(organization_id, acting, version) as change:
        before = change.organization.settings
        differences = settings_difference(before, change.settings)
        if _differs_in_auto(before, change.settings) and not toggle_asked:
            raise conflict("Somebody changed the settings at the same time. Read them again.", code="changed_meanwhile")
        if not differences:
            return change.organization
        _require_valid(change, before)
        row = change.record(
            AuditAction.SETTINGS_RESTORED,
            f"Settings of routing version {version} restored",
            {difference.path: (difference.before, difference.after) for difference in differences},
            target_kind="settings_version",
            target_id=str(version),
        )
        change.commit(row)
        return change.organization


@dataclass(frozen=True, slots=True)
class RestoreEffects:
    """What a restore would do.

    Attributes:
        differences: From what is in force to what would be.
        refusal: Why it would be refused, the release toggle aside; blank when it would not.
        broken: The routes that do not validate today, each with its reason.
        sets_up_auto: Whether it needs the release toggle.
    """

    differences: list[Difference]
    refusal: str
    broken: list[dict[str, str]]
    sets_up_auto: bool


def settings_restore_effects(*, organization_id: UUID, acting: Acting, version: int) -> RestoreEffects:
    """What `settings_restore` would do with the same arguments, found out under the same lock; nothing is written.

    Raises what that raises, but for what does not validate, which is the answer; and does not ask the release toggle.
    """
    with _restoring(organization_id, acting, version) as change:
        before = change.organization.settings
        differences = settings_difference(before, change.settings)
        sets_up_auto = _differs_in_auto(before, change.settings)
        try:
            _require_valid(change, before)
        except GatewayError as error:
            return RestoreEffects(differences, error.message, error.details.get("broken", []), sets_up_auto)
        return RestoreEffects(differences, "", [], sets_up_auto)


@contextmanager
def _restoring(organization_id: UUID, acting: Acting, version: int) -> Iterator[Change]:
    """A change whose settings of routing are those of the version."""
    with changing(organization_id, acting) as change:
        change.require(Ability.CONFIGURE_ROUTING, ADMINS_CONFIGURE)
        kept = _version(organization_id, version)
        restored = {key: kept.settings[key] for key in ROUTING_KEYS if key in kept.settings}
        others = {key: value for key, value in change.settings.items() if key not in ROUTING_KEYS}
        change.settings = {**others, **restored}
        yield change


def _version(organization_id: UUID, version: int) -> SettingsVersion:
    found = SettingsVersion.objects.filter(organization_id=organization_id, routing_version=version).first()
    if found is None:
        raise Http404
    return found


def _sets_up_auto(organization_id: UUID, version: int) -> bool:
    """Whether the restore would set something up; looked at before the lock, because the toggle may call the network.

    Looked at again under the lock: a change in between at worst asks the toggle in vain, or refuses the restore.
    """
    stored = Organization.objects.filter(pk=organization_id).values_list("settings", flat=True).first()
    if stored is None:
        raise Http404
    return _differs_in_auto(stored, _version(organization_id, version).settings)


def _differs_in_auto(before: dict[str, Any], after: dict[str, Any]) -> bool:
    turned_on = after.get("default_model") == ORGANIZATION_AUTO != before.get("default_model")
    return turned_on or (KEY in after and after[KEY] != before.get(KEY))


def _require_valid(change: Change, before: dict[str, Any]) -> None:
    """The rules of each kind of change that this restore amounts to."""
    after = change.settings
    try:
        parse_settings(after)
    except MalformedSettings as error:
        raise invalid("version", f"That version is malformed: {error}.", code=NOT_VALID) from None
    auto_differs = _differs_in_auto(before, after)
    policy_differs = any(before.get(key) != after.get(key) for key in _POLICY_KEYS)
    if auto_differs or policy_differs:
        change.require_enterprise()
    default = after.get("default_model")
    if auto_differs or default == ORGANIZATION_AUTO:
        _require_valid_auto(change)
    if default and default != ORGANIZATION_AUTO and (policy_differs or default != before.get("default_model")):
        result = change.validate(default)
        refusal = result if isinstance(result, Refusal) else not_concrete(result.id)
        if refusal is not None:
            raise invalid_target("default_model", refusal)


def _require_valid_auto(change: Change) -> None:
    routes = stored_auto(change.settings)["routes"]
    if len(routes) > MAX_ROUTES:
        raise invalid("version", f"An organization has at most {MAX_ROUTES} routes.", code="too_many_routes")
    for slug in routes:
        valid_slug(slug)
    broken = breaking(change)
    if broken:
        names = ", ".join(f'"{entry["slug"]}"' for entry in broken)
        message = f"That version does not validate today, because of these routes: {names}."
        raise invalid("version", message, code=NOT_VALID, broken=broken)
