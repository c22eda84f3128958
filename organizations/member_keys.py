"""The API keys of an organization: those bound to it, as its members make, change and end them.

Each function is one transaction under the lock of the organization's row, with its audit row; doing what is already so
writes nothing. Keys that are bound to no organization are their person's own business and do not appear here.

All raise `Http404` for what is not the acting person's to see, and `GatewayError`: 403 `role_required`, 400 for a value
that is none, 409 for what the current state does not allow, 412 when the routing version has moved on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.http import Http404

from organizations.acting import Acting
from organizations.api_keys import NewApiKey, api_key_create
from organizations.frame import Change, changing
from organizations.models import ApiKey, AuditAction, Scope
from organizations.permissions import Ability
from organizations.refusals import conflict, invalid, invalid_fields, role_required
from organizations.services import api_key_revoke

OWN_KEYS: Final = "You may not have API keys here."
MADE_BEFORE: Final = (
    "A key was made from this form before, and it was shown then: it is in the list. No second one was made."
)
_MODE: Final = re.compile(r"[a-z0-9-]{0,50}")


def member_key_create(
    *,
    organization_id: UUID,
    acting: Acting,
    name: str,
    scopes: Sequence[Scope],
    default_mode: str = "",
    expires_at: datetime | None = None,
    key_id: UUID | None = None,
) -> NewApiKey:
    """Make a key for the acting person, bound to the organization: it reaches what he does there, never more.

    For oneself only. A key acts as its person, so one made for somebody else would lend his rights to whoever made it.

    Args:
        key_id: Chosen by who asks, so that asking twice makes one key.

    Raises:
        GatewayError: 409 `api_key_exists` when there is a key with this id, and 401 `signed_out` when the person's
            access has ended since he was let in, besides what is said above.
    """
    if acting.user is None:
        raise role_required("A key is made by the person whose it is.")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise invalid("expires_at", "It must be in the future.")
    mode = _valid_mode(default_mode)
    with changing(organization_id, acting, for_oneself=True) as change:
        change.require(Ability.OWN_API_KEYS, OWN_KEYS)
        if key_id is not None and ApiKey.objects.filter(pk=key_id).exists():
            raise conflict(MADE_BEFORE, code="api_key_exists")
        try:
            made = api_key_create(
                user=acting.user,
                name=name,
                scopes=list(dict.fromkeys(scopes)),
                actor=acting.actor,
                organization=change.organization,
                default_mode=mode,
                expires_at=expires_at,
                key_id=key_id,
            )
        except ValidationError as error:
            raise invalid_fields(error.message_dict) from None
        return made


def member_key_update(
    *,
    organization_id: UUID,
    acting: Acting,
    key_id: UUID,
    name: str | None = None,
    default_mode: str | None = None,
) -> ApiKey:
    """Give a key another name, another default mode, or both; None leaves what is there."""
    mode = None if default_mode is None else _valid_mode(default_mode)
    with changing(organization_id, acting) as change:
        key = _key(change, key_id)
        if key.revoked_at is not None:
            raise conflict("This key has been revoked.", code="api_key_revoked")
        before = {"name": key.name, "default_mode": key.default_mode}
        key.name = key.name if name is None else name.strip()
        key.default_mode = key.default_mode if mode is None else mode
        after = {"name": key.name, "default_mode": key.default_mode}
        changes = {field: (before[field], after[field]) for field in before if before[field] != after[field]}
        if not changes:
            return key
        try:
            key.full_clean(exclude={"user", "organization", "key_hash"})
        except ValidationError as error:
            raise invalid_fields(error.message_dict) from None
        key.save(update_fields=list(changes))
        change.record(
            AuditAction.API_KEY_UPDATED,
            f'API key "{key.name}" (…{key.last_four}) of {key.user.email} changed: {_told(changes)}',
            changes,
            target_kind="api_key",
            target_id=key.pk,
        )
        return key


def member_key_revoke(*, organization_id: UUID, acting: Acting, key_id: UUID) -> ApiKey:
    """End a key for good; nothing happens to one that was revoked before."""
    with changing(organization_id, acting) as change:
        key = _key(change, key_id)
        api_key_revoke(key=key, actor=acting.actor)
        key.refresh_from_db(fields=["revoked_at"])
        return key


def _key(change: Change, key_id: UUID) -> ApiKey:
    """A key that the acting person may change, locked: his own, or anybody's for who manages members.

    To all others it is as if it did not exist.
    """
    keys = ApiKey.objects.select_related("user").select_for_update(of=("self",))
    if not change.may(Ability.MANAGE_MEMBERS):
        keys = keys.filter(user=change.acting.user)
    key = keys.filter(organization=change.organization, pk=key_id).first()
    if key is None:
        raise Http404
    key.organization = change.organization
    return key


def _valid_mode(mode: str) -> str:
    slug = mode.strip().lower()
    if not _MODE.fullmatch(slug):
        raise invalid("default_mode", "A mode's slug has 1 to 50 characters: lower-case letters, digits and hyphens.")
    return slug


def _told(changes: dict[str, tuple[str, str]]) -> str:
    words = {"name": "name", "default_mode": "default mode"}
    return ", ".join(f'{words[field]} from "{before}" to "{after}"' for field, (before, after) in changes.items())
