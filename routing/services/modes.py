"""The life of modes, and what it does to their routes.

A mode and its route change in one transaction or not at all. Modes are any member's to edit; whatever touches a route
needs the right to configure routing. The release toggle guards only setting a route: taking modes back always works.

All raise `Http404` for what is not the acting person's, and `GatewayError`: 400 by field, 403, 409 for a slug in use,
412.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import Http404

from organizations.models import AuditAction, AuditLog
from organizations.modes.config import BUILT_IN_MODES, validate_config
from organizations.modes.models import CustomMode
from organizations.permissions import Ability
from routing.services.frame import Acting, Change, changing, stored_auto
from routing.services.organization_auto import KEY, edit_route, valid_slug
from routing.services.refusals import changed_meanwhile, conflict, invalid, invalid_fields

MAX_MODES: Final = 500


class Leave(Enum):
    """Says that a field is not part of the request."""

    AS_IT_IS = "as it is"


AS_IT_IS: Final = Leave.AS_IT_IS
RouteModel = str | None | Leave


@dataclass(frozen=True, slots=True)
class ModeEdit:
    """What of a mode is to be changed; None leaves it. `route_model` sets the route, None clears it."""

    name: str | None = None
    slug: str | None = None
    config: Mapping[str, Any] | None = None
    route_model: RouteModel = AS_IT_IS


def mode_create(
    *,
    organization_id: UUID,
    acting: Acting,
    name: str,
    slug: str,
    config: Mapping[str, Any],
    route_model: RouteModel = AS_IT_IS,
) -> CustomMode:
    """Define a mode, or override a built-in one by its slug."""
    _ask_toggle(acting, organization_id, route_model)
    with changing(organization_id, acting) as change:
        change.require(Ability.EDIT_MODES, "You may not edit modes here.")
        slug = valid_slug(slug)
        _require_free_slug(change, slug)
        if CustomMode.objects.filter(organization=change.organization).count() >= MAX_MODES:
            raise conflict(f"An organization has at most {MAX_MODES} modes.", code="too_many_modes")
        mode = CustomMode(
            organization=change.organization,
            name=_valid_name(name),
            slug=slug,
            config=_valid_config(config),
            created_by=acting.user,
        )
        if equals_built_in(mode):
            raise invalid("config", f'This is what the built-in mode "{slug}" says already.', code="equals_built_in")
        mode.save(force_insert=True)
        _record(change, AuditAction.MODE_CREATED, mode, "created", {"name": (None, mode.name), "slug": (None, slug)})
        _commit(change, _route(change, slug, route_model))
        return mode


def mode_update(
    *, organization_id: UUID, mode_id: UUID, acting: Acting, edit: ModeEdit, seen_at: datetime | None = None
) -> CustomMode | None:
    """Change a mode. Renaming the slug of a mode with a route moves the route along.

    Args:
        seen_at: The `updated_at` of what the acting person has seen, if he says so; another one refuses the change,
            because texts of a mode change without a new routing version.

    Returns:
        The mode; None when it was an override that now equals its built-in mode and therefore was removed.
    """
    _ask_toggle(acting, organization_id, edit.route_model)
    with changing(organization_id, acting) as change:
        change.require(Ability.EDIT_MODES, "You may not edit modes here.")
        mode = _locked_mode(change, mode_id, seen_at)
        before = {"name": mode.name, "slug": mode.slug, "config": mode.config}
        _apply(change, mode, edit)
        changes = {key: (before[key], getattr(mode, key)) for key in before if before[key] != getattr(mode, key)}
        reverted = bool(changes) and equals_built_in(mode)
        if reverted:
            _record(
                change, AuditAction.MODE_REVERTED, mode, "equals the built-in mode again; override removed", changes
            )
            mode.delete()
            if edit.route_model is AS_IT_IS:
                _note_preserved(change, before["slug"])
        elif changes:
            mode.save()
            _record(change, AuditAction.MODE_UPDATED, mode, "updated", changes)
        moved = _move_route(change, before["slug"], mode.slug)
        routed = _route(change, mode.slug, edit.route_model)
        _commit(change, routed or moved)
        return None if reverted else mode


def _apply(change: Change, mode: CustomMode, edit: ModeEdit) -> None:
    if edit.name is not None:
        mode.name = _valid_name(edit.name)
    if edit.config is not None:
        mode.config = _valid_config(edit.config)
    if edit.slug is None or (slug := valid_slug(edit.slug)) == mode.slug:
        return
    if mode.slug in BUILT_IN_MODES:
        raise invalid("slug", "The slug of a built-in mode's override cannot be changed.", code="built_in_slug")
    if slug in BUILT_IN_MODES:
        raise conflict(f'"{slug}" is a built-in mode.', code="slug_in_use")
    _require_free_slug(change, slug)
    # Whoever renames a mode must not come by a route that somebody set for that slug.
    if _stored_route(change, slug) is not None:
        raise conflict(f'There is a route for "{slug}" already.', code="route_in_use")
    mode.slug = slug


def mode_delete(
    *,
    organization_id: UUID,
    mode_id: UUID,
    acting: Acting,
    preserve_route: bool = False,
    route_model: RouteModel = AS_IT_IS,
    seen_at: datetime | None = None,
) -> None:
    """Delete a custom mode and its route, or revert an override to its built-in mode.

    Reverting removes the route too, unless `preserve_route` keeps it; `route_model` sets it in the same change. Both
    are refused for a custom mode. `seen_at`: as of `mode_update`.
    """
    if _is_override(organization_id, mode_id):
        _ask_toggle(acting, organization_id, route_model)
    with changing(organization_id, acting) as change:
        change.require(Ability.EDIT_MODES, "You may not edit modes here.")
        mode = _locked_mode(change, mode_id, seen_at)
        is_override = mode.slug in BUILT_IN_MODES
        if not is_override:
            _require_plain_deletion(route_model, preserve_route=preserve_route)
        action = AuditAction.MODE_REVERTED if is_override else AuditAction.MODE_DELETED
        told = "reverted to the built-in mode" if is_override else "deleted"
        _record(change, action, mode, told, {"name": (mode.name, None), "config": (mode.config, None)})
        mode.delete()
        if not is_override:
            _commit(change, _remove_route(change, mode.slug))
        elif route_model is not AS_IT_IS:
            _commit(change, _route(change, mode.slug, route_model))
        elif preserve_route:
            _note_preserved(change, mode.slug)
        else:
            _commit(change, _remove_route(change, mode.slug))


def _is_override(organization_id: UUID, mode_id: UUID) -> bool:
    """Whether the mode overrides a built-in one. It stays what it is: no rename leads from one kind to the other."""
    return CustomMode.objects.filter(organization_id=organization_id, pk=mode_id, slug__in=BUILT_IN_MODES).exists()


def _require_plain_deletion(route_model: RouteModel, *, preserve_route: bool) -> None:
    told = "A mode that is deleted takes its route along: leave {} out."
    if route_model is not AS_IT_IS:
        raise invalid("route_model", told.format("route_model"))
    if preserve_route:
        raise invalid("preserve_route", told.format("preserve_route"))


# ---------------------------------------------------------------- routes of modes


def _ask_toggle(acting: Acting, organization_id: UUID, route_model: RouteModel) -> None:
    if route_model is not AS_IT_IS:
        acting.require_toggle(organization_id)


def _route(change: Change, slug: str, route_model: RouteModel) -> AuditLog | None:
    return None if route_model is AS_IT_IS else edit_route(change, slug, route_model, field="route_model")


def _stored_route(change: Change, slug: str) -> str | None:
    routes: Mapping[str, str] = stored_auto(change.settings)["routes"]
    return routes.get(slug)


def _move_route(change: Change, old: str, new: str) -> AuditLog | None:
    target = _stored_route(change, old)
    if old == new or target is None:
        return None
    change.require(Ability.CONFIGURE_ROUTING, "Only owners and admins rename a mode that has a route.")
    auto = stored_auto(change.settings)
    auto["routes"] = {new if slug == old else slug: model for slug, model in auto["routes"].items()}
    change.settings[KEY] = auto
    return change.record(
        AuditAction.ROUTE_MIGRATED,
        f'Organization Auto route moved from "{old}" to "{new}" ("{target}")',
        {old: (target, None), new: (None, target)},
        target_kind="route",
        target_id=new,
    )


def _remove_route(change: Change, slug: str) -> AuditLog | None:
    target = _stored_route(change, slug)
    if target is None:
        return None
    if slug in BUILT_IN_MODES:
        message = "Only owners and admins remove a route: revert the mode with preserve_route, which keeps it."
    else:
        message = "Only owners and admins delete a mode that has a route."
    change.require(Ability.CONFIGURE_ROUTING, message)
    auto = stored_auto(change.settings)
    del auto["routes"][slug]
    change.settings[KEY] = auto
    return change.record(
        AuditAction.ROUTE_REMOVED,
        f'Organization Auto route for "{slug}" removed with its mode (was "{target}")',
        {slug: (target, None)},
        target_kind="route",
        target_id=slug,
    )


def _note_preserved(change: Change, slug: str) -> None:
    if (target := _stored_route(change, slug)) is not None:
        change.record(
            AuditAction.ROUTE_PRESERVED,
            f'Organization Auto route for "{slug}" kept ("{target}")',
            {slug: (target, target)},
            target_kind="route",
            target_id=slug,
        )


def _commit(change: Change, row: AuditLog | None) -> None:
    """Only a change of a route is a change of the settings."""
    if row is not None:
        change.commit(row)


# ---------------------------------------------------------------- rows


def equals_built_in(mode: CustomMode) -> bool:
    """Whether a row says no more than the built-in mode of its slug."""
    built_in = BUILT_IN_MODES.get(mode.slug)
    return built_in is not None and mode.name == built_in.name and mode.config == built_in.config


def _locked_mode(change: Change, mode_id: UUID, seen_at: datetime | None) -> CustomMode:
    mode = CustomMode.objects.select_for_update().filter(organization=change.organization, pk=mode_id).first()
    if mode is None:
        raise Http404
    if seen_at is not None and seen_at != mode.updated_at:
        raise changed_meanwhile(f'The mode "{mode.slug}"', change.organization.routing_version)
    return mode


def _require_free_slug(change: Change, slug: str) -> None:
    if CustomMode.objects.filter(organization=change.organization, slug=slug).exists():
        raise conflict(f'The slug "{slug}" is in use.', code="slug_in_use")


def _valid_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise invalid("name", "A name has 1 to 100 characters.")
    return name


def _valid_config(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return validate_config(config)
    except ValidationError as error:
        raise invalid_fields(error.message_dict) from None


def _record(change: Change, action: AuditAction, mode: CustomMode, told: str, changes: Mapping[str, Any]) -> None:
    message = f'Mode "{mode.slug}" {told}'
    change.record(action, message, changes, target_kind="mode", target_id=str(mode.pk))
