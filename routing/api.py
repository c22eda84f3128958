"""What clients read about models and money."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_errors import temporarily_unavailable
from kilo_gateway.api_schema import ORGANIZATION_HEADER as HEADER
from kilo_gateway.api_schema import ORGANIZATION_ID, Tag, described
from kilo_gateway.api_views import ReadView
from organizations.callers import person_and_key
from organizations.models import Membership, Organization
from organizations.selectors import acting_membership, bound_organization_id, membership_or_404, memberships_of
from routing.catalog.cache import CatalogUnreadable
from routing.domain.cost import MICRODOLLARS
from routing.domain.types import RefusalCode
from routing.schema import (
    BalanceSerializer,
    DefaultsSerializer,
    ModelEndpointsSerializer,
    ModelListSerializer,
    ProfileSerializer,
    ProviderListSerializer,
)
from routing.selectors import (
    Defaults,
    allowed_providers,
    balances_of,
    defaults_of,
    model_entries,
    offer_to,
    serving_providers,
)

ORGANIZATION_HEADER = "HTTP_X_KILOCODE_ORGANIZATIONID"


def acting_for(request: Request) -> Membership | None:
    """The membership for which the request acts, by the key or the header."""
    header = request.META.get(ORGANIZATION_HEADER, "")
    user, key = person_and_key(request)
    return acting_membership(user, header, key=key)


class CatalogView(ReadView):
    """An endpoint that needs the catalog: 503 while that cannot be read."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, CatalogUnreadable):
            message = "The model catalog cannot be read at the moment."
            exc = temporarily_unavailable(message, code=RefusalCode.CATALOG_UNAVAILABLE.value)
        return super().handle_exception(exc)

    def acting_organization(self, request: Request) -> Organization | None:
        membership = acting_for(request)
        return membership.organization if membership else None

    def organization_or_404(self, request: Request, organization_id: str) -> Organization:
        user, key = person_and_key(request)
        return membership_or_404(user, organization_id, key=key).organization


class ModelsView(CatalogView):
    """The models that the key may be used with: under an organization's policy when it acts for one."""

    @described(None, "List the models", answer=ModelListSerializer, parameters=[HEADER])
    def get(self, request: Request) -> Response:
        user, _ = person_and_key(request)
        return Response({"data": model_entries(offer_to(self.acting_organization(request), person=user))})


class OrganizationModelsView(CatalogView):
    """The models of an organization. Four queries."""

    @described(
        "list_organization_models",
        "List the models of an organization",
        tag=Tag.ACCOUNT,
        answer=ModelListSerializer,
        parameters=[ORGANIZATION_ID],
    )
    def get(self, request: Request, organization_id: str) -> Response:
        return Response({"data": model_entries(offer_to(self.organization_or_404(request, organization_id)))})


class ModelEndpointsView(CatalogView):
    """The providers that serve a hosted model."""

    @described(None, "List the providers of a model", answer=ModelEndpointsSerializer, parameters=[HEADER])
    def get(self, request: Request, model_id: str) -> Response:
        return Response({"data": serving_providers(offer_to(self.acting_organization(request)), model_id)})


class ProvidersView(CatalogView):
    """The providers that serve hosted models."""

    @described(None, "List the providers", answer=ProviderListSerializer, parameters=[HEADER])
    def get(self, request: Request) -> Response:
        providers = allowed_providers(offer_to(self.acting_organization(request)))
        return Response({"data": [asdict(provider) for provider in providers]})


class DefaultsView(CatalogView):
    """The installation's default models; those of the organization for a key that acts for one."""

    @described(
        "get_defaults",
        "Read the default models",
        tag=Tag.ACCOUNT,
        answer=DefaultsSerializer,
        parameters=[HEADER],
    )
    def get(self, request: Request) -> Response:
        return Response(_shape(defaults_of(offer_to(self.acting_organization(request)))))


class OrganizationDefaultsView(CatalogView):
    """The default models of an organization."""

    @described(
        "get_organization_defaults",
        "Read the default models of an organization",
        tag=Tag.ACCOUNT,
        answer=DefaultsSerializer,
        parameters=[ORGANIZATION_ID],
    )
    def get(self, request: Request, organization_id: str) -> Response:
        return Response(_shape(defaults_of(offer_to(self.organization_or_404(request, organization_id)))))


def _shape(defaults: Defaults) -> dict[str, str | None]:
    return {"defaultModel": defaults.model, "defaultFreeModel": defaults.free_model}


class ProfileView(ReadView):
    """The person behind the key and the organizations that he may act for with it.

    `hasPersonalAccount` and `selectedOrganizationId` tell the Kilo CLI after a sign-in which organization to use:
    without them it uses none.
    """

    @described("get_profile", "Read a person's profile", tag=Tag.ACCOUNT, answer=ProfileSerializer)
    def get(self, request: Request) -> Response:
        user, key = person_and_key(request)
        memberships = memberships_of(user, key=key)
        balances = balances_of(memberships)
        profile: dict[str, Any] = {
            "user": {"id": user.pk, "email": user.email, "name": user.name, "image": None},
            "organizations": [
                {
                    "id": membership.organization_id,
                    "name": membership.organization.name,
                    "role": membership.role,
                    "balance": _dollars(balances.get(membership.organization_id)),
                }
                for membership in memberships
            ],
            "hasPersonalAccount": not memberships,
        }
        if memberships and (bound_to := bound_organization_id(key)):
            profile["selectedOrganizationId"] = bound_to
        return Response(profile)


class BalanceView(ReadView):
    """What the organization of the key or the header may still spend on hosted models, in dollars.

    An organization for which no balance is kept has no limit, and a person who acts for none has no account. Both get
    the number 0 with `"isLimited": false`: the Kilo CLI must have a number, shows null as 0 too, and stops at a text.
    """

    @described(
        "get_balance",
        "Read the balance",
        tag=Tag.ACCOUNT,
        answer=BalanceSerializer,
        parameters=[HEADER],
    )
    def get(self, request: Request) -> Response:
        membership = acting_for(request)
        balances = balances_of([membership]) if membership else {}
        balance = balances.get(membership.organization_id) if membership else None
        return Response({"balance": _dollars(balance), "isLimited": balance is not None})


def _dollars(microdollars: int | None) -> float:
    """For showing only: JSON knows no other number with a fraction. Nothing is ever computed with it."""
    return (microdollars or 0) / MICRODOLLARS
