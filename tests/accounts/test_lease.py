"""The lease: who may ask Google, how long the others wait, and refreshes in transactions."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import ExitStack, nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts import database, lease
from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.circuit_breaker import match_waiting
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    EncryptionKeyUnavailableError,
    GrantLostError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from django_google_link.models import GoogleAccount, Status
from django_google_link.oauth import transport
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked, save, token_of
from tests.support.constants import OTHER_KEY
from tests.support.databases import at_once, new_user, second_connection
from tests.support.isolation import isolated
from tests.support.races import locked_elsewhere
from tests.support.signals import heard
from tests.support.slow_servers import dripping
from tests.support.tables import links, table
from tests.support.times import in_seconds, skip_pauses
from tests.support.workers import during_refresh, just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, whose access token has expired."""
    return linked(new_user(), google, alice, access_token_expires_at=in_seconds(-60))


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Skip the pauses, and record their lengths."""
    return skip_pauses(monkeypatch)


def row() -> GoogleAccount:
    """Return the account's row in the database."""
    return GoogleAccount.objects.get()


def change(**values: Any) -> None:
    """Update the row directly, as another worker would."""
    GoogleAccount.objects.update(**values)


def let_pass(**columns: timedelta) -> None:
    """Move these columns' times into the past."""
    before = row()
    change(**{name: getattr(before, name) - time for name, time in columns.items()})


def asked(google: FakeGoogle) -> int:
    """Return the number of token requests."""
    return len(google.requests_to("token"))


# Who holds the lease


