"""Attempts to revoke grants at Google.

Grants to be revoked are in the outbox. One attempt follows the commit of the transaction that put
them there; ``google_link_revoke_pending`` makes the others, until Google has confirmed.
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
from .database import backoff, database_now, lease_duration, sort_keys, split_keys
from .ended_grants import announced_end
from .outbox import announce_end, list_siblings, read_outbox
from .transactions import run_alone, run_in_transaction

logger = logging.getLogger("django_google_link")

#: Google invalidates a refresh token that is unused for six months: there is nothing left to
#: revoke.
_LONGEST_AGE = timedelta(days=190)
_FIRST_BACKOFF, _LONGEST_BACKOFF = 60, 86_400  # seconds
#: Seconds: how long a user who unlinks an account may have to wait for Google.
SHORT_TIMEOUT = 3
#: The number of a grant's tokens that may be refused before the others are postponed.
_MOST_REFUSALS = 3
#: The longest claim of several rows, as a multiple of the claim of one.
_LONGEST_CLAIM = 20


class RevocationOutcome(models.TextChoices):
    """The outcome of an attempt to revoke."""

    REVOKED = "revoked", _("revoked")
    CANCELLED = "cancelled", _("not revoked: another link uses the same grant")
    ABANDONED = "abandoned", _("given up: see the log")
    POSTPONED = "postponed", _("postponed: see the log")
    UNREACHABLE = "unreachable", _("postponed: the provider could not be reached")
    SHARED = "shared", _("handled by another process")


class _FirstAttempt:
    """The single attempt that follows a commit."""

    def __init__(self, pk: uuid.UUID, using: str) -> None:
        self._pk, self._using = pk, using
        self.is_made = False

    def make(self) -> None:
        self.is_made = True
        process_pending(self._pk, using=self._using, timeout=SHORT_TIMEOUT)


def attempt_after_commit(pk: uuid.UUID, *, using: str) -> None:
    """Make one short attempt after the commit, however many links the transaction deletes.

    A user waits for it, and Google may not respond: the others are left to
    ``google_link_revoke_pending``.

    Args:
        pk: the primary key of an outbox entry that this transaction created.
        using: the database alias.
    """
    # Read from Django's own list, because rolling back to a savepoint also removes entries from it.
    planned = (getattr(entry[1], "__self__", None) for entry in connections[using].run_on_commit)
    if any(isinstance(one, _FirstAttempt) and not one.is_made for one in planned):
        return
    # A failure must not affect whoever unlinks: google_link_revoke_pending retries.
    transaction.on_commit(_FirstAttempt(pk, using).make, using=using, robust=True)


@sensitive_variables()
def process_pending(
    pk: uuid.UUID, *, using: str | None = None, timeout: float | None = None
) -> RevocationOutcome:
    """Revoke a grant at Google, unless another link uses it.

    If the worker dies, the revocation becomes due again after ``HTTP_TIMEOUT`` and a few seconds.
    No transaction is open during the request.

    Args:
        pk: the primary key of the pending revocation.
        using: the database alias.
        timeout: in seconds, if a user waits; a failure then does not postpone the revocation, and
            does not count as an attempt.
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
    """Revoke the grant of a pending revocation at Google, with as few requests as possible.

    At Google one confirmed revocation settles all pending ones of the same grant. If Google does
    not know a token, that says nothing about the others, and the next one is tried.

    Args:
        pk: the primary key of one of the grant's pending revocations.
        using: the database alias.

    Returns:
        One outcome for each revocation that was due; empty if another worker was faster.
    """
    rows = read_outbox(using)
    pending = run_alone(rows.filter(pk=pk).first, using=rows.db)
    if pending is None:
        return []
    siblings = run_alone(lambda: list_siblings(pending), using=rows.db)
    claimed = run_in_transaction(lambda: _claim_due(siblings or [pk], using=rows.db), using=rows.db)
    return _process_claimed(claimed, siblings=siblings, using=rows.db)


