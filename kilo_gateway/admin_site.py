"""What all pages of Django admin have in common.

Any member of staff may do what a page offers, and nobody more than that. Changes go through the services, and so into
the audit log: it stands in for the history that Django admin would keep beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from kilo_gateway.admin_filters import as_uuid
from kilo_gateway.api_errors import GatewayError

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class StaffSite(admin.AdminSite):
    """Django admin for active members of staff."""

    site_header = "Kilo Gateway administration"
    site_title = "Kilo Gateway"
    index_title = "Installation"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """There is one sign-in, with its limits and second factors; whoever came through it and is no staff stops here.

        Raises:
            PermissionDenied: the signed-in person is no (active) member of staff.
        """
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        if request.user.is_authenticated:
            raise PermissionDenied
        wanted = request.GET.get(REDIRECT_FIELD_NAME, reverse("admin:index"))
        return redirect_to_login(wanted, reverse("account_login"))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The page of one's own account, where a change goes into the audit log."""
        return HttpResponseRedirect(reverse("account_change_password"))


class StaffAdmin(_ModelAdmin):
    """The base of every page: read-only, until a page says what else it allows.

    Attributes:
        can_add, can_change, can_delete: What the page offers.
        hidden_fields: Columns that hold a secret or much data: never read for a list or a form.
        linked_lookups: Besides those of its filters, the lookups that links from other pages use, in full.
    """

    can_add: ClassVar[bool] = False
    can_change: ClassVar[bool] = False
    can_delete: ClassVar[bool] = False
    hidden_fields: ClassVar[Sequence[str]] = ()
    linked_lookups: ClassVar[Sequence[str]] = ()

    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    empty_value_display = "-"

    # ------------------------------------------------------------ who may

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.admin_site.has_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.can_add and self.admin_site.has_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.can_change and self.admin_site.has_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.can_delete and self.admin_site.has_permission(request)

    # ------------------------------------------------------------ what is read

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*self.hidden_fields)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the page's own filters and links use: any other could ask hidden columns what is in them."""
        allowed = {*self.linked_lookups}
        for item in self.list_filter:
            name = item[0] if isinstance(item, (tuple, list)) else item
            if isinstance(name, str):
                allowed |= {name, *(f"{name}__{lookup}" for lookup in ("exact", "isnull", "isempty"))}
            else:
                allowed.add(getattr(name, "parameter_name", ""))
        return lookup in allowed

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """An id finds its row at once; anything else is looked for in the fields that the page searches."""
        wanted = as_uuid(search_term)
        if wanted is not None and isinstance(self.opts.pk, models.UUIDField):
            return queryset.filter(pk=wanted), False
        return super().get_search_results(request, queryset, search_term)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    # ------------------------------------------------------------ changes and their record

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """As usual; what a service refuses is said on the page, and nothing has been changed then."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (GatewayError, ValidationError) as error:
            self.message_user(request, refusal_text(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def audit_filter(self, obj: Any) -> dict[str, str] | None:
        """Which rows of the audit log are about this object; None when there are none by nature."""
        return None

    def audit_url(self, obj: Any) -> str:
        """Where the audit log shows the history of this object; blank when it has none."""
        about = self.audit_filter(obj)
        return f"{reverse('admin:organizations_auditlog_changelist')}?{urlencode(about)}" if about else ""

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        shown = context.get("original")
        context["audit_url"] = self.audit_url(shown) if shown is not None else ""
        if shown is not None:
            context["show_save_and_add_another"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        address = self.audit_url(obj) if obj is not None else ""
        if not address:
            raise Http404
        return HttpResponseRedirect(address)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        return LogEntry()

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        return LogEntry()

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[LogEntry]:
        return []


def refusal_text(error: GatewayError | ValidationError) -> str:
    """What a service said when it refused a change."""
    return error.message if isinstance(error, GatewayError) else " ".join(error.messages)


def json_text(value: Any) -> str:
    """A JSON value, indented for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def pretty_json(value: Any) -> SafeString:
    """A JSON value for reading on a page; whatever is in it is shown as text."""
    return render_to_string("admin/partials/json.html", {"text": json_text(value)})


def link(address: str, text: str) -> SafeString:
    """A link to another page."""
    return render_to_string("admin/partials/link.html", {"address": address, "text": text})


def confirmation(
    page: StaffAdmin,
    request: HttpRequest,
    rows: QuerySet[Any],
    *,
    action: str,
    title: str,
    question: str,
    button: str,
) -> HttpResponse | None:
    """The page that asks before an action on these rows; None once it was answered with yes."""
    if "confirmed" in request.POST:
        return None
    context = {
        **page.admin_site.each_context(request),
        "title": title,
        "opts": page.opts,
        "rows": rows,
        "question": question,
        "button": button,
        "action": action,
        "checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/confirm_action.html", context)
