"""Threads that share a piece of work."""

from __future__ import annotations

from contextvars import ContextVar
from threading import Event

from django_google_link.operations.parallel import in_parallel


def test_work_is_done_in_the_context_of_the_caller() -> None:
    """A router that goes by the tenant of the moment finds the same database in every thread."""
    tenant = ContextVar("tenant", default="default")
    tenant.set("blue")

    seen = in_parallel(lambda _: tenant.get(), iter(range(9)), workers=3, stopped=Event())

    assert list(seen) == ["blue"] * 9
