"""Authentication for httpx: renewed after a 401, and sent to no other host."""

from __future__ import annotations

import asyncio
import io
import pickle
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from pytest_django import Settings

from django_google_link.exceptions import (
    GrantLostError,
    MissingScopesError,
    NotLinkedError,
    RefreshUnavailableError,
)
from django_google_link.models import GoogleAccount
from django_google_link.secret import Secret
from django_google_link.services import ServiceAccount, httpx_auth
from django_google_link.testing import FakeGoogle, FakeUser, travel
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save, token_of
from tests.support.apis import link_account
from tests.support.constants import CALENDAR, DRIVE, EVENTS
from tests.support.databases import new_user, thread_of_its_own
from tests.support.hostile_servers import (
    ENDINGS,
    HostileServer,
    answering,
    hostile_server,
    make_answer,
)
from tests.support.https_servers import write_certificate
from tests.support.httpx_clients import HTTPX_CLIENTS, stream_once

pytestmark = pytest.mark.django_db

URL = "https://www.googleapis.com/calendar/v3/calendars/primary/events"
INBOX = "https://www.googleapis.com/inbox"
TOKEN = "ya29.the-token"

both = pytest.mark.parametrize("ask", HTTPX_CLIENTS.values(), ids=HTTPX_CLIENTS)


@pytest.fixture
def account(google: FakeGoogle, alice: FakeUser, user: Any) -> GoogleAccount:
    """An account with access to the Calendar."""
    return link_account(google, user, alice, CALENDAR)


@pytest.fixture
def api(account: GoogleAccount, configure: Callable[..., None]) -> Iterator[HostileServer]:
    """A server in place of Google's APIs that rejects the first request."""
    with hostile_server() as server:
        configure(API_ENDPOINT=server.url)
        server.next.append(answering(make_answer({}, "401 Unauthorized")))
        yield server


# A token


@both
def test_token_is_sent(account: GoogleAccount, user: Any, google: FakeGoogle, ask: Any) -> None:
    """The stored token is sent to the emulator in place of Google's APIs."""
    for owner in (user, account):
        response = ask("GET", URL, auth=httpx_auth(owner, scopes=[CALENDAR]))
        assert response.json() == {"items": EVENTS}

    assert google.requests_to("token") == []
    assert {request.headers["Host"] for request in google.requests} == {
        httpx.URL(google.url).netloc.decode()
    }


@pytest.mark.slow
@both
def test_token_that_has_expired_is_renewed_first(
    account: GoogleAccount, google: FakeGoogle, ask: Any
) -> None:
    """Each expiry causes one refresh, even if the object is kept for hours."""
    auth = httpx_auth(account)
    for hour in range(3):
        with travel(hours=hour, minutes=hour):
            for _ in range(2):
                assert ask("GET", URL, auth=auth).status_code == 200

    assert len(google.requests_to("token")) == 2
    assert len(google.requests_to("/calendar/v3/calendars/primary/events")) == 6


@both
def test_token_that_lives_for_minutes_is_kept_for_half_of_them(
    account: GoogleAccount, google: FakeGoogle, ask: Any
) -> None:
    """The second request causes no query and no refresh."""
    google.access_token_lifetime = 200
    google.expire_access_tokens()
    auth = httpx_auth(account)
    assert ask("GET", URL, auth=auth).status_code == 200
    GoogleAccount.objects.all().delete()

    assert ask("GET", URL, auth=auth).status_code == 200


def test_account_stays_the_one_that_was_found(
    account: GoogleAccount, google: FakeGoogle, user: Any
) -> None:
    """It stays the same if the user makes another account the default."""
    auth, ask = httpx_auth(user), HTTPX_CLIENTS["sync"]
    assert ask("GET", URL, auth=auth).status_code == 200
    make_google_account(user, access_token="ya29.another").make_default()
    google.expire_access_tokens()

    assert ask("GET", URL, auth=auth).status_code == 200


