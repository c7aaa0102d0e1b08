"""Other workers, which act at the worst moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections

from django_google_link.testing import FakeGoogle


@contextmanager
def just_before(*sql_parts: str, act: Callable[[], Any]) -> Iterator[None]:
    """Let another worker act just before a statement.

    Args:
        sql_parts: parts of consecutive statements; the act precedes the last one.
        act: what the other worker does.
    """
    parts = list(sql_parts)

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if parts and parts[0] in sql.replace("`", '"'):  # MySQL's quotes
            del parts[0]
            if not parts:
                act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield
    assert not parts, f"There was no statement with {parts[0]}."


@contextmanager
def during_refresh(google: FakeGoogle, act: Callable[[], Any]) -> Iterator[None]:
    """Let another worker act during the next token request."""
    acted: list[bool] = []

    def now() -> float:
        if not acted:
            acted.append(False)
            try:
                act()
                acted[0] = True
            finally:
                connections.close_all()
        return time.time()

    google.now = now
    yield
    assert acted == [True]
