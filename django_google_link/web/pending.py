"""Pending authorizations: kept in the session, one for each tab, used once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession

from ..accounts.authorization_requests import PendingAuthorization
from ..accounts.spent_states import digest_state
from ..conf.scope_rules import missing_scopes
from ..exceptions import StateError

SESSION_KEY = "google_link_pending"
DECLINED_SESSION_KEY = "google_link_declined"
MAX_PENDING = 10

#: Characters of JSON. A browser drops a cookie of more than 4,096 bytes, session and all, and a
#: third comes on top when it is encoded.
_COOKIE_SPACE = 2000


def stash_pending(session: SessionBase, pending: PendingAuthorization) -> str:
    """Keep a pending authorization in the session.

    At most ten are kept, and in a cookie as many as fit: the oldest make room.

    Returns:
        The ``state`` to send; the session holds only its digest.
    """
    state = secrets.token_urlsafe(32)
    entries = _read_entries(session)
    live = {key: entry for key, entry in entries.items() if _is_live(entry)}
    live[digest_state(state)] = asdict(pending)
    newest = sorted(live.items(), key=lambda item: item[1]["created_at"])[-MAX_PENDING:]
    if isinstance(session, CookieSession):
        newest = _keep_short(newest)
    session[SESSION_KEY] = dict(newest)
    return state


def holds_pending(session: SessionBase, state: str) -> bool:
    """Return whether something is kept under this ``state``. Changes nothing."""
    return digest_state(state) in _read_entries(session)


def pop_pending(session: SessionBase, state: str, *, user: str) -> PendingAuthorization:
    """Take a pending authorization out of the session, for good.

    The session is saved at once, so that the same ``state`` is gone however the request ends.

    Args:
        state: from the callback.
        user: the primary key, as text, of the user who is logged in now.

    Raises:
        StateError: when nothing is in this session, or is any more; when it has expired, or was
            started by another user.
    """
    entries = _read_entries(session)
    entry = entries.pop(digest_state(state), None)
    if entry is None:
        raise StateError("This state is unknown in the session.")
    session[SESSION_KEY] = entries
    try:
        session.save()
    except UpdateError:
        raise StateError("The session has ended in the meantime.") from None
    pending = _read_entry(entry)
    if pending is None:
        raise StateError("The state was created by another version of this site.")
    if pending.user != user:
        raise StateError("Another user of this site started to link this account.")
    if not pending.is_live:
        raise StateError("The state has expired.")
    return pending


def read_declined(session: SessionBase, client: str) -> frozenset[str]:
    """Return the scopes that this user last was asked for and did not grant."""
    by_client = session.get(DECLINED_SESSION_KEY)
    scopes = by_client.get(client) if isinstance(by_client, dict) else None
    return frozenset(scopes) if isinstance(scopes, list) else frozenset()


def remember_outcome(
    session: SessionBase, client: str, *, asked: Iterable[str], granted: Iterable[str]
) -> None:
    """Keep which of the scopes asked for were not granted, so that nobody is asked in a loop."""
    before = read_declined(session, client)
    scopes = missing_scopes(before | set(asked), granted)
    if scopes != before:
        by_client = session.get(DECLINED_SESSION_KEY)
        others = by_client if isinstance(by_client, dict) else {}
        session[DECLINED_SESSION_KEY] = {**others, client: sorted(scopes)}


def _keep_short(entries: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the newest entries that fit into a cookie: the last one, whatever its length."""
    last = len(entries) - 1
    while last and len(json.dumps(entries[last - 1 :])) <= _COOKIE_SPACE:
        last -= 1
    return entries[last:]


def _read_entries(session: SessionBase) -> dict[str, Any]:
    entries = session.get(SESSION_KEY)
    return dict(entries) if isinstance(entries, dict) else {}


def _read_entry(entry: Any) -> PendingAuthorization | None:
    """Return what an entry holds, if this version of the code has written it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("created_at"), float):
        return None
    try:
        return PendingAuthorization(**entry)
    except TypeError:
        return None


def _is_live(entry: Any) -> bool:
    pending = _read_entry(entry)
    return pending is not None and pending.is_live