@pytest.mark.slow
@both
def test_token_of_a_service_account(google: FakeGoogle, settings: Settings, ask: Any) -> None:
    """It has the given scopes."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "SERVICE_ACCOUNTS": {
            "robot": {
                "INFO": google.service_account_info(google.add_service_account()),
                "API_ENDPOINT": google.url,
            }
        },
    }
    google.answer("/drive/v3/about", {"kind": "drive#about"})
    auth = httpx_auth(ServiceAccount("robot"), scopes=[DRIVE])
    for _ in range(2):
        response = ask("GET", "https://www.googleapis.com/drive/v3/about", auth=auth)
        assert response.json() == {"kind": "drive#about"}

    google.expire_access_tokens()
    assert ask("GET", "https://www.googleapis.com/drive/v3/about", auth=auth).status_code == 200
    assert len(google.requests_to("token")) == 2


@pytest.mark.slow
@both
def test_errors_come_from_the_request(
    google: FakeGoogle, alice: FakeUser, user: Any, ask: Any
) -> None:
    """Nothing is looked up before the first request."""
    auth = httpx_auth(user, scopes=[DRIVE])
    with pytest.raises(NotLinkedError):
        ask("GET", URL, auth=auth)

    account = linked(user, google, alice)
    with pytest.raises(MissingScopesError):
        ask("GET", URL, auth=auth)

    google.revoke(alice)
    GoogleAccount.objects.update(access_token_expires_at=account.linked_at)
    with pytest.raises(GrantLostError):
        ask("GET", URL, auth=httpx_auth(user))


def test_stream_is_left_to_be_read(account: GoogleAccount) -> None:
    """The response is not read, since a download may be long."""
    with httpx.Client() as client, client.stream("GET", URL, auth=httpx_auth(account)) as response:
        assert not response.is_stream_consumed
        assert b"".join(response.iter_bytes())


# A refusal


@both
def test_refused_token_is_renewed_once(
    account: GoogleAccount, google: FakeGoogle, ask: Any
) -> None:
    """A token that has not expired is replaced after a 401."""
    google.expire_access_tokens()
    auth = httpx_auth(account)

    for _ in range(2):
        assert ask("GET", URL, auth=auth).json() == {"items": EVENTS}

    assert len(google.requests_to("token")) == 1


@both
def test_refused_token_gives_way_to_another_worker_s(
    account: GoogleAccount, google: FakeGoogle, alice: FakeUser, user: Any, ask: Any
) -> None:
    """A newer stored token is used without a refresh."""
    auth = httpx_auth(account)
    assert ask("GET", URL, auth=auth).status_code == 200
    google.expire_access_tokens()
    newer = google.grant(alice, account.granted_scopes).access_token
    save(user, alice.sub, access_token=Secret(newer))

    assert ask("GET", URL, auth=auth).status_code == 200

    assert google.requests_to("token") == []


@pytest.mark.slow
@both
def test_refusal_that_goes_on_is_the_answer(
    account: GoogleAccount, google: FakeGoogle, ask: Any
) -> None:
    """The second 401 is returned, and no further refresh happens within a minute."""
    path = "/calendar/v3/calendars/primary/events"
    google.fail_next(4, endpoint=path, status=401)
    auth = httpx_auth(account)

    assert [ask("GET", URL, auth=auth).status_code for _ in range(4)] == [401, 401, 401, 200]

    assert len(google.requests_to("token")) == 1


BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "json": lambda: {"json": {"a": "body"}},
    "form": lambda: {"data": {"a": "body"}},
    "bytes": lambda: {"content": b"body"},
    "file": lambda: {"files": {"part": ("name", io.BytesIO(b"body"))}},
    "text in parts": lambda: {"files": {"part": ("name", b"body")}, "data": {"a": "1"}},
}


@pytest.mark.matrix
@both
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_refused_body_is_sent_again(
    account: GoogleAccount, api: HostileServer, ask: Any, body: Any
) -> None:
    """The repeated request has the whole body, and another token."""
    assert ask("POST", INBOX, auth=httpx_auth(account), **body()).status_code == 200

    refused, sent = api.requests
    assert b"body" in refused.body
    assert refused.body == sent.body
    assert refused.headers["authorization"] != sent.headers["authorization"]


@pytest.mark.parametrize("begin", [0, 3])
def test_refused_file_is_sent_again_from_where_it_stood(
    account: GoogleAccount, api: HostileServer, begin: int, tmp_path: Path
) -> None:
    """A file is rewound to its initial position."""
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        file.seek(begin)
        length = {"Content-Length": str(10 - begin)}
        ask = HTTPX_CLIENTS["sync"]
        ask("POST", INBOX, auth=httpx_auth(account), content=file, headers=length)

    assert [seen.body for seen in api.requests] == [b"0123456789"[begin:]] * 2


def test_refused_list_is_sent_again(account: GoogleAccount, api: HostileServer) -> None:
    """A list can be read again."""
    length = {"Content-Length": "4"}
    ask = HTTPX_CLIENTS["sync"]

    ask("POST", INBOX, auth=httpx_auth(account), content=[b"bo", b"dy"], headers=length)

    assert [seen.body for seen in api.requests] == [b"body"] * 2


class _Pipe(io.BytesIO):
    """A body that can be read once."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation

    def seek(self, *args: Any) -> int:
        raise io.UnsupportedOperation


