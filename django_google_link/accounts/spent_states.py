"""States and tickets that have come back: each is good for one exchange, in whatever worker."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from datetime import timedelta

from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connections,
    router,
    transaction,
)
from django.db.models import QuerySet

from ..conf import clock
from ..conf.settings import conf
from ..models import SpentState
from .database import lease_duration
from .locks import delete_in_one_order
from .transactions import run_durably, run_in_transaction

logger = logging.getLogger("django_google_link")

_PAUSE = 0.05  # seconds
_NOT_DURABLE = (
    "A ticket is spent in a transaction of its own, which nothing may take back: complete the "
    "link outside of atomic(), and with autocommit. Nothing has been spent."
)
_CHUNK, _MOST = 500, 50_000


def spend_state(state: str, *, owner: str, client: str = "", durable: bool = False) -> bool:
    """Take a ``state`` for the one exchange that it is good for.

    Args:
        state: that came back.
        owner: the primary key, as text, of the user who started with it.
        client: the name of the OAuth client, if the user has no session to remember it.
        durable: whether to refuse to do so inside a transaction of the caller's, which could take
            it back.

    Returns:
        Whether nobody has taken it before.

    Raises:
        RuntimeError: inside a transaction of the caller's, if it is to be durable.
    """
    rows = _query_states()

    def spend() -> bool:
        try:
            with transaction.atomic(using=rows.db, durable=durable):
                rows.create(
                    digest=digest_state(state), owner=owner, client=client, spent_at=clock.now()
                )
        except IntegrityError:
            return False
        return True

    if not durable:
        return run_durably(spend, using=rows.db)
    connection = connections[rows.db]
    if not connection.in_atomic_block and not connection.get_autocommit():
        raise RuntimeError(_NOT_DURABLE)
    try:
        return run_durably(spend, using=rows.db)
    except RuntimeError as error:  # Django's own, before anything was done.
        raise RuntimeError(_NOT_DURABLE) from error


def finish_state(state: str, *, location: str, declined: Iterable[str] = ()) -> None:
    """Note where an exchange has led: whoever brings the same again is led there too.

    It never fails: the exchange is over by then, and its outcome is what the user is to see.

    Args:
        state: that was spent.
        location: the address to which the user is sent, or the account; empty if there is none.
        declined: what the user was asked for and has not granted, as it is to be remembered.
    """
    spent = _query_states().filter(digest=digest_state(state))
    try:
        run_durably(
            lambda: spent.update(location=location, declined=sorted(declined), is_finished=True),
            using=spent.db,
            patience=1,
        )
    except (DatabaseError, InterfaceError) as error:
        logger.warning(
            "The result of an authorization could not be recorded: %s", type(error).__name__
        )


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


def read_declined(*, owner: str, client: str) -> frozenset[str]:
    """Return the scopes that a user without a session last was asked for and did not grant.

    It is known for as long as the ticket is remembered.

    Args:
        owner: the primary key of the user, as text.
        client: the name of the OAuth client.
    """
    finished = _query_states().filter(owner=owner, client=client, is_finished=True)
    # Compared to the letter here: not every database does.
    known = [row for row in finished if (row.owner, row.client) == (owner, client)]
    newest = max(known, key=lambda row: row.spent_at, default=None)
    return frozenset(newest.declined) if newest else frozenset()


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
