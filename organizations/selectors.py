"""Reading organizations: always through the membership of the person who asks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.db.models import QuerySet
from django.http import Http404

from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.fixed_query import FixedQuery, columns_of
from organizations.models import ApiKey, Membership, Organization, SettingsVersion, User

# What of an organization's settings is about routing. Whatever else is stored there is nobody's business here.
ROUTING_KEYS = ("default_model", "org_auto_model", "provider_allow_list", "model_deny_list", "data_collection")


def membership_or_404(user: User, organization_id: UUID | str, *, key: ApiKey | None = None) -> Membership:
    """The person's membership, with its organization: the one way by which an organization is fetched. One query.

    Args:
        key: The key that was presented, if one was; a bound one sees no organization but its own.

    Raises:
        Http404: there is no such organization, or it is not the person's (or the key's): the answer does not say which.
    """
    wanted = _uuid(organization_id)
    bound_to = bound_organization_id(key)
    if wanted is None or (bound_to is not None and bound_to != wanted):
        raise Http404
    membership = _membership(user, wanted)
    if membership is None:
        raise Http404
    return membership


def acting_membership(user: User, organization_header: str, *, key: ApiKey | None = None) -> Membership | None:
    """For which organization a request acts, by the rule of the proxy; None for a person alone. At most one query.

    The organization that the key is bound to wins over the header `X-KiloCode-OrganizationId`.

    Raises:
        GatewayError: 400 for a header that is no id, 403 for an organization that the person does not belong to.
    """
    text = organization_header.strip()
    wanted = bound_organization_id(key) or _uuid(text)
    if wanted is None:
        if not text:
            return None
        raise GatewayError(
            ErrorType.INVALID_ORGANIZATION_ID, 400, "X-KiloCode-OrganizationId must be the UUID of an organization."
        )
    membership = _membership(user, wanted)
    if membership is None:
        raise GatewayError(ErrorType.ACCESS_DENIED, 403, "You are not a member of this organization.")
    return membership


def memberships_of(user: User, *, key: ApiKey | None = None) -> list[Membership]:
    """The person's memberships with their organizations, oldest first; with a bound key only that one. One query."""
    memberships = [_with_organization(row, user) for row in _MEMBERSHIPS.rows(user.pk)]
    bound_to = bound_organization_id(key)
    return [row for row in memberships if bound_to is None or row.organization_id == bound_to]


def bound_organization_id(key: ApiKey | None) -> UUID | None:
    """The organization that a key always acts for, if it is bound to one."""
    return key.organization_id if key is not None else None


def routing_settings(stored: Organization | SettingsVersion) -> dict[str, Any]:
    """What of the settings, as they are or were, is about routing; a key that is absent stays absent."""
    return {key: stored.settings[key] for key in ROUTING_KEYS if key in stored.settings}


def organization_by_reference(reference: str) -> Organization:
    """The organization that an operator means by an id or by its exact name; for commands only.

    Raises:
        Organization.DoesNotExist: there is none; the message is for a person.
        Organization.MultipleObjectsReturned: several have this name.
    """
    wanted = _uuid(reference)
    query = Organization.objects.filter(name=reference) if wanted is None else Organization.objects.filter(pk=wanted)
    found = list(query[:2])
    if not found:
        raise Organization.DoesNotExist(f'There is no organization with the id or the name "{reference}".')
    if len(found) > 1:
        raise Organization.MultipleObjectsReturned(
            f'Several organizations are called "{reference}": name it by its id.'
        )
    return found[0]


_OWN_COLUMNS = columns_of(Membership)
_ALL_COLUMNS = (*_OWN_COLUMNS, *(f"organization__{name}" for name in columns_of(Organization)))


def _memberships(user_id: UUID) -> QuerySet[Membership, tuple[Any, ...]]:
    return Membership.objects.filter(user_id=user_id).order_by("created_at", "pk").values_list(*_ALL_COLUMNS)


_MEMBERSHIPS = FixedQuery(_memberships, UUID(int=1))


def _with_organization(row: tuple[Any, ...], user: User) -> Membership:
    own = len(_OWN_COLUMNS)
    membership = Membership.from_db(DEFAULT_DB_ALIAS, _OWN_COLUMNS, row[:own])
    membership.organization = Organization.from_db(DEFAULT_DB_ALIAS, columns_of(Organization), row[own:])
    membership.user = user
    return membership


def _membership(user: User, organization_id: UUID) -> Membership | None:
    return Membership.objects.select_related("organization").filter(user=user, organization_id=organization_id).first()


def _uuid(value: UUID | str) -> UUID | None:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value.strip())
    except ValueError:
        return None
