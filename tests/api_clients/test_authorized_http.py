"""The transport for googleapiclient: httplib2's interface on shared connections."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import httplib2
import pytest
from googleapiclient.errors import HttpError
from googleapiclient.http import (
    BatchHttpRequest,
    MediaInMemoryUpload,
    MediaIoBaseDownload,
    MediaIoBaseUpload,
    set_user_agent,
)
from pytest_django import Settings
from werkzeug.wrappers import Request, Response

from django_google_link.http.pool import process_pool
from django_google_link.models import GoogleAccount
from django_google_link.services import authorized_http, build_service
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked
from tests.support.databases import at_once, new_user
from tests.support.hostile_servers import (
    ENDINGS,
    HostileServer,
    Seen,
    answering,
    hostile_server,
    make_answer,
)
from tests.support.slow_servers import silent

pytestmark = pytest.mark.django_db

UPLOAD = "/upload/drive/v3/files"


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
    return make_google_account(user, access_token="ya29.x")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make googleapiclient retry at once."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def patiently(request: Any) -> Any:
    """Return a request that retries without pauses."""
    request._sleep = lambda seconds: None
    return request


# Uploads


def test_pieces_that_are_refused_are_not_sent_again(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Chunks that can be read once are not repeated; the 401 is returned, and the token renewed."""
    http = authorized_http(linked(user, google, alice))
    google.fail_next(endpoint="/upload", status=401)

    @google.route("/upload", methods=["POST"])
    def upload(request: Request, user: FakeUser) -> dict[str, Any]:
        return {}

    first, _ = http.request(f"{google.url}/upload", "POST", body=iter([b"con", b"tent"]))
    second, _ = http.request(f"{google.url}/upload", "POST", body=[b"con", b"tent"])

    assert (first.status, second.status) == (401, 200)
    assert len(google.requests_to("/upload")) == 2
    assert len(google.requests_to("token")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("chunksize", [256 * 1024, -1])
def test_upload_in_pieces_one_of_which_is_refused(
    google: FakeGoogle, alice: FakeUser, user: Any, chunksize: int
) -> None:
    """After a 401 the token is refreshed once, and the chunk repeated from its start."""
    account = linked(user, google, alice)
    content = b"".join(bytes([number]) * 1024 for number in range(200)) * 4
    pieces: list[tuple[str, bytes]] = []

    @google.route(UPLOAD, methods=["POST"])
    def begin(request: Request, user: FakeUser) -> Response:
        return Response(headers={"Location": f"{google.url}{UPLOAD}"})

    @google.route(UPLOAD, methods=["PUT"])
    def put(request: Request, user: FakeUser) -> Any:
        pieces.append((request.headers["Content-Range"], request.get_data()))
        end = sum(len(piece) for _, piece in pieces)
        if len(pieces) == 1:
            google.expire_access_tokens()
        if end == len(content):
            return {"id": "file-1"}
        return Response(status=308, headers={"Range": f"bytes=0-{end - 1}"})

    if chunksize == -1:
        google.expire_access_tokens()
    media = MediaInMemoryUpload(content, "text/plain", chunksize=chunksize, resumable=True)
    service = build_service(account, "drive", "v3")
    answer = service.files().create(body={"name": "a.txt"}, media_body=media).execute()

    assert answer == {"id": "file-1"}
    assert b"".join(piece for _, piece in pieces) == content
    assert len(google.requests_to("token")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("chunksize", [256 * 1024, -1])
def test_upload_in_pieces_one_of_which_fails(
    api: HostileServer, account: GoogleAccount, no_pauses: None, chunksize: int
) -> None:
    """A retry sends the whole chunk, although googleapiclient does not rewind it."""
    content = b"x" * 300_000
    location = f"{api.url}{UPLOAD}/1"
    ends = [answering(make_answer({}, "308 Resume Incomplete", Range="bytes=0-262143"))]
    api.next.extend(
        [
            answering(make_answer({}, Location=location)),
            *(ends if chunksize > 0 else []),
            answering(make_answer({}, "503 Service Unavailable")),
            answering(make_answer({"id": "file-1"})),
        ]
    )
    media = MediaIoBaseUpload(
        io.BytesIO(content), "text/plain", chunksize=chunksize, resumable=True
    )
    request = build_service(account, "drive", "v3").files().create(media_body=media)

    assert patiently(request).execute(num_retries=2) == {"id": "file-1"}

    *_, failed, repeated = api.requests
    assert failed.headers["content-range"] == repeated.headers["content-range"]
    assert failed.body == repeated.body == content[262_144 if chunksize > 0 else 0 :]


def test_stream_that_stands_elsewhere_is_sent_from_there(
    api: HostileServer, account: GoogleAccount
) -> None:
    """The given length is sent, from the end of the stream."""
    stream = io.BytesIO(b"--- the whole of it")
    stream.seek(4)

    authorized_http(account).request(f"{api.url}/1", "PUT", stream, {"Content-Length": "15"})
    authorized_http(account).request(f"{api.url}/2", "PUT", stream, {"Content-Length": "15"})

    assert [seen.body for seen in api.requests] == [b"the whole of it"] * 2


def test_stream_whose_end_cannot_be_found(api: HostileServer, account: GoogleAccount) -> None:
    """It is sent from its current position."""

    class Endless(io.BytesIO):
        def seek(self, position: int, whence: int = 0) -> int:
            if whence:
                raise io.UnsupportedOperation
            return super().seek(position)

    stream = Endless(b"--- the whole of it")
    stream.seek(4)

    authorized_http(account).request(f"{api.url}/1", "PUT", stream, {"Content-Length": "15"})

    assert api.requests[0].body == b"the whole of it"


def test_stream_that_cannot_be_brought_back_is_sent_once(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The 401 is returned, rather than half an upload."""
    account = linked(user, google, alice)
    google.answer("/inbox", {}, method="POST")
    google.expire_access_tokens()

    class Pipe:
        def __init__(self) -> None:
            self.read = io.BytesIO(b"gone for good").read

    http = authorized_http(account)
    response, _ = http.request(f"{google.url}/inbox", "POST", Pipe(), {"Content-Length": "13"})

    assert response.status == 401
    assert len(google.requests_to("/inbox")) == 1
    assert http.request(f"{google.url}/inbox", "POST", Pipe(), {"Content-Length": "13"})[0]


def test_text_is_sent_as_utf_8(api: HostileServer, account: GoogleAccount) -> None:
    """The length is that of the encoded text."""
    authorized_http(account).request(f"{api.url}/1", "POST", "größer", {"Content-Length": "6"})

    assert api.requests[0].body.decode() == "größer"


# Downloads


def test_download_in_pieces_that_are_compressed(api: HostileServer, account: GoogleAccount) -> None:
    """The download ends, because its length is that of the decompressed content."""
    content = b"a file" * 1000

    def compress(seen: Seen) -> bytes:
        body = gzip.compress(content)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    api.next.append(answering(compress))
    file = io.BytesIO()
    request = build_service(account, "drive", "v3").files().get_media(fileId="1")

    _, is_done = MediaIoBaseDownload(file, request).next_chunk()

    assert is_done
    assert file.getvalue() == content


@pytest.mark.matrix
@pytest.mark.parametrize("is_foreign", [True, False])
def test_download_that_lies_elsewhere(
    api: HostileServer, account: GoogleAccount, is_foreign: bool
) -> None:
    """The token is sent to no other host, whatever ``Content-Location`` says."""
    with hostile_server() as other:
        location = f"{other.url if is_foreign else api.url}/content/2"
        api.next.append(
            answering(
                make_answer(
                    {},
                    "206 Partial Content",
                    Content_Range="bytes 0-1/4",
                    Content_Location=location,
                )
            )
        )
        request = build_service(account, "drive", "v3").files().get_media(fileId="1")
        download = MediaIoBaseDownload(io.BytesIO(), request, chunksize=2)
        download.next_chunk()
        download.next_chunk()

        assert other.requests == []
    assert api.requests[1].path.startswith("/drive/v3/files/1" if is_foreign else "/content/2")


def test_answer_that_cannot_be_decompressed(api: HostileServer, account: GoogleAccount) -> None:
    """The error is httplib2's, as before."""
    api.next.append(answering(make_answer({}, Content_Encoding="gzip")))

    with pytest.raises(httplib2.FailedToDecompressContent):
        authorized_http(account).request(f"{api.url}/1")


@pytest.mark.matrix
@pytest.mark.parametrize("coding", ["identity", "strange"])
def test_answer_in_a_coding_that_nobody_asked_for(
    api: HostileServer, account: GoogleAccount, coding: str
) -> None:
    """An unsupported coding is passed on unchanged."""
    api.next.append(answering(make_answer({"id": "1"}, Content_Encoding=coding)))

    response, content = authorized_http(account).request(f"{api.url}/1")

    assert json.loads(content) == {"id": "1"}
    assert response["content-encoding"] == coding
    assert response["content-length"] == str(len(content))


@pytest.mark.matrix
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "gzip, gzip"])
def test_answer_that_was_decompressed(
    api: HostileServer, account: GoogleAccount, coding: str
) -> None:
    """The response states its decompressed length, and no coding."""
    body = gzip.compress(b'{"id": "1"}')
    body = gzip.compress(body) if "," in coding else body
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    api.next.append(answering(head.encode() + body))

    response, content = authorized_http(account).request(f"{api.url}/1")

    assert content == b'{"id": "1"}'
    assert response["content-length"] == "11"
    assert "content-encoding" not in response


def test_head_has_no_body(api: HostileServer, account: GoogleAccount) -> None:
    """The connection remains usable after a HEAD request."""
    api.next.append(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"))
    http = authorized_http(account)

    response, content = http.request(f"{api.url}/1", "HEAD")

    assert (response["content-length"], content) == ("500", b"")
    assert json.loads(http.request(f"{api.url}/2")[1]) == {"id": "2"}
    assert api.connections == 1


# Redirects


def redirect(location: str, status: str = "302 Found") -> Any:
    """Redirect the caller."""
    return answering(make_answer({}, status, Location=location))


@pytest.mark.matrix
@pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x"])
def test_redirect_is_followed_without_the_token(
    api: HostileServer, account: GoogleAccount, status: str
) -> None:
    """To another path on the same host, and to another host of the emulator."""
    api.next.append(redirect("/other/2", status))

    response, content = authorized_http(account).request(f"{api.url}/1", headers={"X": "y"})

    assert json.loads(content) == {"id": "2"}
    assert response.previous.status == int(status[:3])
    assert "content-location" not in response
    first, second = api.requests
    assert first.headers["authorization"] == "Bearer ya29.x"
    assert "authorization" not in second.headers
    assert second.headers["x"] == "y"


def test_redirect_to_another_host_gets_no_token(
    api: HostileServer, account: GoogleAccount, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over plain http nothing is sent at all."""
    with hostile_server() as other:
        api.next.append(redirect(f"{other.url}/2"))
        with pytest.raises(ValueError, match="is not https"):
            authorized_http(account).request(f"{api.url}/1")

        assert other.connections == 0


def test_refusal_behind_a_redirect_is_not_the_token_s(
    api: HostileServer, account: GoogleAccount, google: FakeGoogle
) -> None:
    """A 401 after a redirect causes no refresh, since the token was not sent."""
    api.next.extend([redirect("/2"), answering(make_answer({}, "401 Unauthorized"))])

    response, _ = authorized_http(account).request(f"{api.url}/1")

    assert response.status == 401
    assert google.requests_to("token") == []


def test_redirects_after_a_post(api: HostileServer, account: GoogleAccount) -> None:
    """A 303 is followed with GET; others would send the body twice."""
    http = authorized_http(account)
    api.next.extend([redirect("/2", "303 See Other"), answering(lambda seen: seen.answer)])
    _, content = http.request(f"{api.url}/1", "POST", b"body", {"Content-Type": "text/plain"})
    api.next.append(redirect("/4"))
    response, _ = http.request(f"{api.url}/3", "POST", b"body")

    assert json.loads(content) == {"id": "2"}
    assert [seen.method for seen in api.requests] == ["POST", "GET", "POST"]
    assert api.requests[1].body == b""
    assert "content-type" not in api.requests[1].headers
    assert response.status == 302


def test_redirects_that_do_not_end(api: HostileServer, account: GoogleAccount) -> None:
    """Five redirects are followed, or as many as the caller allows."""
    http = authorized_http(account)
    api.next.extend([redirect("/again")] * 8)

    with pytest.raises(httplib2.RedirectLimit):
        http.request(f"{api.url}/1")
    with pytest.raises(httplib2.RedirectLimit):
        http.request(f"{api.url}/1", redirections=0)
    http.follow_redirects = False

    assert http.request(f"{api.url}/1")[0].status == 302
    assert len(api.requests) == 8


def test_redirects_that_lead_nowhere(api: HostileServer, account: GoogleAccount) -> None:
    """A missing Location is an error, except for a list of choices."""
    api.next.append(answering(make_answer({}, "302 Found")))
    api.next.append(answering(make_answer({}, "300 Multiple Choices")))

    with pytest.raises(httplib2.RedirectMissingLocation):
        authorized_http(account).request(f"{api.url}/1")
    assert authorized_http(account).request(f"{api.url}/1")[0].status == 300


# Errors


@pytest.mark.matrix
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("is_kept", [True, False])
def test_answer_that_breaks_off_is_worth_a_retry(
    api: HostileServer, account: GoogleAccount, ending: Any, is_kept: bool
) -> None:
    """``num_retries`` covers incomplete responses, even to requests that are not idempotent."""
    service = build_service(account, "calendar", "v3")
    if is_kept:
        service.events().list(calendarId="first").execute()
    api.next.append(ending)
    request = patiently(service.events().insert(calendarId="second", body={}))

    assert request.execute(num_retries=1) == {"id": "events?alt=json"}
    assert [seen.method for seen in api.requests][-2:] == ["POST", "POST"]


def test_server_that_is_down_is_worth_a_retry(api: HostileServer, account: GoogleAccount) -> None:
    """The error is an ``OSError``, which googleapiclient retries."""
    api.stop()

    with pytest.raises(ConnectionRefusedError):
        authorized_http(account).request(f"{api.url}/1")


def test_host_that_nobody_knows(account: GoogleAccount) -> None:
    """The error names the host."""
    with pytest.raises(httplib2.ServerNotFoundError, match=r"the server at nowhere\.invalid"):
        authorized_http(account).request("https://nowhere.invalid/1")


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("by", ["setting", "attribute"])
def test_api_that_does_not_answer(
    user: Any, google: FakeGoogle, settings: Settings, configure: Callable[..., None], by: str
) -> None:
    """The time limit is ``API_TIMEOUT``, or what the caller set."""
    account = make_google_account(user, access_token="ya29.x")
    if by == "setting":
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "API_TIMEOUT": 0.1}
    with silent() as url:
        configure(API_ENDPOINT=url)
        http = authorized_http(account)
        if by == "attribute":
            http.timeout = 0.1
        with pytest.raises(TimeoutError, match="took too long"):
            http.request(f"{url}1")


@pytest.mark.matrix
@pytest.mark.parametrize("url", ["http://example.com/", "ftp://example.com/", "/path"])
def test_address_that_is_not_https(account: GoogleAccount, url: str) -> None:
    """Nothing is sent to it."""
    with pytest.raises(ValueError, match="is not https"):
        authorized_http(account).request(url)


# Sharing


@pytest.mark.slow
def test_service_is_shared_by_threads(api: HostileServer, account: GoogleAccount) -> None:
    """Each call gets its own response, with at most one connection per thread."""
    service = build_service(account, "drive", "v3")

    def run(thread: int) -> list[bool]:
        return [
            service.files().get(fileId=f"{thread}-{number}").execute()
            == {"id": f"{thread}-{number}?alt=json"}
            for number in range(10)
        ]

    results = at_once(*[lambda thread=thread: run(thread) for thread in range(16)])

    assert all(map(all, results))
    assert api.connections <= 16
    assert len(api.requests) == 160


def test_closing_a_service_closes_no_connection(api: HostileServer, account: GoogleAccount) -> None:
    """The connections are shared."""
    for number in range(3):
        with build_service(account, "drive", "v3") as service:
            service.files().get(fileId=str(number)).execute()

    assert api.connections == 1


@pytest.mark.matrix
@pytest.mark.parametrize("is_expired", [True, False])
def test_storm_of_refusals_is_one_refresh(
    shared_database: None, google: FakeGoogle, alice: FakeUser, is_expired: bool
) -> None:
    """Of 16 threads, one refreshes the token."""
    account = linked(new_user(), google, alice)
    google.answer("/drive/v3/files/<id>", {"id": "x"})
    service = build_service(account, "drive", "v3")
    google.expire_access_tokens()
    if is_expired:
        service._http.credentials.expiry = datetime(2020, 1, 1)

    at_once(*[lambda: service.files().get(fileId="1").execute()] * 16)

    assert len(google.requests_to("token")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_service_can_be_pickled(api: HostileServer, account: GoogleAccount, protocol: int) -> None:
    """The pickle contains no token, and keeps our class of batches."""
    service = build_service(account, "drive", "v3")
    set_user_agent(service._http, "mine")

    pickled = pickle.dumps(service, protocol)
    copy = pickle.loads(pickled)

    assert b"ya29.x" not in pickled
    assert copy.files().get(fileId="1").execute()["id"].startswith("1")
    before, after = service.new_batch_http_request(), copy.new_batch_http_request()
    assert type(before) is type(after) is not BatchHttpRequest
    assert after._batch_uri == before._batch_uri == f"{api.url}/batch/drive/v3"


def test_batch_goes_over_the_pool(api: HostileServer, account: GoogleAccount) -> None:
    """A batch is one request, whose parts contain the token."""
    part = (
        "--x\r\nContent-Type: application/http\r\nContent-ID: <response-{id}>\r\n\r\n"
        'HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{{"id": "one"}}\r\n'
    )

    def answer(seen: Seen) -> bytes:
        id = seen.body.decode().partition("Content-ID: <")[2].partition(">")[0]
        body = (part.format(id=id, status="200 OK") + "--x--").encode()
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=x\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    service = build_service(account, "drive", "v3")
    service.files().get(fileId="0").execute()
    api.next.append(answering(answer))
    answers: list[Any] = []
    batch = service.new_batch_http_request(lambda *arguments: answers.append(arguments))
    batch.add(service.files().get(fileId="1"))

    batch.execute()

    [(_, answer_of_one, problem)] = answers
    assert (answer_of_one, problem) == ({"id": "one"}, None)
    assert b"authorization: Bearer ya29.x" in api.requests[1].body
    assert api.connections == 1


# What is sent


def test_user_agent(api: HostileServer, account: GoogleAccount, settings: Settings) -> None:
    """The configured user agent comes first; ``gzip`` in it makes Google compress responses."""
    authorized_http(account).request(f"{api.url}/1")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "USER_AGENT": "daybook/2.1"}
    authorized_http(account).request(f"{api.url}/2", headers={"User-Agent": "mine"})
    build_service(account, "drive", "v3").files().get(fileId="3").execute()

    assert [seen.headers["user-agent"] for seen in api.requests] == [
        "django-google-link (gzip)",
        "daybook/2.1 mine",
        "daybook/2.1 (gzip)",
    ]


def test_pieces_are_not_compressed(api: HostileServer, account: GoogleAccount) -> None:
    """A Range refers to the content as sent."""
    http = authorized_http(account)
    http.request(f"{api.url}/1")
    http.request(f"{api.url}/2", headers={"Range": "bytes=0-1"})

    assert [seen.headers["accept-encoding"] for seen in api.requests] == [
        "gzip, deflate",
        "identity",
    ]


def test_kept_service_is_given_an_account(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """A service built for Google works with the emulator."""
    account = linked(user, google, alice)
    google.answer("/drive/v3/about", {"kind": "drive#about"})
    kept = build_service(make_google_account(user), "drive", "v3")
    kept._http, kept._baseUrl = None, "https://www.googleapis.com/drive/v3/"

    about = kept.about().get(fields="*").execute(http=authorized_http(account))

    assert about == {"kind": "drive#about"}


def test_error_of_an_api_is_googleapiclient_s(api: HostileServer, account: GoogleAccount) -> None:
    """The ``HttpError`` contains the API's message."""
    api.next.append(answering(make_answer({"error": {"message": "No."}}, "403 Forbidden")))

    with pytest.raises(HttpError, match=r"No\.") as caught:
        build_service(account, "drive", "v3").files().get(fileId="1").execute()

    assert caught.value.resp.reason == "Forbidden"


def test_repr_shows_no_token(account: GoogleAccount) -> None:
    """It shows only the account."""
    assert repr(authorized_http(account)) == (
        f"<AuthorizedHttp of <AccountCredentials of {account.pk}>>"
    )
