"""Spent states and tickets: each is valid for one exchange, across all workers."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
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
    "A ticket is spent in a transaction of its own, which must not be rolled back: complete the "
    "link outside atomic(), with autocommit on. The ticket has not been spent."
)
_CHUNK, _MOST = 500, 50_000


def spend_state(state: str, *, owner: str, client: str = "", durable: bool = False) -> bool:
    """Mark a ``state`` as spent.

    Args:
        state: the ``state`` from the response.
        owner: the primary key, as text, of the user who started the authorization.
        client: the name of the OAuth client, if the user has no session that stores it.
        durable: whether to refuse to run inside the caller's transaction, which could be rolled
            back.

    Returns:
        Whether it had not been spent before.

    Raises:
        RuntimeError: inside the caller's transaction, if ``durable`` is set.
    """
    rows, digest = _query_states(), digest_state(state)
    # If the connection ends during the commit, only this tells our row from another caller's.
    call = uuid.uuid4().hex

    def spend() -> bool:
        try:
            with transaction.atomic(using=rows.db, durable=durable):
                rows.create(
                    digest=digest,
                    owner=owner,
                    client=client,
                    location=call,
                    spent_at=clock.now(),
                )
        except IntegrityError:
            return rows.filter(digest=digest, location=call).exists()
        return True

    if not durable:
        return run_durably(spend, using=rows.db)
    connection = connections[rows.db]
    if not connection.in_atomic_block and not connection.get_autocommit():
        raise RuntimeError(_NOT_DURABLE)
    try:
        return run_durably(spend, using=rows.db)
    except RuntimeError as error:  # Raised by atomic(durable=True), before any query.
        raise RuntimeError(_NOT_DURABLE) from error


def finish_state(state: str, *, location: str, declined: Iterable[str] = ()) -> None:
    """Record where an exchange led, so that a repeated response is redirected there too.

    It never fails: the exchange is complete by then, and the user is to see its outcome.

    Args:
        state: the spent ``state``.
        location: the URL that the user is redirected to, or the account; empty if there is none.
        declined: the requested scopes that the user did not grant.
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
    """Return where the exchange of a ``state`` led; wait if it is in progress.

    The wait is limited to the duration of a request to the provider, counted from the start of the
    exchange: a worker that has died is not waited for longer than that.

    Args:
        state: the ``state`` of a repeated response.
        owner: the primary key, as text, of the user who brings it.

    Returns:
        The URL or account; empty if there is none, or if the state is unknown or another user's.
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
    """Return the scopes that a user without a session was last asked for and did not grant.

    This is known for as long as the ticket is stored.

    Args:
        owner: the primary key of the user, as text.
        client: the name of the OAuth client.
    """
    finished = _query_states().filter(owner=owner, client=client, is_finished=True)
    # Compared here as well, because not every database compares case-sensitively.
    known = [row for row in finished if (row.owner, row.client) == (owner, client)]
    newest = max(known, key=lambda row: row.spent_at, default=None)
    return frozenset(newest.declined) if newest else frozenset()


def delete_old_states() -> int:
    """Delete states that have expired, in chunks; return their number.

    At most 50,000 are deleted per call.
    """
    rows = _query_states()
    old = rows.filter(spent_at__lt=clock.now() - timedelta(seconds=2 * conf.state_max_age))
    oldest = old.order_by("spent_at").values_list("pk", flat=True)[:_MOST]
    digests = run_in_transaction(lambda: list(oldest), using=rows.db)
    chunks = (digests[start : start + _CHUNK] for start in range(0, len(digests), _CHUNK))
    return sum(delete_in_one_order(rows, chunk) for chunk in chunks)


def digest_state(state: str) -> str:
    """Return the digest of a ``state``, which is stored in its place."""
    return hashlib.sha256(state.encode(errors="replace")).hexdigest()


def _query_states() -> QuerySet[SpentState]:
    return SpentState.objects.using(router.db_for_write(SpentState))
