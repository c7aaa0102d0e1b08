"""A circuit breaker per issuer: an unavailable issuer gets one request in 30 seconds.

All accounts and all workers share it through the database. Otherwise an issuer that does not
respond would hold up each worker, one account after the other. Five consecutive failures, of at
least two accounts, open the circuit; one success closes it. A request that is slow counts as three
failures before it times out, because it keeps its worker busy; if it is answered after all, such a
time counts as slow no longer. The time of closing is stored, and compared with each account's own
wait.

A worker that cannot connect at all may be the only one. Such failures open the circuit for its
process, and for all once a second process reports them. A process also reports a connection that
is slow: it may have only one thread, and then no second one to try.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, NullIf

from ..conf import clock
from ..conf.settings import conf
from ..exceptions import GoogleLinkError, RefreshUnavailableError
from ..models import CircuitBreaker, GoogleAccount, RefreshProblem
from ..oauth.transport import reporting_slowness
from . import process_breaker
from .database import database_now, database_now_expression, lease_duration
from .database_errors import DATABASE_FAILURES, is_lost_race
from .failures import OUTAGES, judge_failure
from .lease import CLOCK_TOLERANCE
from .locks import write_unless_locked
from .process_breaker import FAILURES_TO_OPEN, PROBE_INTERVAL, is_plausible_wait, longest_wait
from .transactions import is_in_callers_transaction, run_alone, run_durably

logger = logging.getLogger("django_google_link")

#: An account that had been failing for this long before the outage keeps its own wait, and is not
#: used as a probe.
_OWN_TROUBLE = timedelta(minutes=10)

#: A request is slow after a second without a response, a tenth of HTTP_TIMEOUT, or twice the time
#: of a recent slow answer, whichever is the longest. Two slow requests open the circuit.
_SLOW_AFTER, _SLOW_SHARE, _SLOWER = 1, 10, 2
_WEIGHT_IF_SLOW = 3

#: Seconds. Short: recording the state of a circuit is not worth a caller's wait.
_PATIENCE = 1

_CLOSED: dict[str, Any] = {
    "failures": 0,
    "account": "",
    "has_several_accounts": False,
    "worker": "",
    "opened_at": None,
    "retry_at": None,
}


class Circuit:
    """An issuer's availability, as read before a request to it.

    Args:
        issuer: the issuer.
        using: the database alias.
        row: the state shared by all workers, annotated with the database's ``now``; ``None`` if
            there is none.
    """

    def __init__(self, issuer: str, *, using: str, row: Any) -> None:
        self._issuer = issuer
        self._rows = _query_rows(using).filter(pk=_digest(issuer))
        self._row = row
        self._is_probe = False
        #: What a slow request has been counted as.
        self._counted_as: RefreshProblem | None = None
        #: When the request was made, by ``time.monotonic()``.
        self._started_at = 0.0
        #: Whether a request to the issuer was admitted.
        self.is_entered = False

    @property
    def is_open(self) -> bool:
        """Whether the issuer is known to be unavailable."""
        return self._is_shared_open or process_breaker.is_open(self._issuer)

    @property
    def retry_at(self) -> datetime | None:
        """When the issuer may be tried again, by this worker's clock; ``None`` for now."""
        times = [process_breaker.find_retry_time(self._issuer)]
        if self._is_shared_open and is_plausible_wait(wait := self._row.retry_at - self._row.now):
            times.append(clock.now() + wait)
        return max(filter(None, times), default=None)

    def heeds_wait(self, account: GoogleAccount) -> bool:
        """Return whether an account that is backing off has to keep waiting.

        If it backs off because of an outage, it waits no longer than the outage.
        """
        if account.refresh_problem not in OUTAGES:
            return True
        if self.is_open:
            since = account.refresh_failing_since
            return bool(since and self._is_shared_open and since < _find_own_trouble(self._row))
        closed_at, failed_at = self._row and self._row.closed_at, account.refresh_failed_at
        return not (closed_at and failed_at and failed_at <= closed_at)

    def check(self) -> None:
        """Check whether requests to the issuer are allowed, without changing anything.

        Raises:
            RefreshUnavailableError: while they are not.
        """
        retry_at = self.retry_at
        if retry_at:
            raise _make_error(retry_at)

    def enter(self) -> None:
        """Begin a request to the issuer, as the only probe if the circuit is open.

        Raises:
            RefreshUnavailableError: while requests are not allowed.
        """
        self.check()
        if not self.is_open:
            self.is_entered = True
            return
        self._is_probe = self.is_entered = self._take_probe()
        if not self._is_probe:
            raise _make_error(clock.now() + PROBE_INTERVAL)

    @contextmanager
    def watch(self, account: str) -> Iterator[None]:
        """Record the outcome of the request that is made in this block.

        Args:
            account: the account it is made for, as text.
        """
        self._started_at = time.monotonic()
        report = partial(self._record_slowness, account)
        try:
            with reporting_slowness(self._find_slow_limit, report):
                yield
        except RefreshUnavailableError as error:
            problem = judge_failure(error)
            if problem in OUTAGES:
                self._record_failure(account, problem)
            elif self._is_probe or self._counted_as:
                self._record_success()
            raise
        except GoogleLinkError:  # The issuer has responded.
            self._record_success()
            raise
        except BaseException:
            self._give_probe_back()
            raise
        else:
            self._record_success()

    @property
    def _is_shared_open(self) -> bool:
        return self._row is not None and self._row.opened_at is not None

    @property
    def _may_write(self) -> bool:
        """Whether a write would be visible to others: not inside the caller's transaction."""
        return not is_in_callers_transaction(self._rows.db)

    def _take_probe(self) -> bool:
        has_turn = process_breaker.take_probe(self._issuer)
        if has_turn and self._is_shared_open and self._may_write:
            has_turn = self._take_shared_probe()
            if not has_turn:
                process_breaker.give_probe_back(self._issuer)
        return has_turn

    def _take_shared_probe(self) -> bool:
        now = database_now(self._rows)
        # A time beyond the longest wait dates from before the database's clock was set back.
        is_due = Q(retry_at__lte=now) | Q(retry_at__gt=now + longest_wait())
        due = self._rows.filter(is_due, opened_at__isnull=False)

        def take() -> bool:
            return bool(due.update(retry_at=now + lease_duration()))

        try:
            return run_durably(
                lambda: write_unless_locked(due, take),
                using=due.db,
                patience=_PATIENCE,
                may_repeat=is_lost_race,
            )
        except DATABASE_FAILURES:
            # A transaction that keeps the row locked must not prevent all probes: each process
            # makes its own.
            return True

    def _give_probe_back(self) -> None:
        if not self._is_probe:
            return
        process_breaker.give_probe_back(self._issuer)
        self._write(lambda: self._postpone_probe(timedelta()))

    def _postpone_probe(self, interval: timedelta) -> None:
        now = database_now(self._rows)
        self._rows.filter(opened_at__isnull=False).update(retry_at=now + interval)

    def _find_slow_limit(self) -> float:
        """Return after how many seconds a request is slow."""
        slowest = process_breaker.find_slow_answer(self._issuer)
        return max(_find_least_limit(), _SLOWER * slowest)

    def _record_success(self) -> None:
        seconds = time.monotonic() - self._started_at
        if seconds >= _find_least_limit():
            process_breaker.record_slow_answer(self._issuer, seconds)
        was_open_here = process_breaker.record_success(self._issuer)
        row = self._row
        is_known = row and (row.failures or row.opened_at or row.worker)
        if was_open_here or self._counted_as or is_known:
            self._write(lambda: self._close(is_certain=was_open_here))

    def _close(self, *, is_certain: bool) -> None:
        now = database_now(self._rows)
        was_open = self._rows.filter(opened_at__isnull=False)
        if was_open.update(closed_at=now, **_CLOSED):
            logger.warning("The issuer %s is available again.", self._issuer)
        elif is_certain:
            self._make_row()
            self._rows.update(closed_at=now, **_CLOSED)
        else:
            self._rows.filter(opened_at=None).update(**_CLOSED)

    def _record_slowness(self, account: str, is_sent: bool) -> None:
        """Count a request before it has failed, so that others do not begin to wait as well."""
        if self._is_probe or self._counted_as:
            return
        self._counted_as = RefreshProblem.UNAVAILABLE if is_sent else RefreshProblem.UNREACHABLE
        self._count_failure(account, self._counted_as, weight=_WEIGHT_IF_SLOW)

    def _record_failure(self, account: str, problem: RefreshProblem) -> None:
        if problem != self._counted_as:
            self._count_failure(account, problem)
        if self._is_probe:
            # If only this worker cannot connect, another one should probe soon.
            is_everybodys = problem != RefreshProblem.UNREACHABLE or bool(
                self._row and self._row.worker
            )
            interval = PROBE_INTERVAL if is_everybodys else timedelta()
            self._write(lambda: self._postpone_probe(interval))

    def _count_failure(self, account: str, problem: RefreshProblem, *, weight: int = 1) -> None:
        is_ours = problem == RefreshProblem.UNREACHABLE
        if not is_ours and self._write(lambda: self._count_shared_failure(account, weight)):
            process_breaker.give_probe_back(self._issuer)
            return
        is_open_here = process_breaker.record_failure(self._issuer, account, weight=weight)
        if is_ours and (is_open_here or self._counted_as):
            self._write(self._report_worker)

    def _count_shared_failure(self, account: str, weight: int) -> None:
        self._make_row()
        is_first = Q(account="") | Q(account=account)
        self._rows.update(
            # First, because MySQL evaluates assignments in order and sees the new values.
            has_several_accounts=Case(
                When(is_first, then=F("has_several_accounts")), default=Value(True)
            ),
            account=Coalesce(NullIf(F("account"), Value("")), Value(account)),
            failures=F("failures") + weight,
        )
        self._open(Q(failures__gte=FAILURES_TO_OPEN, has_several_accounts=True))

    def _report_worker(self) -> None:
        """Record that this process cannot connect; the second one to do so opens the circuit."""
        self._make_row()
        worker = f"{socket.gethostname()[:80]}:{os.getpid()}"
        self._open(~Q(worker__in=["", worker]))
        self._rows.filter(worker="").update(worker=worker)

    def _open(self, condition: Q) -> None:
        now = database_now(self._rows)
        if self._rows.filter(condition, opened_at=None).update(
            opened_at=now, retry_at=now + PROBE_INTERVAL
        ):
            logger.error(
                "The issuer %s is unavailable: one request in %d s until it responds.",
                self._issuer,
                PROBE_INTERVAL.total_seconds(),
            )

    def _make_row(self) -> None:
        if self._row is None and not self._rows.exists():
            self._rows.get_or_create(pk=_digest(self._issuer), defaults={"issuer": self._issuer})

    def _write(self, work: Callable[[], None]) -> bool:
        """Write shared state as far as possible: a failure here must not fail the caller.

        Nor may a transaction that has locked the row make the caller wait.

        Returns:
            Whether it was written.
        """
        if not self._may_write:
            return False
        try:
            run_durably(
                lambda: write_unless_locked(self._rows, work),
                using=self._rows.db,
                patience=_PATIENCE,
            )
        except DATABASE_FAILURES as error:
            logger.warning(
                "The state of the issuer %s could not be saved: %s",
                self._issuer,
                type(error).__name__,
            )
            return False
        return True