@pytest.mark.matrix
@both
@pytest.mark.parametrize("kind", ["generator", "pipe in parts"])
def test_refused_stream_is_not_sent_again(
    account: GoogleAccount, api: HostileServer, google: FakeGoogle, ask: Any, kind: str
) -> None:
    """The 401 is returned, and the next request has a new token."""
    auth = httpx_auth(account)
    body: dict[str, Any] = {"content": stream_once(ask, [b"bo", b"dy"])}
    if kind == "pipe in parts":
        body = {"files": {"part": ("name", _Pipe(b"body"))}}

    assert ask("POST", INBOX, auth=auth, **body).status_code == 401
    [refused] = api.requests
    assert b"body" in refused.body
    assert len(google.requests_to("token")) == 1

    assert ask("POST", INBOX, auth=auth, content=b"body").status_code == 200
    assert [seen.body for seen in api.requests][1:] == [b"body"]
    assert len(google.requests_to("token")) == 1


class _Stream(httpx.SyncByteStream):
    """A custom body."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"body"


def test_refused_stream_of_an_unknown_kind_is_not_sent_again(
    account: GoogleAccount, api: HostileServer
) -> None:
    """It is unknown whether it can be read again."""
    length = {"Content-Length": "4"}
    request = httpx.Request("POST", INBOX, stream=_Stream(), headers=length)

    with httpx.Client() as client:
        assert client.send(request, auth=httpx_auth(account)).status_code == 401

    assert [seen.body for seen in api.requests] == [b"body"]


@both
def test_refused_token_in_an_outage(account: GoogleAccount, google: FakeGoogle, ask: Any) -> None:
    """Without another token the error is raised."""
    google.expire_access_tokens()
    google.fail_next()

    with pytest.raises(RefreshUnavailableError):
        ask("GET", URL, auth=httpx_auth(account))


@pytest.mark.slow
@both
def test_scope_that_was_taken_away(
    google: FakeGoogle, alice: FakeUser, user: Any, ask: Any
) -> None:
    """A lost scope raises ``MissingScopesError``; any other 403 is returned."""
    account = linked(user, google, alice, scopes=[CALENDAR, DRIVE])
    google.answer("/drive/v3/about", {}, scopes=["https://www.googleapis.com/auth/tasks"])
    auth = httpx_auth(account, scopes=[DRIVE])
    about = "https://www.googleapis.com/drive/v3/about"
    assert ask("GET", about, auth=auth).status_code == 403
    GoogleAccount.objects.update(granted_scopes=[CALENDAR])
    google.fail_next(endpoint="/drive/v3/about", status=403)

    assert ask("GET", about, auth=auth).status_code == 403
    with pytest.raises(MissingScopesError) as caught:
        ask("GET", about, auth=auth)

    assert caught.value.missing_scopes == {DRIVE}


# Nobody else


@pytest.fixture
def servers(
    tmp_path: Path, google: FakeGoogle, configure: Callable[..., None]
) -> Iterator[tuple[HostileServer, HostileServer, ssl.SSLContext]]:
    """Two trusted https servers, with Google's real URL."""
    configure(API_ENDPOINT=None)
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=certificate)
    with hostile_server(context) as one, hostile_server(context) as other:
        yield one, other, trusting


@pytest.mark.matrix
@both
@pytest.mark.parametrize("status", ["301 x", "302 x", "307 x"])
def test_token_does_not_go_along_to_another_host(
    servers: tuple[HostileServer, HostileServer, ssl.SSLContext], user: Any, ask: Any, status: str
) -> None:
    """A 401 of another host causes no refresh."""
    one, other, trusting = servers
    auth = httpx_auth(make_google_account(user, access_token=TOKEN))
    one.next.append(answering(make_answer({}, status, Location=f"{other.url}/2")))
    other.next.append(answering(make_answer({}, "401 Unauthorized")))

    response = ask("GET", f"{one.url}/1", auth=auth, verify=trusting)

    assert response.status_code == 401
    assert [seen.headers.get("authorization") for seen in one.requests] == [f"Bearer {TOKEN}"]
    assert ["authorization" in seen.headers for seen in other.requests] == [False]


@pytest.mark.matrix
@both
@pytest.mark.parametrize("url", ["http://example.com/", "http://127.0.0.1:1/", "ftp://x.example/"])
def test_token_is_not_sent_in_plain_text(
    account: GoogleAccount, ask: Any, url: str, google: FakeGoogle
) -> None:
    """Except to the emulator."""
    with pytest.raises(httpx.UnsupportedProtocol, match="is not https") as caught:
        ask("GET", url, auth=httpx_auth(account))

    assert "authorization" not in caught.value.request.headers


