"""Queries whose statement is always the same but for some values.

Django makes the SQL of a query anew each time, and that takes longer than to run a small one. Of these it is made once
in each process; only the values are sent anew, and PostgreSQL keeps the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import psycopg
from django.db import NotSupportedError, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Model, QuerySet

# What Django does to a column's value after it was read.
_Converter = Callable[[Any, Any, Any], Any]


def columns_of(model: type[Model]) -> tuple[str, ...]:
    """All columns, as `from_db` takes them."""
    return tuple([field.attname for field in model._meta.concrete_fields])  # noqa: SLF001 - Django's documented API


def preparing_cursor() -> CursorWrapper:
    """A cursor for statements that come again and again: it sends values apart from the text, as Django's do not, so
    that a connection prepares what it has run five times. Behind PgBouncer nothing is prepared.
    """
    if connection.queries_logged:
        # Django logs what was sent, and that is to say the values too.
        return connection.cursor()
    connection.ensure_connection()
    # The stubs want another wrapper of Django's.
    return connection.make_cursor(cast("CursorWrapper", psycopg.Cursor(connection.connection)))


class FixedQuery:
    """A query that reads columns, by Django's own description of it."""

    def __init__(self, describe: Callable[..., QuerySet[Any, Any]], *examples: Any) -> None:
        """Nothing is read or made yet.

        Args:
            describe: Makes the query of as many values as there are examples: `values_list` of what is wanted.
            examples: Values of the right types, none of them twice nor elsewhere in the query.
        """
        self._describe: Final = describe
        self._examples: Final = examples
        self._made: tuple[str, tuple[Any, ...], list[tuple[int, Any, list[_Converter]]]] | None = None

    def rows(self, *values: Any) -> list[tuple[Any, ...]]:
        """What the query yields for these values. One query."""
        # Of two threads that both make it, both make the same.
        sql, parameters, converters = self._made or self._make()
        given = dict(zip(self._examples, values, strict=True))
        sent = [given.get(one, one) for one in parameters]
        try:
            rows = _fetched(sql, sent)
        except NotSupportedError:
            if connection.in_atomic_block:
                raise
            # A newer version has changed the type of a column since this connection prepared the query.
            with connection.cursor() as cursor:
                cursor.execute("DEALLOCATE ALL")
            rows = _fetched(sql, sent)
        return [_converted(row, converters) for row in rows] if converters else rows

    def _make(self) -> tuple[str, tuple[Any, ...], list[tuple[int, Any, list[_Converter]]]]:
        compiler = self._describe(*self._examples).query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        if any(example not in parameters for example in self._examples):
            raise ValueError("a value of a fixed query is not among its parameters")
        found = compiler.get_converters([selected for selected, _, _ in compiler.select])
        converters = [(place, expression, using) for place, (using, expression) in found.items()]
        self._made = (sql, tuple(parameters), converters)
        return self._made


def _fetched(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with preparing_cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _converted(row: Sequence[Any], converters: list[tuple[int, Any, list[_Converter]]]) -> tuple[Any, ...]:
    values = [*row]
    for place, expression, using in converters:
        for convert in using:
            values[place] = convert(values[place], expression, connection)
    return tuple(values)
