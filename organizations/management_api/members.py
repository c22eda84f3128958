"""Members and invitations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Kind, Tag, described
from organizations import members as services
from organizations.management_api.shapes import Nothing, Shape, Text
from organizations.management_api.views import ManagementView
from organizations.models import Invitation, Membership, Role
from organizations.people_selectors import members_of, open_invitations_of
from organizations.permissions import Ability

TAG = Tag.PEOPLE


class MemberSerializer(serializers.Serializer[Any]):
    user_id = serializers.UUIDField()
    email = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    role = serializers.ChoiceField(choices=Role.values)
    is_active = serializers.BooleanField(help_text="False: staff has closed the account.")
    joined_at = serializers.DateTimeField()


class MembersSerializer(serializers.Serializer[Any]):
    members = MemberSerializer(many=True)
    routing_version = serializers.IntegerField()


class MemberStateSerializer(serializers.Serializer[Any]):
    member = MemberSerializer(allow_null=True, help_text="Null: he is no member any more.")
    routing_version = serializers.IntegerField()


class SenderSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField()


class InvitationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.values)
    invited_by = SenderSerializer(allow_null=True, help_text="Null: staff.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)


class InvitationsSerializer(serializers.Serializer[Any]):
    invitations = InvitationSerializer(many=True)
    routing_version = serializers.IntegerField()


class InvitationStateSerializer(serializers.Serializer[Any]):
    invitation = InvitationSerializer()
    routing_version = serializers.IntegerField()


class NewInvitationSerializer(InvitationStateSerializer):
    token = serializers.CharField(help_text="Told here and never again.")
    link = serializers.CharField(help_text="Where the invited person accepts; it has the token in it.")


class RoleChange(Shape):
    role = serializers.ChoiceField(choices=Role.values)


class Newcomer(Shape):
    email = Text(max_length=services.MAX_EMAIL_LENGTH)
    role = serializers.ChoiceField(choices=Role.values, required=False, help_text="`member` by default.")


class MembersView(ManagementView):
    """Who belongs to the organization."""

    reading_needs = (Ability.MANAGE_MEMBERS, services.ADMINS_MANAGE)

    @described("list_members", "List the members", tag=TAG, answer=MembersSerializer, has_version=True)
    def get(self, request: Request, organization_id: UUID) -> Response:
        """By email address. For owners and admins."""
        members = [_member_row(member) for member in members_of(organization_id)]
        return self.answer({"members": members}, self.organization)

    @described(
        "add_member",
        "Add somebody who has an account",
        tag=TAG,
        kind=Kind.LIMITED_WRITE,
        body=Newcomer,
        answer=MemberStateSerializer,
        status=201,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """At once and without an invitation. For owners and admins; only owners add owners. 404 `no_such_account` when
        nobody who has shown that the address is his has an account with it: invite it instead. 429
        `too_many_unknown_addresses` after many of these in an hour, whatever the address.
        """
        fields = self.body(request, Newcomer)
        member = services.member_add(
            organization_id=organization_id,
            acting=self.acting(request),
            email=fields["email"],
            role=Role(fields.get("role", Role.MEMBER)),
        )
        return self.answer({"member": _member_row(member)}, member.organization, status=201)


class MemberView(ManagementView):
    """One member."""

    @described(
        "change_member",
        "Change the role of a member",
        tag=TAG,
        kind=Kind.WRITE,
        body=RoleChange,
        answer=MemberStateSerializer,
        has_version=True,
    )
    def patch(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        """For owners and admins; only owners make and change owners. One owner stays: 409 `last_owner`."""
        role = Role(self.body(request, RoleChange)["role"])
        member = services.member_role_change(
            organization_id=organization_id, acting=self.acting(request), user_id=user_id, role=role
        )
        return self.answer({"member": _member_row(member)}, member.organization)

    @described(
        "remove_member", "Remove a member", tag=TAG, kind=Kind.WRITE, answer=MemberStateSerializer, has_version=True
    )
    def delete(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        """Everybody may leave; others are removed by owners and admins, owners by owners. The person's keys that are
        bound to this organization are revoked with it, and the invitations that he sent.
        """
        self.body(request, Nothing)
        organization = services.member_remove(
            organization_id=organization_id, acting=self.acting(request), user_id=user_id
        )
        return self.answer({"member": None}, organization)


class InvitationsView(ManagementView):
    """Who is invited."""

    reading_needs = (Ability.MANAGE_MEMBERS, services.ADMINS_MANAGE)

    @described("list_invitations", "List the open invitations", tag=TAG, answer=InvitationsSerializer, has_version=True)
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Newest first, expired ones included. For owners and admins."""
        invitations = [_invitation_row(invitation) for invitation in open_invitations_of(organization_id)]
        return self.answer({"invitations": invitations}, self.organization)

    @described(
        "create_invitation",
        "Invite somebody",
        tag=TAG,
        kind=Kind.WRITE,
        body=Newcomer,
        answer=NewInvitationSerializer,
        status=201,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """For owners and admins; only owners invite owners. The link is not sent by us: give it to the person. It works
        for seven days, once, and only for whoever signs in with the invited address.
        """
        fields = self.body(request, Newcomer)
        made = services.invitation_create(
            organization_id=organization_id,
            acting=self.acting(request),
            email=fields["email"],
            role=Role(fields.get("role", Role.MEMBER)),
        )
        state = {"invitation": _invitation_row(made.row), "token": made.token.reveal(), "link": made.link}
        return self.answer(state, made.row.organization, status=201)


class InvitationView(ManagementView):
    """One invitation."""

    @described(
        "revoke_invitation",
        "Revoke an invitation",
        tag=TAG,
        kind=Kind.WRITE,
        answer=InvitationStateSerializer,
        has_version=True,
    )
    def delete(self, request: Request, organization_id: UUID, invitation_id: UUID) -> Response:
        """Its link opens nothing any more. One that was accepted is over: 409 `invitation_accepted`."""
        self.body(request, Nothing)
        invitation = services.invitation_revoke(
            organization_id=organization_id, acting=self.acting(request), invitation_id=invitation_id
        )
        return self.answer({"invitation": _invitation_row(invitation)}, invitation.organization)


def _member_row(member: Membership) -> dict[str, Any]:
    user = member.user
    return {
        "user_id": user.pk,
        "email": user.email,
        "name": user.name,
        "role": member.role,
        "is_active": user.is_active,
        "joined_at": member.created_at,
    }


def _invitation_row(invitation: Invitation) -> dict[str, Any]:
    sender = invitation.invited_by
    return {
        "id": invitation.pk,
        "email": invitation.email,
        "role": invitation.role,
        "invited_by": {"id": sender.pk, "email": sender.email} if sender else None,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
        "revoked_at": invitation.revoked_at,
    }
