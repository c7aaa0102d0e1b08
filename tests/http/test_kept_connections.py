"""Connections that are kept, under a server that ends and spoils them at any moment."""

from __future__ import annotations

import io
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from urllib3.exceptions import HTTPError

from django_google_link.http.pool import process_pool, send_request, start_anew
from django_google_link.models import GoogleAccount
from django_google_link.testing.accounts import make_google_account
from tests.support.databases import at_once
from tests.support.hostile_servers import (
    ENDINGS,
    HostileServer,
    Seen,
    answering,
    hostile_server,
    make_answer,
)
from tests.support.https_servers import write_certificate
from tests.support.kept_connections import CALLERS, FAILURES
from tests.support.times import until

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["http", pytest.param("https", marks=pytest.mark.slow)])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostileServer]:
    """A server, in plain text and with TLS, of which nobody has heard before."""
    context = None
    if request.param == "https":
        certificate, key = write_certificate(tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    with hostile_server(context) as server:
        yield server
    process_pool().close_idle()


@pytest.fixture
def account(user: Any, google: Any, configure: Callable[..., None]) -> GoogleAccount:
    """An account whose token lives."""
    return make_google_account(user, access_token="ya29.x")


@pytest.fixture(params=CALLERS)
def call(
    request: pytest.FixtureRequest,
    account: GoogleAccount,
    server: HostileServer,
    configure: Callable[..., None],
) -> Callable[[str, Any], Any]:
    """What makes a request that has an id, and returns the id in the answer."""
    configure(API_ENDPOINT=server.url)
    caller = CALLERS[request.param]

    def call(method: str, id: Any) -> Any:
        return caller(account, method, f"{server.url}/{id}").get("id")

    return call


@pytest.mark.matrix
def test_connection_is_kept(call: Any, server: HostileServer) -> None:
    """For calls of any kind."""
    for number in range(10):
        assert call("POST" if number % 2 else "GET", number) == str(number)

    assert server.connections == 1


ANSWERS = {
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
    "304 of chunks": b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: trailer\r\n\r\n",
    "401": make_answer({}, "401 Unauthorized"),
    "503": make_answer({}, "503 Service Unavailable"),
}


@pytest.mark.matrix
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
def test_connection_is_kept_after_an_answer_of_any_kind(
    server: HostileServer, data: bytes, is_streamed: bool
) -> None:
    """Once it is read to its end."""
    server.next.append(answering(data))
    url = f"{server.url}/1"

    answer = send_request("POST", url, body=b"x", headers={}, timeout=5, is_streamed=is_streamed)
    assert answer.data in data or answer.data == b"abcde"
    send_request("POST", url, body=b"x", headers={}, timeout=5)

    assert server.connections == 1


CONTRADICTIONS = {
    "204 with a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "204 of chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and a length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("data", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_connection_is_not_kept_after_an_answer_without_a_clear_end(
    server: HostileServer, data: bytes
) -> None:
    """What comes late of it would be somebody else's answer."""
    server.next.append(answering(data))

    assert send_request("GET", f"{server.url}/1", body=None, headers={}, timeout=5).data == b""
    send_request("GET", f"{server.url}/2", body=None, headers={}, timeout=5)

    assert server.connections == 2


def test_cookies_are_nobody_s(call: Any, server: HostileServer) -> None:
    """What a server sets for one request does not go with the next."""
    server.next.append(answering(make_answer({"id": "first"}, Set_Cookie="who=anna; Path=/")))
    assert call("GET", "first") == "first"
    assert call("GET", "second") == "second"

    assert [seen.headers.get("cookie") for seen in server.requests] == [None, None]
    assert server.connections == 1


@pytest.mark.matrix
@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_connection_that_has_died_is_replaced(
    call: Any, server: HostileServer, method: str, is_reset: bool
) -> None:
    """Nobody notices, and nothing is sent twice."""
    assert call("GET", "first") == "first"
    server.close_connections(with_reset=is_reset)

    assert call(method, "second") == "second"

    assert server.counts[f"{method} second"] == 1
    assert server.connections == 2


@pytest.fixture
def unseen_end(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """End all connections in the moment after they were looked at."""

    def end() -> None:
        server.close_connections(with_reset=True)
        monkeypatch.setattr("urllib3.connection.wait_for_read", lambda *args, **kwargs: False)

    return end


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["pool", "session", "http"])
def test_post_of_which_nothing_was_written_is_sent_again(
    server: HostileServer,
    account: GoogleAccount,
    configure: Callable[..., None],
    unseen_end: Callable[[], None],
    name: str,
) -> None:
    """Over a new connection: it cannot have been done."""
    configure(API_ENDPOINT=server.url)
    call = CALLERS[name]
    call(account, "GET", f"{server.url}/first")
    unseen_end()

    assert call(account, "POST", f"{server.url}/second") == {"id": "second"}

    assert server.counts["POST second"] == 1


def test_repetition_goes_over_a_new_connection(
    server: HostileServer, unseen_end: Callable[[], None]
) -> None:
    """Where one has died, the others have, too."""
    together = threading.Barrier(3)

    def answer_together(peer: Any, seen: Seen) -> bool:
        together.wait(20)
        return answering(seen.answer)(peer, seen)

    def get(id: str) -> Any:
        url = f"{server.url}/{id}"
        return send_request("GET", url, body=None, headers={}, timeout=5).json()

    server.next.extend([answer_together] * 3)
    at_once(*[lambda: get("first")] * 3)
    assert server.connections == 3
    unseen_end()

    assert get("second") == {"id": "second"}


def test_exchange_is_never_sent_again(
    server: HostileServer, account: GoogleAccount, unseen_end: Callable[[], None]
) -> None:
    """Nor is a refresh or a revocation, whatever was written."""
    call = CALLERS["endpoint"]
    call(account, "GET", f"{server.url}/first")
    unseen_end()

    with pytest.raises(FAILURES):
        call(account, "POST", f"{server.url}/second")

    assert server.counts["POST second"] == 0
    assert call(account, "GET", f"{server.url}/third") == {"id": "third"}


@pytest.mark.matrix
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_get_over_a_connection_that_dies(call: Any, server: HostileServer, ending: Any) -> None:
    """It is made once more over a new one, or fails; a half answer is never one."""
    assert call("GET", "first") == "first"
    server.next.append(ending)

    try:
        assert call("GET", "second") == "second"
    except FAILURES:
        assert server.counts["GET second"] == 1
    assert call("GET", "third") == "third"
    assert server.counts["GET third"] == 1


@pytest.mark.matrix
def test_get_over_a_connection_that_dies_without_a_word(call: Any, server: HostileServer) -> None:
    """The server had decided to close it when the request came."""
    assert call("GET", "first") == "first"
    server.next.append(ENDINGS["before the headers"])

    assert call("GET", "second") == "second"
    assert server.connections == 2


@pytest.mark.matrix
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_post_over_a_connection_that_dies(call: Any, server: HostileServer, ending: Any) -> None:
    """It is never made twice: the mail may have been sent."""
    assert call("GET", "first") == "first"
    server.next.append(ending)

    with pytest.raises(FAILURES):
        call("POST", "second")

    assert server.counts["POST second"] == 1
    assert call("POST", "third") == "third"


def test_get_over_a_new_connection_is_not_repeated(call: Any, server: HostileServer) -> None:
    """A server that closes all of them is asked once."""
    server.next.append(ENDINGS["before the headers"])

    with pytest.raises(FAILURES):
        call("GET", "first")

    assert server.counts == {"GET first": 1}


def test_repetition_that_fails_is_not_repeated(call: Any, server: HostileServer) -> None:
    """Nor is a server asked for ever."""
    assert call("GET", "first") == "first"
    server.next.extend([ENDINGS["before the headers"]] * 5)

    with pytest.raises(FAILURES):
        call("GET", "second")

    assert server.counts["GET second"] == 2


def test_stream_over_a_connection_that_dies(server: HostileServer) -> None:
    """It is sent again from where it stood, if its method does no harm."""
    send_request("GET", f"{server.url}/first", body=None, headers={}, timeout=5)
    server.next.append(ENDINGS["before the headers"])
    stream = io.BytesIO(b"--- the whole of it")
    stream.seek(4)

    answer = send_request(
        "PUT", f"{server.url}/second", body=stream, headers={"Content-Length": "15"}, timeout=5
    )

    assert answer.json() == {"id": "second"}
    assert server.counts["PUT second"] == 2
    assert [seen.body for seen in server.requests[1:]] == [b"the whole of it"] * 2


def test_pipe_over_a_connection_that_dies(server: HostileServer) -> None:
    """It can be read once, and so is sent once."""
    send_request("GET", f"{server.url}/first", body=None, headers={}, timeout=5)
    server.next.append(ENDINGS["before the headers"])
    ends = os.pipe()
    os.write(ends[1], b"piped")
    os.close(ends[1])

    with open(ends[0], "rb") as pipe, pytest.raises(HTTPError):
        send_request(
            "PUT", f"{server.url}/2", body=pipe, headers={"Content-Length": "5"}, timeout=5
        )

    assert [seen.body for seen in server.requests[1:]] == [b"piped"]


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"


@pytest.mark.matrix
@pytest.mark.parametrize("interim", [INTERIM, b"HTTP/1.1 100 Continue\r\n\r\n" + INTERIM])
def test_interim_answers_are_not_the_answer(
    call: Any, server: HostileServer, interim: bytes
) -> None:
    """Or the real one would answer the next request, which is somebody else's."""
    server.next.append(answering(lambda seen: interim + seen.answer))

    assert call("GET", "first") == "first"
    assert call("GET", "second") == "second"
    assert server.connections == 1


@pytest.mark.matrix
@pytest.mark.parametrize(
    "interim",
    [
        INTERIM * 100,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"\0" * 100,
    ],
    ids=["without end", "always to be continued", "another protocol", "no HTTP"],
)
def test_what_is_no_answer_fails(call: Any, server: HostileServer, interim: bytes) -> None:
    """And the connection is not used again."""
    server.next.append(answering(lambda seen: interim + seen.answer))

    with pytest.raises(FAILURES):
        call("POST", "first")

    assert call("GET", "second") == "second"
    assert server.connections == 2


@pytest.mark.matrix
@pytest.mark.parametrize(
    "answer",
    [
        b"Content-Length: 1000000000000000\r\n\r\nabc",
        b"Content-Length: 1000000000000000000000000000000\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    ],
    ids=[
        "more than memory",
        "more than addresses",
        "a chunk of that size",
        "negative",
        "trailers without end",
    ],
)
def test_size_that_makes_no_sense_fails(call: Any, server: HostileServer, answer: bytes) -> None:
    """No room is made for what is not there."""
    server.next.append(answering(b"HTTP/1.1 200 OK\r\n" + answer, keeps=False))

    with pytest.raises(FAILURES):
        call("POST", "first")

    assert call("GET", "second") == "second"


#: A whole request of its own, to a server that goes by the length.
GROWN = b"12345POST /smuggled HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.matrix
@pytest.mark.parametrize(
    "make_body",
    [lambda: io.BytesIO(GROWN), lambda: iter([GROWN[:3], GROWN[3:]]), lambda: GROWN],
    ids=["stream", "pieces", "bytes"],
)
def test_body_that_is_longer_than_its_length(
    server: HostileServer, make_body: Callable[[], Any]
) -> None:
    """A file that grows: the rest of it would be a request, and answered in place of the next."""
    length = {"Content-Length": "5"}

    send_request("POST", f"{server.url}/1", body=make_body(), headers=length, timeout=5)
    answer = send_request("POST", f"{server.url}/2", body=b"x", headers={}, timeout=5)

    assert answer.json() == {"id": "2"}
    assert [(seen.id, seen.body) for seen in server.requests] == [("1", b"12345"), ("2", b"x")]
    assert server.connections == 1


def test_body_that_is_shorter_than_its_length(server: HostileServer) -> None:
    """A file that was cut: an error at once, and the next request is not the rest of it."""
    length = {"content-length": "50"}

    with pytest.raises(HTTPError, match="shorter than its Content-Length"):
        send_request("PUT", f"{server.url}/1", body=io.BytesIO(b"x"), headers=length, timeout=5)
    answer = send_request("POST", f"{server.url}/2", body=b"x", headers={}, timeout=5)

    assert answer.json() == {"id": "2"}
    assert server.counts["POST 2"] == 1
    assert server.connections == 2


@pytest.mark.matrix
@pytest.mark.parametrize(
    "headers",
    [b"X: " + b"x" * 200_000 + b"\r\n", b"X: y\r\n" * 5_000],
    ids=["long", "many"],
)
def test_huge_headers_fail(call: Any, server: HostileServer, headers: bytes) -> None:
    """They are not read to their end."""
    server.next.append(answering(lambda seen: seen.answer.replace(b"\r\n", b"\r\n" + headers, 1)))

    with pytest.raises(FAILURES):
        call("POST", "first")

    assert call("GET", "second") == "second"
    assert server.connections == 2


@pytest.mark.matrix
@pytest.mark.parametrize("size", [0, 20_000])
def test_answer_that_nobody_asked_for(call: Any, server: HostileServer, size: int) -> None:
    """What comes behind an answer answers nobody."""

    def answer_twice(seen: Seen) -> bytes:
        wrong = make_answer({"id": "wrong"}) * (1 + size // 50)
        return make_answer({"id": seen.id, "more": "x" * size}) + wrong

    server.next.append(answering(answer_twice))

    assert call("GET", "first") == "first"
    assert call("POST", "second") == "second"
    assert server.counts["POST second"] == 1
    assert server.connections == 2


@pytest.mark.matrix
def test_answer_that_comes_before_the_request(call: Any, server: HostileServer) -> None:
    """A server that says why it closes an idle connection."""
    sent = threading.Event()

    def complain(peer: Any, seen: Seen) -> bool:
        peer.sendall(seen.answer)
        peer.sendall(make_answer({"id": "wrong"}, "408 Request Timeout"))
        sent.set()
        return False

    server.next.append(complain)
    assert call("GET", "first") == "first"
    assert sent.wait(5)
    assert server.left.wait(5)

    assert call("POST", "second") == "second"
    assert server.counts["POST second"] == 1


@pytest.mark.slow
def test_hundred_threads(
    server: HostileServer, account: GoogleAccount, configure: Callable[..., None]
) -> None:
    """Each gets the answer to its own request, or an error; no POST is made twice."""
    configure(API_ENDPOINT=server.url)
    endings = list(ENDINGS.values())
    server.next.extend(
        endings[number % 7] if number % 9 == 0 else answering(lambda seen: seen.answer)
        for number in range(600)
    )
    callers = list(CALLERS.values())
    answered: list[str] = []

    def run(thread: int) -> None:
        call = callers[thread % len(callers)]
        for number in range(10):
            id = f"{thread}-{number}"
            try:
                answer = call(account, "POST" if number % 2 else "GET", f"{server.url}/{id}")
            except FAILURES:
                continue
            assert answer["id"] == id
            answered.append(id)

    at_once(*[lambda thread=thread: run(thread) for thread in range(100)])

    assert len(answered) > 700
    posts = {name: count for name, count in server.counts.items() if name.startswith("POST")}
    assert set(posts.values()) == {1}
    assert server.connections < 1000


@pytest.mark.slow
def test_connections_that_are_kept_are_bounded(server: HostileServer) -> None:
    """A hundred calls at once open what they need, and leave no more than is kept."""
    together = threading.Barrier(100)

    def answer_together(peer: Any, seen: Seen) -> bool:
        together.wait(20)
        return answering(seen.answer)(peer, seen)

    server.next.extend([answer_together] * 100)

    def call(number: int) -> None:
        answer = send_request("GET", f"{server.url}/{number}", body=None, headers={}, timeout=30)
        assert answer.json() == {"id": str(number)}

    at_once(*[lambda number=number: call(number) for number in range(100)])

    assert server.connections == 100
    until(lambda: server.open_connections == 64)


@pytest.mark.parametrize("clock", [nullcontext, freeze_time], ids=["", "frozen"])
def test_idle_connections_are_dropped(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], Any]
) -> None:
    """By whoever makes a request next, wherever to; also after a test with a frozen clock."""
    with hostile_server() as other:
        with clock():
            for one in (server, other):
                send_request("GET", f"{one.url}/1", body=None, headers={}, timeout=5)
        monkeypatch.setattr("django_google_link.http.connections.MOST_SECONDS_IDLE", 0)
        monkeypatch.setattr("django_google_link.http.pool.SECONDS_BETWEEN_SWEEPS", 0)

        def is_dropped() -> bool:
            send_request("GET", f"{other.url}/2", body=None, headers={}, timeout=5)
            return server.open_connections == 0

        until(is_dropped)
        assert other.connections >= 2


def test_hosts_are_bounded(server: HostileServer) -> None:
    """The one that was not used for longest is forgotten, and its connections are closed."""
    send_request("GET", f"{server.url}/1", body=None, headers={}, timeout=5)

    for port in range(1, 40):
        with pytest.raises((HTTPError, OSError)):
            send_request("GET", f"http://127.0.0.1:{port}/", body=None, headers={}, timeout=5)

    until(lambda: server.open_connections == 0)


def test_answer_that_is_left_unread(server: HostileServer, account: GoogleAccount) -> None:
    """Its connection is closed: the rest of it would be somebody else's answer."""
    answer = send_request(
        "GET", f"{server.url}/1", body=None, headers={}, timeout=5, is_streamed=True
    )
    answer.release_conn()

    until(lambda: server.open_connections == 0)
    answer = send_request("GET", f"{server.url}/2", body=None, headers={}, timeout=5)
    assert answer.json() == {"id": "2"}


def test_connection_in_use_outlives_its_pool(server: HostileServer) -> None:
    """And is closed afterwards."""
    answer = send_request(
        "GET", f"{server.url}/1", body=None, headers={}, timeout=5, is_streamed=True
    )
    process_pool().close_idle()

    assert answer.json() == {"id": "1"}
    until(lambda: server.open_connections == 0)


def test_process_starts_anew(server: HostileServer) -> None:
    """As after a fork: nothing of the old pool is used, and nothing of it is closed."""
    send_request("GET", f"{server.url}/1", body=None, headers={}, timeout=5)
    before = process_pool()

    start_anew()
    send_request("GET", f"{server.url}/2", body=None, headers={}, timeout=5)

    assert process_pool() is not before
    assert server.open_connections == server.connections == 2
    before.close_idle()


def test_request_in_the_middle_of_which_the_process_is_forked(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child has the parent's connection in its hands, and lets go of it."""
    pid = [1]
    monkeypatch.setattr("os.getpid", lambda: pid[0])

    def read() -> Iterator[bytes]:
        yield b"the parent's"
        pid[0] = 2
        yield b"the child's"

    with pytest.raises((*FAILURES, HTTPError), match="belongs to the parent"):
        send_request("POST", f"{server.url}/1", body=read(), headers={}, timeout=5)

    assert process_pool().pid == 2
    start_anew()
