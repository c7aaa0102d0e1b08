"""Database work on threads that Django did not start: gRPC's, and those of event loops."""

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
    """Do something that asks the database, and wait for it.

    Where an event loop runs in this thread, Django's database may not be asked: then it is done in
    a thread of its own, which has the context of this one, and connections of its own for the same
    tenant.

    Args:
        work: what is to be done.
    """
    if not is_in_event_loop():
        return work()
    result: Future[Result] = Future()
    run = partial(copy_context().run, _settle, result, work, read_tenants())
    thread = Thread(target=run, name="google-link-database", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # There is no thread to be had, or the interpreter is ending.
        _run_without_event_loop(run)
    return result.result()


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


def read_callers_tenants() -> Tenants:
    """Return the tenants of this thread's connections, to be used in other threads later.

    An event loop's thread does not work with its connections, and they say nothing: what is done
    from there is done in the thread, and for the tenant, of the request.
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
    """Do something in this thread as if no event loop ran here, which waits for it anyway."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        run()
    finally:
        asyncio._set_running_loop(loop)


def is_in_event_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
