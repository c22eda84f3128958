"""The providers that an organization registers for itself: making, changing and deleting them.

Each function is one transaction under the organization's lock, with an audit row for each thing it changes; doing what
is already so writes nothing. A base URL is resolved and checked before that, without a lock, and only for somebody who
may choose one.

All raise `Http404` for what is not the acting person's, and `GatewayError`: 403 `role_required`, 400 for a value that
is none, 409 for what the current state does not allow, 412 when the routing version has moved on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from byok import custom_providers as rules
from byok.addresses import BadBaseUrl, check_base_url, origin_of
from byok.custom_providers import HeaderDraft
from byok.dependents import Dependent, byok_dependents, require_confirmation
from byok.encryption import SecretOwner
from byok.models import Credential, CustomProvider, CustomProviderHeader
from byok.providers import KeyStyle, KnownModel
from byok.selectors import custom_provider_or_404, with_written
from byok.services.credentials import delete_locked
from byok.services.frame import KeyChange, changing_keys
from organizations import audit
from organizations.acting import Acting
from organizations.models import AuditAction
from organizations.refusals import conflict, invalid

Changes = dict[str, tuple[Any, Any]]
Fields = dict[str, Any]

_MOVED: Final = "The base URL leads to another host: give the values of all headers again, or an empty list."


@dataclass(frozen=True, slots=True)
class CustomProviderEdit:
    """What is to change; None leaves a field as it is. `headers` and `models` are whole lists."""

    name: str | None = None
    base_url: str | None = None
    api_kinds: Sequence[str] | None = None
    key_style: str | None = None
    headers: Sequence[HeaderDraft] | None = None
    models: Sequence[KnownModel] | None = None


def custom_provider_create(
    *,
    organization_id: UUID,
    acting: Acting,
    provider_id: str,
    name: str,
    base_url: str,
    api_kinds: Sequence[str],
    key_style: str = KeyStyle.BEARER.value,
    headers: Sequence[HeaderDraft] = (),
    models: Sequence[KnownModel] = (),
) -> CustomProvider:
    """Register a provider. Its key is stored afterwards, as a credential for the provider's id.

    Raises:
        GatewayError: 409 `provider_exists` and `too_many_providers`, besides what is said above.
    """
    owner = SecretOwner.organization(organization_id)
    with changing_keys(owner, acting):
        rules.valid_provider_id(provider_id)
    fields = _valid(CustomProviderEdit(name, base_url, api_kinds, key_style, models=models))
    drafts = rules.valid_headers(headers)
    with changing_keys(owner, acting) as change:
        existing = set(
            CustomProvider.objects.filter(organization_id=organization_id).values_list("provider_id", flat=True)
        )
        if provider_id in existing:
            raise conflict(f'There is a provider "{provider_id}" already.', code="provider_exists")
        if len(existing) >= rules.MAX_PROVIDERS:
            message = f"An organization has at most {rules.MAX_PROVIDERS} custom providers."
            raise conflict(message, code="too_many_providers")
        row = CustomProvider(organization_id=organization_id, provider_id=provider_id, **fields)
        row.save(force_insert=True)
        changes: Changes = {field: (None, value) for field, value in fields.items()}
        changes |= _write_headers(row, drafts)
        _record(change, AuditAction.CUSTOM_PROVIDER_CREATED, row, f"registered at {row.base_url}", changes)
        change.commit()
        return _row(change, provider_id)


def custom_provider_update(
    *,
    organization_id: UUID,
    acting: Acting,
    provider_id: str,
    edit: CustomProviderEdit,
    confirm_broken_routes: bool = False,
) -> CustomProvider:
    """Change a provider; its id stays.

    Secrets do not follow it to another origin, because whoever may choose the base URL may not read them: its key is
    deleted then, and the values of its headers have to be given again.

    Raises:
        GatewayError: 409 `routes_would_break` with what depends on a key, a request format or a model that would be
            gone, unless that was confirmed.
    """
    owner = SecretOwner.organization(organization_id)
    with changing_keys(owner, acting):
        custom_provider_or_404(organization_id, provider_id)
    wanted = _valid(edit)
    drafts = None if edit.headers is None else rules.valid_headers(edit.headers)
    with changing_keys(owner, acting) as change:
        row = _row(change, provider_id)
        fields = {field: value for field, value in wanted.items() if value != getattr(row, field)}
        changes: Changes = {field: (getattr(row, field), value) for field, value in fields.items()}
        moves = "base_url" in fields and origin_of(fields["base_url"]) != origin_of(row.base_url)
        if moves and row.headers.all() and (drafts is None or not all(draft.value for draft in drafts)):
            raise invalid("headers", _MOVED)
        key = change.rows.select_for_update().filter(provider=provider_id).first()
        broken = _breaking(change, row, fields, key, drops_key=moves)
        require_confirmation(broken, told=f"Changing {provider_id}", confirmed=confirm_broken_routes)
        if drafts is not None:
            changes |= _write_headers(row, drafts)
        if not changes:
            return row
        for field, value in fields.items():
            setattr(row, field, value)
        row.save()
        _record(change, AuditAction.CUSTOM_PROVIDER_UPDATED, row, f"changed: {', '.join(sorted(changes))}", changes)
        if moves and key is not None:
            delete_locked(change, key)
        change.commit()
        return _row(change, provider_id)


def custom_provider_delete(
    *, organization_id: UUID, acting: Acting, provider_id: str, confirm_broken_routes: bool = False
) -> CustomProvider:
    """Delete a provider with its key. Routes to it stay as they are stored, and are broken.

    Raises:
        GatewayError: 409 `routes_would_break` with what depends on it, unless that was confirmed.

    Returns:
        The row as it was.
    """
    with changing_keys(SecretOwner.organization(organization_id), acting) as change:
        row = _row(change, provider_id)
        change.require_unbroken(provider_id, told=f"Deleting {provider_id}", confirmed=confirm_broken_routes)
        key = change.rows.select_for_update().filter(provider=provider_id).first()
        if key is not None:
            delete_locked(change, key)
        changes: Changes = {field: (getattr(row, field), None) for field in ("name", "base_url", "api_kinds")}
        _record(change, AuditAction.CUSTOM_PROVIDER_DELETED, row, "deleted", changes)
        row.delete()
        change.commit()
        return row


def _row(change: KeyChange, provider_id: str) -> CustomProvider:
    """One of the organization's, with the locked organization at it; raises `Http404`."""
    row = custom_provider_or_404(change.owner.id, provider_id)
    if change.organization is not None:
        row.organization = change.organization
    return row


