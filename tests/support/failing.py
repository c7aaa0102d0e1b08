"""Databases in which a statement fails at the worst moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections

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


class _Line:
    """A connection that is lost before it confirms what it has written."""

    def __init__(
        self, connection: Any, words: tuple[str, ...], *, is_committed: bool, refused: str | None
    ) -> None:
        self._connection = connection
        self._words = words
        self._is_committed = is_committed
        self._refused = refused
        self._commit = connection.commit
        self._is_due = self._is_lost = False

    def execute(self, execute: Any, sql: str, *args: Any) -> Any:
        """Execute a statement; lose the connection after the one that was waited for."""
        if self._is_lost and self._refused is not None and self._refused in sql:
            raise OperationalError("could not connect to server")
        result = execute(sql, *args)
        self._is_due = self._is_due or all(word in sql for word in self._words)
        if not self._connection.in_atomic_block:
            self._lose()
        return result

    def commit(self) -> None:
        """Commit, if it is committed, and lose the connection."""
        if self._is_committed or self._is_lost or not self._is_due:
            self._commit()
        self._lose()

    def _lose(self) -> None:
        if self._is_due and not self._is_lost:
            self._is_lost = True
            raise OperationalError("server closed the connection unexpectedly")


@contextmanager
def unconfirmed(
    *words: str,
    is_committed: bool = True,
    refused: str | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> Iterator[None]:
    """Lose the connection when what a statement has written would be confirmed.

    Args:
        words: of the statement.
        is_committed: whether it takes effect nevertheless.
        refused: a word of the statements that fail from then on; empty for all.
        using: the database alias.
    """
    wrapper: Any = connections[using]
    line = _Line(wrapper, words, is_committed=is_committed, refused=refused)
    with pytest.MonkeyPatch.context() as patch, wrapper.execute_wrapper(line.execute):
        patch.setattr(wrapper, "commit", line.commit)
        yield


def lost_race() -> OperationalError:
    """Return the error that Django raises for a serialization failure of PostgreSQL."""
    error = OperationalError("deadlock detected")
    error.__cause__ = _Deadlock()
    return error


class _Deadlock(Exception):  # noqa: N818  psycopg's own is called DeadlockDetected
    sqlstate = "40P01"
