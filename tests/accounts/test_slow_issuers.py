"""An issuer that does not respond: the requests that wait for it open the circuit."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, get_ident

import pytest
from django.db import connections, transaction
from pytest_django import Settings

from django_google_link.accounts import process_breaker
from django_google_link.models import CircuitBreaker, GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import attempt, linked
from tests.support.databases import new_user
from tests.support.slow_servers import silent
from tests.support.times import in_seconds, until

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    pytest.mark.usefixtures("shared_database"),
]


@pytest.fixture
def accounts(shared_database: None, google: FakeGoogle, alice: FakeUser) -> list[GoogleAccount]:
    """Four accounts with expired access tokens."""
    user, google.refresh_sends_id_token = new_user(), False
    return [
        linked(user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-60))
        for n in range(4)
    ]


@contextmanager
def hanging(google: FakeGoogle) -> Iterator[Callable[[], None]]:
    """Answer no token request within this block; yield a function that answers the first."""
    # By thread of the server, which serves a connection.
    may_answer: dict[int, Event] = {}

    def now() -> float:
        assert may_answer.setdefault(get_ident(), Event()).wait(30)
        return time.time()

    google.now = now
    try:
        yield lambda: next(iter(may_answer.values())).set()
    finally:
        google.now = time.time
        for event in may_answer.values():
            event.set()


@contextmanager
def workers() -> Iterator[Callable[[GoogleAccount], Future[str]]]:
    """Ask for tokens in the background."""
    with ThreadPoolExecutor() as pool:

        def run(account: GoogleAccount) -> str:
            try:
                return attempt(account)
            finally:
                connections.close_all()

        yield lambda account: pool.submit(run, account)


def read_failures() -> int:
    """Return the consecutive failures."""
    circuit = CircuitBreaker.objects.first()
    return circuit.failures if circuit else 0


def is_open() -> bool:
    """Return whether the circuit is open for all workers."""
    return CircuitBreaker.objects.exclude(opened_at=None).exists()


def test_two_slow_requests_open_the_circuit_before_they_time_out(
    google: FakeGoogle, accounts: list[GoogleAccount], caplog: pytest.LogCaptureFixture
) -> None:
    """Other workers stay free; and the first response closes it."""
    with workers() as ask:
        with hanging(google):
            waiting = [ask(accounts[0]), ask(accounts[1])]
            until(is_open)
            assert attempt(accounts[2]) == "provider_unavailable"
            assert not any(request.done() for request in waiting)
        assert [request.result() for request in waiting] == ["token", "token"]

    assert not is_open()
    assert attempt(accounts[2]) == "token"
    assert len(google.requests_to("token")) == 3
    assert caplog.text.count("is unavailable: one request in 30 s until it responds.") == 1
    assert caplog.text.count("is available again.") == 1


def test_slow_request_counts_until_it_is_answered(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """One alone does not open the circuit, and its answer ends the count."""
    with workers() as ask:
        with hanging(google):
            waiting = ask(accounts[0])
            until(lambda: read_failures() == 3)
            assert not is_open()
        assert waiting.result() == "token"

    assert read_failures() == 0
    assert not GoogleAccount.objects.exclude(refresh_lease=None).exists()


def test_slow_request_that_times_out_is_not_counted_again(
    google: FakeGoogle, accounts: list[GoogleAccount], settings: Settings
) -> None:
    """Timeouts of a single account do not open the circuit."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 1.5}
    with hanging(google):
        assert attempt(accounts[0]) == "timeout"
        assert read_failures() == 3
        GoogleAccount.objects.update(refresh_retry_at=None)
        assert attempt(accounts[0]) == "timeout"

    assert read_failures() == 6
    assert not is_open()
    assert attempt(accounts[1]) == "token"


