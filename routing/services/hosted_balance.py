"""The balance for hosted models: how much an organization has paid for in advance, which staff says."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.db.models.functions import Now

from organizations.acting import Acting
from organizations.frame import changing
from organizations.models import AuditAction
from organizations.refusals import conflict, invalid, role_required
from routing.domain.spending import dollars
from routing.models import HostedBalance
from routing.services.spending_limits import MAX_MICRODOLLARS


def hosted_balance_set(*, organization_id: UUID, acting: Acting, microdollars: int | None) -> int | None:
    """Give an organization this balance; None: no balance is kept, and hosted models are not held against one.

    In force from the next request on. What running requests have reserved is neither lost nor counted twice: it is
    kept beside the balance, and what they cost is taken from the balance as it is when they have ended. Writes nothing
    when nothing changes.

    Returns:
        The balance from now on.

    Raises:
        Http404: no such organization.
        GatewayError: 403 `role_required` for everybody but staff and the installation itself; 400 for an amount that
            is out of range.
    """
    if microdollars is not None and not 0 <= microdollars <= MAX_MICRODOLLARS:
        raise invalid("dollars", f"A balance is from {dollars(0)} to {dollars(MAX_MICRODOLLARS)}.")
    return _change(organization_id, acting, lambda _: microdollars)


def hosted_balance_adjust(*, organization_id: UUID, acting: Acting, microdollars: int) -> int | None:
    """Add an amount to the balance of an organization, or take one off it if it is negative.

    However many do so at the same time, and whatever requests cost meanwhile, every amount counts once.

    Returns:
        The balance from now on.

    Raises:
        Http404: no such organization.
        GatewayError: 403 `role_required` for everybody but staff and the installation itself; 409 `no_balance_kept`
            where there is none to add to; 400 for an amount of nothing, or one that leads out of range.
    """
    if not microdollars:
        raise invalid("dollars", "An amount of nothing changes nothing.")

    def adjusted(before: int | None) -> int:
        if before is None:
            raise conflict(
                "No balance is kept for this organization, so there is none to add to. Set one first.",
                code="no_balance_kept",
            )
        after = before + microdollars
        if abs(after) > MAX_MICRODOLLARS:
            raise invalid("dollars", f"A balance is at most {dollars(MAX_MICRODOLLARS)}.")
        return after

    return _change(organization_id, acting, adjusted)


def _change(organization_id: UUID, acting: Acting, change_of: Callable[[int | None], int | None]) -> int | None:
    if acting.user is not None:
        raise role_required("Only staff changes the balance of an organization.")
    with changing(organization_id, acting) as change:
        HostedBalance.objects.get_or_create(organization_id=organization_id)
        # Held until the change is whole: requests settle at any time, and what they have cost must not be undone.
        row = HostedBalance.objects.select_for_update(no_key=True).get(pk=organization_id)
        before, after = row.balance_microdollars, change_of(row.balance_microdollars)
        if after == before:
            return after
        HostedBalance.objects.filter(pk=organization_id).update(balance_microdollars=after, updated_at=Now())
        change.record(
            AuditAction.HOSTED_BALANCE_CHANGED,
            f"Hosted balance changed from {_told(before)} to {_told(after)}",
            {"balance_microdollars": (before, after)},
        )
        return after


def _told(microdollars: int | None) -> str:
    return "none" if microdollars is None else dollars(microdollars)
