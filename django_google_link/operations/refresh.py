"""Refreshing many accounts ahead of time, on any number of machines."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
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
from .patience import Patience

logger = logging.getLogger("django_google_link")

_CHUNK = 500


class RefreshOutcome(TextChoices):
    """The outcome for an account that was due."""

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

#: Outcomes caused by Google, the settings or the database, which affect other accounts too.
WIDESPREAD = frozenset(
    {
        RefreshOutcome.UNREACHABLE,
        RefreshOutcome.UNSTORED,
        RefreshOutcome.REFUSED,
        RefreshOutcome.UNREADABLE,
    }
)

#: Outcomes of requests to which the issuer has responded.
_ANSWERED = frozenset(
    {
        RefreshOutcome.REFRESHED,
        RefreshOutcome.LOST,
        RefreshOutcome.DENIED,
        RefreshOutcome.FORBIDDEN,
    }
)

#: Outcomes that a later run may improve.
RETRYABLE = WIDESPREAD | {RefreshOutcome.DENIED, RefreshOutcome.WAITING}


def list_due_accounts(
    *, expiring_within: timedelta | None, unused_for: timedelta
) -> GoogleAccountQuerySet:
    """Return the active accounts that should be refreshed, including those that are backing off.

    Args:
        expiring_within: include accounts whose access token expires within this time; ``None`` for
            none of them.
        unused_for: include accounts whose refresh token has not been used for this time. Google
            invalidates it after six months:
            https://developers.google.com/identity/protocols/oauth2#expiration.

    Accounts whose last refresh failed are always due.
    """
    now = clock.now()
    due = Q(last_asked_at__lt=now - unused_for) | Q(refresh_failing_since__isnull=False)
    if expiring_within is not None:
        due |= Q(sealed_access_token="") | Q(access_token_expires_at__lt=now + expiring_within)
    accounts = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    # Without a refresh token, the account is marked as lost once its access token has expired.
    is_over = Q(without_refresh_token=True, access_token_expires_at__lt=now)
    return (
        accounts.filter(status=Status.ACTIVE)
        .alias(last_asked_at=Coalesce("refreshed_at", "linked_at"))
        .filter((due & ~Q(sealed_refresh_token="")) | is_over)
    )


def split_waiting(
    accounts: GoogleAccountQuerySet,
) -> tuple[GoogleAccountQuerySet, GoogleAccountQuerySet]:
    """Return the accounts that may be refreshed now, and those that are backing off."""
    waiting = match_waiting(using=accounts.db)
    return accounts.exclude(waiting), accounts.filter(waiting)


def refresh_accounts(
    accounts: GoogleAccountQuerySet, *, leeway: timedelta, workers: int
) -> Generator[RefreshOutcome, None, None]:
    """Refresh accounts; yield an outcome for each.

    Any number of processes may do so at the same time: they start at different places, and skip
    accounts that another one has refreshed or is refreshing. Closing the iterator finishes the
    requests in progress, and starts no more.

    Args:
        accounts: the accounts, in any order; each is refreshed if still due.
        leeway: an access token with less lifetime left is refreshed.
        workers: the number of threads, each with its own database connection.
    """
    run = _Run(leeway, workers)
    return in_parallel(
        run.process, _from_random_start(accounts), workers=workers, stopped=run.stopped
    )


def refresh_account(account: GoogleAccount, *, leeway: timedelta) -> RefreshOutcome:
    """Refresh an account if it is due and not backing off."""
    try:
        token = fresh_access_token(account, leeway=leeway, wait=False)
    except (GoogleLinkError, ImproperlyConfigured) as error:
        return _judge_failure(error, account)
    if token.problem:  # The stored token is still usable, but it was not refreshed.
        return _judge_failure(token.problem, account)
    return RefreshOutcome.REFRESHED if token.is_new else RefreshOutcome.SHARED


def check_account(account: GoogleAccount) -> RefreshOutcome:
    """Check at Google whether a grant is valid, even one that was lost."""
    try:
        check_grant(account)
    except (GoogleLinkError, ImproperlyConfigured) as error:
        return _judge_failure(error, account)
    return RefreshOutcome.REFRESHED


class _Run:
    """State shared by the threads of one call."""

    def __init__(self, leeway: timedelta, workers: int) -> None:
        self.stopped = threading.Event()
        self._changed = threading.Condition()
        self._leeway = leeway
        self._refused: set[tuple[str, str, str]] = set()
        self._patience = Patience(max(3 * workers, FAILURES_TO_OPEN))
        # By issuer.
        self._under_way: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()

    def process(self, account: GoogleAccount) -> RefreshOutcome:
        """Refresh an account."""
        if (account.client, account.issuer, account.client_id) in self._refused:
            return RefreshOutcome.REFUSED
        if self._patience.is_over(account.issuer):
            return RefreshOutcome.UNREACHABLE
        answers = self._answers[account.issuer]
        outcome = self._refresh(account)
        if outcome == RefreshOutcome.UNREACHABLE and self._is_answered(account.issuer, answers):
            # It may have been held back by an outage that is over, as another account has shown.
            outcome = self._refresh(account)
        self._learn_from(outcome, account)
        return outcome

    def _refresh(self, account: GoogleAccount) -> RefreshOutcome:
        with self._changed:
            self._under_way[account.issuer] += 1
        outcome = None
        try:
            outcome = refresh_account(account, leeway=self._leeway)
            return outcome
        finally:
            with self._changed:
                self._under_way[account.issuer] -= 1
                # Without a refresh token, nobody was asked.
                if outcome in _ANSWERED and not account.without_refresh_token:
                    self._answers[account.issuer] += 1
                    self._patience.note_answer(account.issuer)
                self._changed.notify_all()

    def _is_answered(self, issuer: str, before: int) -> bool:
        """Return whether the issuer has answered; wait for the requests that are under way.

        It is false once the run is stopped.

        Args:
            issuer: the issuer.
            before: the number of answers so far.
        """

        def is_answered() -> bool:
            return self._answers[issuer] > before

        with self._changed:
            self._changed.wait_for(lambda: is_answered() or not self._under_way[issuer])
            return is_answered() and not self.stopped.is_set()

    def _learn_from(self, outcome: RefreshOutcome, account: GoogleAccount) -> None:
        if outcome == RefreshOutcome.REFUSED:
            # Per client id: links of a former client id may be refused while others work.
            self._refused.add((account.client, account.issuer, account.client_id))
        if outcome == RefreshOutcome.UNREACHABLE:
            self._patience.count_failure(account.issuer)


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
    """Yield each account once, starting at a random place."""
    rows = accounts.only("pk", "client", "issuer", "client_id", "without_refresh_token")
    start = uuid.uuid4()
    for part in (rows.filter(pk__gte=start), rows.filter(pk__lt=start)):
        for chunk in in_chunks(part, size=_CHUNK):
            yield from chunk
