"""Sessions with another isolation level than Django's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def isolated(level: str) -> Iterator[None]:
    """Let the transactions of this thread's connection have this isolation level."""
    connection.ensure_connection()
    if connection.vendor == "sqlite":  # It has no other.
        yield
        return
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        # As Django does with its option: the driver names it where a transaction begins.
        connection.connection.isolation_level = IsolationLevel[level.replace(" ", "_")]
    else:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
    try:
        yield
    finally:
        connection.close()