def _find_least_limit() -> float:
    """Return after how many seconds a request is slow at the earliest."""
    return max(_SLOW_AFTER, conf.http_timeout / _SLOW_SHARE)


def read_circuit(issuer: str, *, using: str) -> Circuit:
    """Return an issuer's availability.

    Args:
        issuer: the issuer, as stored in the account's row.
        using: the database alias.
    """
    rows = _query_rows(using).filter(pk=_digest(issuer))
    row = run_alone(rows.annotate(now=database_now_expression(rows)).first, using=using)
    return Circuit(issuer, using=using, row=row)


def list_open_circuits(*, using: str | None = None) -> list[CircuitBreaker]:
    """Return the circuits that are open."""
    rows = CircuitBreaker.objects.using(using) if using else CircuitBreaker.objects.all()
    return list(rows.exclude(opened_at=None).order_by("issuer"))


def match_waiting(*, using: str) -> Q:
    """Return the condition for accounts that are backing off.

    It is :meth:`Circuit.heeds_wait` as a query.
    """
    rows = _query_rows(using)
    now = database_now(rows)
    # As for one account: see lease.read_state.
    waiting = Q(refresh_retry_at__gt=now) & (
        Q(refresh_failed_at=None) | Q(refresh_failed_at__lte=now + CLOCK_TOLERANCE)
    )
    for circuit in rows.exclude(opened_at=None, closed_at=None):
        # MySQL's "=" ignores case; Django's endswith is case-sensitive there as well.
        same = Q(issuer=circuit.issuer, issuer__endswith=circuit.issuer)
        theirs = same & Q(refresh_problem__in=OUTAGES)
        if circuit.opened_at:
            own = Q(refresh_failing_since__lt=_find_own_trouble(circuit))
            waiting &= ~theirs | own
        else:
            waiting &= ~(theirs & Q(refresh_failed_at__lte=circuit.closed_at))
    return waiting


def _find_own_trouble(row: CircuitBreaker) -> datetime:
    """Return the time before which an account must have started failing to be an exception."""
    return cast("datetime", row.opened_at) - _OWN_TROUBLE


def _make_error(retry_at: datetime) -> RefreshUnavailableError:
    return RefreshUnavailableError(
        "provider_unavailable", "The provider has not responded for a while.", retry_at=retry_at
    )


def _query_rows(using: str) -> QuerySet[CircuitBreaker]:
    return CircuitBreaker.objects.using(using)


def _digest(issuer: str) -> str:
    return hashlib.sha256(issuer.encode()).hexdigest()
