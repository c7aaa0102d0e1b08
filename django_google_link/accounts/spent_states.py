"""States that have come back: each is good for one exchange, in whatever worker and session."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta

from django.db import IntegrityError, router, transaction
from django.db.models import QuerySet

from ..conf import clock
from ..conf.settings import conf
from ..models import SpentState
from .database import lease_duration

_PAUSE = 0.05  # seconds


def spend_state(state: str, *, owner: str) -> bool:
    """Take a ``state`` for the one exchange that it is good for.

    Args:
        state: that came back.
        owner: the primary key, as text, of the user who started with it.

    Returns:
        Whether nobody has taken it before.
    """
    rows = _rows()
    try:
        with transaction.atomic(using=rows.db):
            rows.create(digest=digest_state(state), owner=owner, spent_at=clock.now())
    except IntegrityError:
        return False
    return True


def finish_state(state: str, *, location: str) -> None:
    """Note where an exchange has led: whoever brings the same again is led there too.

    Args:
        state: that was spent.
        location: the address to which the user is sent; empty if there is none.
    """
    _rows().filter(digest=digest_state(state)).update(location=location, is_finished=True)


def await_location(state: str, *, owner: str) -> str:
    """Return where the exchange of a ``state`` has led; wait for it, if it is under way.

    Args:
        state: that came back once more.
        owner: the primary key, as text, of the user who brings it.

    Returns:
        The address; empty, if it led nowhere, is unknown, or is another user's.
    """
    rows = _rows().filter(digest=digest_state(state), owner=owner)
    deadline = time.monotonic() + 2 * lease_duration().total_seconds()
    while True:
        spent = rows.first()
        if spent is None or spent.is_finished or time.monotonic() > deadline:
            return spent.location if spent else ""
        time.sleep(_PAUSE)


def delete_old_states() -> int:
    """Forget the states that are too old to come back, and return how many there were."""
    old = _rows().filter(spent_at__lt=clock.now() - timedelta(seconds=2 * conf.state_max_age))
    return old.delete()[0]


def digest_state(state: str) -> str:
    """Return what is kept of a ``state`` while it is away."""
    return hashlib.sha256(state.encode(errors="replace")).hexdigest()


def _rows() -> QuerySet[SpentState]:
    return SpentState.objects.using(router.db_for_write(SpentState))
