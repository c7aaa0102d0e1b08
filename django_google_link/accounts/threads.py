"""Database work in threads that Django did not start: gRPC's, and those of event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import TypeVar

from django.db import connections

from .tenants import Tenants, acting_for, read_tenants

Result = TypeVar("Result")


def run_outside_event_loop(work: Callable[[], Result]) -> Result:
    """Run a function that queries the database, and wait for it.

    Django forbids queries in a thread with a running event loop. There the function runs in a new
    thread, with this thread's context and its own connections to the same tenant.

    Args:
        work: the function.
    """
    if not is_in_event_loop():
        return work()
    result: Future[Result] = Future()
    run = partial(copy_context().run, _settle, result, work, read_tenants())
    thread = Thread(target=run, name="google-link-database", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # No thread can be started, or the interpreter is shutting down.
        _run_without_event_loop(run)
    return result.result()


@contextmanager
def connections_as_before() -> Iterator[None]:
    """Close the database connections that this thread opens within the block.

    Django closes those of a request, but no one closes those of other threads.
    """
    before = {one.alias for one in connections.all(initialized_only=True) if one.connection}
    try:
        yield
    finally:
        for one in connections.all(initialized_only=True):
            if one.connection and one.alias not in before:
                one.close()


def read_callers_tenants() -> Tenants:
    """Return the tenants of this thread's connections, for later use in other threads.

    The thread of an event loop does not use its own connections, which say nothing: database work
    started there runs in the request's thread, for the request's tenant.
    """
    return {} if is_in_event_loop() else read_tenants()


def _settle(result: Future[Result], work: Callable[[], Result], tenants: Tenants) -> None:
    try:
        with connections_as_before(), acting_for(tenants):
            value = work()
    except BaseException as error:
        result.set_exception(error)
    else:
        result.set_result(value)


def _run_without_event_loop(run: Callable[[], None]) -> None:
    """Run a function in this thread as if no event loop were running; the loop is blocked then."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        run()
    finally:
        asyncio._set_running_loop(loop)


def is_in_event_loop() -> bool:
    """Return whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
