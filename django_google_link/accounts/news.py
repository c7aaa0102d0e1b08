"""What is announced when a grant changes: signals, the history and the log."""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from .. import signals
from ..conf import clock
from ..models import GoogleAccount, HistoryEvent
from ..signals import send_on_commit
from . import history

logger = logging.getLogger("django_google_link")

#: Signals to send, each with its arguments.
News = list[tuple[Signal, dict[str, Any]]]


def send_news(account: GoogleAccount, news: News, *, using: str) -> None:
    for signal, arguments in news:
        if signal is signals.authorization_recovered:
            _log_recovery(account, using=using)
        send_on_commit(signal, GoogleAccount, using=using, account=account, **arguments)


def record_news(
    account: GoogleAccount, news: News, *, using: str, actor: history.Actor | None = None
) -> None:
    for signal, arguments in news:
        if signal is signals.authorization_recovered:
            history.record(account, HistoryEvent.RECOVERED, using=using, actor=actor)
        if signal is signals.scopes_changed:
            changes = {name: sorted(scopes) for name, scopes in arguments.items()}
            history.record(
                account, HistoryEvent.SCOPES_CHANGED, using=using, actor=actor, **changes
            )


def announce_ending(account: GoogleAccount, *, using: str) -> bool:
    """Send ``authorization_ending`` once for a grant that ends soon. Call it in a transaction.

    Args:
        account: the linked account.
        using: the alias of the database.

    Returns:
        Whether this call has sent it.
    """
    if not account.ends_soon or account.ending_announced_at or account.has_ended:
        return False
    row = GoogleAccount.objects.using(using).filter(pk=account.pk, ending_announced_at=None)
    if not row.update(ending_announced_at=clock.now()):
        return False
    arguments = {"ends_at": account.ends_at}
    send_news(account, [(signals.authorization_ending, arguments)], using=using)
    return True


def _log_recovery(account: GoogleAccount, *, using: str) -> None:
    transaction.on_commit(
        lambda: logger.info("The grant of the account %s is valid again.", account.pk), using=using
    )
