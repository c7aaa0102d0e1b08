"""The transactions that Django opens around a view: ``ATOMIC_REQUESTS``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest


def find_transactions(request: HttpRequest) -> list[BaseDatabaseWrapper]:
    """Return the connections on which Django has opened a transaction around this view.

    Empty if Django has not called the view itself. Exempt views are ignored, since a transaction
    around them is a test's.
    """
    match = request.resolver_match
    if match is None:
        return []
    exempt = getattr(match.func, "_non_atomic_requests", ())
    return [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.settings_dict["ATOMIC_REQUESTS"]
        and connection.in_atomic_block
        and connection.alias not in exempt
    ]


def roll_back(transactions: Sequence[BaseDatabaseWrapper]) -> None:
    """Make transactions roll back, although the view returns a response."""
    for connection in transactions:
        connection.set_rollback(True)


@contextmanager
def reading_allowed(transactions: Sequence[BaseDatabaseWrapper]) -> Iterator[None]:
    """Allow queries in transactions that are marked for rollback."""
    doomed = [connection for connection in transactions if connection.needs_rollback]
    for connection in doomed:
        connection.set_rollback(False)
    try:
        yield
    finally:
        roll_back(doomed)
