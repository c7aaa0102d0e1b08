"""What the databases have in common, and where they differ: clock, statements, chunks, backoff."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import uniform
from typing import Any

from django.db import connections
from django.db.models import ExpressionWrapper, Model, QuerySet, Value
from django.db.models.functions import Now

from ..conf import clock
from ..conf.settings import conf
from ..models import MomentField

#: So many keys stand in one statement.
_MOST_KEYS = 1000


def database_now(rows: QuerySet[Any]) -> Any:
    """Return the present by the clock that all workers share, for a query on these rows.

    SQLite is on this machine, and keeps times as text which its own clock writes otherwise.
    """
    if connections[rows.db].vendor == "sqlite":
        return clock.now()
    return _UTCNow() + clock.moved_by() if clock.moved_by() else _UTCNow()


def database_now_expression(rows: QuerySet[Any]) -> Any:
    """Return the present as :func:`database_now` does, to be selected beside the rows."""
    now = database_now(rows)
    kind = Value if isinstance(now, datetime) else ExpressionWrapper
    return kind(now, output_field=MomentField())


class _UTCNow(Now):
    """The present, in UTC on MySQL as well, whose ``CURRENT_TIMESTAMP`` knows summer time."""

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


def insert_selected(model: type[Model], values: Mapping[str, Any], rows: QuerySet[Any]) -> None:
    """Have the database write rows of a table that it makes of the rows of another one.

    To read fifty thousand and to write them again takes twice as long as to delete them.

    Args:
        model: of the table that is written.
        values: an expression on the rows for each column.
        rows: that are read.
    """
    quote = connections[rows.db].ops.quote_name
    select = rows.order_by().values_list(*values.values()).query
    sql, parameters = select.get_compiler(rows.db).as_sql()
    table, columns = quote(model._meta.db_table), ", ".join(map(quote, values))
    with connections[rows.db].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) {sql}", parameters)


def backoff(failures: int, *, first: int, longest: int) -> timedelta:
    """Return how long to wait after so many failures in a row.

    Args:
        failures: before this one.
        first: seconds after the first failure; doubled at each other, give or take a fifth.
        longest: seconds at the most.
    """
    seconds = min(first * 2 ** min(failures, 30), longest)
    return timedelta(seconds=seconds * uniform(0.8, 1.2))  # noqa: S311  no secret


def lease_duration() -> timedelta:
    """Return how long one worker has a row to itself: longer than its request can take."""
    return timedelta(seconds=conf.http_timeout + 5)


def split_keys(keys: list[Any]) -> Iterator[list[Any]]:
    """Yield primary keys, as many at a time as a statement may well have."""
    return (keys[start : start + _MOST_KEYS] for start in range(0, len(keys), _MOST_KEYS))


def in_chunks(rows: QuerySet[Any], *, size: int) -> Iterator[list[Any]]:
    """Yield the rows in the order of their keys, some at a time.

    Each chunk is read when it is asked for, perhaps by another thread, and only once.
    """
    chunk = list(rows.order_by("pk")[:size])
    while chunk:
        yield chunk
        chunk = list(rows.filter(pk__gt=_read_key(chunk)).order_by("pk")[:size])


def _read_key(chunk: Sequence[Any]) -> Any:
    last = chunk[-1]
    return last["pk"] if isinstance(last, dict) else last.pk
