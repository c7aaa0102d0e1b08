"""Credentials for google-auth, which refresh themselves and contain no secret."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from google.auth.credentials import with_scopes_if_required
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession
from pytest_django import DjangoAssertNumQueries, Settings
from werkzeug.wrappers import Request

from django_google_link.api_clients.credentials import AccountCredentials
from django_google_link.exceptions import (
    GrantLostError,
    NotLinkedError,
    RefreshUnavailableError,
)
from django_google_link.models import GoogleAccount
from django_google_link.secret import Secret
from django_google_link.services import ServiceAccount, credentials_for
from django_google_link.signals import token_refreshed
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save, token_of
from tests.support.constants import CALENDAR, DRIVE, OPENID
from tests.support.databases import at_once, new_user
from tests.support.signals import connected
from tests.support.times import in_seconds

pytestmark = pytest.mark.django_db

COPIES: dict[str, Callable[[AccountCredentials], AccountCredentials]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda credentials: pickle.loads(pickle.dumps(credentials)),
}


def me(google: FakeGoogle) -> str:
    """Add an API method that reports the caller and the quota project; return its URL."""

    @google.route("/me", scopes=[CALENDAR])
    def answer(request: Request, user: FakeUser) -> dict[str, Any]:
        return {"email": user.email, "project": request.headers.get("x-goog-user-project")}

    return f"{google.url}/me"


def test_credentials_of_a_fresh_account_hold_its_token(
    user: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The stored token is used without a request."""
    account = make_google_account(user, access_token="ya29.stored")

    with django_assert_num_queries(0):
        credentials = AccountCredentials.of(account)

    assert credentials.token == "ya29.stored"
    assert credentials.valid


@pytest.mark.parametrize("life", [-60, 290])
def test_credentials_of_an_account_whose_token_is_old_hold_none(user: Any, life: int) -> None:
    """The token is refreshed at first use, earlier than google-auth would."""
    account = make_google_account(user, access_token_expires_at=in_seconds(life))

    credentials = AccountCredentials.of(account)

    assert credentials.token is None
    assert not credentials.valid


