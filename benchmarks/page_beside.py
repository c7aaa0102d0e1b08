"""Measures a page that does not use Google, on a site whose users wait for Google.

The site runs gunicorn with four synchronous workers. The tests use this too.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from statistics import median, quantiles
from threading import Thread
from typing import Any

_HOST = "127.0.0.1"
_PAGES_PER_SECOND = 5
_ONSET = 30  # seconds
#: A page that takes longer has failed.
_LONGEST = 60.0


@dataclass(frozen=True, kw_only=True)
class Delays:
    """How long a page took, in seconds."""

    pages: int
    median: float
    p95: float
    worst: float


@dataclass(kw_only=True)
class Report:
    """The results. Times are in seconds, and ``None`` if there are none.

    Attributes:
        opened_after: the time from the first user until the circuit breaker opened.
        first: delays of the page in the first 30 seconds.
        afterwards: the same, after that.
        users: the number of users who needed a token, by result.
        failed: the number of pages without a response.
    """

    opened_after: float | None
    first: Delays | None
    afterwards: Delays | None
    users: dict[str, int] = field(default_factory=dict)
    failed: int = 0


def page_beside() -> dict[str, Any]:
    """Row 11, second half: 90 seconds with a Google that does not respond."""
    from django.conf import settings

    from .google import google_apart
    from .outage import make_accounts

    google_link: dict[str, Any] = settings.GOOGLE_LINK
    with google_apart() as google:
        google_link["CLIENTS"]["default"].update(google.settings)
        [grant] = google.grant(1)
        keys = make_accounts(grant["refresh_token"], grant["access_token"], [-60.0] * 90)
        google.slow_down(60)
        google.token_requests()
        name = str(settings.DATABASES["default"]["NAME"])
        report = measure(keys, google=google.settings, database=name)
        return {**asdict(report), "requests": google.token_requests()}


def measure(
    keys: list[Any], *, google: Mapping[str, Any], database: str, http_timeout: float = 10
) -> Report:
    """Request a page that needs a token once per second, and another page meanwhile.

    Args:
        keys: the primary keys of the accounts, one per user, whose access tokens have expired.
        google: the settings of the client.
        database: the name of the database on PostgreSQL.
        http_timeout: the setting, in seconds.
    """
    environment = {
        **os.environ,
        "BENCH_DATABASE": "postgresql",
        "BENCH_NAME": database,
        "BENCH_GOOGLE": json.dumps(google),
        "BENCH_HTTP_TIMEOUT": str(http_timeout),
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
    }
    users: list[_Visit] = []
    pages: list[_Visit] = []
    with _served(environment) as port:
        _Visit(port, "/needs-nothing/").join()  # The workers have started.
        started = time.time()
        for turn in range(_PAGES_PER_SECOND * len(keys)):
            time.sleep(max(started + turn / _PAGES_PER_SECOND - time.time(), 0))
            if turn % _PAGES_PER_SECOND == 0:
                users.append(_Visit(port, f"/needs-token/{keys[turn // _PAGES_PER_SECOND]}/"))
            pages.append(_Visit(port, "/needs-nothing/"))
        for visit in (*users, *pages):
            visit.join()
    return _report(started, users, pages)


def _report(started: float, users: list[_Visit], pages: list[_Visit]) -> Report:
    from django_google_link.models import CircuitBreaker

    circuit = CircuitBreaker.objects.exclude(opened_at=None).first()
    opened_at = circuit.opened_at.timestamp() if circuit and circuit.opened_at else None
    onset = started + _ONSET
    return Report(
        opened_after=opened_at - started if opened_at else None,
        first=_summarize([page for page in pages if page.started_at < onset]),
        afterwards=_summarize([page for page in pages if page.started_at >= onset]),
        users=dict(Counter(visit.said for visit in users)),
        failed=sum(page.said == "" for page in pages),
    )


def _summarize(pages: list[_Visit]) -> Delays | None:
    if len(pages) < 2:
        return None
    delays = [page.ended_at - page.started_at for page in pages]
    return Delays(
        pages=len(pages),
        median=median(delays),
        p95=quantiles(delays, n=20)[-1],
        worst=max(delays),
    )


class _Visit(Thread):
    """A user who requests a page, independently of all others.

    Args:
        port: of the site.
        path: of the page.
    """

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._port, self._path = port, path
        self.said = ""
        self.started_at = self.ended_at = time.time()
        self.start()

    def run(self) -> None:
        connection = HTTPConnection(_HOST, self._port, timeout=_LONGEST)
        with suppress(OSError, HTTPException):
            connection.request("GET", self._path)
            self.said = connection.getresponse().read().decode()
        connection.close()
        self.ended_at = time.time()


@contextmanager
def _served(environment: dict[str, str]) -> Iterator[int]:
    """Serve the site, and yield its port."""
    command = [sys.executable, "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()"]
    options = ["--workers", "4", "--worker-class", "sync", "--log-level", "error", "--preload"]
    with socket.create_server((_HOST, 0), backlog=2048) as server:
        listen = ["--bind", f"fd://{server.fileno()}"]
        process = subprocess.Popen(
            [*command, *options, *listen], env=environment, pass_fds=[server.fileno()]
        )
        try:
            yield server.getsockname()[1]
        finally:
            process.terminate()
            process.wait()
