"""Sessions with another isolation level than Django's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_STATEMENTS = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL",
    "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL",
}


@contextmanager
def isolated(level: str) -> Iterator[None]:
    """Let the transactions of this thread's connection have this isolation level."""
    with connection.cursor() as cursor:
        cursor.execute(f"{_STATEMENTS[connection.vendor]} {level}")
    try:
        yield
    finally:
        connection.close()
