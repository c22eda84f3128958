"""The model policy and data collection: what an organization allows, and what a change of it would break."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from kilo_gateway.api_errors import ErrorType, GatewayError
from organizations.models import AuditAction, Organization
from organizations.permissions import Ability
from routing.direct import deny_entry
from routing.domain.types import ORGANIZATION_AUTO, Refusal
from routing.services.frame import Acting, Change, changing, stored_auto
from routing.services.organization_auto import ADMINS_CONFIGURE, KEY
from routing.services.refusals import invalid

PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
MAX_ENTRIES = 2000
FALLBACK = "fallback"


def model_policy_set(
    *,
    organization_id: UUID,
    acting: Acting,
    provider_allow_list: Sequence[str] | None,
    model_deny_list: Sequence[str],
) -> Organization:
    """Replace the model policy. None as allow list means every provider, also those to come; an empty one means none.

    While Organization Auto is on, a policy that breaks a route or the fallback is refused whole, and the answer lists
    all that would break; what is broken already does not stand in the way. A concrete default model that the policy
    refuses is cleared, and the audit row says so.
    """
    with _replacing(organization_id, acting, provider_allow_list, model_deny_list) as change:
        if change.settings == change.organization.settings:
            return change.organization
        default = change.settings.get("default_model")
        message = "Model policy changed"
        before = change.organization.settings
        changes = {
            "provider_allow_list": (before.get("provider_allow_list"), change.settings.get("provider_allow_list")),
            "model_deny_list": (list(before.get("model_deny_list") or []), change.settings.get("model_deny_list", [])),
        }
        if default == ORGANIZATION_AUTO:
            _require_nothing_breaks(change)
        elif _refuses_default(change):
            del change.settings["default_model"]
            changes["default_model"] = (default, None)
            message += f'; the default model "{default}" is refused by it and was cleared'
        change.commit(change.record(AuditAction.MODEL_POLICY_CHANGED, message, changes))
        return change.organization


@dataclass(frozen=True, slots=True)
class PolicyEffects:
    """What a model policy would do to what is set up.

    Attributes:
        broken: The routes, and the fallback under its name, that work now and would not any more, each with its reason.
        broken_already: Those that do not work now, and would not then.
        is_refused: Organization Auto is on, so that what would break has to be changed first.
        cleared_default: The default model that would be cleared.
    """

    broken: list[dict[str, str]]
    broken_already: list[dict[str, str]]
    is_refused: bool
    cleared_default: str | None

    @property
    def is_harmless(self) -> bool:
        return self.cleared_default is None and not self.broken


def model_policy_effects(
    *,
    organization_id: UUID,
    acting: Acting,
    provider_allow_list: Sequence[str] | None,
    model_deny_list: Sequence[str],
) -> PolicyEffects:
    """What `model_policy_set` would do with the same arguments, found out under the same lock; nothing is written.

    Raises what that raises, but for what would break, which is the answer.
    """
    with _replacing(organization_id, acting, provider_allow_list, model_deny_list) as change:
        broken, already = _broken_by_edit(change)
        default = change.settings.get("default_model")
        is_on = default == ORGANIZATION_AUTO
        cleared = default if not is_on and _refuses_default(change) else None
        return PolicyEffects(broken, already, is_on and bool(broken), cleared)


@contextmanager
def _replacing(
    organization_id: UUID, acting: Acting, provider_allow_list: Sequence[str] | None, model_deny_list: Sequence[str]
) -> Iterator[Change]:
    """A change whose settings have the new policy; they are untouched when it is the stored one."""
    refused = _models(model_deny_list)
    with changing(organization_id, acting) as change:
        change.require(Ability.CONFIGURE_ROUTING, ADMINS_CONFIGURE)
        change.require_enterprise()
        before = (change.settings.get("provider_allow_list"), list(change.settings.get("model_deny_list") or []))
        allowed = None if provider_allow_list is None else _providers(provider_allow_list, stored=before[0] or ())
        if before != (allowed, refused):
            _edit(change, allowed, refused)
        yield change


def _refuses_default(change: Change) -> bool:
    """Whether the settings as edited so far refuse a concrete default model."""
    default: str | None = change.settings.get("default_model")
    return default is not None and isinstance(change.validate(default), Refusal)


def _edit(change: Change, allowed: list[str] | None, refused: list[str]) -> None:
    if allowed is None:
        change.settings.pop("provider_allow_list", None)
    else:
        change.settings["provider_allow_list"] = allowed
    if refused:
        change.settings["model_deny_list"] = refused
    else:
        change.settings.pop("model_deny_list", None)


def _require_nothing_breaks(change: Change) -> None:
    broken, _ = _broken_by_edit(change)
    if broken:
        names = ", ".join(f'"{entry["slug"]}"' for entry in broken)
        raise GatewayError(
            ErrorType.INVALID_REQUEST,
            400,
            f"The policy would break these routes of Organization Auto: {names}. Change them first.",
            code="policy_breaks_routes",
            details={"broken": broken},
        )


def _broken_by_edit(change: Change) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What the settings as edited so far refuse: first what works as stored, then what does not anyhow.

    Nothing where no routing is stored: what is only the default serves nobody.
    """
    if change.settings.get(KEY) is None or not (refused := breaking(change)):
        return [], []
    edited, change.settings = change.settings, change.organization.settings
    before = {(entry["slug"], entry["target"]) for entry in breaking(change)}
    change.settings = edited
    return (
        [entry for entry in refused if (entry["slug"], entry["target"]) not in before],
        [entry for entry in refused if (entry["slug"], entry["target"]) in before],
    )


