"""Stores pending authorizations in the session: one for each attempt, to be used once."""

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

#: In characters of JSON. Browsers drop cookies of more than 4,096 bytes, and encoding adds a third.
_COOKIE_SPACE = 2000


def stash_pending(session: SessionBase, pending: PendingAuthorization) -> str:
    """Store a pending authorization in the session.

    At most ten are stored, and in a cookie as many as fit. The oldest ones are dropped.

    Returns:
        The ``state`` to send; the session only contains its digest.
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
    """Return whether a pending authorization is stored for this ``state``. Changes nothing."""
    return digest_state(state) in _read_entries(session)


def pop_pending(session: SessionBase, state: str, *, user: str) -> PendingAuthorization:
    """Remove a pending authorization from the session and return it.

    The session is saved immediately, so that the ``state`` cannot be used again even if the request
    fails.

    Args:
        state: the ``state`` in the authorization response.
        user: the primary key, as a string, of the user who is logged in.

    Raises:
        StateError: if the ``state`` is unknown, used or expired, or was created for another user.
    """
    entries = _read_entries(session)
    entry = entries.pop(digest_state(state), None)
    if entry is None:
        raise StateError("The state is unknown in this session.")
    session[SESSION_KEY] = entries
    try:
        session.save()
    except UpdateError:
        raise StateError("The session was deleted in the meantime.") from None
    pending = _read_entry(entry)
    if pending is None:
        raise StateError("The state was created by another version of this site.")
    if pending.user != user:
        raise StateError("The state was created for another user.")
    if not pending.is_live:
        raise StateError("The state has expired.")
    return pending


def read_declined(session: SessionBase, client: str) -> frozenset[str]:
    """Return the scopes that this user was last asked for and did not grant."""
    by_client = session.get(DECLINED_SESSION_KEY)
    scopes = by_client.get(client) if isinstance(by_client, dict) else None
    return frozenset(scopes) if isinstance(scopes, list) else frozenset()


def remember_outcome(
    session: SessionBase, client: str, *, asked: Iterable[str], granted: Iterable[str]
) -> None:
    """Store which requested scopes were declined, so that the user is not asked in a loop."""
    before = read_declined(session, client)
    scopes = missing_scopes(before | set(asked), granted)
    if scopes != before:
        by_client = session.get(DECLINED_SESSION_KEY)
        others = by_client if isinstance(by_client, dict) else {}
        session[DECLINED_SESSION_KEY] = {**others, client: sorted(scopes)}


def _keep_short(entries: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the newest entries that fit into a cookie, but at least the last one."""
    last = len(entries) - 1
    while last and len(json.dumps(entries[last - 1 :])) <= _COOKIE_SPACE:
        last -= 1
    return entries[last:]


def _read_entries(session: SessionBase) -> dict[str, Any]:
    entries = session.get(SESSION_KEY)
    return dict(entries) if isinstance(entries, dict) else {}


def _read_entry(entry: Any) -> PendingAuthorization | None:
    """Return the pending authorization of an entry, or ``None`` if its format is unknown."""
    if not isinstance(entry, dict) or not isinstance(entry.get("created_at"), float):
        return None
    try:
        return PendingAuthorization(**entry)
    except TypeError:
        return None


def _is_live(entry: Any) -> bool:
    pending = _read_entry(entry)
    return pending is not None and pending.is_live
