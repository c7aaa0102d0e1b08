"""Coordination of revoking a grant with linking the same account again.

At Google a revocation ends the whole grant with all its tokens. A revocation in progress while the
user gives consent again also ends the new grant, before or after it is stored here. Therefore the
revoking worker announces the revocation first, and then looks for active links on the grant; the
linking worker stores the link first, and then looks for announcements. At least one of them sees
the other: the revoking worker stops, or the linking worker waits until the revocation is over and
checks whether the new grant is still valid.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, router
from django.db.models import Q, QuerySet

from ..conf.clients import Issued, is_google_issuer
from ..models import EndedGrant
from .database import database_now, lease_duration
from .transactions import run_alone, run_in_transaction

_PAUSE = 0.05  # seconds
#: Tolerance for the time that passes before the database reads its clock.
_SLACK = timedelta(seconds=0.1)
#: Longer than any exchange of an authorization code takes.
_LONGEST_AGE = timedelta(hours=1)


@contextmanager
def announced_end(issued: Issued, *, sub: str, using: str) -> Iterator[None]:
    """Announce, for the duration of this block, that a grant is being revoked.

    Args:
        issued: the issuer and client of the grant.
        sub: the subject identifier of the account; empty if unknown.
        using: the database alias.

    Raises:
        DatabaseError: when the announcement cannot be stored. Nothing may be revoked then.
    """
    if not sub or not is_google_issuer(issued.issuer):
        yield  # Not Google: each token has its own grant. No sub: it could not be found.
        return
    rows = EndedGrant.objects.using(using)
    row = run_alone(
        lambda: rows.create(
            digest=digest_grant(issued.issuer, sub), begun_at=database_now(rows.all())
        ),
        using=using,
    )
    try:
        yield
    finally:
        # If this fails, the announcement expires by itself.
        with suppress(DatabaseError, InterfaceError):
            over = rows.filter(pk=row.pk)
            run_alone(lambda: over.update(finished_at=database_now(over)), using=using)


def note_moment() -> float:
    """Return the current moment, for :func:`has_ended_since`: call it before requesting a grant."""
    return time.monotonic()


def has_ended_since(issued: Issued, *, sub: str, started: float) -> bool:
    """Return whether an account's grant may have been revoked since; wait for one in progress.

    Args:
        issued: the issuer and client of the grant.
        sub: the subject identifier of the account.
        started: the return value of :func:`note_moment`.
    """
    if not is_google_issuer(issued.issuer):
        return False
    rows = _query_ended().filter(digest=digest_grant(issued.issuer, sub))
    deadline = time.monotonic() + lease_duration().total_seconds()
    has_ended = False
    while time.monotonic() < deadline:
        ended = run_alone(lambda: _list_since(rows, started), using=rows.db)
        has_ended = has_ended or bool(ended)
        if all(ended):
            break
        time.sleep(_PAUSE)
    return has_ended


def delete_old_ends() -> int:
    """Delete announcements too old to matter to any exchange; return their number."""
    rows = _query_ended()
    old = rows.filter(begun_at__lt=database_now(rows) - _LONGEST_AGE)
    return run_in_transaction(lambda: old.delete()[0], using=rows.db)


def _list_since(rows: QuerySet[EndedGrant], started: float) -> list[Any]:
    """Return when each revocation not over by then finished; ``None`` for one in progress."""
    now, elapsed = database_now(rows), timedelta(seconds=time.monotonic() - started)
    # An older one, of up to two requests, was left by a worker that has died.
    is_under_way = Q(finished_at=None, begun_at__gt=now - 2 * lease_duration())
    ended = rows.filter(is_under_way | Q(finished_at__gt=now - (elapsed + _SLACK)))
    return list(ended.values_list("finished_at", flat=True))


def digest_grant(issuer: str, sub: str) -> str:
    """Return the digest by which the announcements of a grant are found."""
    return hashlib.sha256(f"{issuer} {sub}".encode()).hexdigest()


def _query_ended() -> QuerySet[EndedGrant]:
    return EndedGrant.objects.using(router.db_for_write(EndedGrant))
