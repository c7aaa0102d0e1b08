"""Attempts to end grants at Google: nothing of a link that is gone may live on there.

What is to end waits in the outbox. There is one attempt as soon as the transaction has committed
that put it there; ``google_link_revoke_pending`` makes the others, until Google has said yes.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, models, router, transaction
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..conf.clients import Issued, OAuthClient, get_revoking_client, is_google_issuer, share_grant
from ..exceptions import GoogleLinkError, RefreshUnavailableError, TokenUndecryptableError
from ..models import (
    ACCOUNT_REASONS,
    GoogleAccount,
    HistoryEvent,
    PendingRevocation,
    Reason,
    Status,
    TokenName,
)
from ..oauth import endpoints
from ..oauth.metadata import with_endpoints
from ..oauth.transport import limited
from ..secret import Secret
from . import history
from .database import backoff, database_now, lease_duration, split_keys
from .ended_grants import announced_end
from .outbox import announce_end, list_siblings, read_outbox
from .transactions import run_alone, run_in_transaction

logger = logging.getLogger("django_google_link")

#: Google drops a refresh token that nobody has used for six months: then there is nothing to end.
_LONGEST_AGE = timedelta(days=190)
_FIRST_BACKOFF, _LONGEST_BACKOFF = 60, 86_400  # seconds
#: Seconds: for so long somebody waits for Google who has unlinked an account.
SHORT_TIMEOUT = 3
#: So many tokens of one grant may be refused, each in its own way, before the others have to wait.
_MOST_REFUSALS = 3
#: A claim of many is at most as long as for so many one after the other.
_LONGEST_CLAIM = 20


class RevocationOutcome(models.TextChoices):
    """What became of a pending revocation."""

    REVOKED = "revoked", _("revoked")
    CANCELLED = "cancelled", _("not revoked: another link uses the same grant")
    ABANDONED = "abandoned", _("given up: see the log")
    POSTPONED = "postponed", _("postponed: see the log")
    UNREACHABLE = "unreachable", _("postponed: the provider could not be reached")
    SHARED = "shared", _("handled by another process")


class _FirstAttempt:
    """The one attempt that follows a commit."""

    def __init__(self, pk: uuid.UUID, using: str) -> None:
        self._pk, self._using = pk, using
        self.is_made = False

    def make(self) -> None:
        self.is_made = True
        process_pending(self._pk, using=self._using, timeout=SHORT_TIMEOUT)


def attempt_after_commit(pk: uuid.UUID, *, using: str) -> None:
    """Make one short attempt once the transaction has committed, however much goes with it.

    Somebody waits for it, and Google may not answer: the others are left to the command.

    Args:
        pk: of what has been put into the outbox in this transaction.
        using: the alias of the database.
    """
    # Read where Django keeps them: what a savepoint takes back with it, is gone from there as well.
    planned = (getattr(entry[1], "__self__", None) for entry in connections[using].run_on_commit)
    if any(isinstance(one, _FirstAttempt) and not one.is_made for one in planned):
        return
    # Whatever goes wrong then is no concern of the one who unlinks: the command will see to it.
    transaction.on_commit(_FirstAttempt(pk, using).make, using=using, robust=True)


@sensitive_variables()
def process_pending(
    pk: uuid.UUID, *, using: str | None = None, timeout: float | None = None
) -> RevocationOutcome:
    """Tell Google to end a grant, unless another link lives on it.

    Whoever dies in the middle leaves the revocation to the next one, after ``HTTP_TIMEOUT`` and a
    few seconds more. No transaction is open while Google is asked.

    Args:
        pk: of the pending revocation.
        using: the alias of the database.
        timeout: in seconds, where somebody waits: what fails then is due at once, as if it had not
            been tried.
    """
    rows = read_outbox(using).filter(pk=pk)
    now = database_now(rows)
    claimed = {"attempts": F("attempts") + 1, "retry_at": now + lease_duration()}

    def claim() -> PendingRevocation | None:
        return rows.first() if rows.filter(retry_at__lte=now).update(**claimed) else None

    pending = run_in_transaction(claim, using=rows.db)
    if pending is None:
        return RevocationOutcome.SHARED
    siblings = run_alone(lambda: list_siblings(pending), using=rows.db)
    outcome, _ = _attempt_revocation(pending, siblings=siblings, timeout=timeout)
    return outcome


@sensitive_variables()
def process_grant(pk: uuid.UUID, *, using: str | None = None) -> list[RevocationOutcome]:
    """Tell Google to end the grant of a pending revocation, with as few requests as it takes.

    At Google one confirmed revocation is for all that waits for the end of the same grant. Of a
    token that Google does not know it says nothing about the others: then the next one is tried.

    Args:
        pk: of one that waits for the end of the grant.
        using: the alias of the database.

    Returns:
        An outcome for each that was due; none, where another worker has been faster.
    """
    rows = read_outbox(using)
    pending = run_alone(rows.filter(pk=pk).first, using=rows.db)
    if pending is None:
        return []
    siblings = run_alone(lambda: list_siblings(pending), using=rows.db)
    claimed = run_in_transaction(lambda: _claim_due(siblings or [pk], using=rows.db), using=rows.db)
    return _process_claimed(claimed, siblings=siblings, using=rows.db)


def _claim_due(keys: list[uuid.UUID], *, using: str) -> list[uuid.UUID]:
    """Take those that are due for a while, and return them: the most promising one first.

    Of several workers one gets all of a grant, or there would be as many requests. It is done in a
    transaction.
    """
    rows, now = read_outbox(using), database_now(read_outbox(using))
    # A write to the same row of all comes first: the second worker waits, and finds none due.
    if not rows.filter(pk=min(keys)).update(attempts=F("attempts")):
        return []
    due: list[uuid.UUID] = []
    for chunk in split_keys(keys):
        due += rows.filter(pk__in=chunk, retry_at__lte=now).values_list("pk", flat=True)
    # Each may take as long as one. Should the time not be enough, another worker joins in.
    until = now + lease_duration() * min(len(due), _LONGEST_CLAIM)
    for chunk in split_keys(due):
        rows.filter(pk__in=chunk).update(attempts=F("attempts") + 1, retry_at=until)
    order = {key: place for place, key in enumerate(keys)}
    return sorted(due, key=order.__getitem__)


@sensitive_variables()
def _process_claimed(
    keys: list[uuid.UUID], *, siblings: list[uuid.UUID], using: str
) -> list[RevocationOutcome]:
    outcomes, refusals = [], 0
    for place, key in enumerate(keys, 1):
        pending = run_alone(read_outbox(using).filter(pk=key).first, using=using)
        if pending is None:  # A new link has called it off.
            outcomes.append(RevocationOutcome.SHARED)
            continue
        outcome, is_for_all = _attempt_revocation(pending, siblings=siblings, timeout=None)
        outcomes.append(outcome)
        refusals += outcome == RevocationOutcome.POSTPONED
        if is_for_all or refusals == _MOST_REFUSALS:
            _share_outcome(outcome, keys[place:], pending)
            return [*outcomes, *[outcome] * (len(keys) - place)]
    return outcomes


def _share_outcome(
    outcome: RevocationOutcome, keys: list[uuid.UUID], pending: PendingRevocation
) -> None:
    """Let the siblings of a pending revocation share its outcome."""
    rows = read_outbox(pending._state.db)
    is_over = outcome in {RevocationOutcome.REVOKED, RevocationOutcome.CANCELLED}
    waits = rows.filter(pk=pending.pk).values_list("retry_at", flat=True)
    retry_at = run_alone(waits.first, using=rows.db) or database_now(rows)
    for chunk in split_keys(keys):
        if is_over:
            _close(rows, chunk, outcome)
        else:
            run_alone(partial(rows.filter(pk__in=chunk).update, retry_at=retry_at), using=rows.db)


@sensitive_variables()
def _attempt_revocation(
    pending: PendingRevocation, *, siblings: list[uuid.UUID], timeout: float | None
) -> tuple[RevocationOutcome, bool]:
    """Make an attempt with the tokens of one row; return also whether it speaks for its siblings.

    Args:
        pending: claimed.
        siblings: the keys of those that were there before and wait for the end of the same grant.
        timeout: as in :func:`process_pending`.
    """
    rows = read_outbox(pending._state.db)
    is_for_all, reason = False, ""
    try:
        outcome, is_for_all = _revoke_grant(pending, timeout=timeout)
        reason = "no_revocation_endpoint"
    except TokenUndecryptableError:
        outcome, reason = RevocationOutcome.ABANDONED, "undecryptable"
        logger.error(
            "The unlinked account %s could not be revoked at %s: its tokens are unusable.",
            pending.account_id,
            pending.provider,
        )
    except (GoogleLinkError, ImproperlyConfigured) as error:
        if not _is_too_old(pending):
            _postpone_revocation(pending, error, is_short=timeout is not None)
            is_away = isinstance(error, RefreshUnavailableError)
            outcome = RevocationOutcome.UNREACHABLE if is_away else RevocationOutcome.POSTPONED
            signals.revocation_finished.send_robust(
                None, client=pending.client, outcome=outcome.value
            )
            return outcome, is_away
        outcome, reason = RevocationOutcome.ABANDONED, "too_old"
        logger.error(
            "The unlinked account %s could not be revoked at %s within six months: %s",
            pending.account_id,
            pending.provider,
            error,
        )
    _close(rows, [pending.pk], outcome, reason=reason)
    if is_for_all and outcome == RevocationOutcome.REVOKED:
        for chunk in split_keys(siblings):
            _close(rows, chunk, outcome)
    return outcome, is_for_all


def _close(
    rows: models.QuerySet[PendingRevocation],
    keys: list[uuid.UUID],
    outcome: RevocationOutcome,
    *,
    reason: str = "",
) -> None:
    """Take what is over out of the outbox, and write down how it has ended.

    Args:
        keys: of the revocations; those that are gone are none of ours.
        outcome: of them all.
        reason: why they were given up.
    """

    def close() -> None:
        ended = _lock(rows.filter(pk__in=keys))
        for row in ended:
            announce_end(row, outcome=outcome.value, using=rows.db)
        if outcome == RevocationOutcome.REVOKED:
            history.record_all(ended, HistoryEvent.REVOKED, using=rows.db, actor=history.PROVIDER)
        else:
            is_cancelled = outcome == RevocationOutcome.CANCELLED
            history.record_all(
                ended,
                HistoryEvent.REVOCATION_ENDED,
                using=rows.db,
                reason="another_link" if is_cancelled else reason,
            )
        rows.filter(pk__in=[row.pk for row in ended]).delete()

    run_in_transaction(close, using=rows.db)


def _lock(rows: models.QuerySet[PendingRevocation]) -> list[PendingRevocation]:
    """Lock these rows by their keys until the transaction ends, and return those that are there."""
    if not connections[rows.db].features.has_select_for_update:
        # There a write has to come first, though it changes nothing.
        rows.update(attempts=F("attempts"))
        return list(rows)
    return list(rows.select_for_update().order_by("pk"))


def give_up(pending: Iterable[PendingRevocation], *, using: str) -> None:
    """Forget revocations, in the name of whoever is acting: their grants live on."""
    keys = [row.pk for row in pending]
    for chunk in split_keys(keys):
        _close(read_outbox(using), chunk, RevocationOutcome.ABANDONED, reason="by_hand")


@sensitive_variables()
def _revoke_grant(
    pending: PendingRevocation, *, timeout: float | None
) -> tuple[RevocationOutcome, bool]:
    if _lives_on(pending):
        if not pending.sub:
            logger.warning(
                "A grant to the client %r may still be valid at %s: its account is unknown, "
                "and its user has another link.",
                pending.client,
                pending.provider,
            )
        return RevocationOutcome.CANCELLED, True
    refresh_token = _unseal_if_whole(pending, "refresh_token")
    tokens = [
        token for token in (refresh_token, _unseal_if_whole(pending, "access_token")) if token
    ]
    if not tokens:
        raise TokenUndecryptableError
    with limited(timeout):
        return _revoke_tokens(pending, tokens, has_refresh_token=refresh_token is not None)


@sensitive_variables()
def _revoke_tokens(
    pending: PendingRevocation, tokens: list[Secret], *, has_refresh_token: bool
) -> tuple[RevocationOutcome, bool]:
    client = with_endpoints(get_revoking_client(pending))
    if client.revocation_endpoint is None:
        logger.error(
            "The unlinked account %s is still authorized at %s, which has no revocation "
            "endpoint: its user can revoke it there.",
            pending.account_id,
            pending.issuer,
        )
        return RevocationOutcome.ABANDONED, False
    with announced_end(pending, sub=pending.sub, using=read_outbox(pending._state.db).db):
        # Who has linked it by now may not have seen the announcement; all others will.
        if _lives_on(pending):
            return RevocationOutcome.CANCELLED, True
        # A refresh token that Google no longer knows may have been replaced: the grant may live on.
        was_alive = any(endpoints.revoke(client, token=token) for token in tokens)
    if was_alive and len(tokens) > 1 and not is_google_issuer(pending.issuer):
        _revoke_access_token(client, tokens[-1])
    if not was_alive and not has_refresh_token:
        raise TokenUndecryptableError  # Of an access token it says only that its hour is over.
    logger.info("The unlinked account %s was revoked at %s.", pending.account_id, pending.provider)
    return RevocationOutcome.REVOKED, was_alive


def _lives_on(pending: PendingRevocation) -> bool:
    using = read_outbox(pending._state.db).db
    return run_alone(
        lambda: has_living_link(pending, sub=pending.sub, owner=pending.owner, using=using),
        using=using,
    )


@sensitive_variables()
def _revoke_access_token(client: OAuthClient, token: Secret) -> None:
    """End an access token as well, where the provider can: it would live on for its hour.

    See RFC 7009 section 2.1: the end of the refresh token should be its end, and need not be.
    """
    with suppress(GoogleLinkError):
        endpoints.revoke(client, token=token)


def has_living_link(issued: Issued, *, sub: str, owner: str, using: str | None = None) -> bool:
    """Return whether a link that works lives on the same grant: to revoke would end it as well.

    At Google that is so. At other providers each token is of a grant of its own.

    Args:
        issued: to whom the tokens of the grant were issued.
        sub: whose grant it is. Where that is not known, any link of this user may live on it.
        owner: the primary key of the user, as text.
    """
    if not is_google_issuer(issued.issuer):
        return False
    # What an operator has asked to be linked again works as long as nobody does anything.
    # One whose account is disabled works again when that is over, if nobody ends its grant.
    may_work = (Reason.REQUESTED, *ACCOUNT_REASONS)
    works = Q(status=Status.ACTIVE) | Q(status_reason__in=may_work)
    rows = GoogleAccount.objects.using(using or router.db_for_write(GoogleAccount))
    rows = rows.filter(works, issuer=issued.issuer).exclude(sealed_refresh_token="")
    same = rows.filter(sub=sub) if sub else rows.filter(user_id=owner)
    return any(row.sub == (sub or row.sub) and share_grant(row, issued) for row in same)


def _unseal_if_whole(pending: PendingRevocation, name: TokenName) -> Secret | None:
    """Return a token, if it is there and whole: either of them ends the grant while it lives."""
    try:
        return pending.unseal_token(name)
    except TokenUndecryptableError:
        return None


def _is_too_old(pending: PendingRevocation) -> bool:
    return bool(clock.now() - pending.created_at > _LONGEST_AGE)


def _to_ascii(text: str) -> str:
    """Return a provider's text with the characters that every database takes."""
    return text.encode("ascii", "replace").decode()


def _postpone_revocation(pending: PendingRevocation, error: Exception, *, is_short: bool) -> None:
    rows = PendingRevocation.objects.using(pending._state.db).filter(pk=pending.pk)
    delay = timedelta()
    if not is_short:
        delay = backoff(pending.attempts - 1, first=_FIRST_BACKOFF, longest=_LONGEST_BACKOFF)
    noted = {
        "attempts": pending.attempts - is_short,
        "retry_at": database_now(rows) + delay,
        "last_error": _to_ascii(str(error))[:300],
    }
    run_alone(lambda: rows.update(**noted), using=rows.db)
    logger.warning(
        "The unlinked account %s could not be revoked at %s, next attempt in %d s: %s",
        pending.account_id,
        pending.provider,
        delay.total_seconds(),
        error,
    )
