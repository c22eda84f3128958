"""How many rows the database had in its hands to answer: what a query costs, whatever its answer's size."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext


class Examined:
    """The queries of a block, run once more to see the rows of `table` that each of them looked at."""

    def __init__(self, captured: CaptureQueriesContext, table: str) -> None:
        self.queries = [str(query["sql"]) for query in captured.captured_queries]
        self.rows = sum(self._rows(query) for query in self.queries if table in query)

    def _rows(self, query: str) -> int:
        with connection.cursor() as cursor:
            # Without parameters, so that no percent sign in it is taken for one.
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
            (plans,) = cursor.fetchone()
        return self._of_plan(plans[0]["Plan"])

    def _of_plan(self, plan: dict[str, Any]) -> int:
        # A bitmap's index scan finds the same rows as the heap scan above it.
        is_scan = plan["Node Type"].endswith("Scan") and plan["Node Type"] != "Bitmap Index Scan"
        own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if is_scan else 0
        return int(own * plan["Actual Loops"]) + sum(self._of_plan(inner) for inner in plan.get("Plans", []))
