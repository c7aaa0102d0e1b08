"""States that have come back: each is good for one exchange, in whatever worker and session."""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import timedelta

from django.db import DatabaseError, IntegrityError, InterfaceError, router, transaction
from django.db.models import QuerySet

from ..conf import clock
from ..conf.settings import conf
from ..models import SpentState
from .database import delete_in_one_order, lease_duration, run_durably, run_in_transaction

logger = logging.getLogger("django_google_link")

_PAUSE = 0.05  # seconds
_CHUNK, _MOST = 500, 50_000


def spend_state(state: str, *, owner: str) -> bool:
    """Take a ``state`` for the one exchange that it is good for.

    Args:
        state: that came back.
        owner: the primary key, as text, of the user who started with it.

    Returns:
        Whether nobody has taken it before.
    """
    rows = _query_states()

    def spend() -> bool:
        try:
            with transaction.atomic(using=rows.db):
                rows.create(digest=digest_state(state), owner=owner, spent_at=clock.now())
        except IntegrityError:
            return False
        return True

    return run_durably(spend, using=rows.db)


def finish_state(state: str, *, location: str) -> None:
    """Note where an exchange has led: whoever brings the same again is led there too.

    It never fails: the exchange is over by then, and its outcome is what the user is to see.

    Args:
        state: that was spent.
        location: the address to which the user is sent; empty if there is none.
    """
    spent = _query_states().filter(digest=digest_state(state))
    try:
        run_durably(
            lambda: spent.update(location=location, is_finished=True), using=spent.db, patience=1
        )
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Where an authorization led was not noted: %s", type(error).__name__)


def await_location(state: str, *, owner: str) -> str:
    """Return where the exchange of a ``state`` has led; wait for it, if it is under way.

    A worker waits for as long as a request to Google may take, and only while the first one may
    still be waiting for it as well: for one that has died nobody waits twice.

    Args:
        state: that came back once more.
        owner: the primary key, as text, of the user who brings it.

    Returns:
        The address; empty, if it led nowhere, is unknown, or is another user's.
    """
    rows = _query_states().filter(digest=digest_state(state), owner=owner)
    longest = lease_duration()
    deadline = time.monotonic() + longest.total_seconds()
    while True:
        spent = rows.first()
        if spent is None or spent.is_finished:
            return spent.location if spent else ""
        if clock.now() - spent.spent_at > longest or time.monotonic() > deadline:
            return ""
        time.sleep(_PAUSE)


def delete_old_states() -> int:
    """Forget states that are too old to come back, some at a time; return how many there were.

    A number of them is left to the next call, if there are very many.
    """
    rows = _query_states()
    old = rows.filter(spent_at__lt=clock.now() - timedelta(seconds=2 * conf.state_max_age))
    oldest = old.order_by("spent_at").values_list("pk", flat=True)[:_MOST]
    digests = run_in_transaction(lambda: list(oldest), using=rows.db)
    chunks = (digests[start : start + _CHUNK] for start in range(0, len(digests), _CHUNK))
    return sum(delete_in_one_order(rows, chunk) for chunk in chunks)


def digest_state(state: str) -> str:
    """Return what is kept of a ``state`` while it is away."""
    return hashlib.sha256(state.encode(errors="replace")).hexdigest()


def _query_states() -> QuerySet[SpentState]:
    return SpentState.objects.using(router.db_for_write(SpentState))
