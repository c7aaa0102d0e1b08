"""One request to an endpoint: what goes with it, and how much may come back."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings
from werkzeug.wrappers import Request, Response

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.http.failures import list_failures
from django_google_link.http.pool import send_request
from django_google_link.oauth.transport import fetch, reporting_slowness
from django_google_link.testing import FakeGoogle
from tests.support.hostile_servers import HostileServer, dripping, hostile_server
from tests.support.https_servers import served_securely, write_certificate
from tests.support.proxies import running_proxy
from tests.support.slow_servers import silent
from tests.support.times import deadline_in

LONG = json.dumps({"access_token": "ya29.x", "padding": "x" * 1_000_000}).encode()


@pytest.mark.parametrize("form", [{}, None])
def test_netrc_is_not_sent_by_https(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    """Where proxies and authorities of the environment are heeded, and its passwords are not."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login operator password secret\n")
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    seen: list[dict[str, str]] = []

    @Request.application
    def application(request: Request) -> Response:
        seen.append(dict(request.headers))
        return Response("{}", content_type="application/json")

    with served_securely(application, certificate, key) as url:
        assert fetch(f"{url}/token", form=form).status == 200

    assert len(seen) == 1
    assert "Authorization" not in seen[0]


def test_certificate_that_nobody_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no endpoint of anybody's."""
    certificate, key = write_certificate(tmp_path)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with (
        served_securely(Response("{}"), certificate, key) as url,
        pytest.raises(RefreshUnavailableError, match="certificate verify failed: self-signed"),
    ):
        fetch(f"{url}/token", form={})


def test_reason_why_nobody_can_be_reached(google: FakeGoogle) -> None:
    """What the socket or the name server says."""
    google.fail_next(drop=True)
    with pytest.raises(RefreshUnavailableError, match="unreachable: RemoteDisconnected"):
        fetch(f"{google.url}/token", form={})

    google.stop()
    with pytest.raises(RefreshUnavailableError, match=r"unreachable: .*refused"):
        fetch(f"{google.url}/token", form={})

    with pytest.raises(RefreshUnavailableError, match="unreachable: gaierror"):
        fetch("http://token.invalid/token", form={})

    with pytest.raises(RefreshUnavailableError, match="unreachable: "):
        fetch("gopher://127.0.0.1/token", form={})


def test_half_an_answer_is_an_answer(google: FakeGoogle) -> None:
    """Whoever has begun it can be reached, and no network is to blame."""
    google.fail_next(status=200, body={"access_token": "ya29.x"}, drop=True)

    with pytest.raises(RefreshUnavailableError, match="answer_cut_short") as caught:
        fetch(f"{google.url}/token", form={})

    assert caught.value.status == 200
    assert "ya29" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ],
)
def test_answer_that_is_too_long_is_not_read(
    google: FakeGoogle, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    """Though it makes sense to its end, and is small until it is decoded."""
    headers = {"Content-Encoding": encoding}
    google.fail_next(status=200, body=encode(LONG), headers=headers)

    with pytest.raises(RefreshUnavailableError, match="answer_too_long"):
        fetch(f"{google.url}/token", form={})


@pytest.mark.parametrize("encode", [bytes, gzip.compress])
def test_answer_that_is_just_short_enough(
    google: FakeGoogle, encode: Callable[[bytes], bytes]
) -> None:
    """The limit is a million bytes."""
    body = LONG[:-2].replace(b"x" * 1_000_000, b"x" * 999_900) + b'"}'
    headers = {"Content-Encoding": "identity" if encode is bytes else "gzip"}
    google.fail_next(status=200, body=encode(body), headers=headers)

    assert fetch(f"{google.url}/token", form={}).document["access_token"] == "ya29.x"


# The time that it may take


@pytest.fixture
def impatient(settings: Settings) -> None:
    """Wait for a moment, not for ten seconds."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 0.2}


@pytest.fixture(params=["http", "https"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostileServer]:
    """An endpoint, in plain text or with TLS."""
    context = None
    if request.param == "https":
        certificate, key = write_certificate(tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    with hostile_server(context) as server:
        yield server


class NoThread(threading.Thread):
    """A thread that this machine has no room for."""

    def start(self) -> None:
        """Fail as Python does."""
        raise RuntimeError("can't start new thread")


@pytest.fixture(params=["a thread", "no thread"])
def any_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a thread can be started, or cannot."""
    if request.param == "no thread":
        monkeypatch.setattr("django_google_link.oauth.transport.Thread", NoThread)


def assert_nothing_goes_on() -> None:
    """Wait until no thread of ours is left."""
    for thread in threading.enumerate():
        if thread.name == "google-link-http":
            thread.join(10)
            assert not thread.is_alive()


OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status": (b"HTTP/1.1 2", b"0"),
    "headers": (OK, b"X: y\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (OK + b"Content-Length: 9999\r\n\r\n", b"x"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "body without an end": (OK + b"\r\n", b"x"),
}


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.usefixtures("impatient", "any_thread")
@pytest.mark.parametrize(("start", "drop"), DRIPS.values(), ids=DRIPS)
def test_answer_that_drips_ends_at_the_deadline(
    server: HostileServer, start: bytes, drop: bytes
) -> None:
    """And so do the thread that reads it and its connection."""
    server.next.append(dripping(start, drop))

    with pytest.raises(RefreshUnavailableError, match="timeout"):
        fetch(f"{server.url}/token", form={})

    assert server.left.wait(10)
    assert_nothing_goes_on()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "is_sent"), [("http", True), ("https", False)])
