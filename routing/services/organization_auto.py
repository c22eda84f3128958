"""Organization Auto: the default behaviour, the routes and the fallback.

Each function is one transaction under the lock of the organization's row. Doing what is already so writes nothing: no
audit row, no version. All return the organization as it is afterwards.

All raise `Http404` for an organization that is not the acting person's, and `GatewayError`: 403 `role_required`,
`plan_required` or `release_toggle_off`, 400 for a value that the rules refuse, 412 when somebody else was quicker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from organizations.models import AuditAction, AuditLog, Organization
from organizations.permissions import Ability
from routing.domain.types import AUTO_PREFIX, MAX_ROUTES, ORGANIZATION_AUTO, Refusal, RefusalCode
from routing.selectors import model_entries, offer_to
from routing.services.frame import Acting, Change, changing, stored_auto
from routing.services.refusals import invalid, invalid_target

SLUG = re.compile(r"[a-z0-9-]{1,50}")
ADMINS_CONFIGURE = "Only owners and admins configure routing."
KEY = "org_auto_model"


# ---------------------------------------------------------------- default behaviour


def default_model_set_auto(*, organization_id: UUID, acting: Acting, fallback_model: str | None = None) -> Organization:
    """Turn Organization Auto on, with a new fallback if one is given.

    Every stored route and the fallback are validated and made canonical; the first bad one refuses the whole change.
    """
    acting.require_toggle(organization_id)
    with changing(organization_id, acting) as change:
        change.require(Ability.CONFIGURE_ROUTING, ADMINS_CONFIGURE)
        change.require_enterprise()
        before = change.organization.settings.get("default_model")
        auto = stored_auto(change.settings)
        fallback_before = auto["fallback_model"]
        if fallback_model is not None:
            auto["fallback_model"] = canonical(change, fallback_model, "fallback_model")
        if before == ORGANIZATION_AUTO and KEY in change.settings:
            return _fallback_changed(change, auto, fallback_before)
        change.settings["default_model"] = ORGANIZATION_AUTO
        change.settings[KEY] = _canonical_auto(change, auto)
        row = change.record(
            AuditAction.ORGANIZATION_AUTO_ENABLED,
            "Organization Auto enabled",
            {"default_model": (before, ORGANIZATION_AUTO), KEY: (change.organization.settings.get(KEY), auto)},
        )
        if auto["fallback_model"] != fallback_before:
            _record_fallback(change, fallback_before, auto["fallback_model"])
        change.commit(row)
        return change.organization


def _canonical_auto(change: Change, auto: dict[str, Any]) -> dict[str, Any]:
    routes = sorted(auto["routes"].items())
    auto["routes"] = {slug: canonical(change, target, "routes", slug=slug) for slug, target in routes}
    auto["fallback_model"] = canonical(change, auto["fallback_model"] or "", "fallback_model")
    return auto


def default_model_set_specific(*, organization_id: UUID, acting: Acting, specific_model: str) -> Organization:
    """Make one model the default. It has to be one that the organization may use now; routes stay, inactive.

    Instead of Organization Auto it has to be one that clients find in the organization's list, too.
    """
    with changing(organization_id, acting) as change:
        change.require(Ability.CONFIGURE_ROUTING, ADMINS_CONFIGURE)
        model = canonical(change, specific_model, "specific_model")
        if (refusal := not_concrete(model)) is not None:
            raise invalid_target("specific_model", refusal)
        if change.settings.get("default_model") == ORGANIZATION_AUTO:
            _require_listed(change, model)
        return _default_changed(change, model)


def not_concrete(model: str) -> Refusal | None:
    """The refusal of an auto tier as the one model that is the default."""
    if not model.startswith(AUTO_PREFIX):
        return None
    message = f'"{model}" stands for several models: a default model is a concrete one.'
    return Refusal(RefusalCode.NOT_CONCRETE, message)


def _require_listed(change: Change, model: str) -> None:
    if all(entry["id"] != model for entry in model_entries(offer_to(change.organization))):
        message = f'"{model}" is not in the list of models of this organization.'
        raise invalid("specific_model", message, code="model_not_listed")


def default_model_set_global(*, organization_id: UUID, acting: Acting) -> Organization:
    """Leave the default to the installation; routes stay, inactive."""
    with changing(organization_id, acting) as change:
        change.require(Ability.CONFIGURE_ROUTING, ADMINS_CONFIGURE)
        return _default_changed(change, None)


def _default_changed(change: Change, model: str | None) -> Organization:
    before = change.organization.settings.get("default_model")
    if before == model:
        return change.organization
    if model is None:
        change.settings.pop("default_model", None)
    else:
        change.settings["default_model"] = model
    told = f'"{model}"' if model else "the installation's default"
    changes = {"default_model": (before, model)}
    if before == ORGANIZATION_AUTO:
        message = f"Organization Auto disabled; the default model is {told}"
        row = change.record(AuditAction.ORGANIZATION_AUTO_DISABLED, message, changes)
    else:
        row = change.record(AuditAction.DEFAULT_MODEL_CHANGED, f"Default model changed to {told}", changes)
    change.commit(row)
    return change.organization


# ---------------------------------------------------------------- routes


def route_set(*, organization_id: UUID, acting: Acting, slug: str, target: str) -> Organization:
    """Let a mode be served by a target."""
    acting.require_toggle(organization_id)
    with changing(organization_id, acting) as change:
        row = edit_route(change, slug, target)
        if row is not None:
            change.commit(row)
        return change.organization


def route_clear(*, organization_id: UUID, acting: Acting, slug: str) -> Organization:
    """Let a mode follow the fallback again; the mode itself need not exist any more."""
    acting.require_toggle(organization_id)
    with changing(organization_id, acting) as change:
        row = edit_route(change, slug, None)
        if row is not None:
            change.commit(row)
        return change.organization


def edit_route(change: Change, slug: str, target: str | None, *, field: str = "model") -> AuditLog | None:
    """Set or, with None, clear a route as a part of a change; the audit row, or None when it is so already.

    The caller has asked the release toggle, and commits. A target that is refused is named as `field`.
    """
    change.require(Ability.CONFIGURE_ROUTING, ADMINS_CONFIGURE)
    change.require_enterprise()
    slug = valid_slug(slug)
    auto = stored_auto(change.settings)
    before = auto["routes"].get(slug)
    after = None if target is None else canonical(change, target, field)
    if before == after:
        return None
    if after is None:
        del auto["routes"][slug]
    else:
        auto["routes"][slug] = after
        if len(auto["routes"]) > MAX_ROUTES:
            raise invalid("slug", f"An organization has at most {MAX_ROUTES} routes.", code="too_many_routes")
    change.settings[KEY] = auto
    action, message = _route_message(slug, before, after)
    return change.record(action, message, {slug: (before, after)}, target_kind="route", target_id=slug)


def _route_message(slug: str, before: str | None, after: str | None) -> tuple[AuditAction, str]:
    route = f'Organization Auto route for "{slug}"'
    if before is None:
        return AuditAction.ROUTE_SET, f'{route} set to "{after}"'
    if after is None:
        return AuditAction.ROUTE_CLEARED, f'{route} cleared (was "{before}")'
    return AuditAction.ROUTE_UPDATED, f'{route} changed from "{before}" to "{after}"'


def valid_slug(slug: str) -> str:
    """The slug, trimmed and in lower case; raises 400 when it is none."""
    slug = slug.strip().lower()
    if not SLUG.fullmatch(slug):
        raise invalid("slug", "A slug has 1 to 50 characters: small letters, digits and hyphens.", code="invalid_slug")
    return slug


# ---------------------------------------------------------------- fallback


def fallback_set(*, organization_id: UUID, acting: Acting, target: str) -> Organization:
    """Choose the target for every mode without a route."""
    acting.require_toggle(organization_id)
    with changing(organization_id, acting) as change:
        change.require(Ability.CONFIGURE_ROUTING, ADMINS_CONFIGURE)
        change.require_enterprise()
        auto = stored_auto(change.settings)
        # What is merely the default has not been chosen yet.
        before = auto["fallback_model"] if KEY in change.settings else None
        auto["fallback_model"] = canonical(change, target, "model")
        return _fallback_changed(change, auto, before)


def _fallback_changed(change: Change, auto: Mapping[str, Any], before: str | None) -> Organization:
    if auto["fallback_model"] == before:
        return change.organization
    change.settings[KEY] = dict(auto)
    change.commit(_record_fallback(change, before, auto["fallback_model"]))
    return change.organization


def _record_fallback(change: Change, before: str | None, after: str) -> AuditLog:
    was = f'from "{before}" ' if before else ""
    return change.record(
        AuditAction.FALLBACK_CHANGED,
        f'Organization Auto fallback changed {was}to "{after}"',
        {"fallback_model": (before, after)},
        target_kind="fallback",
    )


def canonical(change: Change, target: str, field: str, *, slug: str = "") -> str:
    """The canonical id of a target that validates; raises 400 that names the field, and the route when one is given."""
    result = change.validate(target)
    if isinstance(result, Refusal):
        raise invalid_target(field, result, slug=slug)
    return result.id
