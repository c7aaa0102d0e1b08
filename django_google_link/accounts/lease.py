"""The lease for refreshing an access token: one caller at a time holds it, across all processes.

The lease is part of the account's row. It is acquired and released by conditional updates, so it
works on any database and needs nothing else. Its times are set and compared by the database's clock
(on SQLite by the clock of the one machine), so that workers whose clocks differ agree on who holds
it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from ..conf import clock
from ..conf.settings import conf
from ..exceptions import TokenEndpointError
from ..models import GoogleAccount, GoogleAccountQuerySet, RefreshProblem
from .database import backoff, database_now, database_now_expression, lease_duration
from .database_errors import is_lost_race
from .failures import describe_failure, judge_failure
from .locks import is_locked, write_unless_locked
from .transactions import run_alone, run_durably, run_in_transaction

#: The shortest time between two refreshes of an account's token that has not expired, so that an
#: API that answers every request with 401 does not cause a refresh each time.
FORCED_REFRESH_INTERVAL = timedelta(minutes=1)

#: On SQLite the time is read before the query, which may see what another worker writes meanwhile.
CLOCK_TOLERANCE = timedelta(minutes=1)

# Seconds: the first wait and the longest. The longer values stay above an hour after jitter.
_FAILURE_BACKOFF = (30, 3600)
_REFUSAL_BACKOFF = (4500, 4500)
#: Seconds to wait for a locked row, before the change is given up.
_PATIENCE = 1
# At least this, since another worker may have a longer HTTP_TIMEOUT.
_LONGEST_LEASE = timedelta(minutes=5)

#: The columns of a row that is not being refreshed and whose last refresh succeeded.
AT_REST: dict[str, Any] = {
    "refresh_lease": None,
    "refresh_lease_expires_at": None,
    "refresh_failures": 0,
    "refresh_failing_since": None,
    "refresh_retry_at": None,
    "refresh_problem": "",
    "refresh_error": "",
    "refresh_failed_at": None,
}


@dataclass(frozen=True, kw_only=True)
class RefreshState:
    """A row as it was read, with its times evaluated by the database's clock.

    ``retry_at`` is when Google may be asked again, by this worker's clock; ``None`` for now.
    """

    account: GoogleAccount
    is_leased: bool
    retry_at: datetime | None
    was_forced: bool


def read_state(rows: GoogleAccountQuerySet, pk: uuid.UUID) -> RefreshState | None:
    """Read a row again; return ``None`` if it no longer exists."""
    present = rows.filter(pk=pk).annotate(now=database_now_expression(rows))
    account: Any = run_alone(present.first, using=rows.db)
    if account is None:
        return None

    def is_past(moment: datetime | None) -> bool:
        return moment is None or moment <= account.now

    lease_ends_at, retry_at = account.refresh_lease_expires_at, account.refresh_retry_at
    is_leased = not is_past(lease_ends_at) and lease_ends_at <= account.now + longest_lease()
    # A failure in the future dates from before the clock was set back: ignore the waiting time.
    latest = account.now + CLOCK_TOLERANCE
    failed_at, forced_at = account.refresh_failed_at, account.refresh_forced_at
    has_to_wait = not is_past(retry_at) and (failed_at is None or failed_at <= latest)
    return RefreshState(
        account=account,
        is_leased=is_leased,
        retry_at=clock.now() + (retry_at - account.now) if has_to_wait else None,
        was_forced=bool(
            forced_at and forced_at <= latest and not is_past(forced_at + FORCED_REFRESH_INTERVAL)
        ),
    )


def longest_lease() -> timedelta:
    """Return the longest time that a lease can have left, unless the clock was set back."""
    return max(lease_duration(), _LONGEST_LEASE)


def take(rows: GoogleAccountQuerySet, account: GoogleAccount) -> uuid.UUID | None:
    """Acquire the lease of a row if it is free and the row has not changed since it was read.

    It never waits.

    Returns:
        The lease's owner id, or ``None`` if another caller was faster.
    """
    owner, now = uuid.uuid4(), database_now(rows)
    free = rows.filter(
        Q(refresh_lease_expires_at=None)
        | Q(refresh_lease_expires_at__lte=now)
        | Q(refresh_lease_expires_at__gt=now + longest_lease()),
        pk=account.pk,
        grant_version=account.grant_version,
        sealed_access_token=account.sealed_access_token,
        # It may be all that was stored of a response inside a transaction.
        sealed_refresh_token=account.sealed_refresh_token,
        # Another caller may have failed meanwhile, and set a new retry time.
        refresh_retry_at=account.refresh_retry_at,
    )

    def take_if_free() -> bool:
        if is_locked(free, account.pk):
            return False
        expires_at = now + lease_duration()
        return bool(free.update(refresh_lease=owner, refresh_lease_expires_at=expires_at))

    return owner if run_in_transaction(take_if_free, using=rows.db) else None


def rows_still_ours(
    rows: GoogleAccountQuerySet, account: GoogleAccount, owner: uuid.UUID | None
) -> GoogleAccountQuerySet:
    """Return the row if its grant and our lease, if one was acquired, have not changed."""
    same = rows.filter(pk=account.pk, grant_version=account.grant_version)
    return same.filter(refresh_lease=owner) if owner else same


def give_back(
    rows: GoogleAccountQuerySet,
    account: GoogleAccount,
    owner: uuid.UUID,
    *,
    is_failing: bool = False,
) -> None:
    """Release the lease without changing anything else, except to record since when refreshes fail.

    Args:
        is_failing: whether the refresh failed for a reason that is neither the account's nor
            Google's; the next one need not wait.
    """
    since = account.refresh_failing_since or (database_now(rows) if is_failing else None)
    values = {
        "refresh_lease": None,
        "refresh_lease_expires_at": None,
        "refresh_failing_since": since,
    }
    _write_down(rows.filter(pk=account.pk, refresh_lease=owner), values)


def back_off(
    rows: GoogleAccountQuerySet,
    account: GoogleAccount,
    owner: uuid.UUID,
    error: TokenEndpointError,
) -> timedelta:
    """Release the lease, and have all workers wait before they refresh this account again.

    Args:
        error: why Google issued no token.

    Returns:
        The wait: 30 seconds, doubled with each failure up to an hour, with 20 % jitter; an hour or
        more if Google refused the request.
    """
    problem = judge_failure(error)
    is_refused = problem == RefreshProblem.REFUSED
    first, longest = _REFUSAL_BACKOFF if is_refused else _FAILURE_BACKOFF
    # If nobody was asked before, that was no trouble of this account's own.
    since = account.refresh_failing_since if account.refresh_problem else None
    delay = backoff(account.refresh_failures, first=first, longest=longest)
    values = {
        "refresh_lease": None,
        "refresh_lease_expires_at": None,
        "refresh_failures": min(account.refresh_failures + 1, 10),
        "refresh_failing_since": since or database_now(rows),
        "refresh_retry_at": database_now(rows) + delay,
        "refresh_problem": problem,
        "refresh_error": describe_failure(error),
        "refresh_failed_at": database_now(rows),
    }
    _write_down(rows.filter(pk=account.pk, refresh_lease=owner), values)
    return delay


def _write_down(ours: GoogleAccountQuerySet, values: dict[str, Any]) -> None:
    """Write to the row, but do not let the caller wait long for another transaction's lock."""
    run_durably(
        lambda: write_unless_locked(ours, lambda: ours.update(**values)),
        using=ours.db,
        patience=_PATIENCE,
        may_repeat=is_lost_race,
    )


def longest_wait() -> float:
    """Return how long a caller without a token waits for another one's refresh, in seconds."""
    return conf.refresh_wait
