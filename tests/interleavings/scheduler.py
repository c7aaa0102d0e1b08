"""Two workers that stop before each of their steps, and continue when they are told to.

A worker is a thread with a PostgreSQL connection. It stops before each statement that the
other one could notice, before COMMIT and ROLLBACK, and before each request to Google. One of
them runs at a time. The other one runs when ``pg_blocking_pids`` shows that the first waits
for a lock; also when the first sleeps, since it then waits for the other one.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import Any

from django.db import connection, connections

#: Seconds between two checks of whether a worker waits for a lock.
_LOOK = 0.002
#: Checks after which a worker that reports nothing is stuck: half a minute.
_MOST_LOOKS = 15_000
#: Turns after which two workers are taken to wait for each other forever.
_MOST_MOVES = 2_000


class Stuck(Exception):  # noqa: N818  no error of the package
    """A worker neither continues nor waits for a lock."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a worker was about to do when it stopped.

    Attributes:
        worker: 0 or 1.
        label: the statement, or the request.
        may_switch: whether the other worker could run instead.
    """

    worker: int
    label: str
    may_switch: bool


@dataclass(kw_only=True)
class Run:
    """The steps and results of one schedule.

    Attributes:
        before: the steps until the first switch.
        after: the steps after it.
        results: what the operations returned.
        errors: what they raised.
        deadlocks: how many deadlocks PostgreSQL had to resolve.
    """

    before: list[Step] = field(default_factory=list)
    after: list[Step] = field(default_factory=list)
    results: list[Any] = field(default_factory=lambda: [None, None])
    errors: list[BaseException | None] = field(default_factory=lambda: [None, None])
    deadlocks: int = 0

    def describe(self) -> list[str]:
        """Return each step, and how both operations ended."""
        steps = [f"{step.worker + 1}: {step.label}" for step in (*self.before, *self.after)]
        ends = zip(self.results, self.errors, strict=True)
        return steps + [
            f"{number}: {f'raised {error!r}' if error else f'returned {result!r}'}"
            for number, (result, error) in enumerate(ends, start=1)
        ]


class Worker(threading.Thread):
    """A thread that runs the operations it is given, step by step.

    Args:
        number: 0 or 1.
        events: receives a report of each stop, and its reason.
        tables: the other worker cannot notice a statement that names none of them.
    """

    def __init__(self, number: int, events: Queue[Any], tables: tuple[str, ...]) -> None:
        super().__init__(name=f"worker {number + 1}", daemon=True)
        self.number = number
        self.turn = threading.Semaphore(0)
        self.is_at_statement = False
        self.is_waiting = False
        self.is_done = True
        self.pid = 0
        self._events = events
        self._tables = tables
        self._orders: Queue[Callable[[], Any] | None] = Queue()

    def order(self, operation: Callable[[], Any] | None) -> None:
        """Give it an operation to begin when it gets the turn; ``None`` ends the thread."""
        self.is_done = self.is_waiting = False
        self._orders.put(operation)

    def stop(self, kind: str, label: str = "") -> None:
        """Report a stop, and wait for the next turn; called by the thread that works."""
        self._events.put((self, kind, label))
        self.turn.acquire()

    def run(self) -> None:
        """Run the operations that it is given, until ``None``."""
        own: Any = connections["default"]
        own.ensure_connection()
        own._commit = self._stopping("COMMIT", own._commit)
        own._rollback = self._stopping("ROLLBACK", own._rollback)
        try:
            with own.execute_wrapper(self._execute):
                while (operation := self._orders.get()) is not None:
                    self.pid = own.connection.info.backend_pid
                    self.turn.acquire()
                    self._do(operation)
        finally:
            own.close()

    def _do(self, operation: Callable[[], Any]) -> None:
        result = error = None
        try:
            result = operation()
        except BaseException as raised:
            error = raised
        self._events.put((self, "done", (result, error)))

    def _execute(self, execute: Any, sql: str, *arguments: Any) -> Any:
        if not self._is_noticed(sql):
            return execute(sql, *arguments)
        return self._take_step(_shorten(sql), lambda: execute(sql, *arguments))

    def _stopping(self, label: str, act: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: self._take_step(label, act)

    def _take_step(self, label: str, act: Callable[[], Any]) -> Any:
        if threading.current_thread() is not self:
            return act()
        self.stop("step", label)
        # A retry may use a new connection, and so another PostgreSQL process.
        self.pid = connections["default"].connection.info.backend_pid
        self.is_at_statement = True
        try:
            return act()
        finally:
            self.is_at_statement = False
            if self.is_waiting:  # The other one got the turn meanwhile.
                self.stop("released")

    def _is_noticed(self, sql: str) -> bool:
        """Return whether a statement could affect the other worker, or be affected by it.

        Creating or releasing a savepoint neither takes nor releases locks.
        """
        return sql.startswith("ROLLBACK TO") or any(table in sql for table in self._tables)


class Scheduler:
    """Lets two workers take turns.

    Args:
        tables: the tables that the operations share.
    """

    def __init__(self, *, tables: tuple[str, ...]) -> None:
        self._events: Queue[Any] = Queue()
        self._workers = [Worker(number, self._events, tables) for number in (0, 1)]
        self._moving: Worker | None = None
        self._sleep = time.sleep
        for worker in self._workers:
            worker.start()

    def close(self) -> None:
        """End the workers; terminate the connection of a stuck one, which may hold locks."""
        for worker in self._workers:
            if worker.is_done:
                worker.order(None)
                worker.join(10)
                continue
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", [worker.pid])

    def hold(self, label: str) -> None:
        """Stop the running worker; called by the proxy's thread that has its request."""
        if self._moving:
            self._moving.stop("step", label)

    @contextmanager
    def _sleeping_by_turns(self) -> Iterator[None]:
        def sleep(seconds: float) -> None:
            worker = threading.current_thread()
            if isinstance(worker, Worker):
                worker.stop("sleep")
            else:
                self._sleep(seconds)

        time.sleep = sleep
        try:
            yield
        finally:
            time.sleep = self._sleep

    def run(
        self, operations: list[Callable[[], Any]], *, first: int, second: int | None = None
    ) -> Run:
        """Run both operations: worker 1 until the first switch, then the other one.

        Args:
            operations: one for each worker.
            first: the step of worker 1 before which the other one gets the turn, from 1.
            second: the step, counted from there on, before which they switch again.

        Raises:
            Stuck: when neither worker continues. They cannot be used afterwards.
        """
        run = Run()
        for worker, operation in zip(self._workers, operations, strict=True):
            worker.order(operation)
        with self._sleeping_by_turns():
            try:
                self._move_by_turns(run, first, second)
            finally:
                self._moving = None
        return run

    def _move_by_turns(self, run: Run, first: int, second: int | None) -> None:
        current = self._workers[0]
        has_switched = False
        for _ in range(_MOST_MOVES):
            kind, what, current = self._move(current, run)
            other = self._workers[1 - current.number]
            if kind == "done":
                current.is_done = True
                run.results[current.number], run.errors[current.number] = what
                if other.is_done:
                    return
                current = other
                self._await_release(other)
            elif kind == "blocked" or (kind == "sleep" and self._may_move(other)):
                current = other
            elif kind == "step":
                may_switch = self._may_move(other)
                steps = run.after if has_switched else run.before
                steps.append(Step(worker=current.number, label=what, may_switch=may_switch))
                if may_switch and len(steps) == (second if has_switched else first):
                    has_switched = True
                    current = other
        raise Stuck("They wait for one another for ever.")

    def _move(self, worker: Worker, run: Run) -> tuple[str, Any, Worker]:
        """Let a worker continue; return why it stopped, and which worker is to continue."""
        other = self._workers[1 - worker.number]
        worker.is_waiting = False
        self._moving = worker
        worker.turn.release()
        for _ in range(_MOST_LOOKS):
            try:
                who, kind, what = self._events.get(timeout=_LOOK)
            except Empty:
                if not (worker.is_at_statement and self._is_blocked(worker, other)):
                    continue
                worker.is_waiting = True
                if self._is_still_waiting(other):
                    run.deadlocks += 1
                    return "released", "", self._await_end_of_deadlock()
                return "blocked", "", worker
            if who is worker:
                return kind, what, worker
            other.is_waiting = False  # It got its lock, and has stopped again.
        raise Stuck(describe_stack(worker))

    def _may_move(self, worker: Worker) -> bool:
        return not (worker.is_done or self._is_still_waiting(worker))

    def _is_still_waiting(self, worker: Worker) -> bool:
        """Return whether a worker waits for a lock, once that is certain."""
        other = self._workers[1 - worker.number]
        for _ in range(_MOST_LOOKS):
            if not worker.is_waiting:
                return False
            try:
                self._events.get(timeout=_LOOK / 10)
                worker.is_waiting = False
            except Empty:
                if self._is_blocked(worker, other):
                    return True
        raise Stuck(describe_stack(worker))

    def _await_release(self, worker: Worker) -> None:
        for _ in range(_MOST_LOOKS):
            if not self._is_still_waiting(worker):
                return
        raise Stuck(describe_stack(worker))

    def _await_end_of_deadlock(self) -> Worker:
        """Return the worker whose statement has ended."""
        worker: Worker
        worker, _, _ = self._events.get(timeout=30)
        worker.is_waiting = False
        return worker

    def _is_blocked(self, worker: Worker, by: Worker) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s = ANY(pg_blocking_pids(%s))", [by.pid, worker.pid])
            return bool(cursor.fetchone()[0])


def _shorten(sql: str) -> str:
    """Return what a statement does, and to which table."""
    names = re.match(r'(\w+)[^"]*(?:.*? FROM )?"(\w+)"', sql)
    return " ".join(names.groups()) if names else sql


def describe_stack(worker: Worker) -> str:
    """Return the stack of a worker at this moment."""
    frame = sys._current_frames().get(worker.ident or 0)
    return f"{worker.name} does not go on:\n" + "".join(traceback.format_stack(frame)[-8:])
