"""Workers that are stopped at a statement, observed while they wait, or hold a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections, transaction
from django.db.models import QuerySet

from tests.support.times import until

_LONGEST = 30  # seconds

_ASKS_FOR_ID = {
    "postgresql": "SELECT pg_backend_pid()",
    "mysql": "SELECT CONNECTION_ID()",
    "sqlite": "SELECT 0",
}
_ASKS_WHETHER_IT_WAITS = {
    "postgresql": "SELECT cardinality(pg_blocking_pids(%s))",
    "mysql": (
        "SELECT COUNT(*) FROM information_schema.innodb_trx "
        "WHERE trx_mysql_thread_id = %s AND trx_state = 'LOCK WAIT'"
    ),
}


class Racer:
    """A thread with its own connection, which may be stopped before one of its statements.

    Args:
        act: what the thread runs.
        stops_before: parts of the statement, with PostgreSQL's quotes; by default it is not
            stopped.
    """

    def __init__(self, act: Callable[[], Any], *, stops_before: tuple[str, ...] = ()) -> None:
        self._act = act
        self._parts = list(stops_before)
        self._stopped, self._may_go_on = threading.Event(), threading.Event()
        self._id = 0
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[Any] = self._pool.submit(self._run)

    def wait_until_stopped(self) -> None:
        """Wait until it has reached the statement."""
        until(lambda: self._stopped.is_set() or self._future.done(), _LONGEST)
        assert self._stopped.is_set(), self._future.result()

    def wait_until_done_or_waiting(self) -> None:
        """Wait until it has stopped or finished, or waits for a lock of another transaction."""
        until(lambda: self._stopped.is_set() or self._future.done() or self._waits(), _LONGEST)

    def result(self) -> Any:
        """Resume it, and return its result or raise its error."""
        self._may_go_on.set()
        try:
            return self._future.result(_LONGEST)
        finally:
            self._pool.shutdown()

    def _run(self) -> Any:
        try:
            with connection.cursor() as cursor:
                cursor.execute(_ASKS_FOR_ID[connection.vendor])
                self._id = int(cursor.fetchone()[0])
            with connection.execute_wrapper(self._watch):
                return self._act()
        finally:
            connections.close_all()

    def _watch(self, execute: Any, sql: str, *arguments: Any) -> Any:
        plain = sql.replace("`", '"')
        if self._parts and not self._stopped.is_set() and all(x in plain for x in self._parts):
            self._stopped.set()
            assert self._may_go_on.wait(_LONGEST)
        return execute(sql, *arguments)

    def _waits(self) -> bool:
        if connection.vendor == "mysql":
            time.sleep(0.15)  # A query within 0.1 s would return the same as before.
        with connection.cursor() as cursor:
            cursor.execute(_ASKS_WHETHER_IT_WAITS[connection.vendor], [self._id])
            return bool(cursor.fetchone()[0])


@contextmanager
def locked_elsewhere(rows: QuerySet[Any]) -> Iterator[None]:
    """Let another transaction have locked these rows, for twenty seconds at most.

    Raises:
        AssertionError: when that was over at the end: somebody has waited for it.
    """
    is_taken, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                assert list(rows.all().select_for_update())
                is_taken.set()
                may_end.wait(20)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert is_taken.wait(20)
        try:
            yield
            assert not holding.done()
        finally:
            may_end.set()
        holding.result()
