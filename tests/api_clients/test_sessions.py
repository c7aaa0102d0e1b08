"""Sessions for Google's APIs: over shared connections, by https, and without a token in what
they return."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings
from requests.exceptions import ConnectionError, HTTPError, InvalidSchema, RequestException
from requests.exceptions import Timeout as RequestsTimeout
from werkzeug.wrappers import Response

from django_google_link.http.pool import process_pool
from django_google_link.models import GoogleAccount
from django_google_link.services import authorized_session
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked
from tests.support.hostile_servers import (
    ENDINGS,
    HostileServer,
    answering,
    hostile_server,
    make_answer,
)
from tests.support.slow_servers import silent

pytestmark = pytest.mark.django_db

TOKEN = "ya29.the-token"


class Pipe(io.BytesIO):
    """A body that can be read once."""

    def tell(self) -> int:
        """Say that nobody knows."""
        raise OSError


@pytest.fixture
def api(google: FakeGoogle, configure: Callable[..., None]) -> Iterator[HostileServer]:
    """A server in place of Google's APIs, with persistent connections."""
    with hostile_server() as server:
        configure(API_ENDPOINT=server.url)
        yield server
    process_pool().close_idle()


@pytest.fixture
def account(api: HostileServer, user: Any) -> GoogleAccount:
    """An account with a valid access token."""
    return make_google_account(user, access_token=TOKEN)


def test_sessions_share_connections(api: HostileServer, account: GoogleAccount) -> None:
    """Even after a session was closed."""
    for number in range(3):
        with authorized_session(account) as session:
            assert session.get(f"{api.url}/{number}").json() == {"id": str(number)}

    assert api.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://127.0.0.1:1/",
        "http://www.example.com@127.0.0.1/",
        "ftp://example.com/",
    ],
)
def test_token_is_not_sent_in_plain_text(account: GoogleAccount, url: str) -> None:
    """Except to the emulator."""
    with pytest.raises((InvalidSchema, RequestException)) as caught:
        authorized_session(account).get(url)

    assert TOKEN.encode() not in pickle.dumps(caught.value)


def test_redirect_to_plain_http_is_not_followed(api: HostileServer, account: GoogleAccount) -> None:
    """Not even without the token."""
    with hostile_server() as other:
        api.next.append(answering(make_answer({}, "302 Found", Location=f"{other.url}/2")))
        with pytest.raises(InvalidSchema, match="is not https"):
            authorized_session(account).get(f"{api.url}/1")

        assert other.connections == 0


def test_emulator_that_is_not_on_this_machine_is_asked_by_https(
    account: GoogleAccount, configure: Callable[..., None]
) -> None:
    """Whichever Google host it replaces."""
    configure(API_ENDPOINT="https://nowhere.invalid")

    with pytest.raises(ConnectionError, match=r"nowhere\.invalid"):
        authorized_session(account).get("https://www.googleapis.com/1")
    with pytest.raises(InvalidSchema):
        authorized_session(account).get("http://nowhere.invalid/1")


@pytest.mark.matrix
@pytest.mark.parametrize("status", ["200 OK", "302 Found", "404 Not Found"])
@pytest.mark.parametrize("is_followed", [True, False])
def test_response_carries_no_token(
    api: HostileServer, account: GoogleAccount, status: str, is_followed: bool
) -> None:
    """Neither its request nor earlier and later ones contain it, since responses may be cached."""
    api.next.append(answering(make_answer({}, status, Location="/2")))

    response = authorized_session(account).get(f"{api.url}/1", allow_redirects=is_followed)

    requests = [one.request for one in (response, *response.history)]
    requests += [response.next] if response.next else []
    assert [request.headers.get("Authorization") for request in requests] == [None] * len(requests)
    assert TOKEN.encode() not in pickle.dumps(response)
    assert TOKEN not in repr([vars(request) for request in requests])
    assert [seen.headers["authorization"] for seen in api.requests] == [f"Bearer {TOKEN}"] * len(
        api.requests
    )


def test_errors_carry_no_token(api: HostileServer, account: GoogleAccount) -> None:
    """Errors with and without a response contain no token."""
    session = authorized_session(account)
    api.next.append(answering(make_answer({}, "503 Service Unavailable")))
    with pytest.raises(HTTPError) as caught:
        session.get(f"{api.url}/1").raise_for_status()
    errors: list[Any] = [caught.value]
    api.next.append(ENDINGS["before the headers"])
    with pytest.raises(ConnectionError) as broken:
        session.post(f"{api.url}/2")
    errors.append(broken.value)
    api.next.extend([answering(make_answer({}, "302 Found", Location="/again"))] * 40)
    with pytest.raises(RequestException) as endless:
        session.get(f"{api.url}/3")
    errors.append(endless.value)

    assert [TOKEN.encode() in pickle.dumps(error) for error in errors] == [False] * 3
    assert [
        "Authorization" in error.request.headers for error in errors if error.request is not None
    ] == [False] * 3


