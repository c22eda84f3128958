"""Members and invitations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django import forms
from django.http import Http404, HttpResponse

from kilo_gateway.ui.forms import NotedRadios
from organizations import members as services
from organizations.models import Invitation, Membership, Role
from organizations.pages.frame import Page, PageRequest, Permit, organization_page
from organizations.people_selectors import members_of, open_invitations_of
from organizations.permissions import Ability

ONE_OWNER_STAYS: Final = "An organization keeps at least one owner. Make somebody else an owner first."
ROLES_TOLD: Final[dict[str, str]] = {
    Role.OWNER: "Everything, and the only one who changes owners.",
    Role.ADMIN: "Everything but owners: routes, policy, provider keys, members.",
    Role.BILLING_MANAGER: "Provider keys, usage, limits and the audit log.",
    Role.MEMBER: "Uses the models, edits modes without a route, has own API keys.",
}


class RoleForm(forms.Form):
    """A role, out of those that the acting person may give."""

    role = forms.ChoiceField(label="Role", widget=NotedRadios(notes=ROLES_TOLD))

    def __init__(self, page: Page, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = [role for role in Role if role != Role.OWNER or page.role == Role.OWNER]
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type
        field.choices = [(role.value, role.label) for role in given]


class InviteForm(RoleForm):
    """Whom to invite, as what."""

    email = forms.EmailField(label="Email address", max_length=services.MAX_EMAIL_LENGTH)

    field_order = ("email", "role")


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member, and what this person may do with him."""

    membership: Membership
    is_self: bool
    change: Permit
    remove: Permit

    @property
    def name(self) -> str:
        return self.membership.user.name or self.membership.user.email


@dataclass(frozen=True, slots=True)
class InvitationRow:
    """An open invitation, and whether this person may take it back."""

    invitation: Invitation
    has_expired: bool
    revoke: Permit


@organization_page("members", methods=("GET",), requires=Ability.MANAGE_MEMBERS)
def members(request: PageRequest, page: Page) -> HttpResponse:
    """Who belongs to the organization, and who is invited. Two queries."""
    people = members_of(page.organization.pk)
    invitations = open_invitations_of(page.organization.pk)
    owners = sum(row.role == Role.OWNER and row.user.is_active for row in people)
    now = datetime.now(UTC)
    context = {
        "members": [_member_row(page, row, owners) for row in people],
        "invitations": [InvitationRow(row, row.expires_at <= now, _about_owner(page, row.role)) for row in invitations],
    }
    return page.render("members/page.html", context)


def _about_owner(page: Page, role: str) -> Permit:
    return Permit(services.OWNERS_CHANGE_OWNERS if role == Role.OWNER and page.role != Role.OWNER else "")


def _member_row(page: Page, row: Membership, owners: int) -> MemberRow:
    permit = _about_owner(page, row.role)
    if permit and row.role == Role.OWNER and row.user.is_active and owners == 1:
        permit = Permit(ONE_OWNER_STAYS)
    return MemberRow(row, row.user_id == page.user.pk, permit, permit)


@organization_page("members", requires=Ability.MANAGE_MEMBERS)
def invite(request: PageRequest, page: Page) -> HttpResponse:
    """Invite somebody; the link is in the answer to this one post, and nowhere else."""
    form = InviteForm(page, request.POST or None, initial={"role": Role.MEMBER})
    if request.method == "POST" and form.is_valid():
        with page.refusals(form):
            made = services.invitation_create(
                organization_id=page.organization.pk,
                acting=page.acting(),
                email=form.cleaned_data["email"],
                role=Role(form.cleaned_data["role"]),
            )
            return page.render("members/invited.html", {"invitation": made.row, "link": made.link}, status=201)
    return page.render("members/invite.html", {"form": form})


@organization_page("members", requires=Ability.MANAGE_MEMBERS)
def member(request: PageRequest, page: Page, user_id: UUID) -> HttpResponse:
    """Change a member's role."""
    row = _membership_or_404(page, user_id)
    form = RoleForm(page, request.POST or None, initial={"role": row.role})
    if request.method == "POST" and form.is_valid():
        role = Role(form.cleaned_data["role"])
        with page.refusals(form, now=lambda: {"role": _membership_or_404(page, user_id).role}):
            services.member_role_change(
                organization_id=page.organization.pk, acting=page.acting(), user_id=user_id, role=role
            )
            return page.done(f"{row.user} is {role.label.lower()} now.", to=page.url("members"))
    return page.render("members/role.html", {"form": form, "membership": row})


@organization_page("members")
def remove(request: PageRequest, page: Page, user_id: UUID) -> HttpResponse:
    """End a membership, after a confirmation; everybody may end his own."""
    leaves = user_id == page.user.pk
    if not leaves:
        page.require(Ability.MANAGE_MEMBERS)
    row = page.membership if leaves else _membership_or_404(page, user_id)
    if request.method == "POST":
        with page.refusals():
            services.member_remove(organization_id=page.organization.pk, acting=page.acting(), user_id=user_id)
            if leaves:
                return page.leave(f"You left {page.organization.name}.")
            return page.done(f"{row.user} was removed.", to=page.url("members"))
    return page.render("members/remove.html", {"membership": row, "leaves": leaves})


@organization_page("members", requires=Ability.MANAGE_MEMBERS)
def invitation_revoke(request: PageRequest, page: Page, invitation_id: UUID) -> HttpResponse:
    """Take an invitation back, after a confirmation."""
    open_ones = open_invitations_of(page.organization.pk)
    row = next((one for one in open_ones if one.pk == invitation_id), None)
    if row is None:
        raise Http404
    if request.method == "POST":
        with page.refusals():
            services.invitation_revoke(
                organization_id=page.organization.pk, acting=page.acting(), invitation_id=invitation_id
            )
            return page.done(f"The invitation of {row.email} was revoked.", to=page.url("members"))
    return page.render("members/revoke.html", {"invitation": row})


def _membership_or_404(page: Page, user_id: UUID) -> Membership:
    row = next((one for one in members_of(page.organization.pk) if one.user_id == user_id), None)
    if row is None:
        raise Http404
    return row
