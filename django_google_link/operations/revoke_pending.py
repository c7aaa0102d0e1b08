"""Attempting what waits in the outbox, on as many machines as there are."""

from __future__ import annotations

import threading
from collections.abc import Generator

from django.db import models

from ..accounts.lease import clock
from ..accounts.revocations import Outcome, attempt, outbox_of
from ..models import PendingRevocation
from .parallel import in_parallel


def due_revocations(*, using: str | None = None) -> models.QuerySet[PendingRevocation]:
    """Return the revocations whose next attempt is due."""
    outbox = outbox_of(using)
    return outbox.filter(retry_at__lte=clock(outbox.all()))


def revoke_pending(*, workers: int) -> Generator[Outcome, None, None]:
    """Attempt what is due, each once, and yield an outcome for each as it comes.

    Any number of processes may do so at the same time.

    Args:
        workers: the number of threads, each with a database connection of its own.
    """
    keys = iter(list(due_revocations().order_by("retry_at").values_list("pk", flat=True)))
    return in_parallel(attempt, keys, workers=workers, stopped=threading.Event())


def attempt_each(rows: models.QuerySet[PendingRevocation]) -> list[Outcome]:
    """Attempt all of these at once, until Google cannot be reached."""
    rows.update(retry_at=clock(rows))
    outcomes = []
    for pk in list(rows.values_list("pk", flat=True)):
        outcomes.append(attempt(pk, using=rows.db))
        if outcomes[-1] == Outcome.POSTPONED:
            break
    return outcomes
