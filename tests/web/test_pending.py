"""Pending authorizations and what a user has declined, kept in a session."""

from __future__ import annotations

import json
from secrets import token_urlsafe
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.contrib.sessions.backends.signed_cookies import SessionStore
from pytest_django import Settings

from django_google_link.accounts.authorization_requests import PendingAuthorization
from django_google_link.conf import clock
from django_google_link.exceptions import StateError
from django_google_link.testing import travel
from django_google_link.web.pending import (
    DECLINED_SESSION_KEY,
    MAX_PENDING,
    SESSION_KEY,
    holds_pending,
    pop_pending,
    read_declined,
    remember_outcome,
    stash_pending,
)
from tests.support.constants import CALENDAR, DRIVE


@pytest.fixture
def session() -> SessionStore:
    """A session that would travel in a cookie: the strictest kind."""
    return SessionStore()


def pending(**changes: Any) -> PendingAuthorization:
    """Return a pending authorization with these changes."""
    values: dict[str, Any] = {
        "user": "1",
        "client": "default",
        "scopes": ["openid"],
        "required": [],
        "return_url": "/",
        "redirect_uri": "https://a.example/cb",
    }
    return PendingAuthorization(**{**values, **changes})


def test_stashed_is_popped_once(session: SessionStore) -> None:
    """It comes back as it was, and only once."""
    kept = pending()
    value = stash_pending(session, kept)

    assert pop_pending(session, value, user="1") == kept
    assert not holds_pending(session, value)
    with pytest.raises(StateError, match="The state is unknown"):
        pop_pending(session, value, user="1")


def test_every_start_is_unguessable(session: SessionStore) -> None:
    """ASVS 10.1.2: state, nonce and verifier are new each time, and long enough (RFC 7636 4.1)."""
    starts = [pending() for _ in range(3)]
    values = [stash_pending(session, start) for start in starts]

    texts = [*values, *(s.nonce for s in starts), *(s.code_verifier for s in starts)]
    assert len(set(texts)) == 9
    assert all(len(text) >= 43 for text in texts)
    assert all(43 <= len(start.code_verifier) <= 128 for start in starts)


def test_session_holds_a_hash_and_primitives(session: SessionStore) -> None:
    """The state itself stays out of it, and JSON can write all the rest."""
    value = stash_pending(session, pending())

    written = json.dumps(dict(session.items()))

    assert value not in written
    assert json.loads(written) == dict(session.items())


@pytest.mark.parametrize("user", ["2", "", "11"])
def test_another_users_state_is_refused_and_used_up(session: SessionStore, user: str) -> None:
    """Trying it as somebody else leaves nothing to try again."""
    value = stash_pending(session, pending())

    with pytest.raises(StateError, match="created for another user"):
        pop_pending(session, value, user=user)
    assert not holds_pending(session, value)


def test_old_state_is_refused(session: SessionStore, settings: Settings) -> None:
    """And makes room at the next start."""
    old = stash_pending(session, pending(created_at=1.0))

    with pytest.raises(StateError, match="expired"):
        pop_pending(session, old, user="1")

    stash_pending(session, pending(created_at=1.0))
    stash_pending(session, pending())
    assert len(session[SESSION_KEY]) == 1


def test_state_of_another_version_is_refused(session: SessionStore) -> None:
    """A deployment in the middle of a flow is no crash."""
    value = stash_pending(session, pending())
    [entry] = session[SESSION_KEY].values()
    entry["unheard_of"] = 1

    with pytest.raises(StateError, match="another version"):
        pop_pending(session, value, user="1")


@pytest.mark.parametrize("garbage", [None, [], "x", {"x": "y"}, {"x": {"created_at": "now"}}])
def test_garbled_session_is_taken_as_empty(session: SessionStore, garbage: Any) -> None:
    """Whatever somebody has put there."""
    session[SESSION_KEY] = garbage
    session[DECLINED_SESSION_KEY] = garbage

    assert not holds_pending(session, "y")
    assert read_declined(session, "default") == frozenset()
    assert pop_pending(session, stash_pending(session, pending()), user="1")


