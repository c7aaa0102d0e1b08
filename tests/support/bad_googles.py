"""Providers that are unavailable, each in its own way, with a count of the requests."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from django_google_link.testing import FakeGoogle
from tests.support.https_servers import served_securely, write_certificate
from tests.support.servers import served

#: Seconds; the time limit in tests of a provider that does not respond.
SHORT_TIMEOUT = 0.3

HTML = {"body": "<html><h1>Sorry</h1></html>", "content_type": "text/html"}

#: Error responses of a FakeGoogle, for all users or for one.
ANSWERS: dict[str, dict[str, Any]] = {
    "status 503": {"status": 503},
    "HTML, status 200": {"status": 200, **HTML},
    "HTML, status 403": {"status": 403, **HTML},
    "half an answer": {"status": 200, "body": {"access_token": "ya29.half"}, "drop": True},
    "hangs": {"delay": 5 * SHORT_TIMEOUT},
}

#: Kinds in which a request ends only with its time limit.
HANGING = ("hangs", "a byte at a time")

Counter = Callable[[], int]


@contextmanager
def bad_google(kind: str, google: FakeGoogle, configure: Any, folder: Path) -> Iterator[Counter]:
    """Have the token endpoint fail in this way for all users, and count the requests.

    Args:
        kind: a key of :data:`ANSWERS`, or a kind of connection failure.
        google: the provider of all grants.
        configure: changes the client's settings.
        folder: for a certificate.
    """
    if kind in ANSWERS:
        before = len(google.requests_to("token"))
        with google.failing(**ANSWERS[kind]):
            yield lambda: len(google.requests_to("token")) - before
        return
    with _ELSEWHERE[kind](folder) as (url, count):
        configure(TOKEN_ENDPOINT=f"{url}/token")
        yield count
        configure(TOKEN_ENDPOINT=f"{google.url}/token")


@contextmanager
def _dripping(folder: Path) -> Iterator[tuple[str, Counter]]:
    """Send a whole response, one byte at a time."""
    asked: list[str] = []

    is_over = Event()

    def drip() -> Iterator[bytes]:
        while not is_over.wait(SHORT_TIMEOUT / 3):
            yield b" "

    def application(environ: Any, start_response: Any) -> Any:
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "999")])
        return drip()

    with served(application) as url:
        yield url, lambda: len(asked)
        is_over.set()


@contextmanager
def _untrusted(folder: Path) -> Iterator[tuple[str, Counter]]:
    """Use a certificate that is not trusted."""

    def application(environ: Any, start_response: Any) -> Any:
        raise NotImplementedError

    with served_securely(application, *write_certificate(folder)) as url:
        yield url, lambda: 0


@contextmanager
def _refusing(folder: Path) -> Iterator[tuple[str, Counter]]:
    """Refuse connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}", lambda: 0


_ELSEWHERE: dict[str, Any] = {
    "a byte at a time": _dripping,
    "unknown certificate": _untrusted,
    "refuses connections": _refusing,
}

KINDS = (*ANSWERS, *_ELSEWHERE)
