"""The circuit breaker, when more goes wrong than Google: clocks, settings, transactions, deaths."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts import process_breaker
from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.circuit_breaker import match_waiting, read_circuit
from django_google_link.exceptions import (
    GoogleLinkError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from django_google_link.models import CircuitBreaker, GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked
from tests.support.clocks import clock_ahead
from tests.support.databases import new_user, second_connection
from tests.support.races import locked_elsewhere
from tests.support.times import in_seconds

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def accounts(shared_database: None, google: FakeGoogle, alice: FakeUser) -> list[GoogleAccount]:
    """Nine accounts, whose access tokens have expired, and a Google that five have found away."""
    user, google.refresh_sends_id_token = new_user(), False
    accounts = [
        linked(user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-9000))
        for n in range(9)
    ]
    with google.failing():
        assert [attempt(account) for account in accounts[:5]] == ["no_answer"] * 5
    google.clear_requests()
    return accounts


def attempt(account: GoogleAccount) -> str:
    """Return what a caller gets: a token, or an error."""
    try:
        fresh_access_token(account)
    except TokenEndpointError as error:
        return error.error
    return "token"


def asked(google: FakeGoogle) -> int:
    """Return how often Google was asked for a token."""
    return len(google.requests_to("token"))


# Clocks


def clock_of_this_worker(**ahead: float) -> AbstractContextManager[None]:
    """Let this worker's clock be wrong, and the database's right."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has the clock of this worker.")
    return clock_ahead(timedelta(**ahead))


@pytest.mark.parametrize("hours", [-1, 1])
def test_worker_whose_clock_is_wrong_waits_as_long_as_the_others(
    accounts: list[GoogleAccount], hours: int
) -> None:
    """By the database's clock; and what it says is right by its own."""
    with clock_of_this_worker(hours=hours):
        with pytest.raises(TokenEndpointError) as caught:
            fresh_access_token(accounts[6])
        wait = vars(caught.value)["retry_at"] - timezone.now()
        assert timedelta(seconds=20) < wait <= timedelta(seconds=30)
        with travel(seconds=31):
            assert attempt(accounts[6]) == "token"


