"""Many API calls in one long-lived worker: neither descriptors nor memory grow."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from django_google_link.http.pool import process_pool
from django_google_link.models import GoogleAccount
from django_google_link.services import authorized_session, build_service, httpx_auth
from django_google_link.testing.accounts import make_google_account
from tests.support.databases import new_user
from tests.support.hostile_servers import HostileServer, hostile_server
from tests.support.https_servers import write_certificate
from tests.support.times import until

DESCRIPTORS = Path("/proc/self/fd")
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not DESCRIPTORS.exists(), reason="needs /proc"),
    pytest.mark.usefixtures("shared_database"),
]

#: ``make long`` makes 20,000 calls; CI a few hundred.
CALLS = 20_000 if os.environ.get("LONG") == "whole" else 400
#: Calls before the first measurement, which load libraries and fill pools and caches.
WARM_UP = 200
AT_ONCE = 50

Calls = Callable[[GoogleAccount, str, int], None]


def call_by_service(account: GoogleAccount, url: str, count: int) -> None:
    """Build a service for each call, as in a view."""
    for _ in range(count):
        build_service(account, "calendar", "v3").events().list(calendarId="primary").execute()


def call_by_session(account: GoogleAccount, url: str, count: int) -> None:
    """Use a session for each call."""
    for _ in range(count):
        with authorized_session(account) as session:
            session.get(url).raise_for_status()


def call_by_httpx(account: GoogleAccount, url: str, count: int) -> None:
    """Use one client for all calls."""
    with httpx.Client() as client:
        for _ in range(count):
            client.get(url, auth=httpx_auth(account)).raise_for_status()


def call_by_async_httpx(account: GoogleAccount, url: str, count: int) -> None:
    """Use one client for all calls, some of them concurrent."""

    async def call() -> None:
        async with httpx.AsyncClient() as client:
            for _ in range(count // AT_ONCE):
                auths = [httpx_auth(account) for _ in range(AT_ONCE)]
                answers = await asyncio.gather(*[client.get(url, auth=auth) for auth in auths])
                assert {answer.status_code for answer in answers} == {200}

    asyncio.run(call())


@pytest.fixture
def server(
    google: Any,
    configure: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[HostileServer]:
    """An HTTPS API that keeps connections open."""
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    for variable in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(certificate))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with hostile_server(context) as server:
        configure(API_ENDPOINT=server.url)
        yield server
    process_pool().close_idle()


def count_descriptors() -> int:
    """Return how many descriptors are open."""
    return len(list(DESCRIPTORS.iterdir()))


def measure_memory() -> int:
    """Return the resident memory in bytes, without what the C library holds in reserve."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize(
    "calls", [call_by_service, call_by_session, call_by_httpx, call_by_async_httpx]
)
def test_nothing_grows(
    server: HostileServer, capsys: pytest.CaptureFixture[str], calls: Calls
) -> None:
    """No descriptor is left open, and memory grows by less than 16 MB."""
    account = make_google_account(new_user(), access_token="ya29.x")
    url = f"{server.url}/calendar/v3/calendars/primary/events"
    calls(account, url, WARM_UP)
    connections, descriptors, memory = (
        server.connections,
        count_descriptors(),
        measure_memory(),
    )

    for _ in range(CALLS // WARM_UP):
        # The server is in this process, and keeps each request.
        server.requests.clear()
        calls(account, url, WARM_UP)

    opened, more = server.connections - connections, measure_memory() - memory
    with capsys.disabled():
        print(
            f"\n{calls.__name__}: {CALLS} calls, {opened} connections, "
            f"{count_descriptors() - descriptors:+} descriptors, {more / 2**20:+.1f} MB"
        )
    # The server's threads close their connections a moment later.
    until(lambda: count_descriptors() <= descriptors)
    assert more < 16 * 2**20
