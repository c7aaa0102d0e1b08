"""Running work in several threads, each with its own database connection."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

from django.db import connections

from ..accounts.tenants import acting_for, is_seen_alike, read_tenants

logger = logging.getLogger("django_google_link")

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    work: Callable[[T], R], things: Iterator[T], *, workers: int, stopped: threading.Event
) -> Generator[R, None, None]:
    """Yield the result of the work for each item, as it becomes available.

    Closing the iterator finishes the work in progress, and starts no more.

    The threads run in the caller's context, and for the tenant of the caller's connections. If
    their connections would still see different rows, the caller's thread does the work.

    Args:
        work: called with each item, in one of the threads.
        things: the items; advanced in the caller's thread.
        workers: the number of threads.
        stopped: no more work is started once it is set.
    """
    if workers > 1 and is_seen_alike(_run_in_thread):
        return _work_in_threads(work, things, workers=workers, stopped=stopped)
    if workers > 1:
        logger.info(
            "Only one thread is used: connections of other threads would not see the same rows."
        )
    return _work_here(work, things, stopped=stopped)


def _work_here(
    work: Callable[[T], R], things: Iterator[T], *, stopped: threading.Event
) -> Generator[R, None, None]:
    while not stopped.is_set() and (thing := next(things, None)) is not None:
        yield work(thing)


def _work_in_threads(
    work: Callable[[T], R], things: Iterator[T], *, workers: int, stopped: threading.Event
) -> Generator[R, None, None]:
    tasks: SimpleQueue[T | None] = SimpleQueue()
    results: SimpleQueue[R | None] = SimpleQueue()

    def run() -> None:
        try:
            while (thing := tasks.get()) is not None and not stopped.is_set():
                results.put(work(thing))
        finally:
            results.put(None)

    with ThreadPoolExecutor(workers, "google-link") as pool:
        try:
            jobs = [pool.submit(_bind_to_caller(run)) for _ in range(workers)]
            yield from _feed(tasks, results, things, workers=workers, stopped=stopped)
        finally:
            stopped.set()
            # Also if not all of them could be started.
            for _ in range(workers):
                tasks.put(None)
    for job in jobs:
        job.result()


def _feed(
    tasks: SimpleQueue[T | None],
    results: SimpleQueue[R | None],
    things: Iterator[T],
    *,
    workers: int,
    stopped: threading.Event,
) -> Iterator[R]:
    """Hand the items to idle threads, and yield the results until all threads have ended."""
    running, under_way = workers, 0
    for thing in things:
        tasks.put(thing)
        under_way += 1
        if under_way == workers:
            result = results.get()
            if result is None:  # An error ended a thread: stop.
                running -= 1
                break
            under_way -= 1
            yield result
        if stopped.is_set():
            break
    for _ in range(running):
        tasks.put(None)
    for _ in range(running):
        yield from iter(results.get, None)


def _run_in_thread(work: Callable[[], R]) -> R:
    with ThreadPoolExecutor(1, "google-link") as pool:
        return pool.submit(_bind_to_caller(work)).result()


def _bind_to_caller(work: Callable[[], R]) -> Callable[[], R]:
    """Bind work to the caller's context and tenants, to run it in another thread."""
    # A router may depend on the context, as may code that prepares connections.
    context, tenants = copy_context(), read_tenants()

    def run() -> R:
        try:
            with acting_for(tenants):
                return work()
        finally:
            connections.close_all()

    return lambda: context.run(run)
