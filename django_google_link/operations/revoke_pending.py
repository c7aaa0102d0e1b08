"""Attempting pending revocations, on any number of machines."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import cache, partial
from typing import Any

from django.db import models
from django.db.models import Q

from ..accounts.database import database_now
from ..accounts.outbox import read_outbox
from ..accounts.revocations import (
    SHORT_TIMEOUT,
    RevocationOutcome,
    process_grant,
    process_pending,
)
from ..accounts.transactions import run_alone
from ..conf.clients import is_google_issuer
from ..models import PendingRevocation
from .parallel import in_parallel
from .patience import Patience

_CHUNK = 500


def due_revocations(*, using: str | None = None) -> models.QuerySet[PendingRevocation]:
    """Return the revocations whose next attempt is due."""
    rows = read_outbox(using)
    return rows.filter(retry_at__lte=database_now(rows))


def revoke_pending(*, workers: int) -> Generator[RevocationOutcome, None, None]:
    """Attempt the revocations that are due, with one request per grant; yield each row's outcome.

    Any number of processes may do so at the same time. If an issuer repeatedly cannot be reached,
    the rest of its revocations is left to the next run.

    Args:
        workers: the number of threads, each with its own database connection.
    """
    run = _Run(workers)
    grants = in_parallel(run.process, _list_grants(), workers=workers, stopped=run.stopped)
    with closing(grants):
        for outcomes in grants:
            yield from outcomes


def process_now(pending: PendingRevocation) -> RevocationOutcome:
    """Make a short attempt at once, even if the next one is due later, because a user waits."""
    rows = read_outbox(pending._state.db).filter(pk=pending.pk)
    run_alone(partial(rows.update, retry_at=database_now(rows)), using=rows.db)
    return process_pending(pending.pk, using=pending._state.db, timeout=SHORT_TIMEOUT)


class _Run:
    """State shared by the threads of one call."""

    def __init__(self, workers: int) -> None:
        self.stopped = threading.Event()
        self._patience = Patience(3 * workers)

    def process(self, grant: tuple[str, uuid.UUID]) -> list[RevocationOutcome]:
        """Attempt to revoke a grant."""
        issuer, pk = grant
        if self._patience.is_over(issuer):
            return []
        outcomes = process_grant(pk)
        if RevocationOutcome.UNREACHABLE in outcomes:
            self._patience.count_failure(issuer)
        elif RevocationOutcome.REVOKED in outcomes:
            self._patience.note_answer(issuer)
        return outcomes


def _list_grants() -> Iterator[tuple[str, uuid.UUID]]:
    """Yield the issuer and a due revocation of each grant, the longest waiting first.

    They are read in chunks, to limit memory use. If a grant comes up again in a later chunk,
    nothing of it is due any more.
    """
    is_google = cache(is_google_issuer)
    rows = due_revocations().order_by("retry_at", "pk")
    columns = rows.values_list("retry_at", "pk", "issuer", "client_id", "sub")
    chunk: list[Any] = run_alone(partial(list, columns[:_CHUNK]), using=rows.db)
    while chunk:
        grants: dict[Any, tuple[str, uuid.UUID]] = {}
        for _, pk, issuer, client_id, sub in chunk:
            is_shared = sub and is_google(issuer)
            grants.setdefault((issuer, client_id, sub) if is_shared else pk, (issuer, pk))
        yield from grants.values()
        last, pk, *_ = chunk[-1]
        later = Q(retry_at__gt=last) | Q(retry_at=last, pk__gt=pk)
        chunk = run_alone(partial(list, columns.filter(later)[:_CHUNK]), using=rows.db)