def test_slow_request_is_reported_while_it_goes_on(
    settings: Settings, scheme: str, is_sent: bool
) -> None:
    """With whether it has been sent: the TLS handshake is not answered either."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 1.2}
    reports: list[bool] = []

    with (
        silent() as url,
        reporting_slowness(lambda: 0.5, reports.append),
        pytest.raises(RefreshUnavailableError),
    ):
        fetch(url.replace("http:", f"{scheme}:"), form={})

    assert reports == [is_sent]


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("delay", "after"), [(0, 0.29), (10, 0.5)])
def test_other_requests_are_not_reported(google: FakeGoogle, delay: float, after: float) -> None:
    """Those that are answered in time, and those that time out before they are slow."""
    reports: list[bool] = []
    google.fail_next(delay=delay)

    with reporting_slowness(lambda: after, reports.append), suppress(RefreshUnavailableError):
        fetch(f"{google.url}/token", form={})

    assert not reports


@pytest.mark.slow
def test_limit_may_grow_while_a_request_waits(google: FakeGoogle) -> None:
    """What is slow is decided when the limit has passed."""
    reports: list[bool] = []
    limits = iter([0.05, 10])
    google.fail_next(delay=0.2)

    with reporting_slowness(lambda: next(limits), reports.append):
        fetch(f"{google.url}/token", form={})

    assert not reports
    assert not list(limits)


@pytest.mark.slow
def test_answer_is_not_read_after_the_deadline(server: HostileServer) -> None:
    """Though its next byte may be there already."""
    server.next.append(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"))
    response = send_request(
        "GET",
        f"{server.url}/",
        body=None,
        headers={},
        timeout=5,
        deadline=deadline_in(0.3),
        is_streamed=True,
    )

    time.sleep(0.4)

    with pytest.raises(list_failures()):
        response.read()


@pytest.mark.slow
@pytest.mark.usefixtures("impatient", "any_thread")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_server_that_says_nothing(scheme: str) -> None:
    """It takes the connection, and the handshake does not begin."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        pytest.raises(RefreshUnavailableError, match="timeout"),
    ):
        fetch(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/token", form={})

    assert_nothing_goes_on()


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_nothing_is_sent_after_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is waiting any more for what a refresh would bring."""
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.delenv("NO_PROXY", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with hostile_server(context) as server, running_proxy(delay=0.5) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(RefreshUnavailableError, match="timeout"):
            fetch(f"{server.url}/token", form={})
        assert_nothing_goes_on()

        assert proxy.connections == 1
        assert server.requests == []


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_nothing_is_sent_after_a_name_was_looked_up_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That cannot be cut short."""
    look_up = socket.getaddrinfo

    def take_long(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.5)
        return look_up(*args, **kwargs)

    with hostile_server() as server:
        monkeypatch.setattr(socket, "getaddrinfo", take_long)
        with pytest.raises(RefreshUnavailableError, match="timeout"):
            fetch(f"{server.url}/token", form={})
        assert_nothing_goes_on()

        assert server.left.wait(10)
        assert server.requests == []


@pytest.mark.slow
def test_connection_of_an_answer_that_is_too_long_is_closed(server: HostileServer) -> None:
    """Its rest is not read."""
    server.next.append(dripping(OK + b"Content-Length: 9000000\r\n\r\n", b"x" * 100_000))

    with pytest.raises(RefreshUnavailableError, match="answer_too_long"):
        fetch(f"{server.url}/token", form={})

    assert server.left.wait(10)


def test_request_without_a_thread(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller makes it by itself."""
    monkeypatch.setattr("django_google_link.oauth.transport.Thread", NoThread)

    assert fetch(f"{server.url}/token", form={"a": "b"}).document == {"id": "token"}
    assert server.requests[0].body == b"a=b"


def test_request_that_is_sent(server: HostileServer, settings: Settings) -> None:
    """Nothing but what is needed."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "USER_AGENT": "daybook/2.1"}

    fetch(f"{server.url}/token", form={"a": "b c", "d": "ü"})

    [request] = server.requests
    assert request.body == b"a=b+c&d=%C3%BC"
    assert request.headers == {
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-length": "14",
        "content-type": "application/x-www-form-urlencoded",
        "host": server.url.partition("//")[2],
        "user-agent": "daybook/2.1",
    }
