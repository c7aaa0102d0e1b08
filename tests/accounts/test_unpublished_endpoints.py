"""Refreshes while an issuer does not publish its endpoints, and its token endpoint works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import ClientMisconfiguredError, RefreshUnavailableError
from django_google_link.models import CircuitBreaker, GoogleAccount
from django_google_link.oauth.metadata import forget_metadata, with_endpoints
from django_google_link.oauth.published import read_document
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import attempt, linked
from tests.support.databases import at_once, new_user
from tests.support.providers import play_provider, without
from tests.support.servers import served
from tests.support.times import in_seconds, until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

ENDPOINTS = ("AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT", "REVOCATION_ENDPOINT", "JWKS_URI")


@pytest.fixture
def accounts(
    shared_database: None, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> list[GoogleAccount]:
    """Eight accounts with expired access tokens, of an issuer that publishes its endpoints."""
    play_provider(google, settings)
    without(settings, *ENDPOINTS)
    user, google.refresh_sends_id_token = new_user(), False
    return [
        linked(user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-60))
        for n in range(8)
    ]


@contextmanager
def unpublished(google: FakeGoogle, **fault: Any) -> Iterator[None]:
    """Have requests for the metadata fail."""
    with (
        google.failing(endpoint="discovery", **fault),
        google.failing(endpoint="/.well-known/oauth-authorization-server", **fault),
    ):
        yield


def is_open() -> bool:
    """Return whether the circuit is open for all workers."""
    return CircuitBreaker.objects.exclude(opened_at=None).exists()


def test_process_without_the_endpoints_stops_no_other(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """It learns when to try again; no circuit opens, and no account waits."""
    with unpublished(google):
        assert {attempt(account) for account in accounts[:6]} == {"metadata_unavailable"}
        with pytest.raises(RefreshUnavailableError) as caught:
            fresh_access_token(accounts[6])

    retry_at = caught.value.retry_at
    assert retry_at
    assert timedelta() < retry_at - timezone.now() <= timedelta(seconds=10)
    assert not is_open()
    failing = GoogleAccount.objects.exclude(refresh_failing_since=None)
    assert failing.count() == 7
    assert not failing.exclude(refresh_retry_at=None, refresh_lease=None).exists()
    forget_metadata()  # Another process.
    assert [attempt(account) for account in accounts] == ["token"] * 8
    assert not failing.exists()


def test_missing_metadata_does_not_end_an_outage(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """The token endpoint was not asked, and the probe remains for a process that can make one."""
    with google.failing():
        assert {attempt(account) for account in accounts[:5]} == {"no_answer"}
    forget_metadata()

    with travel(seconds=31):
        with unpublished(google, status=404), pytest.raises(ClientMisconfiguredError):
            fresh_access_token(accounts[6])
        assert is_open()
        forget_metadata()  # Another process.
        assert attempt(accounts[7]) == "token"

    assert not is_open()


@pytest.mark.slow
def test_one_caller_waits_for_newer_metadata(
    google: FakeGoogle,
    accounts: list[GoogleAccount],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others use the old metadata; and the token endpoint does not count as slow."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 3}
    with_endpoints(get_client())
    google.clear_requests()

    with travel(hours=2), unpublished(google, delay=4):
        calls: list[Callable[[], str]] = [
            lambda account=account: attempt(account) for account in accounts[:3]
        ]
        assert at_once(*calls) == ["token"] * 3
        assert len(google.requests_to("discovery")) == 1

    [record] = [record for record in caplog.records if record.levelname != "INFO"]
    assert record.getMessage().startswith("The metadata of ")


@pytest.mark.slow
def test_metadata_that_becomes_too_old_during_a_request(
    google: FakeGoogle, accounts: list[GoogleAccount], settings: Settings
) -> None:
    """Another caller then makes its own."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 60}
    client = get_client()
    with_endpoints(client)

    with (
        travel(hours=24, minutes=59, seconds=40),
        unpublished(google, delay=1),
        ThreadPoolExecutor(1) as pool,
    ):
        early = pool.submit(with_endpoints, client)
        until(lambda: len(google.requests_to("discovery")) == 2)
        with travel(seconds=25), pytest.raises(RefreshUnavailableError):
            with_endpoints(client)
        assert early.result().token_endpoint == f"{google.url}/token"


@pytest.fixture
def issuer(settings: Settings) -> Iterator[list[str]]:
    """An issuer that takes twenty seconds to fail, as the clock shows; the paths requested."""
    paths: list[str] = []
    with ExitStack() as travels:

        def fail(environ: Any, start_response: Any) -> list[bytes]:
            paths.append(environ["PATH_INFO"])
            travels.enter_context(travel(seconds=20))
            start_response("503 Service Unavailable", [])
            return []

        url = travels.enter_context(served(fail))
        client = settings.GOOGLE_LINK["CLIENTS"]["default"]
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {"default": {**client, "ISSUER": url, "SCOPES": ["read"]}},
        }
        yield paths


@pytest.mark.usefixtures("unknown_provider")
def test_pause_begins_when_a_request_has_failed(issuer: list[str]) -> None:
    """A request may take longer than the pause after it."""
    for _ in range(2):
        with pytest.raises(RefreshUnavailableError):
            with_endpoints(get_client())
    assert len(issuer) == 2  # Both addresses, once.

    for _ in range(2):
        with pytest.raises(RefreshUnavailableError):
            read_document(f"{get_client().issuer}/document", rests=True)
    assert len(issuer) == 3
