"""Attempting what waits in the outbox, on as many machines as there are."""

from __future__ import annotations

import threading
from collections.abc import Generator
from functools import partial

from django.db import models

from ..accounts.database import database_now, run_in_transaction
from ..accounts.revocations import RevocationOutcome, outbox, process
from ..models import PendingRevocation
from .parallel import in_parallel


def due_revocations(*, using: str | None = None) -> models.QuerySet[PendingRevocation]:
    """Return the revocations whose next attempt is due."""
    rows = outbox(using)
    return rows.filter(retry_at__lte=database_now(rows))


def revoke_pending(*, workers: int) -> Generator[RevocationOutcome, None, None]:
    """Attempt what is due, each once, and yield an outcome for each as it comes.

    Any number of processes may do so at the same time.

    Args:
        workers: the number of threads, each with a database connection of its own.
    """
    keys = iter(list(due_revocations().order_by("retry_at").values_list("pk", flat=True)))
    return in_parallel(process, keys, workers=workers, stopped=threading.Event())


def process_each(rows: models.QuerySet[PendingRevocation]) -> list[RevocationOutcome]:
    """Attempt all of these at once, until Google cannot be reached."""
    now, outcomes = database_now(rows), []
    keys = rows.values_list("pk", flat=True)
    for pk in run_in_transaction(lambda: list(keys), using=rows.db):
        due = rows.filter(pk=pk)
        run_in_transaction(partial(due.update, retry_at=now), using=rows.db)
        outcomes.append(process(pk, using=rows.db))
        if outcomes[-1] == RevocationOutcome.POSTPONED:
            break
    return outcomes
