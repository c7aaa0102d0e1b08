"""Authorized clients for an owner: which account is used, and what goes to Google for it."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.functional import SimpleLazyObject
from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaInMemoryUpload, MediaIoBaseUpload
from pytest_django import DjangoAssertNumQueries, Settings
from requests.exceptions import InvalidSchema
from werkzeug.wrappers import Request, Response

from django_google_link.conf.clients import to_emulator
from django_google_link.exceptions import (
    AccountChoiceRequiredError,
    ClientMisconfiguredError,
    ConsentRequiredError,
    GrantLostError,
    MissingScopesError,
    NotLinkedError,
    RefreshUnavailableError,
)
from django_google_link.models import GoogleAccount, Status
from django_google_link.scopes import PREFIX
from django_google_link.services import (
    ServiceAccount,
    aaccess_token,
    access_token,
    acredentials_for,
    authorized_http,
    authorized_session,
    build_service,
    credentials_for,
)
from django_google_link.testing import FakeGoogle, FakeUser, travel
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, token_of
from tests.support.constants import CALENDAR, DRIVE, OPENID
from tests.support.databases import at_once, new_user
from tests.support.times import in_seconds

pytestmark = pytest.mark.django_db

HELPERS: dict[str, Callable[..., Any]] = {
    "build_service": lambda owner, **how: build_service(owner, "calendar", "v3", **how),
    "authorized_http": authorized_http,
    "authorized_session": authorized_session,
    "credentials_for": credentials_for,
    "access_token": access_token,
    "aaccess_token": async_to_sync(aaccess_token),
    "acredentials_for": async_to_sync(acredentials_for),
}

every_helper = pytest.mark.parametrize("helper", HELPERS.values(), ids=HELPERS)


@pytest.fixture
def calendar(google: FakeGoogle) -> FakeGoogle:
    """A Google whose Calendar knows one event, named after the one who asks."""

    @google.route("/calendar/v3/calendars/<id>/events", scopes=[CALENDAR])
    def events(request: Request, user: FakeUser, id: str) -> dict[str, Any]:
        return {"items": [{"summary": f"{id} of {user.email}"}]}

    return google


@pytest.fixture
def inbox(google: FakeGoogle) -> list[bytes]:
    """What was sent to /inbox at Google."""
    bodies: list[bytes] = []

    @google.route("/inbox", methods=["POST"])
    def receive(request: Request, user: FakeUser) -> dict[str, Any]:
        bodies.append(request.get_data())
        return {}

    return bodies


def summary(service: Any) -> str:
    """Return the only event of a service's primary calendar."""
    [event] = service.events().list(calendarId="primary").execute()["items"]
    text: str = event["summary"]
    return text


# Whose account


@pytest.mark.matrix
@every_helper
def test_helper_of_a_user_without_a_link(google: FakeGoogle, user: Any, helper: Any) -> None:
    """A specific error, with what would be needed."""
    make_google_account(user, client="other")

    with pytest.raises(NotLinkedError) as caught:
        helper(user, scopes=[CALENDAR])

    assert caught.value.missing_scopes == {CALENDAR}


