"""Grants that the provider no longer honours."""

from __future__ import annotations

import logging

from django.db import router, transaction
from django.db.models import Q

from .. import signals
from ..conf import clock
from ..models import (
    ACCOUNT_REASONS,
    GoogleAccount,
    GoogleAccountQuerySet,
    HistoryEvent,
    Reason,
    Status,
)
from . import history, lease
from .database_errors import DATABASE_FAILURES
from .news import send_news
from .transactions import PATIENCE, run_in_transaction

logger = logging.getLogger("django_google_link")

#: The reasons that the provider itself gives.
_PROVIDERS_REASONS = frozenset({Reason.REVOKED, Reason.SESSION_POLICY, *ACCOUNT_REASONS})


def mark_lost(
    account: GoogleAccount,
    reason: str,
    *,
    guard: GoogleAccountQuerySet | None = None,
    patience: float = PATIENCE,
) -> bool:
    """Mark a grant as lost, and announce that once.

    Nothing is deleted or revoked: the user may link the account again.

    Args:
        account: as it was read before the attempt; a grant that was renewed since is left alone.
        reason: the new ``status_reason``.
        guard: the row, while this caller may write it; see ``lease.rows_still_ours``.
        patience: in seconds; see :func:`~.transactions.run_in_transaction`.

    Returns:
        Whether this call has marked it.
    """
    if guard is None:
        rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
        guard = lease.rows_still_ours(rows, account, owner=None)
    lost_by_us = Q(status_reason=Reason.REQUESTED) & ~Q(status_reason=reason)
    rows = guard.filter(Q(status=Status.ACTIVE) | lost_by_us)

    def mark() -> bool:
        changed = rows.update(
            status=Status.NEEDS_REAUTHORIZATION,
            status_reason=reason,
            status_changed_at=clock.now(),
            sealed_access_token="",
            access_token_expires_at=None,
            **lease.AT_REST,
        )
        if changed:
            _record_loss(account, reason, using=rows.db)
            _log_loss(account, reason, using=rows.db)
        if changed and account.status == Status.ACTIVE:
            send_news(account, [(signals.authorization_lost, {"reason": reason})], using=rows.db)
        return bool(changed)

    return run_in_transaction(mark, using=rows.db, patience=patience)


def note_loss(row: GoogleAccount, reason: str, *, guard: GoogleAccountQuerySet) -> bool:
    """Mark a grant as lost; return whether the row was still this caller's to write.

    If the database fails, the caller is told all the same, and the next caller finds it out again.
    """
    try:
        return mark_lost(row, reason, guard=guard)
    except DATABASE_FAILURES as error:
        logger.warning("The loss of a grant could not be saved: %s", type(error).__name__)
        return True


def _record_loss(account: GoogleAccount, reason: str, *, using: str) -> None:
    if reason == Reason.REQUESTED:
        history.record(account, HistoryEvent.CONSENT_REQUESTED, using=using)
        return
    actor = history.PROVIDER if reason in _PROVIDERS_REASONS else None
    history.record(account, HistoryEvent.LOST, using=using, actor=actor, reason=str(reason))


def _log_loss(account: GoogleAccount, reason: str, *, using: str) -> None:
    transaction.on_commit(
        lambda: logger.warning("The grant of the account %s is lost: %s.", account.pk, reason),
        using=using,
    )