def test_issuer_that_is_slow_but_responds_stays_available(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """Requests do not count as slow once another one has taken as long and was answered."""
    with workers() as ask:
        with hanging(google) as answer_first:
            first = ask(accounts[0])
            time.sleep(0.9)
            waiting = [ask(accounts[1]), ask(accounts[2])]
            until(lambda: read_failures() == 3)
            answer_first()
            assert first.result() == "token"
            time.sleep(1)
            assert read_failures() == 0
            assert not is_open()
            assert not any(request.done() for request in waiting)
        assert [request.result() for request in waiting] == ["token", "token"]


def test_probe_that_is_slow_is_still_the_only_one(
    google: FakeGoogle, accounts: list[GoogleAccount], settings: Settings
) -> None:
    """When it times out, the next one is due after half a minute."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 1.5}
    with workers() as ask, hanging(google):
        waiting = [ask(accounts[0]), ask(accounts[1])]
        assert [request.result() for request in waiting] == ["timeout", "timeout"]
        assert is_open()
        with travel(seconds=31):
            assert attempt(accounts[2]) == "timeout"
            assert attempt(accounts[3]) == "provider_unavailable"

    until(lambda: len(google.requests_to("token")) == 3)
    with travel(seconds=63):
        assert attempt(accounts[3]) == "token"


def test_caller_in_a_transaction_counts_for_its_process(
    google: FakeGoogle, accounts: list[GoogleAccount], settings: Settings
) -> None:
    """In a transaction, the circuit that all workers share is not written."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 1.5}
    with hanging(google), transaction.atomic():
        assert attempt(accounts[0]) == "timeout"
        assert attempt(accounts[1]) == "timeout"
        assert process_breaker.is_open(google.url)

    assert not CircuitBreaker.objects.exists()


def test_slow_probe_of_a_process_is_the_only_one(
    google: FakeGoogle, accounts: list[GoogleAccount], settings: Settings
) -> None:
    """Other callers do not ask the issuer, even after a second without a response."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 3}
    with hanging(google), workers() as ask:
        with transaction.atomic():
            assert [attempt(account) for account in accounts[:2]] == ["timeout", "timeout"]
        with travel(seconds=31):
            probe = ask(accounts[2])
            until(lambda: process_breaker.find_retry_time(google.url))
            time.sleep(1.2)
            assert attempt(accounts[3]) == "provider_unavailable"
            assert not probe.done()
            assert probe.result() == "timeout"


def test_issuer_that_answers_slowly_is_stopped_once(
    google: FakeGoogle, accounts: list[GoogleAccount], caplog: pytest.LogCaptureFixture
) -> None:
    """After its first answers, it is known to work."""
    google.delay = 1.9
    with workers() as ask:
        for _ in range(3):
            asked = [ask(account) for account in accounts[:3]]
            assert [request.result() for request in asked] == ["token"] * 3
            GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60))

    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert not is_open()


def test_issuer_that_answered_slowly_is_stopped_once_it_hangs(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """Its requests are slow after twice the time of that answer."""
    google.delay = 1.1
    assert attempt(accounts[0]) == "token"
    google.delay = 0

    with workers() as ask, hanging(google):
        waiting = [ask(account) for account in accounts[1:3]]
        until(is_open)
        assert not any(request.done() for request in waiting)


def test_slow_refusal_is_a_response(google: FakeGoogle, accounts: list[GoogleAccount]) -> None:
    """One that concerns the account, and leaves the circuit closed."""
    google.delay = 1.3
    google.fail_next(2, status=429)
    with workers() as ask:
        asked = [ask(account) for account in accounts[:2]]
        assert [request.result() for request in asked] == ["no_answer"] * 2

    assert not is_open()
    google.delay = 0
    assert attempt(accounts[2]) == "token"


@pytest.fixture
def handshake(accounts: list[GoogleAccount], settings: Settings) -> Iterator[None]:
    """A token endpoint that accepts a connection, and does not answer the TLS handshake."""
    client = settings.GOOGLE_LINK["CLIENTS"]["default"]
    with silent() as url:
        there = {**client, "TOKEN_ENDPOINT": url.replace("http:", "https:") + "token"}
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {"default": there},
            "HTTP_TIMEOUT": 3,
        }
        yield


@pytest.mark.usefixtures("handshake")
def test_connection_that_is_slow_may_be_one_workers_own(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """Its failures count for its process, which reports them."""
    with workers() as ask:
        waiting = ask(accounts[0])
        until(lambda: CircuitBreaker.objects.exclude(worker="").exists())
        assert not is_open()
        assert not process_breaker.is_open(google.url)
        assert waiting.result() == "timeout"

    assert not is_open()


@pytest.mark.usefixtures("handshake")
def test_connection_that_is_slow_for_two_workers_is_an_outage(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """The second one reports it before the request times out."""
    digest = hashlib.sha256(google.url.encode()).hexdigest()
    CircuitBreaker.objects.create(digest=digest, issuer=google.url, worker="another:1")
    with workers() as ask:
        waiting = ask(accounts[0])
        until(is_open)
        assert attempt(accounts[1]) == "provider_unavailable"
        assert not waiting.done()
        assert waiting.result() == "timeout"


# A process that has just started, in which the first request imports its libraries.
STARTING = """
import sys, time
import django
django.setup()
from django.conf import settings
settings.GOOGLE_LINK["HTTP_TIMEOUT"] = 30  # A request is slow after three seconds.
from django_google_link.accounts import process_breaker
from django_google_link.accounts.circuit_breaker import Circuit
from django_google_link.accounts.shared_breaker import SharedBreaker
from django_google_link.oauth.transport import fetch

class Pause:
    @staticmethod
    def find_spec(name, path=None, target=None):
        time.sleep(0.04)

sys.meta_path.insert(0, Pause)
circuit = Circuit("it", shared=SharedBreaker("it", using="default", row=None))
with circuit.watch("1"):
    fetch(sys.argv[1])
assert "requests" in sys.modules
print(circuit._counted_as, process_breaker.find_slow_answer("it"))
"""


def test_process_that_starts_slowly_has_no_slow_issuer(google: FakeGoogle) -> None:
    """Its first request imports the libraries, which takes seconds on a busy machine."""
    run = subprocess.run(
        [sys.executable, "-c", STARTING, f"{google.url}/.well-known/openid-configuration"],
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )

    assert run.stdout.split() == ["None", "0"]
