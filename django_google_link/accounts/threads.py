"""Database work on threads that Django did not start: gRPC's, and those of event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

from django.db import connections

Result = TypeVar("Result")


def run_outside_event_loop(work: Callable[[], Result]) -> Result:
    """Do something that asks the database, and wait for it.

    Where an event loop runs in this thread, Django's database may not be asked: then it is done in
    a thread of its own, which has the context of this one, and connections of its own.

    Args:
        work: what is to be done.
    """
    if not is_in_event_loop():
        return work()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, _close_afterwards, work).result()


@contextmanager
def connections_as_before() -> Iterator[None]:
    """Close the database connections that are opened meanwhile in this thread.

    Those of a request are Django's to close; those of other threads nobody's.
    """
    before = {one.alias for one in connections.all(initialized_only=True) if one.connection}
    try:
        yield
    finally:
        for one in connections.all(initialized_only=True):
            if one.connection and one.alias not in before:
                one.close()


def _close_afterwards(work: Callable[[], Result]) -> Result:
    with connections_as_before():
        return work()


def is_in_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
