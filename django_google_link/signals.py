"""The signals of this app. None carries a token.

All are sent with ``send_robust()`` after the transaction has been committed, with ``GoogleAccount``
as the sender. The last three are measurements: they are sent immediately, with ``None`` as the
sender.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

__all__ = [
    "account_linked",
    "account_unlinked",
    "authorization_denied",
    "authorization_ending",
    "authorization_lost",
    "authorization_recovered",
    "revocation_finished",
    "scopes_changed",
    "security_event",
    "token_refreshed",
    "token_request_finished",
    "token_wait_finished",
]

#: An account was linked, or linked again: ``account``, ``created``, ``request`` (or ``None``).
account_linked = Signal()
#: The scopes granted by an account changed: ``account``, ``added``, ``removed``.
scopes_changed = Signal()
#: A new access token was stored: ``account``.
token_refreshed = Signal()
#: The user or Google denied the authorization: ``user``, ``client``, ``error``, ``request``.
authorization_denied = Signal()
#: An account has to be linked again; sent once per loss: ``account``, ``reason``.
authorization_lost = Signal()
#: A time-limited grant expires within a week; sent once: ``account``, ``ends_at``.
authorization_ending = Signal()
#: A lost grant works again: ``account``.
authorization_recovered = Signal()
#: An account was unlinked: ``user_id``, ``client``, ``sub``, ``email``.
account_unlinked = Signal()
#: Google sent an event: ``type``, ``accounts``, ``sub``, ``reason``, ``issued_at``, ``payload``.
security_event = Signal()

#: A request to an OAuth endpoint finished: ``kind``, ``client``, ``outcome``, ``seconds``.
token_request_finished = Signal()
#: A caller stopped waiting for a fresh access token: ``client``, ``outcome``, ``seconds``.
token_wait_finished = Signal()
#: An attempt to revoke an unlinked account's token finished: ``client``, ``outcome``.
revocation_finished = Signal()


def send_on_commit(
    signal: Signal, sender: type[Any] | None, *, using: str | None = None, **kwargs: Any
) -> None:
    """Send a signal after the surrounding transaction commits, and not at all if it rolls back."""
    transaction.on_commit(partial(signal.send_robust, sender, **kwargs), using=using)
