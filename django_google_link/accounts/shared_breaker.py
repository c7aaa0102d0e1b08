"""A circuit breaker in the database, shared by all workers."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, NullIf

from ..conf.clients import list_clients
from ..models import CircuitBreaker, GoogleAccount, Status
from .database import database_now, database_now_expression, lease_duration
from .database_errors import DATABASE_FAILURES, is_lost_race
from .locks import write_unless_locked
from .process_breaker import FAILURES_TO_OPEN, PROBE_INTERVAL, is_plausible_wait, longest_wait
from .transactions import is_in_callers_transaction, run_alone, run_durably

logger = logging.getLogger("django_google_link")

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


class SharedBreaker:
    """An issuer's state in the database, as read before a request to it.

    A failure to write it does not fail the caller, nor does another transaction that has locked the
    row make the caller wait. Inside the caller's transaction it is not written, because others
    would not see it.

    Args:
        issuer: the issuer.
        using: the database alias.
        row: the issuer's row, annotated with the database's ``now``; ``None`` if there is none.
    """

    def __init__(self, issuer: str, *, using: str, row: Any) -> None:
        self._issuer = issuer
        self._rows = _query_row(issuer, using=using)
        self.row = row

    @property
    def is_open(self) -> bool:
        """Whether the issuer is known to be unavailable."""
        return self.row is not None and self.row.opened_at is not None

    @property
    def has_failures(self) -> bool:
        """Whether a success has something to erase."""
        row = self.row
        return bool(row and (row.failures or row.opened_at or row.worker))

    @property
    def wait(self) -> timedelta | None:
        """The time until the issuer may be tried again; ``None`` for now."""
        if not self.is_open:
            return None
        wait = self.row.retry_at - self.row.now
        return wait if is_plausible_wait(wait) else None

    def take_probe(self) -> bool:
        """Claim the right to probe the issuer; return false if another worker has it."""
        if not self.is_open or not self._may_write:
            return True
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

    def postpone_probe(self, interval: timedelta) -> None:
        """Allow the next probe after an interval."""

        def postpone() -> None:
            now = database_now(self._rows)
            self._rows.filter(opened_at__isnull=False).update(retry_at=now + interval)

        self._write(postpone)

    def count_failure(self, account: str, *, weight: int) -> bool:
        """Count a failure, and open the circuit if it is one too many.

        Args:
            account: the account for which the issuer was asked.
            weight: the number of failures that it counts as.

        Returns:
            Whether it was written.
        """
        is_first = Q(account="") | Q(account=account)

        def count() -> None:
            self._make_row()
            self._rows.update(
                # First, because MySQL evaluates assignments in order and sees the new values.
                has_several_accounts=Case(
                    When(is_first, then=F("has_several_accounts")), default=Value(True)
                ),
                account=Coalesce(NullIf(F("account"), Value("")), Value(account)),
                failures=F("failures") + weight,
            )
            self._open(Q(failures__gte=FAILURES_TO_OPEN, has_several_accounts=True))

        return self._write(count)

    def report_worker(self) -> None:
        """Record that this process cannot connect; the second one to do so opens the circuit."""
        worker = f"{socket.gethostname()[:80]}:{os.getpid()}"

        def report() -> None:
            self._make_row()
            self._open(~Q(worker__in=["", worker]))
            self._rows.filter(worker="").update(worker=worker)

        self._write(report)

    def close(self, *, is_certain: bool) -> None:
        """Close the circuit after a success.

        Args:
            is_certain: whether to record the time even if the circuit was not open for all workers.
        """

        def close() -> None:
            now = database_now(self._rows)
            was_open = self._rows.filter(opened_at__isnull=False)
            if was_open.update(closed_at=now, **_CLOSED):
                logger.warning("The issuer %s is available again.", self._issuer)
            elif is_certain:
                self._make_row()
                self._rows.update(closed_at=now, **_CLOSED)
            else:
                self._rows.filter(opened_at=None).update(**_CLOSED)

        self._write(close)

    @property
    def _may_write(self) -> bool:
        return not is_in_callers_transaction(self._rows.db)

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
        if self.row is None and not self._rows.exists():
            self._rows.get_or_create(pk=_digest(self._issuer), defaults={"issuer": self._issuer})

    def _write(self, work: Callable[[], object]) -> bool:
        """Write as far as possible, and return whether it was written."""
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


def read_shared_breaker(issuer: str, *, using: str) -> SharedBreaker:
    """Return an issuer's state.

    Args:
        issuer: the issuer, as stored in the account's row.
        using: the database alias.
    """
    rows = _query_row(issuer, using=using)
    known = rows.annotate(now=database_now_expression(rows))
    return SharedBreaker(issuer, using=using, row=run_alone(known.first, using=using))


def list_open_circuits(*, using: str | None = None) -> list[CircuitBreaker]:
    """Return the open circuits of the issuers that active accounts need.

    Only an answer closes a circuit, and a provider that is gone is not asked again.
    """
    rows = CircuitBreaker.objects.using(using) if using else CircuitBreaker.objects.all()
    opened = rows.exclude(opened_at=None).order_by("issuer")
    return [row for row in opened if _is_needed(row.issuer, using=using)]


def list_past_outages(*, using: str) -> list[CircuitBreaker]:
    """Return the rows of issuers that are or were unavailable."""
    return list(CircuitBreaker.objects.using(using).exclude(opened_at=None, closed_at=None))


def match_issuer(issuer: str) -> Q:
    """Return the condition for accounts of an issuer, compared to the letter."""
    # MySQL's "=" ignores case; Django's endswith is case-sensitive there as well.
    return Q(issuer=issuer, issuer__endswith=issuer)


def _is_needed(issuer: str, *, using: str | None) -> bool:
    """Return whether an active account's client asks this issuer."""
    # An account's tokens are sent only to the issuer of its client, and clients have an index.
    clients = [client.name for client in list_clients() if client.issuer == issuer]
    active = GoogleAccount.objects.using(using).filter(client__in=clients, status=Status.ACTIVE)
    return active.filter(match_issuer(issuer)).exists()


def _query_row(issuer: str, *, using: str) -> QuerySet[CircuitBreaker]:
    return CircuitBreaker.objects.using(using).filter(pk=_digest(issuer))


def _digest(issuer: str) -> str:
    return hashlib.sha256(issuer.encode()).hexdigest()
