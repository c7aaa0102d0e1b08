"""The circuit breaker with wrong clocks, broken settings, transactions and dead processes."""

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
from tests.support.accounts import attempt, linked
from tests.support.clocks import clock_ahead
from tests.support.databases import new_user, second_connection
from tests.support.providers import other_issuer
from tests.support.races import locked_elsewhere
from tests.support.times import in_seconds

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def accounts(shared_database: None, google: FakeGoogle, alice: FakeUser) -> list[GoogleAccount]:
    """Nine accounts with expired access tokens, five of which have opened the circuit."""
    user, google.refresh_sends_id_token = new_user(), False
    accounts = [
        linked(user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-9000))
        for n in range(9)
    ]
    with google.failing():
        assert [attempt(account) for account in accounts[:5]] == ["no_answer"] * 5
    google.clear_requests()
    return accounts


def asked(google: FakeGoogle) -> int:
    """Return the number of token requests."""
    return len(google.requests_to("token"))


# Clocks


def clock_of_this_worker(**ahead: float) -> AbstractContextManager[None]:
    """Let the clock of this worker be wrong by this time, but not the database's."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has the clock of this worker.")
    return clock_ahead(timedelta(**ahead))


@pytest.mark.parametrize("hours", [-1, 1])
def test_worker_whose_clock_is_wrong_waits_as_long_as_the_others(
    accounts: list[GoogleAccount], hours: int
) -> None:
    """A worker with a wrong clock waits 30 seconds, and states ``retry_at`` by that clock."""
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
    """With a slow clock, accounts that fail in the outage do not count as failing before it."""
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
    """If the clock is set back, a wait that seems to last an hour is ignored."""
    with travel(hours=-1):
        assert attempt(accounts[6]) == "token"
    assert asked(google) == 1


@pytest.mark.slow
def test_clock_that_is_put_back_stops_no_process(
    accounts: list[GoogleAccount], google: FakeGoogle
) -> None:
    """If the clock is set back, a process ignores its own wait that seems to last an hour."""
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
    """A caller that the open circuit refuses writes nothing to the database."""
    with CaptureQueriesContext(connection) as queries:
        assert attempt(accounts[6]) == "provider_unavailable"

    assert all(query["sql"].startswith("SELECT") for query in queries.captured_queries)


# Probes without a result


@pytest.mark.matrix
@pytest.mark.parametrize("misfortune", ["client", "key", "token"])
def test_probe_that_never_asks_is_the_next_callers(
    accounts: list[GoogleAccount],
    google: FakeGoogle,
    settings: Settings,
    configure: Callable[..., None],
    misfortune: str,
) -> None:
    """An account that fails before its request does not use up the probe."""
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
    """An error in the settings during a probe leaves the circuit open, and the probe free."""
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
    """The probe of a process that has died expires when its request would have timed out."""
    with travel(seconds=31):
        read_circuit(google.url, using="default").enter()
        process_breaker.forget_failures()  # The process has died.
        assert attempt(accounts[6]) == "provider_unavailable"
        with travel(seconds=16):
            assert attempt(accounts[6]) == "token"


@pytest.mark.matrix
@pytest.mark.parametrize("is_answered", [True, False])
def test_probe_that_takes_longer_than_its_turn(
    accounts: list[GoogleAccount], google: FakeGoogle, is_answered: bool
) -> None:
    """An expired probe that succeeds closes the circuit; only one other is made meanwhile."""
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
    """Without autocommit nothing is written: it would lock the shared row until the commit."""
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
    """With ``REFRESH_USING`` a caller's rollback does not undo changes of the circuit."""
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
        """If another transaction has locked the row, a process counts and probes by itself."""
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
        """A transaction that keeps the row locked does not prevent a probe."""
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
    """The open circuit of one issuer does not affect accounts of another."""
    with other_issuer(settings) as other:
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
    """Issuers that differ in case or a trailing space are distinct, on MySQL too."""
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
    """Two issuers as long as the column that differ in the last letter are distinct."""
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
    """Let a request for an account fail, and return its error."""
    with pytest.raises(RefreshUnavailableError) as caught, circuit.watch(account):
        raise RefreshUnavailableError("no_answer", status=503)
    return caught.value