def test_worker_whose_clock_is_slow_takes_no_outage_for_an_accounts_own(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """Since when it fails is noted by the workers' clocks, and the outage by the database's."""
    CircuitBreaker.objects.all().delete()
    GoogleAccount.objects.update(refresh_retry_at=None, refresh_failing_since=None)
    with clock_of_this_worker(hours=-1):
        with google.failing():
            assert [attempt(account) for account in accounts[:5]] == ["no_answer"] * 5
        failing = GoogleAccount.objects.exclude(refresh_problem="")
        failing.update(refresh_retry_at=in_seconds(9000))
        assert not GoogleAccount.objects.filter(match_waiting(using="default")).exists()
        with travel(seconds=31):
            assert attempt(accounts[0]) == "token"


@pytest.mark.slow
def test_clock_that_is_put_back_stops_nobody(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """No wait of this kind is longer than a request: what looks like an hour is not heeded."""
    with travel(hours=-1):
        assert attempt(accounts[6]) == "token"
    assert asked(google) == 1


@pytest.mark.slow
def test_clock_that_is_put_back_stops_no_process(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """What one process alone knows goes by its own clock."""
    CircuitBreaker.objects.all().delete()
    google.stop()
    with travel(hours=1):
        GoogleAccount.objects.update(refresh_retry_at=None)
        assert {attempt(account) for account in accounts[:5]} == {"unreachable"}
    google.start()
    assert process_breaker.is_open(google.url)

    assert attempt(accounts[6]) == "token"


def test_whoever_is_refused_writes_nothing(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """In an outage they are many: the account and the breaker are read, and that is all."""
    with CaptureQueriesContext(connection) as queries:
        assert attempt(accounts[6]) == "provider_unavailable"

    assert all(query["sql"].startswith("SELECT") for query in queries.captured_queries)


# A probe that comes to nothing


@pytest.mark.matrix
@pytest.mark.parametrize("misfortune", ["client", "key", "token"])
def test_probe_that_never_asks_is_the_next_callers(
    accounts: list[GoogleAccount],
    google: FakeGoogle,
    settings: Settings,
    configure: Callable[..., None],
    misfortune: str,
) -> None:
    """An account that cannot ask has found out nothing, and keeps nobody else from it."""
    right = settings.GOOGLE_LINK
    with travel(seconds=31):
        if misfortune == "client":
            configure(CLIENT_ID="another.apps.googleusercontent.com")
        elif misfortune == "key":
            rows = GoogleAccount.objects.filter(pk=accounts[6].pk)
            rows.update(sealed_refresh_token="gl1.AAAAAAAA.xxxx")
        else:
            stolen = GoogleAccount.objects.get(pk=accounts[7].pk).sealed_refresh_token
            rows = GoogleAccount.objects.filter(pk=accounts[6].pk)
            rows.update(sealed_refresh_token=stolen)
        with pytest.raises(GoogleLinkError):
            fresh_access_token(accounts[6])
        assert asked(google) == 0
        assert read_circuit(google.url, using="default").is_open
        settings.GOOGLE_LINK = right
        assert attempt(accounts[8]) == "token"


@pytest.mark.slow
def test_setting_that_breaks_in_the_middle_opens_and_closes_nothing(
    accounts: list[GoogleAccount], google: FakeGoogle, settings: Settings
) -> None:
    """It says nothing of the issuer."""
    right = settings.GOOGLE_LINK
    with travel(seconds=31):
        settings.GOOGLE_LINK = {**right, "CLIENTS": {"default": {"CLIENT_ID": 7}}}
        with pytest.raises((ImproperlyConfigured, GoogleLinkError)):
            fresh_access_token(accounts[6])
        settings.GOOGLE_LINK = right
        assert read_circuit(google.url, using="default").is_open
        assert attempt(accounts[8]) == "token"


@pytest.mark.slow
def test_process_that_dies_in_a_probe_is_not_waited_for(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """Its turn ends a little after its request would have."""
    with travel(seconds=31):
        read_circuit(google.url, using="default").enter()
        process_breaker.forget_failures()  # It is dead.
        assert attempt(accounts[6]) == "provider_unavailable"
        with travel(seconds=16):
            assert attempt(accounts[6]) == "token"


@pytest.mark.matrix
@pytest.mark.parametrize("is_answered", [True, False])
def test_probe_that_takes_longer_than_its_turn(
    accounts: list[GoogleAccount], google: FakeGoogle, is_answered: bool
) -> None:
    """Whatever it finds out late is as good: a second one was on its way, not a third."""
    with travel(seconds=31):
        late = read_circuit(google.url, using="default")
        late.enter()
        with travel(seconds=16), google.failing():
            assert attempt(accounts[6]) == "no_answer"
            assert attempt(accounts[7]) == "provider_unavailable"
            if is_answered:
                with late.watch("late"):
                    pass
            assert attempt(accounts[8]) == ("no_answer" if is_answered else "provider_unavailable")


# Transactions


def test_transaction_without_autocommit_writes_nothing(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """It would lock the row that all workers write, for as long as it lasts, and may be lost."""
    before = CircuitBreaker.objects.values().get()
    connection.set_autocommit(False)
    try:
        list(GoogleAccount.objects.all())
        with travel(seconds=31):
            circuit = read_circuit(google.url, using="default")
            circuit.enter()
            with circuit.watch("account"):
                pass
        assert CircuitBreaker.objects.values().get() == before
    finally:
        connection.rollback()
        connection.set_autocommit(True)


@pytest.mark.slow
def test_connection_of_its_own_notes_what_is_found_out_in_a_transaction(
    accounts: list[GoogleAccount], google: FakeGoogle, settings: Settings
) -> None:
    """A roll-back of the caller's does not undo it: that it is back, and that it is away."""
    with second_connection(settings):
        with travel(seconds=31), transaction.atomic():
            assert attempt(accounts[6]) == "token"
            transaction.set_rollback(True)
        assert not CircuitBreaker.objects.exclude(opened_at=None).exists()

        GoogleAccount.objects.update(refresh_retry_at=None)
        for account in accounts[:5]:
            with google.failing(), transaction.atomic():
                assert attempt(account) == "no_answer"
                transaction.set_rollback(True)
        assert CircuitBreaker.objects.exclude(opened_at=None).exists()


if os.environ.get("TEST_DATABASE"):

    @pytest.mark.slow
    def test_row_that_somebody_has_locked_is_not_waited_for(
        accounts: list[GoogleAccount], google: FakeGoogle, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each process finds out by itself, and counts by itself: the outage stays small."""
        CircuitBreaker.objects.update(opened_at=None, failures=1, retry_at=None)
        GoogleAccount.objects.update(refresh_retry_at=None)

        with locked_elsewhere(CircuitBreaker.objects.all()), google.failing():
            assert [attempt(account) for account in accounts[:6]] == [
                *["no_answer"] * 5,
                "provider_unavailable",
            ]
            with travel(seconds=31):
                assert [attempt(account) for account in accounts[6:8]] == [
                    "no_answer",
                    "provider_unavailable",
                ]

        assert "could not be saved: OperationalError" in caplog.text

    @pytest.mark.slow
    def test_probe_of_a_row_that_somebody_has_locked(
        accounts: list[GoogleAccount], google: FakeGoogle
    ) -> None:
        """Whoever has locked it keeps nobody from finding out that Google is back."""
        with travel(seconds=31), locked_elsewhere(CircuitBreaker.objects.all()):
            assert attempt(accounts[6]) == "token"

        assert asked(google) == 1
        with travel(seconds=62):
            assert attempt(accounts[7]) == "token"
        assert not CircuitBreaker.objects.exclude(opened_at=None).exists()


# Issuers


@pytest.mark.slow
def test_other_issuer_never_waits(
    accounts: list[GoogleAccount], google: FakeGoogle, settings: Settings
) -> None:
    """One is away, and nobody who needs the other learns of it."""
    with FakeGoogle() as other:
        clients = settings.GOOGLE_LINK["CLIENTS"]
        clients = {**clients, "other": {**other.client_settings(), "SCOPES": ["openid"]}}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
        bob = other.add_user("bob@gmail.com")
        tokens = other.grant(bob, ["openid", "email", "profile"])
        theirs = linked(
            new_user("bob"),
            google,
            google.add_user("bob@gmail.com"),
            client="other",
            sub=bob.sub,
            refresh_token=tokens.refresh_token,
            access_token_expires_at=in_seconds(-60),
        )

        assert attempt(theirs) == "token"
        assert attempt(accounts[6]) == "provider_unavailable"


def test_issuers_are_told_apart_to_the_letter(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """Another case, a blank at the end: MySQL takes them for the same, and nobody else does."""
    GoogleAccount.objects.filter(pk=accounts[0].pk).update(issuer=google.url.upper())
    GoogleAccount.objects.filter(pk=accounts[1].pk).update(issuer=f"{google.url} ")
    GoogleAccount.objects.filter(pk__in=[row.pk for row in accounts[:3]]).update(
        refresh_retry_at=in_seconds(3000)
    )

    waiting = set(GoogleAccount.objects.filter(match_waiting(using="default")))

    assert accounts[0] in waiting
    assert accounts[1] in waiting
    assert accounts[2] not in waiting


def test_issuer_may_be_as_long_as_its_column(google: FakeGoogle) -> None:
    """Those that differ in the last letter only are two."""
    issuers = [f"https://{'a' * 246}{letter}" for letter in "bB"]
    for issuer in issuers:
        circuit = read_circuit(issuer, using="default")
        for number in range(5):
            error = fail(circuit, str(number))
            assert error.error == "no_answer"
        if issuer == issuers[0]:
            assert not read_circuit(issuers[1], using="default").is_open

    assert CircuitBreaker.objects.filter(issuer__in=issuers).count() == 2
    assert all(read_circuit(issuer, using="default").is_open for issuer in issuers)


def fail(circuit: Any, account: str) -> TokenEndpointError:
    """Let a request fail for which an account was asked."""
    with pytest.raises(RefreshUnavailableError) as caught, circuit.watch(account):
        raise RefreshUnavailableError("no_answer", status=503)
    return caught.value
