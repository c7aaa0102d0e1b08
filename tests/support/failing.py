"""Databases in which a statement fails at the worst moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection

FOR_EVER = 10**6


class Failing:
    """Raises an error in place of some statements, counted from its activation.

    Args:
        error: the error to raise.
        first: the number of the first statement that fails, from 1.
        count: how many consecutive statements fail.
    """

    def __init__(self, error: BaseException, *, first: int, count: int) -> None:
        self._error = error
        self._first = first
        self._count = count
        self._seen = 0

    @property
    def has_failed(self) -> bool:
        """Whether the first failing statement was reached."""
        return self._seen >= self._first

    def __call__(self, execute: Any, *args: Any) -> Any:
        self._seen += 1
        if self._first <= self._seen < self._first + self._count:
            raise self._error
        return execute(*args)


@contextmanager
def failing(error: BaseException, *, first: int = 1, count: int = 1) -> Iterator[Failing]:
    """Have statements of this thread fail."""
    wrapper = Failing(error, first=first, count=count)
    with connection.execute_wrapper(wrapper):
        yield wrapper


@contextmanager
def refusing(error: BaseException, *words: str, count: int = FOR_EVER) -> Iterator[None]:
    """Have the first statements of this thread that contain all of these words fail."""
    left = iter(range(count))

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if all(word in sql for word in words) and next(left, None) is not None:
            raise error
        return execute(sql, *args)

    with connection.execute_wrapper(refuse):
        yield


def lost_race() -> OperationalError:
    """Return the error that Django raises for a serialization failure of PostgreSQL."""
    error = OperationalError("deadlock detected")
    error.__cause__ = _Deadlock()
    return error


class _Deadlock(Exception):  # noqa: N818  psycopg's own is called DeadlockDetected
    sqlstate = "40P01"
