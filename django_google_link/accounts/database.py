"""Database clock, bulk statements, chunks and backoff, independent of the database used."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import uniform
from typing import Any

from django.db import connections
from django.db.models import ExpressionWrapper, Model, QuerySet, Value
from django.db.models.functions import Now

from ..conf import clock
from ..conf.settings import conf
from ..models import MomentField

#: The most keys in one statement.
_MOST_KEYS = 1000


def database_now(rows: QuerySet[Any]) -> Any:
    """Return the current time by the clock that all workers share, for use in a query.

    SQLite runs on this machine, and its clock does not write times in the format that Django
    stores.
    """
    if connections[rows.db].vendor == "sqlite":
        return clock.now()
    return _UTCNow() + clock.moved_by() if clock.moved_by() else _UTCNow()


def database_now_expression(rows: QuerySet[Any]) -> Any:
    """Return the current time as :func:`database_now` does, as an annotation."""
    now = database_now(rows)
    kind = Value if isinstance(now, datetime) else ExpressionWrapper
    return kind(now, output_field=MomentField())


class _UTCNow(Now):
    """The current time in UTC, also on MySQL, whose ``CURRENT_TIMESTAMP`` is in local time."""

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


def insert_selected(model: type[Model], values: Mapping[str, Any], rows: QuerySet[Any]) -> None:
    """Insert rows computed from another table's rows, within the database.

    Reading 50,000 rows and writing them again takes twice as long as deleting them.

    Args:
        model: the model of the table to insert into.
        values: for each column, an expression on the selected rows.
        rows: the rows to select from.
    """
    quote = connections[rows.db].ops.quote_name
    select = rows.order_by().values_list(*values.values()).query
    sql, parameters = select.get_compiler(rows.db).as_sql()
    table, columns = quote(model._meta.db_table), ", ".join(map(quote, values))
    with connections[rows.db].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) {sql}", parameters)


def backoff(failures: int, *, first: int, longest: int) -> timedelta:
    """Return how long to wait after consecutive failures: doubled each time, with 20 % jitter.

    Args:
        failures: the number of failures before this one.
        first: the wait after the first failure, in seconds.
        longest: the longest wait, in seconds.
    """
    seconds = min(first * 2 ** min(failures, 30), longest)
    return timedelta(seconds=seconds * uniform(0.8, 1.2))  # noqa: S311  jitter, not a secret


def lease_duration() -> timedelta:
    """Return how long one worker may claim a row: longer than its request can take."""
    return timedelta(seconds=conf.http_timeout + 5)


def sort_keys(keys: Iterable[uuid.UUID], *, using: str) -> list[uuid.UUID]:
    """Return primary keys in the order in which the database sorts them.

    MariaDB compares the groups of a UUID from the last to the first, other databases from the
    first to the last: https://mariadb.com/kb/en/uuid-data-type/.
    """
    connection = connections[using]
    if connection.vendor != "mysql" or not connection.features.has_native_uuid_field:
        return sorted(keys)
    return sorted(keys, key=lambda key: str(key).split("-")[::-1])


def split_keys(keys: list[Any]) -> Iterator[list[Any]]:
    """Yield primary keys in chunks that fit into one statement."""
    return (keys[start : start + _MOST_KEYS] for start in range(0, len(keys), _MOST_KEYS))


def in_chunks(rows: QuerySet[Any], *, size: int) -> Iterator[list[Any]]:
    """Yield rows in chunks, ordered by primary key.

    Each chunk is queried when it is requested, possibly by another thread, and only once.
    """
    chunk = list(rows.order_by("pk")[:size])
    while chunk:
        yield chunk
        chunk = list(rows.filter(pk__gt=_read_key(chunk)).order_by("pk")[:size])


def _read_key(chunk: Sequence[Any]) -> Any:
    last = chunk[-1]
    return last["pk"] if isinstance(last, dict) else last.pk