def breaking(change: Change) -> list[dict[str, str]]:
    """The routes, and the fallback under its name, that do not validate under the settings as edited so far."""
    auto = stored_auto(change.settings)
    targets = [*sorted(auto["routes"].items()), (FALLBACK, auto["fallback_model"] or "")]
    results = [(slug, target, change.validate(target)) for slug, target in targets]
    return [
        {"slug": slug, "target": target, "reason": result.message, "code": result.code.value}
        for slug, target, result in results
        if isinstance(result, Refusal)
    ]


def _providers(entries: Iterable[str], *, stored: Collection[str]) -> list[str]:
    """The slugs, once each. A stored one is kept in whatever shape: the lists of pages send it along."""
    slugs = _unique(entry if entry in stored else entry.strip().lower() for entry in entries)
    _require_short(slugs, "provider_allow_list")
    new = [slug for slug in slugs if slug not in stored]
    _require(new, PROVIDER, "provider_allow_list", "is not the slug of a provider: it has no slash")
    return slugs


def _models(entries: Iterable[str]) -> list[str]:
    models = _unique(map(deny_entry, entries))
    _require_short(models, "model_deny_list")
    _require(models, re.compile(r"[^\s\x00-\x1f]{1,200}"), "model_deny_list", "is not a model id")
    return models


def _unique(entries: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(entries))


def _require_short(entries: list[str], field: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise invalid(field, f"A list has at most {MAX_ENTRIES} entries.")


def _require(entries: list[str], shape: re.Pattern[str], field: str, message: str) -> None:
    for entry in entries:
        if not shape.fullmatch(entry):
            raise invalid(field, f'"{entry[:100]}" {message}.')


def data_collection_set(*, organization_id: UUID, acting: Acting, data_collection: str | None) -> Organization:
    """Say whether upstream providers may keep what they are sent: `allow`, `deny`, or None for their own default."""
    if data_collection not in {None, "allow", "deny"}:
        raise invalid("data_collection", 'Data collection is "allow", "deny" or null.')
    with changing(organization_id, acting) as change:
        change.require(
            Ability.MANAGE_SPENDING, "Only owners, admins and billing managers decide about data collection."
        )
        before = change.settings.get("data_collection")
        if before == data_collection:
            return change.organization
        if data_collection is None:
            change.settings.pop("data_collection", None)
        else:
            change.settings["data_collection"] = data_collection
        row = change.record(
            AuditAction.DATA_COLLECTION_CHANGED,
            f"Data collection changed from {before or 'the default'} to {data_collection or 'the default'}",
            {"data_collection": (before, data_collection)},
        )
        change.commit(row)
        return change.organization