@both
def test_answers_carry_no_token(
    servers: tuple[HostileServer, HostileServer, ssl.SSLContext], user: Any, ask: Any
) -> None:
    """Responses, with their requests, may be cached or pickled."""
    one, _, trusting = servers
    auth = httpx_auth(make_google_account(user, access_token=TOKEN))
    one.next.append(answering(make_answer({}, "302 Found", Location="/2")))
    one.next.append(answering(make_answer({}, "302 Found", Location="/3")))

    response = ask("GET", f"{one.url}/1", auth=auth, verify=trusting)
    with pytest.raises(httpx.ConnectError) as caught:
        ask("GET", "https://127.0.0.1:1/", auth=auth)

    assert len(response.history) == 2
    assert [seen.headers["authorization"] for seen in one.requests] == [f"Bearer {TOKEN}"] * 3
    assert TOKEN.encode() not in pickle.dumps(response)
    assert "authorization" not in caught.value.request.headers


@both
@pytest.mark.parametrize("redirects", [1, 50], ids=["it fails", "it does not end"])
def test_error_after_a_redirect_carries_no_token(
    servers: tuple[HostileServer, HostileServer, ssl.SSLContext],
    user: Any,
    ask: Any,
    redirects: int,
) -> None:
    """The error's request, a different one with the same token, is cleaned as well."""
    one, _, trusting = servers
    auth = httpx_auth(make_google_account(user, access_token=TOKEN))
    one.next.extend([answering(make_answer({}, "302 Found", Location="/2"))] * redirects)
    one.next.append(ENDINGS["before the headers"])

    with pytest.raises(httpx.RequestError) as caught:
        ask("GET", f"{one.url}/1", auth=auth, verify=trusting)

    assert one.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"
    assert caught.value.request.url.path == "/2"
    assert "authorization" not in caught.value.request.headers


def test_error_of_a_hook_carries_no_token(
    servers: tuple[HostileServer, HostileServer, ssl.SSLContext], user: Any
) -> None:
    """Event hooks may raise errors that contain the request."""
    one, _, trusting = servers
    auth = httpx_auth(make_google_account(user, access_token=TOKEN))
    one.next.append(answering(make_answer({}, "302 Found", Location="/2")))
    one.next.append(answering(make_answer({}, "404 Not Found")))

    def refuse(response: httpx.Response) -> None:
        if response.is_error:
            response.raise_for_status()

    hooks: Any = {"response": [refuse]}
    with (
        httpx.Client(verify=trusting, follow_redirects=True, event_hooks=hooks) as client,
        pytest.raises(httpx.HTTPStatusError) as caught,
    ):
        client.get(f"{one.url}/1", auth=auth)

    assert "authorization" not in caught.value.request.headers
    assert "authorization" not in caught.value.response.request.headers


def test_answer_that_leads_on_carries_no_token(
    servers: tuple[HostileServer, HostileServer, ssl.SSLContext], user: Any
) -> None:
    """If redirects are not followed, the next request is cleaned."""
    one, _, trusting = servers
    auth = httpx_auth(make_google_account(user, access_token=TOKEN))
    one.next.append(answering(make_answer({}, "302 Found", Location="/2")))

    with httpx.Client(verify=trusting) as client:
        response = client.get(f"{one.url}/1", auth=auth)

    assert response.next_request is not None
    assert "authorization" not in response.next_request.headers


# Threads and event loops


@pytest.mark.slow
def test_fifty_calls_at_once_ask_for_one_token(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """Concurrent 401s in an event loop cause one refresh."""
    user = new_user()
    link_account(google, user, alice, CALENDAR)
    google.expire_access_tokens()

    queries: list[Any] = []

    def note_queries() -> None:
        connection.force_debug_cursor = True
        queries[:] = connection.queries

    async def call() -> list[httpx.Response]:
        async with thread_of_its_own(), httpx.AsyncClient() as client:
            await sync_to_async(note_queries)()
            auth = httpx_auth(user)
            answers = await asyncio.gather(*[client.get(URL, auth=auth) for _ in range(50)])
            await sync_to_async(note_queries)()
            return answers

    assert {response.status_code for response in asyncio.run(call())} == {200}
    assert len(google.requests_to("token")) == 1
    assert 0 < len(queries) < 25


def test_sync_client_in_a_running_event_loop(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """It works, although it blocks the loop."""
    user = new_user()
    account = link_account(google, user, alice, CALENDAR, access_token_expires_at=None)
    google.expire_access_tokens()

    async def call() -> httpx.Response:
        with httpx.Client() as client:
            return client.get(URL, auth=httpx_auth(user))

    assert asyncio.run(call()).json() == {"items": EVENTS}
    assert token_of(account, "access_token")


def test_httpx_auth_without_the_extra_says_what_to_install(
    google: FakeGoogle, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "django_google_link.api_clients.httpx_auth", raising=False)

    with pytest.raises(ImproperlyConfigured, match=r"django-google-link\[httpx\]"):
        httpx_auth(user)
