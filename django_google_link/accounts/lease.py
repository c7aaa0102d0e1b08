"""The right to ask Google for a new access token: one caller has it at a time, in any process.

It stands in the account's row and is taken and given back by conditional updates, so any database
will do and nothing else is needed. Its times are written and judged by the database's clock, on
SQLite by the one machine's: workers whose clocks disagree agree on who has it.
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

#: A token that looks fresh is replaced once per account in this time, so that an API which says
#: 401 to everything is no storm of refreshes.
FORCED_REFRESH_INTERVAL = timedelta(minutes=1)

# Seconds, after the first failure and at the most. A fifth less than the longer is still an hour.
_FAILURE_BACKOFF = (30, 3600)
_REFUSAL_BACKOFF = (4500, 4500)
#: Seconds: what is noted here is never worth a caller's wait.
_PATIENCE = 1
# Of a worker whose HTTP_TIMEOUT is another one: nobody is at work for longer.
_LONGEST_LEASE = timedelta(minutes=5)

#: What a row says while nobody is at work on it and the last attempt went well.
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
    """A row as it was read, and what the database's clock makes of it.

    ``retry_at`` is when Google may be asked again, by this worker's clock; ``None`` is at once.
    """

    account: GoogleAccount
    is_leased: bool
    retry_at: datetime | None
    was_forced: bool


def read_state(rows: GoogleAccountQuerySet, pk: uuid.UUID) -> RefreshState | None:
    """Read a row anew, or return ``None`` if it is gone."""
    present = rows.filter(pk=pk).annotate(now=database_now_expression(rows))
    account: Any = run_alone(present.first, using=rows.db)
    if account is None:
        return None

    def is_past(moment: datetime | None) -> bool:
        return moment is None or moment <= account.now

    lease_ends_at, retry_at = account.refresh_lease_expires_at, account.refresh_retry_at
    is_leased = not is_past(lease_ends_at) and lease_ends_at <= account.now + longest_lease()
    # What has happened later than now was noted by a clock that was put back since: then nobody
    # knows for how long it still holds.
    has_to_wait = not is_past(retry_at) and is_past(account.refresh_failed_at)
    forced_at = account.refresh_forced_at
    return RefreshState(
        account=account,
        is_leased=is_leased,
        retry_at=clock.now() + (retry_at - account.now) if has_to_wait else None,
        was_forced=bool(
            forced_at and is_past(forced_at) and not is_past(forced_at + FORCED_REFRESH_INTERVAL)
        ),
    )


def longest_lease() -> timedelta:
    """Return for how long anybody has a row; what is longer was left behind by a clock put back."""
    return max(lease_duration(), _LONGEST_LEASE)


def take(rows: GoogleAccountQuerySet, account: GoogleAccount) -> uuid.UUID | None:
    """Take the lease of a row, if it is free and the row is as it was read. Never waits.

    Returns:
        The owner to name from now on, or ``None`` if somebody else was faster.
    """
    owner, now = uuid.uuid4(), database_now(rows)
    free = rows.filter(
        Q(refresh_lease_expires_at=None)
        | Q(refresh_lease_expires_at__lte=now)
        | Q(refresh_lease_expires_at__gt=now + longest_lease()),
        pk=account.pk,
        grant_version=account.grant_version,
        sealed_access_token=account.sealed_access_token,
        # Another may have asked since, and failed.
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
    """Return the row, if it still holds the grant that was read, and the lease if one was taken."""
    same = rows.filter(pk=account.pk, grant_version=account.grant_version)
    return same.filter(refresh_lease=owner) if owner else same


def give_back(
    rows: GoogleAccountQuerySet,
    account: GoogleAccount,
    owner: uuid.UUID,
    *,
    is_failing: bool = False,
) -> None:
    """Give the lease back, with nothing changed; or with a note for operators since when it fails.

    Args:
        is_failing: through no fault of the account's or of Google's, so that nothing is waited out.
    """
    since = account.refresh_failing_since or (clock.now() if is_failing else None)
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
    """Give the lease back, and let all workers leave Google alone with this account for a while.

    Args:
        error: why Google has given no token.

    Returns:
        How long: 30 seconds, doubled at each failure up to an hour, give or take a fifth; an hour
        or more where Google has refused.
    """
    problem = judge_failure(error)
    is_refused = problem == RefreshProblem.REFUSED
    first, longest = _REFUSAL_BACKOFF if is_refused else _FAILURE_BACKOFF
    delay = backoff(account.refresh_failures, first=first, longest=longest)
    values = {
        "refresh_lease": None,
        "refresh_lease_expires_at": None,
        "refresh_failures": min(account.refresh_failures + 1, 10),
        "refresh_failing_since": account.refresh_failing_since or clock.now(),  # for people
        "refresh_retry_at": database_now(rows) + delay,
        "refresh_problem": problem,
        "refresh_error": describe_failure(error),
        "refresh_failed_at": database_now(rows),
    }
    _write_down(rows.filter(pk=account.pk, refresh_lease=owner), values)
    return delay


def _write_down(ours: GoogleAccountQuerySet, values: dict[str, Any]) -> None:
    """Write into a row that nobody has locked for long: no caller waits for a note."""
    run_durably(
        lambda: write_unless_locked(ours, lambda: ours.update(**values)),
        using=ours.db,
        patience=_PATIENCE,
        may_repeat=is_lost_race,
    )


def longest_wait() -> float:
    """Return the seconds after which a caller without a token gives up."""
    return conf.refresh_wait
