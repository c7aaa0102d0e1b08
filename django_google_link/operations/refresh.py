"""Refreshing many accounts ahead of time, on as many machines as there are."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Generator, Iterator
from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models import Q, TextChoices
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from ..accounts.access_tokens import check_grant, fresh_access_token
from ..accounts.circuit_breaker import match_waiting
from ..accounts.database import in_chunks
from ..accounts.process_breaker import FAILURES_TO_OPEN
from ..conf import clock
from ..exceptions import (
    ClientMisconfiguredError,
    ConsentRequiredError,
    EncryptionKeyUnavailableError,
    GoogleLinkError,
    GrantNotStoredError,
    NotLinkedError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from ..models import GoogleAccount, GoogleAccountQuerySet, Status
from .outcomes import find_outcome
from .parallel import in_parallel

logger = logging.getLogger("django_google_link")

_CHUNK = 500


class RefreshOutcome(TextChoices):
    """What became of an account that was due."""

    REFRESHED = "refreshed", _("refreshed")
    SHARED = "shared", _("handled by another process")
    LOST = "lost", _("lost: their users have to link again")
    UNREACHABLE = "unreachable", _("postponed: no usable response from the provider")
    DENIED = "denied", _("postponed: refused by the provider")
    UNSTORED = "unstored", _("postponed: could not be saved here")
    WAITING = "waiting", _("waiting to be retried after a failure")
    FORBIDDEN = "forbidden", _("skipped: forbidden by a policy of their organization")
    REFUSED = "refused", _("skipped: the provider refuses their client, or it is not configured")
    UNREADABLE = "unreadable", _("skipped: their encryption key is not configured")


_FAILURES: dict[type[Exception], RefreshOutcome] = {
    NotLinkedError: RefreshOutcome.SHARED,
    ConsentRequiredError: RefreshOutcome.LOST,
    RefreshUnavailableError: RefreshOutcome.UNREACHABLE,
    EncryptionKeyUnavailableError: RefreshOutcome.UNREADABLE,
    ClientMisconfiguredError: RefreshOutcome.REFUSED,
    TokenEndpointError: RefreshOutcome.DENIED,
    GrantNotStoredError: RefreshOutcome.UNSTORED,
    ImproperlyConfigured: RefreshOutcome.REFUSED,
}

#: What speaks of Google, of our settings or our database: the same for the next account.
WIDESPREAD = frozenset(
    {
        RefreshOutcome.UNREACHABLE,
        RefreshOutcome.UNSTORED,
        RefreshOutcome.REFUSED,
        RefreshOutcome.UNREADABLE,
    }
)

#: What may go better another time.
RETRYABLE = WIDESPREAD | {RefreshOutcome.DENIED, RefreshOutcome.WAITING}


def list_due_accounts(
    *, expiring_within: timedelta | None, unused_for: timedelta
) -> GoogleAccountQuerySet:
    """Return the active accounts that should be refreshed, those that have to wait included.

    Args:
        expiring_within: those without an access token that lives longer; ``None`` for none of them.
        unused_for: those whose refresh token has not been used for so long. Google drops it after
            six months: https://developers.google.com/identity/protocols/oauth2#expiration.

    What failed the last time is always due.
    """
    now = clock.now()
    due = Q(last_asked_at__lt=now - unused_for) | Q(refresh_failing_since__isnull=False)
    if expiring_within is not None:
        due |= Q(sealed_access_token="") | Q(access_token_expires_at__lt=now + expiring_within)
    accounts = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    # Where there is no refresh token, it is noted that the time of the access token is over.
    is_over = Q(without_refresh_token=True, access_token_expires_at__lt=now)
    return (
        accounts.filter(status=Status.ACTIVE)
        .alias(last_asked_at=Coalesce("refreshed_at", "linked_at"))
        .filter((due & ~Q(sealed_refresh_token="")) | is_over)
    )


def split_waiting(
    accounts: GoogleAccountQuerySet,
) -> tuple[GoogleAccountQuerySet, GoogleAccountQuerySet]:
    """Return the accounts for which Google may be asked now, and those that have to wait."""
    waiting = match_waiting(using=accounts.db)
    return accounts.exclude(waiting), accounts.filter(waiting)


def refresh_accounts(
    accounts: GoogleAccountQuerySet, *, leeway: timedelta, workers: int
) -> Generator[RefreshOutcome, None, None]:
    """Refresh these accounts, and yield an outcome for each as it comes.

    Any number of processes may do so at the same time: they start in different places, and what
    one of them has done or is about to do the others leave alone. Closing the iterator lets the
    requests that are under way come to their end, and begins no other.

    Args:
        accounts: that are due when their turn comes, in any order.
        leeway: the life below which their access tokens are replaced.
        workers: the number of threads, each with a database connection of its own.
    """
    run = _Run(leeway, workers)
    return in_parallel(
        run.process, _from_random_start(accounts), workers=workers, stopped=run.stopped
    )


def refresh_account(account: GoogleAccount, *, leeway: timedelta) -> RefreshOutcome:
    """Refresh an account, unless its access token lives longer or Google is to be left alone."""
    try:
        token = fresh_access_token(account, leeway=leeway, wait=False)
    except (GoogleLinkError, ImproperlyConfigured) as error:
        return _judge_failure(error, account)
    if token.problem:  # The stored token serves, and that is not what was asked for.
        return _judge_failure(token.problem, account)
    return RefreshOutcome.REFRESHED if token.is_new else RefreshOutcome.SHARED


def check_account(account: GoogleAccount) -> RefreshOutcome:
    """Ask Google at once whether it honours the grant, also of an account that was lost."""
    try:
        check_grant(account)
    except (GoogleLinkError, ImproperlyConfigured) as error:
        return _judge_failure(error, account)
    return RefreshOutcome.REFRESHED


class _Run:
    """What the threads of one call learn from one another."""

    def __init__(self, leeway: timedelta, workers: int) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._leeway = leeway
        self._refused: set[tuple[str, str, str]] = set()
        # So many in a row say that it is not the accounts: the others of the issuer wait, too.
        self._patience = max(3 * workers, FAILURES_TO_OPEN)
        self._failures: dict[str, int] = {}

    def process(self, account: GoogleAccount) -> RefreshOutcome:
        """Refresh an account."""
        if (account.client, account.issuer, account.client_id) in self._refused:
            return RefreshOutcome.REFUSED
        if self._failures.get(account.issuer, 0) >= self._patience:
            return RefreshOutcome.UNREACHABLE
        outcome = refresh_account(account, leeway=self._leeway)
        self._learn_from(outcome, account)
        return outcome

    def _learn_from(self, outcome: RefreshOutcome, account: GoogleAccount) -> None:
        with self._lock:
            if outcome == RefreshOutcome.REFUSED:
                # Links of a former client id are refused for themselves alone.
                self._refused.add((account.client, account.issuer, account.client_id))
            if outcome == RefreshOutcome.UNREACHABLE:
                self._failures[account.issuer] = self._failures.get(account.issuer, 0) + 1
            elif outcome == RefreshOutcome.REFRESHED:
                self._failures.pop(account.issuer, None)


def _judge_failure(error: Exception, account: GoogleAccount) -> RefreshOutcome:
    if isinstance(error, RefreshUnavailableError) and error.error == "refresh_under_way":
        return RefreshOutcome.SHARED
    if isinstance(error, ClientMisconfiguredError) and error.is_policy:
        return RefreshOutcome.FORBIDDEN
    if isinstance(error, RefreshUnavailableError) and error.error == "database_unavailable":
        return RefreshOutcome.UNSTORED
    outcome = find_outcome(error, _FAILURES)
    if outcome in {RefreshOutcome.REFUSED, RefreshOutcome.UNREADABLE}:
        logger.error("The account %s was not refreshed: %s", account.pk, error)
    return outcome


def _from_random_start(accounts: GoogleAccountQuerySet) -> Iterator[GoogleAccount]:
    """Yield the accounts once, from somewhere in the middle on."""
    rows = accounts.only("pk", "client", "issuer", "client_id")
    start = uuid.uuid4()
    for part in (rows.filter(pk__gte=start), rows.filter(pk__lt=start)):
        for chunk in in_chunks(part, size=_CHUNK):
            yield from chunk