def test_second_attempt_is_new_but_for_its_purpose() -> None:
    """The consent that is asked for once more has a nonce and a verifier of its own."""
    first = pending(add=True)

    second = first.repeated(account="42")

    assert (second.account, second.consent_repeated, second.add) == ("42", True, True)
    assert second.prompt == "consent"
    assert second.nonce != first.nonce
    assert second.code_verifier != first.code_verifier
    assert second.return_url == first.return_url


def test_second_attempt_has_its_time_from_its_own_start(session: SessionStore) -> None:
    """The user has been at Google for nearly as long as a state lives, and goes there again."""
    first = pending()

    with travel(minutes=9):
        value = stash_pending(session, first.repeated(account="42"))
    with travel(minutes=18):
        assert not first.is_live
        assert pop_pending(session, value, user="1")


@pytest.mark.parametrize("start", [pending(), pending().repeated(account="42")])
def test_pending_authorization_shows_none_of_its_secrets(start: PendingAuthorization) -> None:
    """Its repr stands in error reports: the verifier is what the code is worth without a client."""
    assert start.nonce not in repr(start)
    assert start.code_verifier not in repr(start)
    assert "https://a.example/cb" in repr(start)


@pytest.mark.django_db
def test_pending_authorizations_make_room_by_their_age() -> None:
    """Ten are kept, whatever the order in which they came."""
    session = DatabaseSession()
    now = clock.timestamp()
    ages = [*range(5), 60, *range(5, 10)]
    values = [stash_pending(session, pending(created_at=now - age)) for age in ages]
    oldest = values.pop(5)

    assert not holds_pending(session, oldest)
    assert all(pop_pending(session, value, user="1") for value in values)


def test_popped_leaves_the_others(session: SessionStore) -> None:
    """Each tab has its own."""
    first, second = (stash_pending(session, pending(return_url=url)) for url in ("/a/", "/b/"))

    popped = pop_pending(session, first, user="1")

    assert popped
    assert popped.return_url == "/a/"
    kept = pop_pending(session, second, user="1")
    assert kept
    assert kept.return_url == "/b/"


def test_declined_scopes_are_remembered_until_granted(session: SessionStore) -> None:
    """By client, and no more than was asked."""
    remember_outcome(session, "default", asked=["a", "b"], granted=["a"])
    remember_outcome(session, "other", asked=["c"], granted=[])

    assert read_declined(session, "default") == {"b"}

    remember_outcome(session, "default", asked=["d"], granted=["b", "d"])

    assert read_declined(session, "default") == frozenset()
    assert read_declined(session, "other") == {"c"}


def test_narrow_scope_that_comes_with_a_wide_one_is_not_declined(session: SessionStore) -> None:
    """Nor is it any more, when the wide one is granted."""
    remember_outcome(session, "default", asked=[CALENDAR, DRIVE], granted=[])
    remember_outcome(session, "default", asked=[], granted=[CALENDAR.removesuffix(".readonly")])

    assert read_declined(session, "default") == {DRIVE}


def test_outcome_without_news_leaves_the_session_alone(session: SessionStore) -> None:
    """No write for nothing."""
    remember_outcome(session, "default", asked=["a"], granted=["a"])

    assert not session.modified


@pytest.mark.django_db
def test_session_that_ends_meanwhile_is_a_state_error() -> None:
    """The user has logged out in another tab, in this very second."""
    session = DatabaseSession()
    value = stash_pending(session, pending())
    session.save()
    DatabaseSession(session.session_key).delete()

    with pytest.raises(StateError, match="deleted"):
        pop_pending(session, value, user="1")


@pytest.mark.parametrize("length", [0, 900])
def test_cookie_holds_what_fits(length: int) -> None:
    """Browsers drop a cookie that is too long, and the login with it. The newest is kept."""
    session = SessionStore()
    scopes = [f"https://www.googleapis.com/auth/scope.{n}" for n in range(20)]
    kept = [
        stash_pending(session, pending(return_url="/" + token_urlsafe(length), scopes=scopes))
        for _ in range(MAX_PENDING)
    ]
    session.save()

    assert len(session.session_key or "") < 3500
    assert holds_pending(session, kept[-1])
    assert not holds_pending(session, kept[0])


def test_short_entries_share_a_cookie() -> None:
    """Two tabs do not break each other."""
    session = SessionStore()
    kept = [stash_pending(session, pending()) for _ in range(2)]

    assert all(holds_pending(session, state) for state in kept)
