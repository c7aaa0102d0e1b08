"""The same work on many things, by several threads with a database connection each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

from django.db import connections

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    work: Callable[[T], R], things: Iterator[T], *, workers: int, stopped: threading.Event
) -> Generator[R, None, None]:
    """Yield what the work returns for each thing, as it comes.

    Closing the iterator lets the work that is under way come to its end, and begins no other.

    Args:
        work: called in one of the threads.
        things: advanced in one thread at a time.
        workers: the number of threads.
        stopped: when it is set, nothing else is begun.
    """
    results: SimpleQueue[R | None] = SimpleQueue()
    lock = threading.Lock()

    def take_next() -> T | None:
        with lock:
            return None if stopped.is_set() else next(things, None)

    def run() -> None:
        try:
            while (thing := take_next()) is not None:
                results.put(work(thing))
        finally:
            results.put(None)
            connections.close_all()

    with ThreadPoolExecutor(workers, "google-link") as pool:
        # A router may go by the context: by the tenant for whom a command runs, say.
        jobs = [pool.submit(copy_context().run, run) for _ in range(workers)]
        try:
            for _ in jobs:
                yield from iter(results.get, None)
        finally:
            stopped.set()
    for job in jobs:
        job.result()
