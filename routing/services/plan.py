"""The plan of an organization: what it has bought, which staff says."""

from __future__ import annotations

from uuid import UUID

from organizations.models import AuditAction, Organization, Plan
from routing.services.frame import Acting, changing
from routing.services.refusals import invalid, role_required


def organization_plan_change(*, organization_id: UUID, plan: str, acting: Acting) -> Organization:
    """Give an organization another plan. Its settings stay: what the plan does not include lies dormant until it does.

    Raises:
        GatewayError: 403 `role_required` for everybody but staff and the installation itself, 400 for an unknown plan.
    """
    if acting.user is not None:
        raise role_required("Only staff changes the plan of an organization.")
    if plan not in Plan.values:
        raise invalid("plan", f"A plan is one of: {', '.join(Plan.values)}.")
    with changing(organization_id, acting) as change:
        before = change.organization.plan
        if before == plan:
            return change.organization
        change.organization.plan = plan
        row = change.record(
            AuditAction.ORGANIZATION_PLAN_CHANGED,
            f"Plan changed from {before} to {plan}",
            {"plan": (before, plan)},
        )
        change.commit(row)
        return change.organization
