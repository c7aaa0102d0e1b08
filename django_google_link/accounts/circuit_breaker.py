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

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from django.db.models import Q

from ..conf import clock
from ..conf.settings import conf
from ..exceptions import GoogleLinkError, RefreshUnavailableError
from ..http.pool import load_libraries
from ..models import CircuitBreaker, GoogleAccount, RefreshProblem
from ..oauth.transport import reporting_slowness
from . import process_breaker
from .database import database_now
from .failures import OUTAGES, judge_failure
from .lease import CLOCK_TOLERANCE
from .process_breaker import PROBE_INTERVAL
from .shared_breaker import SharedBreaker, list_past_outages, match_issuer, read_shared_breaker

#: An account that had been failing for this long before the outage keeps its own wait, and is not
#: used as a probe.
_OWN_TROUBLE = timedelta(minutes=10)

#: A request is slow after a second without a response, a tenth of HTTP_TIMEOUT, or twice the time
#: of a recent slow answer, whichever is the longest. Two slow requests open the circuit.
_SLOW_AFTER, _SLOW_SHARE, _SLOWER = 1, 10, 2
_WEIGHT_IF_SLOW = 3


class Circuit:
    """An issuer's availability, as read before a request to it.

    Args:
        issuer: the issuer.
        shared: its state in the database.
    """

    def __init__(self, issuer: str, *, shared: SharedBreaker) -> None:
        self._issuer = issuer
        self._shared = shared
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
        return self._shared.is_open or process_breaker.is_open(self._issuer)

    @property
    def retry_at(self) -> datetime | None:
        """When the issuer may be tried again, by this worker's clock; ``None`` for now."""
        times = [process_breaker.find_retry_time(self._issuer)]
        if wait := self._shared.wait:
            times.append(clock.now() + wait)
        return max(filter(None, times), default=None)

    def heeds_wait(self, account: GoogleAccount) -> bool:
        """Return whether an account that is backing off has to keep waiting.

        If it backs off because of an outage, it waits no longer than the outage.
        """
        if account.refresh_problem not in OUTAGES:
            return True
        row = self._shared.row
        if self.is_open:
            since = account.refresh_failing_since
            return bool(since and self._shared.is_open and since < _find_own_trouble(row))
        closed_at, failed_at = row and row.closed_at, account.refresh_failed_at
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
        load_libraries()  # The issuer is not slow because this process has just started.
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

    def _take_probe(self) -> bool:
        has_turn = process_breaker.take_probe(self._issuer)
        if has_turn and not self._shared.take_probe():
            process_breaker.give_probe_back(self._issuer)
            return False
        return has_turn

    def _give_probe_back(self) -> None:
        if self._is_probe:
            process_breaker.give_probe_back(self._issuer)
            self._shared.postpone_probe(timedelta())

    def _find_slow_limit(self) -> float:
        """Return after how many seconds a request is slow."""
        slowest = process_breaker.find_slow_answer(self._issuer)
        return max(_find_least_limit(), _SLOWER * slowest)

    def _record_success(self) -> None:
        seconds = time.monotonic() - self._started_at
        if seconds >= _find_least_limit():
            process_breaker.record_slow_answer(self._issuer, seconds)
        was_open_here = process_breaker.record_success(self._issuer)
        if was_open_here or self._counted_as or self._shared.has_failures:
            self._shared.close(is_certain=was_open_here)

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
            row = self._shared.row
            is_everybodys = problem != RefreshProblem.UNREACHABLE or bool(row and row.worker)
            self._shared.postpone_probe(PROBE_INTERVAL if is_everybodys else timedelta())

    def _count_failure(self, account: str, problem: RefreshProblem, *, weight: int = 1) -> None:
        is_ours = problem == RefreshProblem.UNREACHABLE
        if not is_ours and self._shared.count_failure(account, weight=weight):
            process_breaker.give_probe_back(self._issuer)
            return
        is_open_here = process_breaker.record_failure(self._issuer, account, weight=weight)
        if is_ours and (is_open_here or self._counted_as):
            self._shared.report_worker()


def read_circuit(issuer: str, *, using: str) -> Circuit:
    """Return an issuer's availability.

    Args:
        issuer: the issuer, as stored in the account's row.
        using: the database alias.
    """
    return Circuit(issuer, shared=read_shared_breaker(issuer, using=using))


def match_waiting(*, using: str) -> Q:
    """Return the condition for accounts that are backing off.

    It is :meth:`Circuit.heeds_wait` as a query.
    """
    now = database_now(GoogleAccount.objects.using(using))
    # As for one account: see lease.read_state.
    waiting = Q(refresh_retry_at__gt=now) & (
        Q(refresh_failed_at=None) | Q(refresh_failed_at__lte=now + CLOCK_TOLERANCE)
    )
    for row in list_past_outages(using=using):
        theirs = match_issuer(row.issuer) & Q(refresh_problem__in=OUTAGES)
        if row.opened_at:
            own = Q(refresh_failing_since__lt=_find_own_trouble(row))
            waiting &= ~theirs | own
        else:
            waiting &= ~(theirs & Q(refresh_failed_at__lte=row.closed_at))
    return waiting


def _find_least_limit() -> float:
    """Return after how many seconds a request is slow at the earliest."""
    return max(_SLOW_AFTER, conf.http_timeout / _SLOW_SHARE)


def _find_own_trouble(row: CircuitBreaker) -> datetime:
    """Return the time before which an account must have started failing to be an exception."""
    return cast("datetime", row.opened_at) - _OWN_TROUBLE


def _make_error(retry_at: datetime) -> RefreshUnavailableError:
    return RefreshUnavailableError(
        "provider_unavailable", "The provider has not responded for a while.", retry_at=retry_at
    )