def test_lease_is_held_during_the_request_and_given_back(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """During the token request the row has a lease that expires soon after HTTP_TIMEOUT."""
    seen: list[Any] = []

    def now() -> float:
        seen.append(row())
        connections.close_all()
        return time.time()

    google.now = now
    fresh_access_token(account)

    assert seen[0].refresh_lease is not None
    lasts = seen[0].refresh_lease_expires_at - timezone.now()
    assert timedelta(seconds=10) < lasts <= timedelta(seconds=15)
    assert row().refresh_lease is None
    assert row().refresh_lease_expires_at is None


def test_caller_without_a_token_gives_up_when_the_lease_never_ends(
    google: FakeGoogle, account: GoogleAccount, no_waiting: list[float]
) -> None:
    """After REFRESH_WAIT it gets RefreshUnavailableError; Google is not asked."""
    change(refresh_lease=account.pk, refresh_lease_expires_at=in_seconds(200))

    with pytest.raises(RefreshUnavailableError, match="refresh_under_way"):
        fresh_access_token(account)

    assert asked(google) == 0
    assert sum(no_waiting) == pytest.approx(lease.longest_wait(), abs=2)
    assert max(no_waiting) <= 0.5


def test_callers_of_one_process_wait_in_a_queue(
    google: FakeGoogle, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread polls the row; each of the others reads it only twice."""
    change(refresh_lease=account.pk, refresh_lease_expires_at=in_seconds(200))
    looks: list[int] = []
    look = lease.read_state

    def counted(*args: Any) -> Any:
        if len(set(looks)) == 6 and len(looks) > 8:  # All have read it, one polls.
            change(refresh_lease_expires_at=in_seconds(-1))
        state = look(*args)
        looks.append(threading.get_ident())
        return state

    monkeypatch.setattr(lease, "read_state", counted)

    def get_token() -> str:
        return fresh_access_token(account).value.reveal()

    tokens = at_once(*[get_token] * 6)

    assert len(set(tokens)) == asked(google) == 1
    counts = sorted(Counter(looks).values())
    assert counts[:5] == [2] * 5
    assert counts[5] > 2


def test_callers_of_one_process_give_up_in_time(
    google: FakeGoogle,
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    no_waiting: list[float],
) -> None:
    """The time in the queue counts towards REFRESH_WAIT, so they all give up together."""
    change(refresh_lease=account.pk, refresh_lease_expires_at=in_seconds(200))
    together = threading.Barrier(4, timeout=20)

    def longest_wait() -> float:
        together.wait()
        return 10

    monkeypatch.setattr(lease, "longest_wait", longest_wait)

    def call() -> str:
        with pytest.raises(RefreshUnavailableError) as caught:
            fresh_access_token(account)
        return caught.value.error

    assert at_once(*[call] * 4) == ["refresh_under_way"] * 4
    assert sum(no_waiting) == pytest.approx(10, abs=2)


def test_caller_whose_turn_does_not_come_gives_up(
    google: FakeGoogle, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ahead of it in the queue waits for Google longer than REFRESH_WAIT."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def now() -> float:
        is_asked.set()
        may_answer.wait(timeout=20)
        return time.time()

    def give_up() -> None:
        is_asked.wait(timeout=20)
        monkeypatch.setattr(lease, "longest_wait", lambda: 0.05)
        try:
            with pytest.raises(RefreshUnavailableError, match="refresh_under_way"):
                fresh_access_token(account)
        finally:
            may_answer.set()

    google.now = now

    at_once(lambda: fresh_access_token(account), give_up)


def test_caller_takes_a_lease_that_has_ended(google: FakeGoogle, account: GoogleAccount) -> None:
    """An expired lease, whose owner was killed or is late, blocks nobody."""
    change(refresh_lease=account.pk, refresh_lease_expires_at=in_seconds(-1))

    fresh_access_token(account)

    assert asked(google) == 1
    assert row().refresh_lease is None


def test_clock_that_is_put_back_keeps_no_lease(google: FakeGoogle, account: GoogleAccount) -> None:
    """A dead worker's lease, which then seems to last for an hour, is ignored."""
    change(refresh_lease=account.pk, refresh_lease_expires_at=in_seconds(3610))

    fresh_access_token(account)

    assert asked(google) == 1
    assert row().refresh_lease is None


def test_clock_that_is_put_back_lengthens_no_wait(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """A failure dated in the future is ignored, since it would delay the retry by an hour."""
    change(
        refresh_failures=1,
        refresh_problem="unavailable",
        refresh_failed_at=in_seconds(3600),
        refresh_retry_at=in_seconds(3630),
    )

    fresh_access_token(account)

    assert asked(google) == 1


def test_clock_that_is_put_back_hides_no_rejected_token(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """A forced refresh dated in the future does not prevent the next one."""
    account = linked(new_user(), google, alice)
    rejected = fresh_access_token(account).value
    change(refresh_forced_at=in_seconds(3600))

    assert fresh_access_token(account, rejected=rejected).value != rejected

    assert asked(google) == 1


def test_failure_during_the_read_is_waited_out(google: FakeGoogle, account: GoogleAccount) -> None:
    """SQLite gets the time with the query, which may see what is written a moment later."""
    change(refresh_failed_at=in_seconds(5), refresh_retry_at=in_seconds(35))

    with pytest.raises(RefreshUnavailableError, match="backing_off"):
        fresh_access_token(account)

    assert GoogleAccount.objects.filter(match_waiting(using="default")).exists()
    assert asked(google) == 0


def test_forced_refresh_during_the_read_is_not_repeated(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """The new token is returned, as to any caller that comes later."""
    account = linked(new_user(), google, alice)
    token = fresh_access_token(account).value
    change(refresh_forced_at=in_seconds(5))

    assert fresh_access_token(account, rejected=token).value == token
    assert asked(google) == 0


def test_caller_whose_token_lives_never_waits(
    google: FakeGoogle, account: GoogleAccount, no_waiting: list[float]
) -> None:
    """While another worker refreshes, the unexpired token is returned at once."""
    change(
        access_token_expires_at=in_seconds(60),
        refresh_lease=account.pk,
        refresh_lease_expires_at=in_seconds(10),
    )

    assert fresh_access_token(account).value == account.unseal_token("access_token")
    assert (asked(google), no_waiting) == (0, [])


@pytest.mark.slow
def test_request_is_over_before_its_lease(
    google: FakeGoogle, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It times out early if taking the lease took long, so that no two requests overlap."""
    moved, right = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: right() + moved[0])
    google.delay = 1.3

    with (
        just_before("UPDATE", act=lambda: moved.append(moved.pop() + 14)),
        pytest.raises(RefreshUnavailableError, match="timeout"),
    ):
        fresh_access_token(account)


@pytest.mark.slow
def test_caller_does_not_wait_for_a_name(
    google: FakeGoogle, alice: FakeUser, account: GoogleAccount, settings: Settings
) -> None:
    """If Google's keys arrive too late, the token is returned, and the name updated later."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 1.5}
    keys = transport.fetch(str(get_client().jwks_uri)).document
    alice.name, google.delay = "Alice Married", 0.7
    google.fail_next(endpoint="certs", status=200, body=keys, delay=1.2)

    assert fresh_access_token(account).is_new

    assert row().name != alice.name
    google.delay = 0
    change(access_token_expires_at=in_seconds(-60))
    with travel(seconds=10):
        assert fresh_access_token(account).is_new
    assert row().name == alice.name


if os.environ.get("TEST_DATABASE"):

    @pytest.mark.slow
    @pytest.mark.parametrize("is_answered", [True, False])
    def test_row_that_is_locked_meanwhile_is_not_waited_for(
        google: FakeGoogle, account: GoogleAccount, is_answered: bool
    ) -> None:
        """A row lock delays neither the token nor the error; the lease is left to expire."""
        google.fail_next(0 if is_answered else 1)
        with ExitStack() as undo:

            def lock() -> None:
                undo.enter_context(locked_elsewhere(GoogleAccount.objects.all()))

            # The circuit breaker is read, and written after a failure.
            failure = just_before("circuitbreaker", "circuitbreaker", act=lock)
            caught: Any = pytest.raises(RefreshUnavailableError, match="no_answer")
            with (
                during_refresh(google, lock) if is_answered else failure,
                nullcontext() if is_answered else caught,
            ):
                assert fresh_access_token(account).is_new

        assert row().refresh_lease is not None
        assert not row().refresh_retry_at


def test_lease_that_was_lost_to_another_is_not_written_over(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """A response after the lease has expired does not replace another worker's token."""

    def now() -> float:
        change(
            refresh_lease=None,
            refresh_lease_expires_at=None,
            access_token_expires_at=in_seconds(3599),
        )
        connections.close_all()
        return time.time()

    google.now = now

    assert fresh_access_token(account).value == account.unseal_token("access_token")
    assert row().refreshed_at is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 503}, RefreshUnavailableError),
        ({"status": 401, "body": {"error": "invalid_client"}}, ClientMisconfiguredError),
    ],
    ids=["outage", "refused client"],
)
def test_lease_that_was_lost_to_another_is_not_given_back(
    google: FakeGoogle, account: GoogleAccount, fault: dict[str, Any], error: type[Exception]
) -> None:
    """If another worker holds the lease by now, a failed refresh leaves the row unchanged."""
    taken: list[Any] = []

    def take() -> None:
        change(
            refresh_lease=account.pk,
            refresh_lease_expires_at=in_seconds(10),
            refresh_retry_at=in_seconds(-1),
        )
        taken.extend(table())

    google.fail_next(**fault)

    with during_refresh(google, take), pytest.raises(error):
        fresh_access_token(account)

    assert list(table()) == taken


def test_loss_that_is_told_late_leaves_what_another_has_refreshed(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """A late invalid_grant does not end a grant that another worker has refreshed meanwhile."""

    def refresh_elsewhere() -> None:
        change(
            refresh_lease=None,
            refresh_lease_expires_at=None,
            access_token_expires_at=in_seconds(3599),
        )

    google.error_next("invalid_grant")

    with heard() as news, during_refresh(google, refresh_elsewhere):
        assert fresh_access_token(account).value == account.unseal_token("access_token")

    assert (row().status, news) == (Status.ACTIVE, [])


def test_damage_that_is_found_late_leaves_what_another_has_refreshed(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """An undecryptable refresh token ends no grant whose row has changed meanwhile."""
    whole = row().sealed_refresh_token
    change(sealed_refresh_token="damaged")

    def mend() -> None:
        change(
            sealed_refresh_token=whole,
            refresh_lease=None,
            refresh_lease_expires_at=None,
            access_token_expires_at=in_seconds(3599),
        )

    with heard() as news, just_before('"status_reason" =', act=mend):
        assert fresh_access_token(account).value == account.unseal_token("access_token")

    assert (row().status, news) == (Status.ACTIVE, [])


def test_lease_that_another_takes_in_between(google: FakeGoogle, account: GoogleAccount) -> None:
    """Both workers saw it free; the slower one returns the unexpired token."""
    change(access_token_expires_at=in_seconds(60))

    with just_before(
        'refresh_lease" =', act=lambda: lease.take(GoogleAccount.objects.all(), row())
    ):
        assert fresh_access_token(account).value == account.unseal_token("access_token")

    assert asked(google) == 0


def test_caller_that_will_not_wait(google: FakeGoogle, account: GoogleAccount) -> None:
    """With wait=False, as google_link_refresh uses it, the error is raised at once."""
    change(refresh_lease=account.pk, refresh_lease_expires_at=in_seconds(10))

    with pytest.raises(RefreshUnavailableError, match="refresh_under_way"):
        fresh_access_token(account, wait=False)


@pytest.mark.matrix
@pytest.mark.parametrize("has_row_locks", [True, False])
@pytest.mark.parametrize("column", ["grant_version", "sealed_access_token"])
def test_lease_of_a_row_that_has_changed_is_not_taken(
    account: GoogleAccount, monkeypatch: pytest.MonkeyPatch, column: str, has_row_locks: bool
) -> None:
    """Since the row was read, another worker has renewed the grant or stored a token."""
    monkeypatch.setattr(connection.features, "has_select_for_update_skip_locked", has_row_locks)
    rows = GoogleAccount.objects.all()
    change(**{column: 7})

    assert lease.take(rows, account) is None
    assert lease.take(rows, row()) is not None
    assert lease.take(rows, row()) is None


def test_worker_that_fails_in_any_way_gives_the_lease_back(
    google: FakeGoogle, account: GoogleAccount, settings: Settings
) -> None:
    """Here the encryption key is missing: the row is as before, without a lease."""
    change(sealed_access_token="")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}
    before = table()

    with pytest.raises(EncryptionKeyUnavailableError):
        fresh_access_token(account)

    assert table() == before


def test_client_that_is_refused_leaves_no_trace(google: FakeGoogle, account: GoogleAccount) -> None:
    """The link is unchanged, and nobody has to wait once the client is corrected."""
    google.error_next("invalid_client", status=401)
    before = links()

    with pytest.raises(ClientMisconfiguredError):
        fresh_access_token(account)

    assert links() == before
    assert fresh_access_token(account).value


def test_client_that_is_refused_leaves_what_still_lives(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """While Google refuses the client, the unexpired token is returned."""
    change(access_token_expires_at=in_seconds(60))
    google.error_next("invalid_client", status=401)

    assert fresh_access_token(account).value == account.unseal_token("access_token")
    assert row().refresh_lease is None


def test_clock_is_utc_on_mysql_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC_TIMESTAMP is used, since CURRENT_TIMESTAMP changes with daylight saving time."""
    monkeypatch.setattr(connections["default"], "vendor", "mysql")
    compiler = connection.ops.compiler("SQLCompiler")(None, connections["default"], "default")

    sql, params = compiler.compile(database.database_now(GoogleAccount.objects.all()))

    assert sql == "UTC_TIMESTAMP(6)"
    assert not params


# How long workers wait after a failure


def test_outage_is_kept_in_the_row_and_honoured(google: FakeGoogle, account: GoogleAccount) -> None:
    """The next caller does not ask Google again; both errors say when to retry."""
    google.fail_next()
    with pytest.raises(RefreshUnavailableError) as first:
        fresh_access_token(account)
    with pytest.raises(RefreshUnavailableError, match="backing_off") as second:
        fresh_access_token(account)

    assert asked(google) == 1
    for error in (first, second):
        assert error.value.retry_at is not None
        delay = error.value.retry_at - timezone.now()
        assert timedelta(seconds=23) < delay <= timedelta(seconds=36)


@pytest.mark.slow
def test_outage_of_an_hour(google: FakeGoogle, account: GoogleAccount) -> None:
    """Google gets at most eight requests, at doubling intervals, and the link stays active."""
    google.fail_next(count=100)
    passed, delays = timedelta(), []

    with heard() as news:
        while passed < timedelta(hours=1):
            for _ in range(5):
                with pytest.raises(RefreshUnavailableError) as caught:
                    fresh_access_token(account)
            assert caught.value.retry_at is not None
            delays.append(caught.value.retry_at - timezone.now())
            passed += delays[-1]
            let_pass(refresh_retry_at=delays[-1])

    assert asked(google) == len(delays) <= 8
    assert [round(delay.total_seconds()) for delay in delays[:7]] == [
        pytest.approx(30 * 2**n, rel=0.21) for n in range(7)
    ]
    assert (row().status, news) == (Status.ACTIVE, [])


def test_outage_never_backs_off_for_more_than_an_hour(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """After ten failures the wait is an hour, plus at most 20 % of jitter."""
    change(refresh_failures=10)
    google.fail_next()

    with pytest.raises(RefreshUnavailableError) as caught:
        fresh_access_token(account)

    assert caught.value.retry_at is not None
    assert caught.value.retry_at - timezone.now() <= timedelta(seconds=4320)
    assert row().refresh_failures == 10


def test_outage_is_told_from_what_was_wrong_before(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """The account was not failing by itself if its client was refused, or had no endpoints."""
    change(refresh_failing_since=in_seconds(-3600))

    with google.failing(), pytest.raises(RefreshUnavailableError):
        fresh_access_token(account)
    first = row().refresh_failing_since
    assert first > in_seconds(-60)

    let_pass(refresh_retry_at=timedelta(hours=1))
    with google.failing(), pytest.raises(RefreshUnavailableError):
        fresh_access_token(account)
    assert row().refresh_failing_since == first


def test_outage_that_is_over_is_forgotten(google: FakeGoogle, account: GoogleAccount) -> None:
    """A success resets the number of failures, so the next wait is 30 seconds again."""
    change(refresh_failures=7, refresh_retry_at=in_seconds(-1))

    fresh_access_token(account)

    assert (row().refresh_failures, row().refresh_retry_at) == (0, None)


def test_outage_serves_what_still_lives(google: FakeGoogle, account: GoogleAccount) -> None:
    """All callers get the unexpired token; only the first one asks Google."""
    change(access_token_expires_at=in_seconds(60))
    google.fail_next()

    for _ in range(3):
        assert fresh_access_token(account).value == account.unseal_token("access_token")

    assert asked(google) == 1


def test_new_consent_ends_the_back_off(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """Linking again resets the failures, the waiting time and the lease."""
    change(refresh_failures=7, refresh_retry_at=in_seconds(3000), refresh_lease=account.pk)

    save(account.user, alice.sub)

    assert (row().refresh_failures, row().refresh_retry_at) == (0, None)
    assert row().refresh_lease is None


@pytest.mark.matrix
@pytest.mark.parametrize("error", ["invalid_request", "access_denied", "nobody_knows_this"])
def test_refusal_that_says_nothing_of_the_grant_is_waited_out(
    google: FakeGoogle,
    account: GoogleAccount,
    caplog: pytest.LogCaptureFixture,
    error: str,
) -> None:
    """Google is asked again after an hour at the earliest, and the error is logged once."""
    google.error_next(error, count=10)

    for _ in range(3):
        with pytest.raises(TokenEndpointError, match=error) as caught:
            fresh_access_token(account)
        assert not isinstance(caught.value, RefreshUnavailableError)

    assert asked(google) == 1
    assert (row().status, row().refresh_failures) == (Status.ACTIVE, 1)
    assert (row().refresh_problem, row().refresh_error) == ("refused", error)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with travel(minutes=59), pytest.raises(TokenEndpointError):
        fresh_access_token(account)
    assert asked(google) == 1
    with travel(minutes=91), pytest.raises(TokenEndpointError):
        fresh_access_token(account)
    assert asked(google) == 2


def test_refusal_is_no_reason_to_hide_a_token_that_lives(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """Callers get the unexpired token, together with the error that Google returned."""
    change(access_token_expires_at=in_seconds(60))
    google.error_next("access_denied")

    first, second = fresh_access_token(account), fresh_access_token(account)

    assert first.value == second.value == account.unseal_token("access_token")
    assert "access_denied" in str(first.problem) and "access_denied" in str(second.problem)
    assert asked(google) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("error", ["slow_down", "server_error", "rateLimitExceeded"])
def test_error_that_passes_is_an_outage(
    google: FakeGoogle, account: GoogleAccount, error: str
) -> None:
    """Errors that mean "try later" count as an outage, even with status 400."""
    google.error_next(error)

    with pytest.raises(RefreshUnavailableError, match=error):
        fresh_access_token(account)

    assert row().status == Status.ACTIVE
    assert row().refresh_failures == 1


def test_lease_is_not_taken_by_who_looked_before_the_failure(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """Another worker's failure has set a retry time since the row was read."""
    google.fail_next()
    seen = row()
    with pytest.raises(RefreshUnavailableError):
        fresh_access_token(account)

    assert lease.take(GoogleAccount.objects.using("default"), seen) is None
    assert lease.take(GoogleAccount.objects.using("default"), row()) is not None


def test_account_without_a_refresh_token_is_told_apart(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """An access token alone cannot be refreshed."""
    change(sealed_refresh_token="")

    with pytest.raises(GrantLostError) as caught:
        fresh_access_token(account)

    assert caught.value.reason == "no_refresh_token"
    assert asked(google) == 0


# An API that responds with 401


def test_rejected_token_is_replaced_once_a_minute(google: FakeGoogle, alice: FakeUser) -> None:
    """Until the minute is over, the new token is returned even if the API rejects it too."""
    account = linked(new_user(), google, alice)

    first = fresh_access_token(account, rejected=account.unseal_token("access_token")).value
    second = fresh_access_token(account, rejected=first).value
    assert second == first
    assert asked(google) == 1

    let_pass(refresh_forced_at=timedelta(seconds=61))
    assert fresh_access_token(account, rejected=first).value != first
    assert asked(google) == 2


def test_rejected_token_is_replaced_by_what_another_worker_has(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """If the stored token is not the rejected one, it is returned without asking Google."""
    account = linked(new_user(), google, alice)

    token = fresh_access_token(account, rejected=Secret("ya29.older")).value

    assert token == account.unseal_token("access_token")
    assert asked(google) == 0


def test_rejected_token_that_has_expired_is_no_forced_refresh(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """It was due for a refresh anyway, so the next rejected token can be replaced at once."""
    fresh_access_token(account, rejected=account.unseal_token("access_token"))

    assert row().refresh_forced_at is None


# Inside the caller's transaction


def test_in_a_transaction_the_token_is_stored_with_it(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """After the commit the next caller gets the same token, and Google is not asked again."""
    with transaction.atomic():
        token = fresh_access_token(account).value

    assert fresh_access_token(account).value == token
    assert asked(google) == 1


def test_in_a_transaction_a_lease_is_heeded(google: FakeGoogle, account: GoogleAccount) -> None:
    """While another worker refreshes, the unexpired token is returned."""
    change(
        access_token_expires_at=in_seconds(60),
        refresh_lease=account.pk,
        refresh_lease_expires_at=in_seconds(10),
    )

    with transaction.atomic():
        assert fresh_access_token(account).value == account.unseal_token("access_token")

    assert asked(google) == 0


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_in_a_transaction_that_sees_nothing_new_nobody_waits(
    google: FakeGoogle, account: GoogleAccount, level: str, no_waiting: list[float]
) -> None:
    """Another worker's token would stay invisible there, so the error is raised at once."""
    change(refresh_lease=account.pk, refresh_lease_expires_at=in_seconds(200))
    hint = "try again after it, or set REFRESH_USING"

    with (
        isolated(level),
        transaction.atomic(),
        pytest.raises(RefreshUnavailableError, match=hint) as caught,
    ):
        fresh_access_token(account)

    assert caught.value.error == "refresh_under_way"
    assert no_waiting == []


def test_in_a_transaction_an_outage_writes_nothing(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """Otherwise the row would stay locked until the caller's transaction ends."""
    google.fail_next()
    before = table()

    with transaction.atomic(), pytest.raises(RefreshUnavailableError) as caught:
        fresh_access_token(account)

    assert caught.value.retry_at is None
    assert table() == before


def test_in_a_transaction_a_loss_that_is_told_late_leaves_a_renewed_grant(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """Without a lease, the version of the grant shows that the user has linked again."""
    google.error_next("invalid_grant")

    with (
        transaction.atomic(),
        just_before('"status_reason" =', act=lambda: save(account.user, alice.sub)),
    ):
        assert fresh_access_token(account).value.reveal() == "ya29.new"

    assert row().status == Status.ACTIVE
    assert token_of(account, "refresh_token") == "1//new"


def test_in_a_transaction_an_answer_that_is_late_leaves_a_renewed_grant(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """The old grant's access token does not overwrite that of the new grant."""
    with (
        transaction.atomic(),
        just_before('"refreshed_at" =', act=lambda: save(account.user, alice.sub)),
    ):
        assert fresh_access_token(account).value.reveal() == "ya29.new"

    assert token_of(account, "access_token") == "ya29.new"


def test_second_connection_keeps_the_token_of_a_transaction_that_fails(
    google: FakeGoogle, account: GoogleAccount, settings: Settings
) -> None:
    """After a rollback the token is still stored, and token_refreshed has been sent."""
    with second_connection(settings), heard() as news, transaction.atomic():
        token = fresh_access_token(account).value
        transaction.set_rollback(True)

    assert row().unseal_token("access_token") == token
    assert [name for name, _ in news] == ["token_refreshed"]


def test_second_connection_is_for_transactions_alone(
    google: FakeGoogle, account: GoogleAccount, settings: Settings
) -> None:
    """Outside a transaction the connection that REFRESH_USING names is not opened."""
    with second_connection(settings):
        fresh_access_token(account)
        assert connections["apart"].connection is None


def test_second_connection_does_not_see_a_row_that_is_not_committed(
    google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """An account created in the same transaction is refreshed on the first connection."""
    with second_connection(settings), transaction.atomic():
        account = linked(new_user(), google, alice, access_token="")
        assert fresh_access_token(account).value

    assert asked(google) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [("nowhere", "not an alias"), (5, "not an alias"), ("lite", "SQLite")],
)
def test_second_connection_that_cannot_work_is_found(
    google: FakeGoogle,
    account: GoogleAccount,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    value: Any,
    message: str,
) -> None:
    """An unknown alias, a wrong type or an SQLite alias raises ImproperlyConfigured."""
    monkeypatch.setitem(
        connections.settings, "lite", {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    )
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REFRESH_USING": value}

    with pytest.raises(ImproperlyConfigured, match=message):
        fresh_access_token(account)


# How long a request may take


@pytest.mark.slow
@pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
def test_answer_that_drips_is_cut_off(settings: Settings, headers: bool) -> None:
    """HTTP_TIMEOUT limits the whole response, even if each byte arrives in time."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 0.2}

    with dripping(headers=headers) as url, pytest.raises(RefreshUnavailableError, match="timeout"):
        transport.fetch(url)