def _claim_due(keys: list[uuid.UUID], *, using: str) -> list[uuid.UUID]:
    """Claim those revocations that are due, and return them, the most promising one first.

    One worker claims all of a grant, to save requests. It must run in a transaction.
    """
    rows, now = read_outbox(using), database_now(read_outbox(using))
    # Every worker writes the same row first: the second one waits, and finds none due.
    first, *_ = sort_keys(keys, using=using)
    if not rows.filter(pk=first).update(attempts=F("attempts")):
        return []
    due: list[uuid.UUID] = []
    for chunk in split_keys(keys):
        due += rows.filter(pk__in=chunk, retry_at__lte=now).values_list("pk", flat=True)
    # Each may need a request. If the time runs out, another worker may join in.
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
        if pending is None:  # A new link has cancelled it.
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
    """Apply the outcome of a pending revocation to its siblings."""
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
    """Try to revoke one row's tokens; return also whether the outcome holds for its siblings.

    Args:
        pending: a claimed revocation.
        siblings: the primary keys of the grant's revocations that were pending before.
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
    """Delete settled revocations from the outbox, and record how each ended.

    Args:
        rows: the outbox.
        keys: the primary keys of the revocations; those already deleted are skipped.
        outcome: the outcome of all of them.
        reason: why they were abandoned.
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
    """Lock these rows by primary key until the transaction ends; return those that exist."""
    if not connections[rows.db].features.has_select_for_update:
        # Without row locks, the transaction has to begin with a write.
        rows.update(attempts=F("attempts"))
        return list(rows)
    return list(rows.select_for_update().order_by("pk"))


def give_up(pending: Iterable[PendingRevocation], *, using: str) -> None:
    """Delete revocations on behalf of the current actor, unattempted: their grants stay valid."""
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
        # A link stored before the announcement may not have seen it; every later one does.
        if _lives_on(pending):
            return RevocationOutcome.CANCELLED, True
        # If Google does not know the refresh token, it may have been rotated: the grant may still
        # be valid.
        was_alive = any(endpoints.revoke(client, token=token) for token in tokens)
    if was_alive and len(tokens) > 1 and not is_google_issuer(pending.issuer):
        _revoke_access_token(client, tokens[-1])
    if not was_alive and not has_refresh_token:
        raise TokenUndecryptableError  # An unknown access token may just have expired.
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
    """Revoke the access token as well, if the provider supports it.

    Revoking the refresh token should invalidate it, but need not (RFC 7009 section 2.1).
    """
    with suppress(GoogleLinkError):
        endpoints.revoke(client, token=token)


def has_living_link(issued: Issued, *, sub: str, owner: str, using: str | None = None) -> bool:
    """Return whether an active link uses the same grant, and would be ended by revoking it.

    This only happens at Google. At other providers each token has its own grant.

    Args:
        issued: the issuer and client of the grant.
        sub: the subject identifier of the account. If it is unknown, any link of this user may use
            the grant.
        owner: the primary key of the user, as text.
        using: the database alias.
    """
    if not is_google_issuer(issued.issuer):
        return False
    # A link for which an operator requested reauthorization works until the user acts. A link whose
    # account is disabled works again when the account is enabled, unless its grant is revoked.
    may_work = (Reason.REQUESTED, *ACCOUNT_REASONS)
    works = Q(status=Status.ACTIVE) | Q(status_reason__in=may_work)
    rows = GoogleAccount.objects.using(using or router.db_for_write(GoogleAccount))
    rows = rows.filter(works, issuer=issued.issuer).exclude(sealed_refresh_token="")
    same = rows.filter(sub=sub) if sub else rows.filter(user_id=owner)
    return any(row.sub == (sub or row.sub) and share_grant(row, issued) for row in same)


def _unseal_if_whole(pending: PendingRevocation, name: TokenName) -> Secret | None:
    """Return a token if it is stored and can be decrypted: either one can revoke the grant."""
    try:
        return pending.unseal_token(name)
    except TokenUndecryptableError:
        return None


def _is_too_old(pending: PendingRevocation) -> bool:
    return bool(clock.now() - pending.created_at > _LONGEST_AGE)


def _to_ascii(text: str) -> str:
    """Return a provider's text in characters that every database accepts."""
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
