"""What was used: one row for each request that reached resolution."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import F, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest
from django.urls import reverse

from kilo_gateway.admin_filters import ChoiceFilter, FieldFilter, FromDate, ToDate, as_uuid
from kilo_gateway.admin_logs import LogAdmin
from kilo_gateway.admin_site import link
from organizations.admin_filters import OrganizationFilter
from organizations.models import Organization, User
from routing.models import MOMENT_OF_ALL, UsageRecord


class PersonFilter(FieldFilter):
    title = "Person"
    parameter_name = "person"
    placeholder = "email or id"
    is_indexed = False

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        wanted = as_uuid(value)
        if wanted is None:
            wanted = User.objects.filter(email=value.lower()).values_list("pk", flat=True).first()
        return rows.filter(user_id=wanted) if wanted is not None else rows.none()


class ModelFilter(FieldFilter):
    title = "Model"
    parameter_name = "model"
    placeholder = "id as resolved"
    is_indexed = False

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(resolved_model=value.lower())


class StatusFilter(FieldFilter):
    title = "Status"
    parameter_name = "status"
    placeholder = "200, or 4xx"
    is_indexed = False

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        text = value.lower()
        if len(text) != 3 or not text[0].isdecimal() or not text.isascii():
            raise IncorrectLookupParameters("A status is a number such as 404, or a class such as 4xx.")
        if text.endswith("xx"):
            return rows.filter(status__gte=int(text[0]) * 100, status__lt=int(text[0]) * 100 + 100)
        if not text.isdecimal():
            raise IncorrectLookupParameters("A status is a number such as 404, or a class such as 4xx.")
        return rows.filter(status=int(text))


class KeyFilter(ChoiceFilter):
    title = "Key"
    parameter_name = "key"
    is_indexed = False

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [("hosted", "the installation's"), ("byok", "the organization's own")]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(is_byok=value == "byok")


@admin.register(UsageRecord)
class UsageRecordAdmin(LogAdmin):
    list_display = (
        "time",
        "organization",
        "person",
        "mode",
        "resolved_model",
        "status",
        "tokens",
        "cost",
        "duration",
    )
    list_filter = (OrganizationFilter, PersonFilter, ModelFilter, StatusFilter, KeyFilter, FromDate, ToDate)
    # What `get_search_results` looks in; here so that the page has the field.
    search_fields = ("request_id",)
    search_is_indexed = True
    search_help_text = "Search finds a request by its id."
    fieldsets = (
        (
            "Request",
            {
                "fields": (
                    "time",
                    "request_id",
                    "organization",
                    "person",
                    "api_key_id",
                    "api_kind",
                    "requested_model",
                    "mode",
                    "task_id",
                    "editor",
                    "feature",
                )
            },
        ),
        (
            "Decision",
            {
                "fields": (
                    "auto_model",
                    "route_kind",
                    "route",
                    "target",
                    "resolved_model",
                    "provider",
                    "is_byok",
                    "credential_id",
                    "routing_version",
                )
            },
        ),
        (
            "Outcome",
            {
                "fields": (
                    "status",
                    "error_type",
                    "streamed",
                    "cancelled",
                    "time_to_first_byte_ms",
                    "duration_ms",
                    "input_tokens",
                    "output_tokens",
                    "cache_read_tokens",
                    "cache_write_tokens",
                    "reasoning_tokens",
                    "cost",
                    "market_cost",
                )
            },
        ),
    )
    readonly_fields = ("time", "organization", "person", "cost", "market_cost")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        wanted = as_uuid(search_term)
        return (queryset.filter(request_id=wanted) if wanted is not None else queryset.none()), False

    def moment(self, filters: Sequence[FieldFilter]) -> Combinable:
        is_of_one = any(isinstance(spec, OrganizationFilter) and spec.value() and spec.is_indexed for spec in filters)
        return F("created_at") if is_of_one else MOMENT_OF_ALL

    def complete_rows(self, rows: list[Any]) -> None:
        """The names of the organizations and persons on a page: two queries."""
        organization_ids = {row.organization_id for row in rows if row.organization_id is not None}
        names = dict(Organization.objects.filter(pk__in=organization_ids).values_list("pk", "name"))
        emails = dict(User.objects.filter(pk__in={row.user_id for row in rows}).values_list("pk", "email"))
        for row in rows:
            row.organization_name = names.get(row.organization_id, "")
            row.person_email = emails.get(row.user_id, "")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            self.complete_rows([found])
        return found

    @admin.display(description="Time (UTC)")
    def time(self, obj: UsageRecord) -> str:
        return obj.created_at.strftime("%Y-%m-%d %H:%M:%S")

    @admin.display(description="Organization")
    def organization(self, obj: Any) -> str:
        if obj.organization_id is None:
            return self.empty_value_display
        if not obj.organization_name:
            return str(obj.organization_id)
        return link(
            reverse("admin:organizations_organization_change", args=[obj.organization_id]), obj.organization_name
        )

    @admin.display(description="Person")
    def person(self, obj: Any) -> str:
        if not obj.person_email:
            return str(obj.user_id)
        return link(reverse("admin:organizations_user_change", args=[obj.user_id]), obj.person_email)

    @admin.display(description="Tokens")
    def tokens(self, obj: UsageRecord) -> str:
        return " / ".join("-" if count is None else f"{count:,}" for count in (obj.input_tokens, obj.output_tokens))

    @admin.display(description="Hosted cost")
    def cost(self, obj: UsageRecord) -> str:
        return _dollars(obj.hosted_cost_microdollars)

    @admin.display(description="Market cost")
    def market_cost(self, obj: UsageRecord) -> str:
        return _dollars(obj.market_cost_microdollars)

    @admin.display(description="Took")
    def duration(self, obj: UsageRecord) -> str:
        return f"{obj.duration_ms:,} ms"


def _dollars(microdollars: int | None) -> str:
    """An amount for reading; what is not known is not zero."""
    return "unknown" if microdollars is None else f"${Decimal(microdollars) / 1_000_000:.6f}"