def _valid(edit: CustomProviderEdit) -> Fields:
    """The fields that are given, in the form in which they are stored; the base URL last, because it is looked up."""
    fields: Fields = {}
    if edit.name is not None:
        fields["name"] = rules.valid_name(edit.name)
    if edit.api_kinds is not None:
        fields["api_kinds"] = rules.valid_api_kinds(edit.api_kinds)
    if edit.key_style is not None:
        fields["key_style"] = rules.valid_key_style(edit.key_style)
    if edit.models is not None:
        fields["known_models"] = rules.valid_models(edit.models)
    if edit.base_url is not None:
        try:
            fields["base_url"] = check_base_url(edit.base_url)
        except BadBaseUrl as error:
            raise invalid("base_url", f"This base URL cannot be used: {error}.") from None
    return fields


def _breaking(
    change: KeyChange, row: CustomProvider, fields: Fields, key: Credential | None, *, drops_key: bool
) -> list[Dependent]:
    """What would be refused after a change, or refused for a request format that it could be asked in until now."""
    if change.organization is None:
        return []
    dependents = byok_dependents(change.organization, row.provider_id)
    if (drops_key and key is not None) or set(row.api_kinds) - set(fields.get("api_kinds", row.api_kinds)):
        return dependents
    discovered = key.offered_models if key is not None else None
    before = with_written(discovered, [model["id"] for model in row.known_models])
    after = with_written(discovered, [model["id"] for model in fields.get("known_models", row.known_models)])
    return [
        dependent for dependent in dependents if _is_offered(dependent, before) and not _is_offered(dependent, after)
    ]


def _is_offered(dependent: Dependent, offered: Sequence[str] | None) -> bool:
    model = dependent.target.strip().lower().partition("/")[2]
    return offered is None or model in {each.lower() for each in offered}


def _write_headers(row: CustomProvider, drafts: Sequence[HeaderDraft]) -> Changes:
    """Make the headers what is written, and tell in last fours what that changed; a value is written anew if given."""
    stored = {header.name: header for header in row.headers.all()}
    unknown = [draft.name for draft in drafts if draft.value is None and draft.name not in stored]
    if unknown:
        raise invalid("headers", f"These need a value: {', '.join(unknown)}.")
    written = {draft.name: draft.value for draft in drafts if draft.value is not None}
    gone = [
        header for name, header in stored.items() if name in written or name not in {draft.name for draft in drafts}
    ]
    if not written and not gone:
        return {}
    row.headers.filter(pk__in=[header.pk for header in gone]).delete()
    made = [rules.sealed_header(row, name, value) for name, value in written.items()]
    CustomProviderHeader.objects.bulk_create(made)
    return {"headers": (_told(gone), _told(made))}


def _told(headers: Sequence[CustomProviderHeader]) -> dict[str, str]:
    return {header.name: f"…{header.last_four}" for header in headers}


def _record(change: KeyChange, action: AuditAction, row: CustomProvider, told: str, changes: Changes) -> None:
    if "known_models" in changes:
        before, after = (side or [] for side in changes.pop("known_models"))
        changes["models"] = (
            [each for each in before if each not in after],
            [each for each in after if each not in before],
        )
    audit.record(
        action,
        organization=change.organization,
        actor=change.acting.actor,
        message=f'Custom provider "{row.provider_id}" ({row.name}) {told}',
        changes=changes,
        target_kind="custom_provider",
        target_id=row.provider_id,
    )
