"""What other apps can listen to.

All are sent with ``send_robust`` after the database has committed, with ``GoogleAccount`` as the
sender, and carry no token. The last three are measurements: they are sent at once, by nobody.
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

#: A user linked or re-linked an account: ``account``, ``created``, ``request`` (or ``None``).
account_linked = Signal()
#: An account's granted scopes are others than before: ``account``, ``added``, ``removed``.
scopes_changed = Signal()
#: A new access token was stored: ``account``.
token_refreshed = Signal()
#: The user or Google refused to link: ``user``, ``client``, ``error``, ``request``.
authorization_denied = Signal()
#: An account has to be linked again, once per transition: ``account``, ``reason``.
authorization_lost = Signal()
#: A grant that was given for a limited time ends within a week, once: ``account``, ``ends_at``.
authorization_ending = Signal()
#: A lost grant works again: ``account``.
authorization_recovered = Signal()
#: A link is gone: ``user_id``, ``client``, ``sub``, ``email``.
account_unlinked = Signal()
#: Told by Google: ``type``, ``accounts``, ``sub``, ``reason``, ``issued_at``, ``payload``.
security_event = Signal()

#: A request to an OAuth endpoint is over: ``kind``, ``client``, ``outcome``, ``seconds``.
token_request_finished = Signal()
#: A caller without a token that is good has got one or not: ``client``, ``outcome``, ``seconds``.
token_wait_finished = Signal()
#: An attempt to revoke what was unlinked is over: ``client``, ``outcome``.
revocation_finished = Signal()


def send_on_commit(
    signal: Signal, sender: type[Any] | None, *, using: str | None = None, **kwargs: Any
) -> None:
    """Send a signal once the surrounding transaction has committed; never, if it rolls back."""
    transaction.on_commit(partial(signal.send_robust, sender, **kwargs), using=using)
