"""Pending authorizations: kept in the session, one for each tab, used once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.contrib.sessions.backends.base import SessionBase, UpdateError

from ..conf import clock
from ..conf.settings import conf
from ..exceptions import StateError

SESSION_KEY = "google_link_pending"
DECLINED_SESSION_KEY = "google_link_declined"
MAX_PENDING = 10


@dataclass(frozen=True, kw_only=True)
class PendingAuthorization:
    """What we must remember between the authorization request and its callback.

    JSON primitives only, and no token: a session may be stored in a cookie.

    Args:
        user: the primary key, as text, of the user who started.
        client: the name of the OAuth client.
        scopes: all that is asked for.
        required: those without which the page behind ``return_url`` does not work.
        return_url: where the user wanted to go.
        redirect_uri: as sent; the exchange has to repeat it.
        account: the ``sub`` of the account that is expected, or nothing.
        add: that a further account is wanted, though one is linked.
        consent_repeated: that this is the second attempt, with ``prompt=consent``.
    """

    user: str
    client: str
    scopes: list[str]
    required: list[str]
    return_url: str
    redirect_uri: str
    account: str = ""
    add: bool = False
    consent_repeated: bool = False
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    code_verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)
    created_at: float = field(default_factory=clock.timestamp)

    def repeated(self, *, account: str) -> PendingAuthorization:
        """Return a fresh second attempt at the same, for the account that now is known."""
        return replace(
            self,
            account=account,
            consent_repeated=True,
            nonce=secrets.token_urlsafe(32),
            code_verifier=secrets.token_urlsafe(64),
            created_at=clock.timestamp(),
        )


def stash(session: SessionBase, pending: PendingAuthorization) -> str:
    """Keep a pending authorization in the session.

    At most ten are kept: the oldest make room.

    Returns:
        The ``state`` to send; the session holds only its hash.
    """
    state = secrets.token_urlsafe(32)
    entries = _live_entries(session)
    entries[_hash(state)] = asdict(pending)
    newest = sorted(entries.items(), key=lambda item: item[1]["created_at"])[-MAX_PENDING:]
    session[SESSION_KEY] = dict(newest)
    return state


def pop(session: SessionBase, state: str, *, user: str) -> PendingAuthorization:
    """Take a pending authorization out of the session, for good.

    The session is saved at once, so that the same ``state`` cannot come twice however the
    request ends.

    Args:
        state: from the callback.
        user: the primary key, as text, of the user who is logged in now.

    Raises:
        StateError: when it is unknown, used, expired, or was started by another user.
    """
    entries = _entries(session)
    entry = entries.pop(_hash(state), None)
    if entry is None:
        raise StateError("The state is unknown in this session, or was used before.")
    session[SESSION_KEY] = entries
    try:
        session.save()
    except UpdateError:
        raise StateError("The session has ended in the meantime.") from None
    try:
        pending = PendingAuthorization(**entry)
    except TypeError:
        raise StateError("The state was made by another version of this site.") from None
    if pending.user != user:
        raise StateError("Another user of this site started to link this account.")
    if not _is_live(entry):
        raise StateError("It took too long: the state has expired.")
    return pending


def declined(session: SessionBase, client: str) -> frozenset[str]:
    """Return the scopes that this user last was asked for and did not grant."""
    by_client = session.get(DECLINED_SESSION_KEY)
    scopes = by_client.get(client) if isinstance(by_client, dict) else None
    return frozenset(scopes) if isinstance(scopes, list) else frozenset()


def remember_outcome(
    session: SessionBase, client: str, *, asked: Iterable[str], granted: Iterable[str]
) -> None:
    """Keep which of the scopes asked for were not granted, so that nobody is asked in a loop."""
    scopes = (declined(session, client) | set(asked)) - set(granted)
    if scopes != declined(session, client):
        by_client = session.get(DECLINED_SESSION_KEY)
        others = by_client if isinstance(by_client, dict) else {}
        session[DECLINED_SESSION_KEY] = {**others, client: sorted(scopes)}


def _entries(session: SessionBase) -> dict[str, dict[str, Any]]:
    entries = session.get(SESSION_KEY)
    return dict(entries) if isinstance(entries, dict) else {}


def _live_entries(session: SessionBase) -> dict[str, dict[str, Any]]:
    return {key: entry for key, entry in _entries(session).items() if _is_live(entry)}


def _is_live(entry: Any) -> bool:
    created_at = entry.get("created_at") if isinstance(entry, dict) else None
    return isinstance(created_at, float) and clock.timestamp() - created_at <= conf.state_max_age


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
