"""Grants that are being ended at Google while somebody links the same account once more.

At Google a revocation ends the whole grant, with every token of it. One that is on its way when a
user comes back with a new consent ends that as well, before or after it is stored here. So whoever
revokes writes that down, and only then looks for links that live on the grant; whoever links stores
the link, and only then looks for revocations. One of them sees the other: the one who revokes lets
it be, or the one who links waits for its end and asks Google whether the new grant has outlived it.
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
#: Between the moment that is meant and the one at which the database reads its clock.
_SLACK = timedelta(seconds=0.1)
#: Nobody exchanges a code for so long.
_LONGEST_AGE = timedelta(hours=1)


@contextmanager
def announced_end(issued: Issued, *, sub: str, using: str) -> Iterator[None]:
    """Let whoever links the account see that its grant is being ended, until that is over.

    Args:
        issued: to whom the tokens of the grant were issued.
        sub: whose grant it is; empty, where nobody knows.
        using: the alias of the database.

    Raises:
        DatabaseError: when it cannot be written down. Then nothing may be ended.
    """
    if not sub or not is_google_issuer(issued.issuer):
        yield  # Each token is of a grant of its own; or nobody could find it by this.
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
        # Where that fails it is over when it can have taken no longer.
        with suppress(DatabaseError, InterfaceError):
            over = rows.filter(pk=row.pk)
            run_alone(lambda: over.update(finished_at=database_now(over)), using=using)


def note_moment() -> float:
    """Return this moment, before Google is asked for a grant: see :func:`has_ended_since`."""
    return time.monotonic()


def has_ended_since(issued: Issued, *, sub: str, started: float) -> bool:
    """Return whether the grant of an account may have been ended since; wait for what is under way.

    Args:
        issued: to whom the tokens of the grant were issued.
        sub: whose grant it is.
        started: what :func:`note_moment` returned.
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
    """Forget what nobody who links can have met; return how much there was."""
    rows = _query_ended()
    old = rows.filter(begun_at__lt=database_now(rows) - _LONGEST_AGE)
    return run_in_transaction(lambda: old.delete()[0], using=rows.db)


def _list_since(rows: QuerySet[EndedGrant], started: float) -> list[Any]:
    """Return when each has come to its end that was not over before; ``None`` while it has not."""
    now, elapsed = database_now(rows), timedelta(seconds=time.monotonic() - started)
    # What takes longer, with either of its tokens, was left by a worker that has died.
    is_under_way = Q(finished_at=None, begun_at__gt=now - 2 * lease_duration())
    ended = rows.filter(is_under_way | Q(finished_at__gt=now - (elapsed + _SLACK)))
    return list(ended.values_list("finished_at", flat=True))


def digest_grant(issuer: str, sub: str) -> str:
    """Return what is kept of whose grant it is."""
    return hashlib.sha256(f"{issuer} {sub}".encode()).hexdigest()


def _query_ended() -> QuerySet[EndedGrant]:
    return EndedGrant.objects.using(router.db_for_write(EndedGrant))