@pytest.mark.matrix
@every_helper
def test_helper_of_an_anonymous_user(
    google: FakeGoogle, db: None, helper: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Nobody has linked nothing, and no query is needed to know."""
    with django_assert_num_queries(0), pytest.raises(NotLinkedError):
        helper(AnonymousUser())


@pytest.mark.matrix
@every_helper
def test_helper_of_an_account_that_is_lost(google: FakeGoogle, user: Any, helper: Any) -> None:
    """The reason is the one that was noted."""
    account = make_google_account(
        user,
        scopes=[CALENDAR],
        status=Status.NEEDS_REAUTHORIZATION,
        status_reason="session_policy",
    )

    for owner in (user, account):
        with pytest.raises(GrantLostError) as caught:
            helper(owner, scopes=[DRIVE])

        assert caught.value.reason == "session_policy"
        assert caught.value.account == account
        assert caught.value.missing_scopes == {DRIVE}


@pytest.mark.matrix
@every_helper
def test_helper_of_an_account_that_lacks_a_scope(
    google: FakeGoogle, user: Any, helper: Any
) -> None:
    """Some of the scopes are not enough."""
    account = make_google_account(user, scopes=[CALENDAR])

    for owner in (user, account):
        with pytest.raises(MissingScopesError) as caught:
            helper(owner, scopes=[CALENDAR, DRIVE])

        assert caught.value.missing_scopes == {DRIVE}
        assert caught.value.account == account


@pytest.mark.matrix
@every_helper
def test_helper_of_a_request_s_user(google: FakeGoogle, user: Any, helper: Any) -> None:
    """request.user is lazy, and may be anybody."""
    make_google_account(user)

    assert helper(SimpleLazyObject(lambda: user))

    with pytest.raises(NotLinkedError):
        helper(SimpleLazyObject(AnonymousUser))


@pytest.mark.matrix
@every_helper
def test_helper_of_another_client(
    google: FakeGoogle, user: Any, settings: Settings, helper: Any
) -> None:
    """A user's link through another client is another link; an account knows its own."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    both = {**clients, "other": google.client_settings(google.add_client())}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": both}
    account = make_google_account(user, client="other")

    assert helper(user, client="other")
    assert helper(account)

    with pytest.raises(NotLinkedError):
        helper(user)


@pytest.mark.parametrize(
    "scopes",
    [
        CALENDAR,
        f"{CALENDAR} openid",
        [CALENDAR, f"{PREFIX}userinfo.email"],
        {CALENDAR},
        (scope for scope in [CALENDAR]),
    ],
    ids=["string", "wire form", "alias", "set", "generator"],
)
def test_scopes_may_come_in_any_form(google: FakeGoogle, user: Any, scopes: Any) -> None:
    """A string is never taken for its letters."""
    make_google_account(user, scopes=[CALENDAR], access_token="ya29.stored")

    assert access_token(user, scopes=scopes) == "ya29.stored"


def test_another_user_s_account_is_never_used(user: Any, other_user: Any) -> None:
    """Neither first come nor only one."""
    make_google_account(other_user)

    with pytest.raises(NotLinkedError):
        access_token(user)


# Which of several


def test_the_default_account_is_used(user: Any) -> None:
    """Though another one has the scopes as well."""
    make_google_account(user, scopes=[CALENDAR])
    second = make_google_account(user, scopes=[CALENDAR], access_token="ya29.second")
    second.make_default()

    assert access_token(user, scopes=[CALENDAR]) == "ya29.second"


UNFIT = {"lost": {"status": Status.NEEDS_REAUTHORIZATION}, "no token": {"refresh_token": ""}}


@pytest.mark.parametrize("unfit", [{"scopes": []}, *UNFIT.values()], ids=["scope", *UNFIT])
def test_the_only_account_that_can_is_used(user: Any, unfit: dict[str, Any]) -> None:
    """Where there is no default one, nobody has to choose."""
    make_google_account(user, **{"scopes": [CALENDAR], **unfit})
    make_google_account(user, scopes=[CALENDAR], access_token="ya29.second")
    GoogleAccount.objects.update(is_default=False)

    assert access_token(user, scopes=[CALENDAR]) == "ya29.second"


def test_the_only_account_that_can_takes_the_place_of_the_first(user: Any) -> None:
    """Which lacks a scope, and is the default since it was linked first; nobody chose it."""
    make_google_account(user, scopes=[DRIVE], access_token="ya29.first")
    make_google_account(user, scopes=[CALENDAR], access_token="ya29.second")

    assert access_token(user, scopes=[CALENDAR]) == "ya29.second"
    assert access_token(user, scopes=[DRIVE]) == access_token(user) == "ya29.first"


@pytest.mark.parametrize("is_chosen", [True, False])
@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
def test_dead_default_account_is_asked_for(
    user: Any, unfit: dict[str, Any], is_chosen: bool
) -> None:
    """No other one takes its place by itself, though it could, whatever is needed."""
    first = make_google_account(user, scopes=[CALENDAR], is_chosen_default=is_chosen, **unfit)
    make_google_account(user, scopes=[CALENDAR, DRIVE])

    for scopes in ([], [CALENDAR], [DRIVE]):
        with pytest.raises(GrantLostError) as caught:
            access_token(user, scopes=scopes)
        assert caught.value.account == first


@pytest.mark.parametrize("others", [1, 2])
def test_chosen_default_account_is_asked_for_a_scope(user: Any, others: int) -> None:
    """However many others have it: the user has said which one is to be used."""
    chosen = make_google_account(user, is_chosen_default=True)
    for _ in range(others):
        make_google_account(user, scopes=[CALENDAR])

    with pytest.raises(MissingScopesError) as caught:
        access_token(user, scopes=[CALENDAR])

    assert caught.value.account == chosen


def test_choice_ends_with_another_choice(user: Any) -> None:
    """The last one that was made holds."""
    first = make_google_account(user, scopes=[DRIVE], is_chosen_default=True)
    second = make_google_account(user, scopes=[CALENDAR], is_chosen_default=True)

    assert access_token(user, scopes=[CALENDAR])
    with pytest.raises(MissingScopesError) as caught:
        access_token(user, scopes=[DRIVE])

    assert caught.value.account == second
    first.refresh_from_db()
    assert (first.is_default, first.is_chosen_default) == (False, False)


def test_several_accounts_without_a_default_need_a_choice(user: Any) -> None:
    """Never by guessing."""
    for _ in range(2):
        make_google_account(user, scopes=[CALENDAR])
    GoogleAccount.objects.update(is_default=False)

    with pytest.raises(AccountChoiceRequiredError):
        access_token(user, scopes=[CALENDAR])


def test_several_accounts_that_can_beside_a_default_that_cannot_need_a_choice(user: Any) -> None:
    """Which of the two stands in for the default one is not ours to say."""
    for scopes in ([], [CALENDAR], [CALENDAR]):
        make_google_account(user, scopes=scopes)

    with pytest.raises(AccountChoiceRequiredError):
        access_token(user, scopes=[CALENDAR])


def test_no_account_that_can_leads_to_the_default_one(user: Any) -> None:
    """It is the one to ask the user about."""
    make_google_account(user, scopes=[DRIVE])
    second = make_google_account(user)
    second.make_default()

    with pytest.raises(MissingScopesError) as caught:
        access_token(user, scopes=[CALENDAR])

    assert caught.value.account == second


def test_no_account_that_can_and_no_default_need_a_choice(user: Any) -> None:
    """There is none to ask the user about."""
    for _ in range(2):
        make_google_account(user)
    GoogleAccount.objects.update(is_default=False)

    with pytest.raises(AccountChoiceRequiredError):
        access_token(user, scopes=[CALENDAR])


def test_the_only_account_that_cannot_says_why(user: Any) -> None:
    """Also without being the default."""
    account = make_google_account(user)
    GoogleAccount.objects.update(is_default=False)

    with pytest.raises(MissingScopesError) as caught:
        access_token(user, scopes=[CALENDAR])

    assert caught.value.account == account


# How much is asked


@pytest.mark.matrix
@every_helper
def test_helper_of_a_user_asks_the_database_once(
    google: FakeGoogle,
    user: Any,
    helper: Any,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """With a fresh token, one query and no request."""
    for _ in range(3):
        make_google_account(user, scopes=[CALENDAR])

    with django_assert_num_queries(1):
        helper(user, scopes=[CALENDAR])

    assert google.requests == []


@pytest.mark.matrix
@every_helper
def test_helper_of_an_account_asks_nobody(
    google: FakeGoogle,
    user: Any,
    helper: Any,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """The row is at hand."""
    account = make_google_account(user, scopes=[CALENDAR])

    with django_assert_num_queries(0):
        helper(account, scopes=[CALENDAR])

    assert google.requests == []


@pytest.mark.matrix
@every_helper
def test_helper_never_falls_back_to_the_server_s_own_credentials(
    calendar: FakeGoogle, user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper: Any
) -> None:
    """What the server may do is not what the user may do."""
    tokens = calendar.grant(calendar.add_user("server@example.com"), [CALENDAR])
    path = tmp_path / "application_default_credentials.json"
    path.write_text(
        json.dumps(
            {
                "type": "authorized_user",
                "client_id": calendar.client.client_id,
                "client_secret": calendar.client.client_secret,
                "refresh_token": tokens.refresh_token,
                "token_uri": f"{calendar.url}/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    for changes in ({"status": Status.NEEDS_REAUTHORIZATION}, {"refresh_token": ""}, {}):
        with pytest.raises(ConsentRequiredError):
            helper(user, scopes=[DRIVE])
        make_google_account(user, scopes=[CALENDAR], **changes)

    assert calendar.requests == []


# Tokens


def test_access_token_that_has_expired_is_refreshed(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Without any request of a visitor."""
    account = linked(user, google, alice, access_token_expires_at=in_seconds(290))

    token = access_token(user, scopes=[CALENDAR])

    assert token == token_of(account, "access_token")
    assert len(google.requests_to("token")) == 1


@pytest.mark.parametrize("get", [access_token, async_to_sync(aaccess_token)])
def test_access_token_that_was_refused_gives_way_to_another(
    google: FakeGoogle, alice: FakeUser, user: Any, get: Any
) -> None:
    """Google is asked once a minute; until then whoever holds an older one gets the newest."""
    account = linked(user, google, alice)
    first = get(user)

    second = get(user, rejected=first)
    assert second not in {first, ""}
    assert second == token_of(account, "access_token") == get(user)
    # The object is old, and so is the token in it.
    for owner, rejected, then in (
        (user, first, second),
        (account, second, second),
        (account, first, second),
        (user, second, second),
        (user, "", second),
    ):
        assert get(owner, rejected=rejected) == then
    assert len(google.requests_to("token")) == 1

    with travel(minutes=2):
        assert get(user, rejected=second) not in {first, second}
    assert len(google.requests_to("token")) == 2


@pytest.mark.parametrize("get", [access_token, async_to_sync(aaccess_token)])
def test_access_token_that_was_refused_in_an_outage(
    google: FakeGoogle, alice: FakeUser, user: Any, get: Any
) -> None:
    """It is not handed out again."""
    linked(user, google, alice)
    google.fail_next()

    with pytest.raises(RefreshUnavailableError):
        get(user, rejected=get(user))


def test_access_token_of_a_service_account_that_was_refused(
    google: FakeGoogle, settings: Settings
) -> None:
    """The same."""
    key = google.service_account_info(google.add_service_account())
    robots = {"robot": {"INFO": key, "API_ENDPOINT": google.url}}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "SERVICE_ACCOUNTS": robots}
    robot = ServiceAccount("robot")
    first = access_token(robot, scopes=[DRIVE])

    second = access_token(robot, scopes=[DRIVE], rejected=first)

    assert second != first
    assert access_token(robot, scopes=[DRIVE], rejected=second) == second
    assert len(google.requests_to("token")) == 2


def test_access_token_of_a_stale_account_object_asks_the_row_first(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What another worker stored serves."""
    account = linked(user, google, alice, access_token_expires_at=in_seconds(-60))
    first = access_token(GoogleAccount.objects.get())

    assert access_token(account) == first
    assert len(google.requests_to("token")) == 1


def test_access_token_errors_carry_code_and_status(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """For the operator to look up."""
    account = linked(user, google, alice, access_token="")
    google.error_next("deleted_client", status=401)
    google.fail_next(status=503, body={"error": "backend_error"})

    with pytest.raises(ClientMisconfiguredError) as caught:
        access_token(account)
    with pytest.raises(RefreshUnavailableError) as caught_next:
        access_token(account)

    assert (caught.value.error, caught.value.status) == ("deleted_client", 401)
    assert (caught_next.value.error, caught_next.value.status) == ("backend_error", 503)


def test_async_helpers_refresh_in_an_event_loop(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """Awaited where the database may not be touched, a loop of their own."""
    user = new_user()
    account = linked(user, google, alice, access_token="")

    async def tokens() -> list[Any]:
        try:
            token = await aaccess_token(user, scopes=[CALENDAR])
            credentials = await acredentials_for(account)
            return [token, credentials.token]
        finally:
            await sync_to_async(connections.close_all)()

    first, second = asyncio.run(tokens())

    assert first == second == token_of(account, "access_token")
    assert len(google.requests_to("token")) == 1


def test_acredentials_for_an_account_with_an_old_token_holds_a_fresh_one(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """So that nothing is refreshed in the event loop for the next hour."""
    account = linked(user, google, alice, access_token_expires_at=in_seconds(-60))

    credentials = async_to_sync(acredentials_for)(account)

    assert credentials.valid
    assert credentials.token == token_of(account, "access_token")


# Sessions


def test_authorized_session_sends_the_token_in_the_header_only(
    calendar: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The API knows whose call it is; the address does not tell."""
    account = linked(user, calendar, alice)

    with authorized_session(user, scopes=[CALENDAR]) as session:
        answer = session.get(f"{calendar.url}/calendar/v3/calendars/primary/events").json()

    assert answer["items"][0]["summary"] == "primary of alice@gmail.com"
    [request] = calendar.requests
    assert request.headers["Authorization"] == f"Bearer {token_of(account, 'access_token')}"
    assert request.query == {}


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://www.googleapis.com/drive/v3/files?q=a", "http://e/drive/v3/files?q=a"),
        ("https://WWW.GoogleAPIs.com:443/x", "http://e/x"),
        ("https://me@people.googleapis.com/v1/people", "http://e/v1/people"),
        ("https://evil.example/https://www.googleapis.com/x", None),
        ("https://googleapis.com.evil.example/x", None),
        ("https://evilgoogleapis.com/x", None),
    ],
)
def test_emulator_stands_in_for_google_alone(url: str, there: str | None) -> None:
    """The host counts, however it is written."""
    assert to_emulator(url, "http://e/") == (there or url)


def test_authorized_session_goes_where_the_apis_are(
    google: FakeGoogle, alice: FakeUser, user: Any, configure: Callable[..., None]
) -> None:
    """To Google's own address, unless the client has an API_ENDPOINT."""
    account = linked(user, google, alice)
    google.answer("/v1/people/me", {"name": "Alice"})
    url = "https://people.googleapis.com/v1/people/me"

    with authorized_session(account) as session:
        assert session.get(url).json() == {"name": "Alice"}

    configure(API_ENDPOINT=None)
    with authorized_session(account) as session, pytest.raises(InvalidSchema, match="not https"):
        session.get(f"{google.url}/v1/people/me")


@pytest.mark.slow
def test_authorized_session_refused_by_the_api_refreshes_and_retries(
    calendar: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The caller does not notice."""
    account = linked(user, calendar, alice)
    calendar.expire_access_tokens()
    path = "/calendar/v3/calendars/primary/events"

    with authorized_session(account) as session:
        response = session.get(calendar.url + path)

    assert response.status_code == 200
    assert [request.path for request in calendar.requests] == [path, "/token", path]


def test_authorized_session_refused_by_the_api_sends_a_stream_again(
    google: FakeGoogle, alice: FakeUser, user: Any, inbox: list[bytes]
) -> None:
    """From where it began, and not from its end."""
    account = linked(user, google, alice)
    stream = io.BytesIO(b"--- the whole of it")
    stream.seek(4)
    google.expire_access_tokens()

    with authorized_session(account) as session:
        response = session.post(f"{google.url}/inbox", data=stream)

    assert response.status_code == 200
    assert inbox == [b"the whole of it"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    "body", [{"data": b'{"a": 1}'}, {"data": '{"a": 1}'}, {"json": {"a": 1}}, {"data": None}]
)
def test_authorized_session_refused_by_the_api_sends_other_bodies_again(
    google: FakeGoogle, alice: FakeUser, user: Any, inbox: list[bytes], body: Any
) -> None:
    """These need no rewinding."""
    account = linked(user, google, alice)
    google.expire_access_tokens()

    with authorized_session(account) as session:
        response = session.post(f"{google.url}/inbox", **body)

    assert response.status_code == 200
    assert inbox == [b"" if body == {"data": None} else b'{"a": 1}']
    assert len(google.requests_to("/inbox")) == 2


def test_authorized_session_refused_by_the_api_never_sends_half_a_stream(
    google: FakeGoogle, alice: FakeUser, user: Any, inbox: list[bytes]
) -> None:
    """What cannot be read anew is not sent again: the caller gets the refusal."""
    account = linked(user, google, alice)
    google.expire_access_tokens()

    with authorized_session(account) as session:
        parts = (part for part in [b"gone ", b"for good"])
        response = session.post(f"{google.url}/inbox", data=parts)

    assert response.status_code == 401
    assert inbox == []


def test_authorized_session_sends_any_stream_once(
    google: FakeGoogle, alice: FakeUser, user: Any, inbox: list[bytes]
) -> None:
    """Where the API does not refuse, nothing has to be rewound."""
    account = linked(user, google, alice)

    with authorized_session(account) as session:
        session.post(f"{google.url}/inbox", data=io.BytesIO(b"a file"))
        session.post(f"{google.url}/inbox", data=(part for part in [b"in ", b"parts"]))

    assert inbox == [b"a file", b"in parts"]


def test_authorized_session_returns_other_refusals_as_they_are(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A 403 is not the token's fault."""
    account = linked(user, google, alice)
    google.fail_next(endpoint="/drive", status=403)

    with authorized_session(account) as session:
        assert session.get(f"{google.url}/drive").status_code == 403

    assert len(google.requests) == 1


def test_authorized_session_keeps_the_cause_of_an_error(
    calendar: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What a caller's own stream raises says why."""

    def stream() -> Iterator[bytes]:
        yield b"begun"
        raise ValueError("mine") from KeyError("why")

    account = linked(user, calendar, alice)
    with authorized_session(account) as session, pytest.raises(ValueError, match="mine") as caught:
        session.post(f"{calendar.url}/calendar/v3/calendars/primary/events", data=stream())

    assert isinstance(caught.value.__cause__, KeyError)


def test_authorized_session_gives_up_on_an_api_that_always_refuses(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Once or twice, and then the API has the last word."""
    account = linked(user, google, alice)
    google.fail_next(5, endpoint="/always", status=401)

    with authorized_session(account) as session:
        assert session.get(f"{google.url}/always").status_code == 401

    assert len(google.requests_to("/always")) <= 3
    assert len(google.requests_to("token")) <= 2


# googleapiclient


def test_build_service_calls_the_api_for_the_user(
    calendar: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Calendar, through API_ENDPOINT."""
    linked(user, calendar, alice)

    with build_service(user, "calendar", "v3", scopes=[CALENDAR]) as service:
        assert summary(service) == "primary of alice@gmail.com"


def test_build_service_refreshes_through_the_database(
    calendar: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Before the first call, and when the API says 401."""
    account = linked(user, calendar, alice, access_token_expires_at=in_seconds(-60))

    with build_service(account, "calendar", "v3") as service:
        assert summary(service)
        calendar.expire_access_tokens()
        assert summary(service)

    path = "/calendar/v3/calendars/primary/events"
    assert [r.path for r in calendar.requests] == ["/token", path, path, "/token", path]
    assert token_of(account, "access_token") in calendar.requests[-1].headers["Authorization"]


def test_build_service_returns_other_refusals_as_they_are(
    calendar: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The API client's own error."""
    account = linked(user, calendar, alice)
    calendar.set_scopes(alice, [*OPENID, DRIVE])

    with build_service(account, "calendar", "v3") as service, pytest.raises(HttpError) as caught:
        summary(service)

    assert caught.value.status_code == 403
    assert len(calendar.requests) == 1


@pytest.mark.parametrize("slash", ["", "/"])
def test_build_service_uploads_to_the_api_endpoint_too(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    configure: Callable[..., None],
    slash: str,
) -> None:
    """Drive has another path for media, which client_options does not reach."""
    configure(API_ENDPOINT=google.url + slash)
    account = linked(user, google, alice)
    uploads: list[bytes] = []

    @google.route("/upload/drive/v3/files", methods=["POST"])
    def create(request: Request, user: FakeUser) -> dict[str, Any]:
        uploads.append(request.get_data())
        return {"id": "file-1"}

    with build_service(account, "drive", "v3") as service:
        media = MediaInMemoryUpload(b"the content", mimetype="text/plain")
        request = service.files().create(body={"name": "a.txt"}, media_body=media)
        answer = request.execute()

    assert request.uri.startswith(f"{google.url}/upload/drive/v3/files?")
    assert answer == {"id": "file-1"}
    assert b"the content" in uploads[0]
    assert google.requests[0].query["uploadType"] == "multipart"


def test_build_service_refused_by_the_api_sends_a_stream_again(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A resumable upload whose token ends between its two requests."""
    account = linked(user, google, alice)
    uploads: list[bytes] = []

    @google.route("/upload/drive/v3/files", methods=["POST"])
    def begin(request: Request, user: FakeUser) -> Response:
        google.expire_access_tokens()
        return Response(headers={"Location": f"{google.url}/upload/drive/v3/files"})

    @google.route("/upload/drive/v3/files", methods=["PUT"])
    def put(request: Request, user: FakeUser) -> dict[str, Any]:
        uploads.append(request.get_data())
        return {"id": "file-1"}

    stream = io.BytesIO(b"the whole of it")
    media = MediaIoBaseUpload(stream, mimetype="text/plain", chunksize=-1, resumable=True)
    with build_service(account, "drive", "v3") as service:
        answer = service.files().create(body={"name": "a.txt"}, media_body=media).execute()

    assert answer == {"id": "file-1"}
    assert uploads == [b"the whole of it"]
    assert len(google.requests_to("token")) == 1


def test_build_service_without_an_api_endpoint_calls_google(
    user: Any, configure: Callable[..., None]
) -> None:
    """Each API at its own address."""
    account = make_google_account(user)

    with build_service(account, "calendar", "v3") as calendar:
        request = calendar.events().list(calendarId="primary")
    with build_service(account, "drive", "v3") as drive:
        media = MediaInMemoryUpload(b"")
        upload = drive.files().create(media_body=media)
    with build_service(account, "tasks", "v1") as tasks:
        lists = tasks.tasklists().list()

    assert request.uri.startswith("https://www.googleapis.com/calendar/v3/")
    assert upload.uri.startswith("https://www.googleapis.com/upload/drive/v3/")
    assert lists.uri.startswith("https://tasks.googleapis.com/")


def test_build_service_heeds_the_api_endpoint_of_now(
    google: FakeGoogle, user: Any, configure: Callable[..., None]
) -> None:
    """Settings are read at each call, also when the document is known."""
    account = make_google_account(user)
    uris = []

    for endpoint in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        configure(API_ENDPOINT=endpoint)
        with build_service(account, "calendar", "v3") as service:
            uris.append(service.events().list(calendarId="primary").uri[: len(endpoint)])

    assert uris == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


def test_build_service_of_an_account_heeds_its_own_client(
    google: FakeGoogle, user: Any, settings: Settings
) -> None:
    """Whatever client is named beside it, which by default is another one."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    other = {**clients["default"], "API_ENDPOINT": "http://127.0.0.1:1"}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**clients, "other": other}}

    with build_service(make_google_account(user, client="other"), "drive", "v3") as service:
        assert service.files().list().uri.startswith("http://127.0.0.1:1/drive/v3/files")


def test_build_service_never_leaves_the_api_endpoint_for_mtls(
    google: FakeGoogle, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emulator has no mutual TLS, whatever the machine's environment says."""
    monkeypatch.setenv("GOOGLE_API_USE_MTLS_ENDPOINT", "always")

    with build_service(make_google_account(user), "drive", "v3") as service:
        assert service.files().list().uri.startswith(f"{google.url}/drive/v3/files")


def test_build_service_passes_what_else_is_given(google: FakeGoogle, user: Any) -> None:
    """For googleapiclient: here what makes the requests."""
    account = make_google_account(user)

    def build_request(*args: Any, **kwargs: Any) -> str:
        return f"{kwargs['methodId']} by our own builder"

    with build_service(account, "calendar", "v3", requestBuilder=build_request) as service:
        request = service.events().list(calendarId="primary")

    assert request == "calendar.events.list by our own builder"


@pytest.mark.slow
def test_build_service_parses_a_document_once(
    google: FakeGoogle, user: Any, other_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Per process and API, whoever asks."""
    read: list[str] = []
    monkeypatch.setattr(
        "django_google_link.api_clients.discovery.get_static_doc",
        lambda name, version: read.append(name) or get_static_doc(name, version),
    )

    for owner in (make_google_account(user), make_google_account(other_user)):
        for name, version in (("books", "v1"), ("chat", "v1")):
            build_service(owner, name, version).close()

    assert read == ["books", "chat"]


def test_build_service_describes_an_api_once(
    google: FakeGoogle, alice: FakeUser, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the time that a client takes goes into the texts of its schemas."""
    account = linked(user, google, alice)
    build_service(account, "drive", "v3").close()
    monkeypatch.setattr("googleapiclient.discovery.Schemas", None)

    with build_service(account, "drive", "v3") as service:
        assert "fileId" in service.files().get.__doc__


def test_build_service_returns_what_googleapiclient_builds(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The short way to a client leaves nothing out, and shares no attribute that is a client's."""
    account = linked(user, google, alice)

    service = build_service(account, "drive", "v3")
    built = build_from_document(service._rootDesc, http=service._http)

    assert vars(service).keys() == vars(built).keys()
    assert vars(service.files()).keys() == vars(built.files()).keys()
    assert service.files().list.__doc__ == built.files().list.__doc__
    one, other = (drive.files().get(fileId="f") for drive in (service, built))
    assert one.to_json() == other.to_json()


def test_build_service_never_shares_a_client(
    calendar: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A token is not for two users."""
    account = linked(user, calendar, alice)

    with (
        build_service(account, "calendar", "v3") as first,
        build_service(account, "calendar", "v3") as second,
    ):
        assert first is not second
        assert first._http is not second._http
        assert first._http.credentials is not second._http.credentials


def test_build_service_creates_the_methods_of_an_api_once(
    calendar: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """Clients share what no request changes, and each sends the token of its own account."""
    ben = calendar.add_user("ben@gmail.com")
    first = build_service(linked(user, calendar, alice), "calendar", "v3")
    second = build_service(linked(other_user, calendar, ben), "calendar", "v3")

    assert first.events is not second.events
    assert first.events().list is not second.events().list
    assert first.events().list.__func__ is second.events().list.__func__
    for service in (first, second):
        assert service.events().list(calendarId="primary").http is service._http
        assert service.new_batch_http_request is not first.events


@pytest.mark.slow
def test_nested_collections_of_a_copied_client(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A collection within a collection is the account's too, pickled or not."""
    service = build_service(linked(user, google, alice), "chat", "v1")

    messages = service.spaces().messages()
    again = pickle.loads(pickle.dumps(messages))

    assert messages._http is service._http
    assert vars(messages).keys() == vars(again).keys()
    assert messages.attachments()._http is service._http
    assert service.spaces.__is_resource__
    assert service.spaces.__doc__ == "A collection resource."


def test_build_service_leaves_the_shared_document_as_it_is(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """googleapiclient completes a document in place: that is over before anybody shares it."""
    account = linked(user, google, alice)
    with build_service(account, "drive", "v3") as service:
        before = copy.deepcopy(service._rootDesc)
        for name in ("about", "changes", "files", "permissions", "revisions"):
            assert getattr(service, name)()

    with build_service(account, "drive", "v3") as again:
        again.files().list(pageSize=1)

    assert again._rootDesc is service._rootDesc
    assert again._rootDesc == before


def test_build_service_in_many_threads_on_a_cold_cache(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A process that has just started gets many requests at once."""
    account = linked(user, google, alice)

    @google.route("/calendar/v3/<path:rest>")
    def anything(request: Request, user: FakeUser, rest: str) -> dict[str, Any]:
        return {"kind": rest}

    calls: list[tuple[str, str, dict[str, str]]] = [
        ("acl", "list", {"calendarId": "c"}),
        ("calendarList", "list", {}),
        ("calendars", "get", {"calendarId": "c"}),
        ("colors", "get", {}),
        ("events", "get", {"calendarId": "c", "eventId": "e"}),
        ("events", "instances", {"calendarId": "c", "eventId": "e"}),
        ("events", "list", {"calendarId": "c"}),
        ("settings", "list", {}),
    ]

    def call(resource: str, method: str, arguments: dict[str, str]) -> str:
        with build_service(account, "calendar", "v3") as service:
            answer = getattr(getattr(service, resource)(), method)(**arguments).execute()
        kind: str = answer["kind"]
        return kind

    kinds = at_once(*[lambda it=it: call(*it) for it in calls * 2])

    assert kinds == 2 * [
        "calendars/c/acl",
        "users/me/calendarList",
        "calendars/c",
        "colors",
        "calendars/c/events/e",
        "calendars/c/events/e/instances",
        "calendars/c/events",
        "users/me/settings",
    ]


@pytest.mark.parametrize(("name", "version"), [("calendar", "v99"), ("calender", "v3"), ("", "")])
def test_build_service_of_an_unknown_api(
    google: FakeGoogle, user: Any, name: str, version: str
) -> None:
    """A typing error is a ValueError, not a look into the network."""
    account = make_google_account(user)

    with pytest.raises(ValueError, match=f"version {version!r} of an API {name!r}"):
        build_service(account, name, version)


def test_build_service_without_the_extra_says_what_to_install(
    google: FakeGoogle, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """googleapiclient is optional, and the rest works without it."""
    account = make_google_account(user, access_token="ya29.stored")
    for name in [name for name in sys.modules if name.startswith("googleapiclient")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "django_google_link.api_clients.discovery", raising=False)

    with pytest.raises(ImproperlyConfigured, match=r"django-google-link\[api\]"):
        build_service(account, "calendar", "v3")

    assert access_token(account) == "ya29.stored"
    authorized_session(account).close()


def test_authorized_http_without_the_extra_says_what_to_install(
    google: FakeGoogle, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """httplib2 comes with it."""
    account = make_google_account(user, access_token="ya29.stored")
    monkeypatch.setitem(sys.modules, "httplib2", None)
    monkeypatch.delitem(
        sys.modules, "django_google_link.api_clients.authorized_http", raising=False
    )

    with pytest.raises(ImproperlyConfigured, match=r"django-google-link\[api\]"):
        authorized_http(account)


def test_client_that_is_not_configured_is_no_matter_of_the_users(user: Any) -> None:
    """A typo in a task is not a reason to write to everybody."""
    with pytest.raises(ImproperlyConfigured, match="no client 'red'"):
        access_token(user, client="red")


@pytest.mark.parametrize("owner", [3, "reports", None])
def test_owner_that_is_none(owner: Any) -> None:
    """It is told what would be one."""
    with pytest.raises(TypeError, match="pass a user, a GoogleAccount or a ServiceAccount"):
        access_token(owner)