def test_credentials_refresh_at_their_first_use(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """google-auth's own session refreshes them before the API can respond with 401."""
    account = linked(user, google, alice, access_token_expires_at=in_seconds(-60))
    credentials = AccountCredentials.of(account)

    with AuthorizedSession(credentials) as session:
        response = session.get(me(google))

    assert response.json()["email"] == alice.email
    assert credentials.token == token_of(account, "access_token")
    assert [request.path for request in google.requests] == ["/token", "/me"]


def test_credentials_without_expiry_never_expire(google: FakeGoogle, user: Any) -> None:
    """google-auth treats a missing expiry as unlimited."""
    account = make_google_account(user, access_token_expires_at=None)

    credentials = AccountCredentials.of(account)

    assert credentials.expiry is None
    assert credentials.valid


@pytest.mark.matrix
@pytest.mark.parametrize("time_zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("use_tz", [True, False])
def test_credentials_expiry_is_naive_utc(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    settings: Settings,
    use_tz: bool,
    time_zone: str,
) -> None:
    """google-auth compares naive UTC times, whatever Django stores."""
    settings.USE_TZ, settings.TIME_ZONE = use_tz, time_zone
    account = linked(user, google, alice, access_token_expires_at=in_seconds(3000))
    in_an_hour = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)

    stored = AccountCredentials.of(GoogleAccount.objects.get())
    refreshed = AccountCredentials(account.pk, scopes=[])
    google.set_scopes(alice, [*OPENID, CALENDAR])
    stored.refresh(None)
    refreshed.refresh(None)

    for credentials in (stored, refreshed):
        assert credentials.expiry is not None
        assert credentials.expiry.tzinfo is None
        assert abs(credentials.expiry - in_an_hour) < timedelta(minutes=1)
        assert credentials.valid


# Copies


@pytest.mark.parametrize("made", COPIES.values(), ids=COPIES)
def test_credentials_copy_carries_no_token_and_works(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    made: Callable[[AccountCredentials], AccountCredentials],
) -> None:
    """A copy gets its own token when it is used."""
    account = linked(user, google, alice)
    credentials = AccountCredentials.of(account).with_quota_project("paying-project")

    twin = made(credentials)

    assert twin is not credentials
    assert twin.token is None
    assert twin.expiry is None
    assert twin.scopes == credentials.scopes
    with AuthorizedSession(twin) as session:
        assert session.get(me(google)).json() == {
            "email": alice.email,
            "project": "paying-project",
        }
    assert twin.token == credentials.token


@pytest.mark.matrix
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_credentials_pickle_contains_no_secret(
    google: FakeGoogle, alice: FakeUser, user: Any, protocol: int
) -> None:
    """A pickle contains only the account's id and scopes."""
    account = linked(user, google, alice)
    credentials = AccountCredentials.of(account)

    pickled = pickle.dumps(credentials, protocol)

    secrets = [
        token_of(account, "access_token"),
        token_of(account, "refresh_token"),
        account.sealed_access_token,
        account.sealed_refresh_token,
        google.client.client_secret,
    ]
    assert CALENDAR.encode() in pickled
    assert not any(secret.encode() in pickled for secret in secrets if secret)


def test_credentials_repr_shows_no_token(user: Any) -> None:
    """The repr contains no token."""
    account = make_google_account(user, access_token="ya29.bare", refresh_token="1//bare")
    credentials = AccountCredentials.of(account)

    assert repr(credentials) == f"<AccountCredentials of {account.pk}>"
    assert "bare" not in f"{credentials} {credentials!r}"


def test_credentials_hold_neither_refresh_token_nor_client_secret(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """They contain only the access token, which expires within an hour."""
    account = linked(user, google, alice)
    credentials = AccountCredentials.of(account)

    held = repr(vars(credentials))

    assert credentials.token is not None and credentials.token in held
    assert token_of(account, "refresh_token") not in held
    assert google.client.client_secret not in held
    assert not hasattr(credentials, "refresh_token")
    assert not hasattr(credentials, "client_secret")


# google-auth's interface


def test_credentials_bill_another_project(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """``with_quota_project`` returns a copy with the token, and leaves the original unchanged."""
    credentials = AccountCredentials.of(linked(user, google, alice))
    url = me(google)

    billed = credentials.with_quota_project("paying-project")

    assert (billed.token, billed.expiry) == (credentials.token, credentials.expiry)
    with AuthorizedSession(billed) as session:
        assert session.get(url).json()["project"] == "paying-project"
    with AuthorizedSession(credentials) as session:
        assert session.get(url).json()["project"] is None
    assert google.requests_to("token") == []


def test_credentials_tell_their_scopes(user: Any) -> None:
    """The scopes are those that the user granted."""
    account = make_google_account(user, scopes=[CALENDAR])
    credentials = AccountCredentials.of(account)

    assert credentials.requires_scopes is False
    assert credentials.scopes == account.granted_scopes
    assert credentials.has_scopes([CALENDAR])
    assert not credentials.has_scopes([CALENDAR, DRIVE])
    assert with_scopes_if_required(credentials, [DRIVE]) is credentials


def test_credentials_of_a_lost_grant_raise_what_google_auth_would(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The error can be caught as google-auth's ``RefreshError``."""
    account = linked(user, google, alice, access_token="")
    google.revoke(alice)
    credentials = AccountCredentials.of(account)

    with pytest.raises(RefreshError) as caught, AuthorizedSession(credentials) as session:
        session.get(me(google))

    assert isinstance(caught.value, GrantLostError)
    assert caught.value.account == account
    assert credentials.token is None


def test_credentials_of_an_unlinked_account_raise_what_google_auth_would(
    google: FakeGoogle, user: Any
) -> None:
    """The account may be unlinked while they are in use."""
    account = make_google_account(user, access_token="")
    credentials = AccountCredentials.of(account)
    account.unlink()

    with pytest.raises(RefreshError) as caught:
        credentials.refresh(None)

    assert isinstance(caught.value, NotLinkedError)


# Refreshing


def test_credentials_refresh_adopts_what_another_worker_stored(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A newer stored token replaces the rejected one."""
    credentials = AccountCredentials.of(linked(user, google, alice))
    save(user, alice.sub, access_token=Secret("ya29.newer"))

    credentials.refresh(None)

    assert credentials.token == "ya29.newer"
    assert google.requests == []


def test_credentials_refresh_when_refused_brings_another_token(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A rejected token is replaced even if it has not expired."""
    account = linked(user, google, alice)
    credentials = AccountCredentials.of(account)
    before = credentials.token

    credentials.refresh(None)

    assert credentials.token != before
    assert credentials.token == token_of(account, "access_token")
    assert len(google.requests_to("token")) == 1


def test_credentials_near_their_end_live_on_in_an_outage(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A token that was not rejected is used until it expires."""
    account = linked(user, google, alice)
    credentials = AccountCredentials.of(account)
    before, soon = credentials.token, in_seconds(100)
    GoogleAccount.objects.update(access_token_expires_at=soon)
    credentials.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=100)
    google.fail_next()

    with AuthorizedSession(credentials) as session:
        response = session.get(me(google))

    assert response.json()["email"] == alice.email
    assert credentials.token == before
    assert [request.path for request in google.requests] == ["/token", "/me"]


def test_credentials_that_were_refused_do_not_live_on_in_an_outage(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A rejected token is not used again."""
    credentials = AccountCredentials.of(linked(user, google, alice))
    google.expire_access_tokens()
    google.fail_next()

    with pytest.raises(RefreshUnavailableError), AuthorizedSession(credentials) as session:
        session.get(me(google))

    assert len(google.requests_to("/me")) == 1


def test_credentials_refresh_in_a_thread_leaves_no_connection(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """Connections opened in gRPC's threads are closed."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))

    def refresh() -> Any:
        credentials.refresh(None)
        return connection.connection

    assert at_once(refresh) == [None]
    assert credentials.valid


def test_credentials_refresh_that_fails_in_a_thread_leaves_no_connection(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """They are closed after an error as well."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))
    google.fail_next()

    def refresh() -> Any:
        with pytest.raises(RefreshUnavailableError):
            credentials.refresh(None)
        return connection.connection

    assert at_once(refresh) == [None]


def test_credentials_refresh_keeps_the_connection_that_was_there(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """The connection of a view or command is left to Django."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))
    before = connections["default"].connection

    credentials.refresh(None)

    assert before is not None
    assert connections["default"].connection is before


# Sharing


def test_credentials_refresh_in_a_running_event_loop(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """Libraries such as gcsfs refresh there, where Django forbids queries."""
    account = linked(new_user(), google, alice, access_token="")
    credentials = AccountCredentials.of(account)

    async def refresh() -> None:
        credentials.refresh(None)

    asyncio.run(refresh())

    assert credentials.token == token_of(account, "access_token")


def test_credentials_refresh_in_an_event_loop_leaves_no_connection(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """The new thread's connections are closed, the caller's kept, and its context is used."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))
    before = connection.connection
    opened: list[Any] = []
    who = ContextVar("who", default="nobody")

    def note(**arguments: Any) -> None:
        wrapper = connections["default"]
        opened.append((wrapper, wrapper.connection, who.get()))

    async def refresh() -> None:
        who.set("caller")
        credentials.refresh(None)

    with connected(token_refreshed, note):
        asyncio.run(refresh())

    [(wrapper, in_thread, caller)] = opened
    assert caller == "caller"
    assert in_thread not in {None, before}
    assert wrapper.connection is None
    assert connection.connection is before


def test_service_account_s_refresh_leaves_no_connection(
    shared_database: None, google: FakeGoogle, settings: Settings
) -> None:
    """Also if the cache is in the database."""
    key = google.service_account_info(google.add_service_account())
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "SERVICE_ACCOUNTS": {"robot": {"INFO": key, "API_ENDPOINT": google.url}},
    }
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "tokens",
        }
    }
    call_command("createcachetable")
    credentials = credentials_for(ServiceAccount("robot"), scopes=[CALENDAR])

    def refresh() -> Any:
        credentials.refresh(None)
        return connection.connection

    assert at_once(refresh) == [None]
    assert credentials.valid


def test_credentials_that_were_refused_twice_in_one_thread(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """Without apply() in between, a refresh refers to the current token."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice))
    credentials.refresh(None)
    first = credentials.token
    GoogleAccount.objects.update(refresh_forced_at=None)
    at_once(lambda: credentials.refresh(None))
    second = credentials.token
    GoogleAccount.objects.update(refresh_forced_at=None)

    credentials.refresh(None)

    assert len({first, second, credentials.token}) == 3


def test_credentials_near_their_end_live_on_without_a_thread(
    google: FakeGoogle, alice: FakeUser, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no thread can be started, the token is still usable."""
    account = linked(user, google, alice, access_token_expires_at=in_seconds(100))
    stored = token_of(account, "access_token")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("can't start new thread")

    google.stop()
    monkeypatch.setattr("django_google_link.oauth.transport.Thread.start", refuse)
    credentials = AccountCredentials.of(account)
    credentials.refresh(None)

    assert credentials.token == stored


def test_credentials_refresh_in_an_event_loop_without_a_thread(
    shared_database: None,
    google: FakeGoogle,
    alice: FakeUser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If no thread can be started, the refresh blocks the loop."""
    account = linked(new_user(), google, alice, access_token="")
    credentials = AccountCredentials.of(account)

    start = threading.Thread.start
    caller = threading.current_thread()

    def refuse(thread: threading.Thread) -> None:
        if threading.current_thread() is caller:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def refresh() -> None:
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", refuse)
            credentials.refresh(None)
        assert asyncio.get_running_loop() is loop

    asyncio.run(refresh())

    assert credentials.token == token_of(account, "access_token")


def test_credentials_of_a_lost_grant_in_a_running_event_loop(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """The error is the same as elsewhere."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))
    google.revoke(alice)

    async def refresh() -> None:
        credentials.refresh(None)

    with pytest.raises(GrantLostError):
        asyncio.run(refresh())


def test_credentials_may_be_used_by_the_receiver_of_their_refresh(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """A receiver of a signal sent during the refresh may use them."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))
    tokens: list[str | None] = []

    def receive(**kwargs: Any) -> None:
        credentials.refresh(None)
        tokens.append(credentials.token)

    with connected(token_refreshed, receive):
        credentials.refresh(None)

    assert tokens == [credentials.token]
    assert len(google.requests_to("token")) == 1


def test_credentials_take_what_another_thread_got(
    shared_database: None,
    google: FakeGoogle,
    alice: FakeUser,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """A thread with the old token takes the new one; the next rejection causes a refresh."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice))
    credentials.apply({})
    at_once(lambda: credentials.refresh(None))
    google.clear_requests()
    before = credentials.token

    with django_assert_num_queries(0):
        credentials.refresh(None)
    assert google.requests == []
    assert credentials.token == before

    GoogleAccount.objects.update(refresh_forced_at=None)
    credentials.refresh(None)
    assert credentials.token != before