def test_netrc_does_not_replace_the_token(
    api: HostileServer, account: GoogleAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with the first request nor after a redirect."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login operator password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    api.next.append(answering(make_answer({}, "302 Found", Location="/2")))

    authorized_session(account).get(f"{api.url}/1")

    assert [seen.headers["authorization"] for seen in api.requests] == [f"Bearer {TOKEN}"] * 2


def test_cookies_are_the_session_s_own(api: HostileServer, account: GoogleAccount) -> None:
    """Although the connections are shared."""
    api.next.append(answering(make_answer({}, Set_Cookie="who=anna")))
    first = authorized_session(account)
    first.get(f"{api.url}/1")
    authorized_session(account).get(f"{api.url}/2")
    first.get(f"{api.url}/3")

    assert [seen.headers.get("cookie") for seen in api.requests] == [None, None, "who=anna"]
    assert api.connections == 1


def test_stream_that_is_not_read_to_its_end(api: HostileServer, account: GoogleAccount) -> None:
    """Its connection is closed, and the next call gets its own response."""
    session = authorized_session(account)
    api.next.append(answering(make_answer({"id": "1", "more": "x" * 200_000})))

    with session.get(f"{api.url}/1", stream=True) as response:
        assert next(response.iter_content(10))

    assert session.get(f"{api.url}/2").json() == {"id": "2"}
    assert api.connections == 2


def test_stream_that_is_read_to_its_end(api: HostileServer, account: GoogleAccount) -> None:
    """Its connection is returned to the pool."""
    session = authorized_session(account)
    with session.get(f"{api.url}/1", stream=True) as response:
        assert b"".join(response.iter_content(3)) == b'{"id": "1"}'

    assert session.get(f"{api.url}/2").json() == {"id": "2"}
    assert api.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize("by", ["setting", "keyword", "position"])
def test_api_that_does_not_answer(
    user: Any, google: FakeGoogle, settings: Settings, configure: Callable[..., None], by: str
) -> None:
    """The time limit is ``API_TIMEOUT``, or what the caller sets."""
    account = make_google_account(user, access_token=TOKEN)
    if by == "setting":
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "API_TIMEOUT": 0.1}
    with silent() as url:
        configure(API_ENDPOINT=url)
        session = authorized_session(account)
        positional = (None, None, None, 0.1) if by == "position" else ()
        keywords = {"timeout": 0.1} if by == "keyword" else {}
        with pytest.raises(RequestsTimeout):
            session.request("GET", url, *positional, **keywords)


def test_user_agent(api: HostileServer, account: GoogleAccount, settings: Settings) -> None:
    """The configured user agent is sent, unless a call sets its own."""
    authorized_session(account).get(f"{api.url}/1")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "USER_AGENT": "daybook/2.1"}
    authorized_session(account).get(f"{api.url}/2")
    authorized_session(account).get(f"{api.url}/3", headers={"User-Agent": "mine"})

    assert [seen.headers["user-agent"] for seen in api.requests] == [
        "django-google-link",
        "daybook/2.1",
        "mine",
    ]


@pytest.mark.parametrize(
    "give",
    [
        lambda: {"data": io.BytesIO(b"content")},
        lambda: {"files": {"file": io.BytesIO(b"content")}},
        lambda: {"files": [("file", ("name.txt", io.BytesIO(b"content"), "text/plain"))]},
        lambda: {"files": {"file": b"content"}},
        lambda: {"json": "content"},
    ],
    ids=["stream", "file", "list of files", "bytes", "json"],
)
def test_body_that_is_refused_is_sent_again_whole(
    api: HostileServer,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    give: Callable[[], dict[str, Any]],
) -> None:
    """Files are rewound before the request is repeated."""
    account = linked(user, google, alice)
    api.next.append(answering(make_answer({}, "401 Unauthorized")))

    authorized_session(account).post(f"{api.url}/1", **give())

    assert [b"content" in seen.body for seen in api.requests] == [True, True]
    assert len({seen.headers["authorization"] for seen in api.requests}) == 2


@pytest.mark.parametrize(
    "give",
    [
        lambda: {"data": iter([b"con", b"tent"])},
        lambda: {"files": {"file": Pipe(b"content")}},
    ],
    ids=["pieces", "pipe"],
)
def test_body_that_can_be_read_once_is_not_sent_again(
    api: HostileServer,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    give: Callable[[], dict[str, Any]],
) -> None:
    """The 401 is returned, and the next request has a new token."""
    session = authorized_session(linked(user, google, alice))
    api.next.append(answering(make_answer({}, "401 Unauthorized")))

    assert session.post(f"{api.url}/1", **give()).status_code == 401
    assert session.post(f"{api.url}/2", data=b"content").status_code == 200

    assert [seen.id for seen in api.requests] == ["1", "2"]
    assert len({seen.headers["authorization"] for seen in api.requests}) == 2


def test_refusal_behind_a_redirect_is_the_answer(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The first server may have acted on the request, so it is not repeated."""
    account = linked(user, google, alice)
    google.fail_next(endpoint="/done", status=401)

    @google.route("/do", methods=["POST"])
    def do(request: Any, user: FakeUser) -> Response:
        return Response(status=303, headers={"Location": "/done"})

    assert authorized_session(account).post(f"{google.url}/do").status_code == 401

    assert len(google.requests_to("/do")) == 1
    assert google.requests_to("token") == []


def test_refusal_that_goes_on_is_the_answer(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """It is returned after one refresh and one repetition."""
    account = linked(user, google, alice)
    google.fail_next(5, endpoint="/always", status=401)

    assert authorized_session(account).get(f"{google.url}/always").status_code == 401

    assert len(google.requests_to("/always")) == 2
    assert len(google.requests_to("token")) == 1
