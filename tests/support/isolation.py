"""Connections with another isolation level than Django's default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def isolated(level: str) -> Iterator[None]:
    """Set the isolation level for transactions of this thread's connection."""
    connection.ensure_connection()
    if connection.vendor == "sqlite":  # SQLite has no other.
        yield
        return
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        # As Django's option does: the driver sets the level when a transaction begins.
        connection.connection.isolation_level = IsolationLevel[level.replace(" ", "_")]
    else:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
    try:
        yield
    finally:
        connection.close()
