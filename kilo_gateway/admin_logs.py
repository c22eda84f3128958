"""Pages over tables of a million rows: newest first, without a count, and no search without an end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import connection
from django.db.models import F, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest

from kilo_gateway.admin_filters import FieldFilter
from kilo_gateway.admin_site import StaffAdmin
from kilo_gateway.newest_first import WINDOW, Log, Position

BEFORE, AFTER = "before", "after"


class LogChangeList(ChangeList):
    """One page of a log, found by the row that it goes on from."""

    log: Log[Any]
    model_admin: LogAdmin

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in {BEFORE, AFTER}}

    def get_query_string(self, new_params: Any = None, remove: Any = None) -> str:
        """Every other choice starts at the newest row again."""
        return str(super().get_query_string(new_params, [*(remove or []), BEFORE, AFTER]))

    def get_filters(self, request: HttpRequest) -> Any:
        found = super().get_filters(request)
        specs = [spec for spec in found[0] if isinstance(spec, FieldFilter)]
        self.root_queryset = self.root_queryset.alias(moment=self.model_admin.moment(specs))
        return found

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-moment", "-pk"]

    def get_results(self, request: HttpRequest) -> None:
        self.log = Log(self.queryset, self._scope(request), moment="moment")
        before, after = self._anchor(request, BEFORE), self._anchor(request, AFTER)
        self.page = (
            self.log.newer(self.list_per_page, after)
            if after is not None and before is None
            else self.log.older(self.list_per_page, before)
        )
        self.model_admin.complete_rows(self.page.rows)
        self.result_list = self.page.rows
        self.result_count = len(self.page.rows)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = False
        self.can_show_all = False
        self.multi_page = False

    def _anchor(self, request: HttpRequest, name: str) -> Position | None:
        text = request.GET.get(name, "")
        if not text:
            return None
        position = self.log.position(int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else None
        if position is None:
            raise IncorrectLookupParameters("There is no such row to go on from.")
        return position

    def _scope(self, request: HttpRequest) -> QuerySet[Any] | None:
        """The rows to look through when something is asked for that no index finds."""
        specs = [spec for spec in self.filter_specs if isinstance(spec, FieldFilter)]
        is_searched = self.query and not self.model_admin.search_is_indexed
        if not is_searched and all(spec.is_indexed or not spec.value() for spec in specs):
            return None
        rows = self.root_queryset
        for spec in specs:
            if spec.is_indexed:
                rows = spec.queryset(request, rows)
        return rows

    # ------------------------------------------------------------ for the template

    @property
    def older_query(self) -> str:
        """The address of the next page, towards older rows; blank at the end."""
        return self._going_on(BEFORE, self.page.older)

    @property
    def newer_query(self) -> str:
        return self._going_on(AFTER, self.page.newer)

    @property
    def newest_query(self) -> str:
        return self.get_query_string() if self.page.newer is not None else ""

    def _going_on(self, name: str, position: Position | None) -> str:
        return self.get_query_string({name: position.pk}) if position is not None else ""

    @property
    def window(self) -> str:
        return f"{WINDOW:,}"

    @property
    def is_narrowed(self) -> bool:
        """Whether anything is filtered or searched."""
        return bool(self.query or self.has_active_filters)

    @property
    def estimate(self) -> str:
        """About how many rows the table has, as the database's statistics say; blank when they do not know."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [self.opts.db_table])
            (rows,) = cursor.fetchone()
        return f"{rows:,}" if rows > 0 else ""


class LogAdmin(StaffAdmin):
    """The base of pages over a log, which nobody changes.

    Attributes:
        search_is_indexed: Whether an index finds what is searched for.
    """

    search_is_indexed: ClassVar[bool] = False

    change_list_template = "admin/log_change_list.html"
    list_per_page = 100
    sortable_by = ()
    actions = None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LogChangeList

    def moment(self, filters: Sequence[FieldFilter]) -> Combinable:
        """What the list is ordered by: `created_at`, as the index has it that yields what these filters let pass."""
        return F("created_at")

    def complete_rows(self, rows: list[Any]) -> None:
        """Read what the rows of one page show of other tables, for all of them at once."""
