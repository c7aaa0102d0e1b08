"""google-auth's view of an account: credentials that refresh themselves and carry no secret."""

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
    """Add an API method that says who asks, and who pays, and return its address."""

    @google.route("/me", scopes=[CALENDAR])
    def answer(request: Request, user: FakeUser) -> dict[str, Any]:
        return {"email": user.email, "project": request.headers.get("x-goog-user-project")}

    return f"{google.url}/me"


def test_credentials_of_a_fresh_account_hold_its_token(
    user: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Nothing is asked for that is at hand."""
    account = make_google_account(user, access_token="ya29.stored")

    with django_assert_num_queries(0):
        credentials = AccountCredentials.of(account)

    assert credentials.token == "ya29.stored"
    assert credentials.valid


@pytest.mark.parametrize("life", [-60, 290])
def test_credentials_of_an_account_whose_token_is_old_hold_none(user: Any, life: int) -> None:
    """It is refreshed at the first use, before google-auth would."""
    account = make_google_account(user, access_token_expires_at=in_seconds(life))

    credentials = AccountCredentials.of(account)

    assert credentials.token is None
    assert not credentials.valid


def test_credentials_refresh_at_their_first_use(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Through google-auth's own session, and the API never says 401."""
    account = linked(user, google, alice, access_token_expires_at=in_seconds(-60))
    credentials = AccountCredentials.of(account)

    with AuthorizedSession(credentials) as session:
        response = session.get(me(google))

    assert response.json()["email"] == alice.email
    assert credentials.token == token_of(account, "access_token")
    assert [request.path for request in google.requests] == ["/token", "/me"]


def test_credentials_without_expiry_never_expire(google: FakeGoogle, user: Any) -> None:
    """Google-auth takes no expiry for no end."""
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
    """Whatever Django stores, google-auth compares with the time in UTC."""
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
    """A copy gets a token of its own when it is used."""
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
    """A task queue's broker sees the id of the account and its scopes."""
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
    """Nor does an error page that prints them."""
    account = make_google_account(user, access_token="ya29.bare", refresh_token="1//bare")
    credentials = AccountCredentials.of(account)

    assert repr(credentials) == f"<AccountCredentials of {account.pk}>"
    assert "bare" not in f"{credentials} {credentials!r}"


def test_credentials_hold_neither_refresh_token_nor_client_secret(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What a caller receives can do harm for an hour at most."""
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
    """with_quota_project gives a copy that keeps the token, and leaves the original alone."""
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
    """They are what the user granted: no library may ask for others."""
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
    """Code that was written for google-auth's own credentials catches it."""
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
    """The row may go while they are in use."""
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
    """Their own token was refused, but there is another by now."""
    credentials = AccountCredentials.of(linked(user, google, alice))
    save(user, alice.sub, access_token=Secret("ya29.newer"))

    credentials.refresh(None)

    assert credentials.token == "ya29.newer"
    assert google.requests == []


def test_credentials_refresh_when_refused_brings_another_token(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The token looks fresh, so it is the API that does not want it."""
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
    """A token that nobody refused serves until it expires, when Google gives no other."""
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
    """The API would only refuse them again."""
    credentials = AccountCredentials.of(linked(user, google, alice))
    google.expire_access_tokens()
    google.fail_next()

    with pytest.raises(RefreshUnavailableError), AuthorizedSession(credentials) as session:
        session.get(me(google))

    assert len(google.requests_to("/me")) == 1


def test_credentials_refresh_in_a_thread_leaves_no_connection(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """gRPC refreshes on threads of its own: nobody closes what they open."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))

    def refresh() -> Any:
        credentials.refresh(None)
        return connection.connection

    assert at_once(refresh) == [None]
    assert credentials.valid


def test_credentials_refresh_that_fails_in_a_thread_leaves_no_connection(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """An error is no excuse."""
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
    """In a view or a command it is Django's to close."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))
    before = connections["default"].connection

    credentials.refresh(None)

    assert before is not None
    assert connections["default"].connection is before


# Sharing


def test_credentials_refresh_in_a_running_event_loop(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """gcsfs and others refresh there, where the database may not be asked."""
    account = linked(new_user(), google, alice, access_token="")
    credentials = AccountCredentials.of(account)

    async def refresh() -> None:
        credentials.refresh(None)

    asyncio.run(refresh())

    assert credentials.token == token_of(account, "access_token")


def test_credentials_refresh_in_an_event_loop_leaves_no_connection(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """The thread's own are closed, and the caller's are not touched; its context is known."""
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
    """Not even where the cache is in the database."""
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
    """Whoever did not put the token into headers here means the one of that moment."""
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
    """A worker that can start none, or that is ending, has a token all the same."""
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
    """Where none is to be had, the loop waits as well."""
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
    """The error is the same."""
    credentials = AccountCredentials.of(linked(new_user(), google, alice, access_token=""))
    google.revoke(alice)

    async def refresh() -> None:
        credentials.refresh(None)

    with pytest.raises(GrantLostError):
        asyncio.run(refresh())


def test_credentials_may_be_used_by_the_receiver_of_their_refresh(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """It is called in the middle of it."""
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
    """A thread that was refused with the old token asks for nothing, and the next time it does."""
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
