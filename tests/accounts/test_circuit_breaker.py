"""The circuit breaker: while an issuer is unavailable, one request at a time probes it."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, OperationalError, transaction
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts import process_breaker
from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.accounts.circuit_breaker import match_waiting, read_circuit
from django_google_link.accounts.lease import read_state
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    GoogleLinkError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from django_google_link.models import CircuitBreaker, GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import attempt, linked
from tests.support.databases import at_once, new_user
from tests.support.failing import refusing
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def accounts(shared_database: None, google: FakeGoogle, alice: FakeUser) -> list[GoogleAccount]:
    """Eight accounts with expired access tokens."""
    return link_many(google, alice, 8)


def link_many(google: FakeGoogle, alice: FakeUser, count: int) -> list[GoogleAccount]:
    """Link accounts with expired access tokens."""
    user, google.refresh_sends_id_token = new_user(), False
    return [
        linked(user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-60))
        for n in range(count)
    ]


def attempt_each(accounts: list[GoogleAccount]) -> list[str]:
    """Return the results of one caller after the other."""
    return [attempt(account) for account in accounts]


def asked(google: FakeGoogle) -> int:
    """Return the number of token requests."""
    return len(google.requests_to("token"))


def open_circuit(google: FakeGoogle, accounts: list[GoogleAccount]) -> None:
    """Let five accounts fail."""
    google.fail_next(5)
    assert attempt_each(accounts[:5]) == ["no_answer"] * 5


# How it opens


@pytest.mark.slow
def test_outage_is_found_by_five_failures_in_a_row(
    google: FakeGoogle, accounts: list[GoogleAccount], caplog: pytest.LogCaptureFixture
) -> None:
    """After five failures other callers fail immediately, and learn when to try again."""
    google.fail_next(100)

    assert attempt_each(accounts) == ["no_answer"] * 5 + ["provider_unavailable"] * 3

    assert asked(google) == 5
    assert caplog.text.count("is unavailable: one request in 30 s until it responds.") == 1
    with pytest.raises(TokenEndpointError) as caught:
        fresh_access_token(accounts[5])
    delay = vars(caught.value)["retry_at"] - timezone.now()
    assert timedelta(seconds=25) < delay <= timedelta(seconds=30)
    assert GoogleAccount.objects.get(pk=accounts[7].pk).refresh_retry_at is None
    assert not GoogleAccount.objects.exclude(refresh_lease=None).exists()


@pytest.mark.slow
def test_outage_is_everybodys_whoever_found_it(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """A circuit that one worker has opened is open for the others, through the database."""
    open_circuit(google, accounts)

    assert not process_breaker.is_open(google.url)
    assert at_once(lambda: attempt(accounts[6])) == ["provider_unavailable"]


@pytest.mark.slow
def test_one_bad_account_is_no_outage(google: FakeGoogle, accounts: list[GoogleAccount]) -> None:
    """Failures of a single account do not open the circuit."""
    google.fail_next(9)
    for _ in range(9):
        assert attempt(accounts[0]) == "no_answer"
        GoogleAccount.objects.update(refresh_retry_at=None)

    assert attempt(accounts[1]) == "token"


@pytest.mark.slow
def test_success_in_between_is_no_outage(google: FakeGoogle, accounts: list[GoogleAccount]) -> None:
    """A success resets the count of failures."""
    more = accounts[4:]
    google.fail_next(4)
    assert attempt_each(accounts[:4]) == ["no_answer"] * 4
    assert attempt(more[0]) == "token"
    google.fail_next(3)

    assert attempt_each(more[1:]) == ["no_answer"] * 3
    assert attempt(more[0]) == "token"
    assert not CircuitBreaker.objects.exclude(opened_at=None).exists()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 403, "body": "<html>Rate limit", "content_type": "text/html"},
        {"status": 400, "body": {"error": "slow_down"}},
        {"status": 400, "body": {"error": "access_denied"}},
        {"status": 401, "body": {"error": "invalid_client"}},
        {"status": 400, "body": {"error": "invalid_grant"}},
    ],
)
def test_what_is_one_accounts_own_is_no_outage(
    google: FakeGoogle, accounts: list[GoogleAccount], fault: dict[str, Any]
) -> None:
    """Throttling and refusals do not open the circuit."""
    google.fail_next(7, **fault)
    for account in accounts[:7]:
        with pytest.raises(GoogleLinkError):
            fresh_access_token(account)

    assert attempt(accounts[7]) == "token"
    assert asked(google) == 8


@pytest.mark.matrix
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 408},
        {"status": 200, "body": "<html>", "content_type": "text/html"},
        {"status": 200, "body": {"token_type": "Bearer"}},
        {"status": 302, "headers": {"Location": "https://example.com/"}},
        {"delay": 0.5},
    ],
)
def test_whatever_makes_no_sense_is_an_outage(
    google: FakeGoogle, accounts: list[GoogleAccount], fault: dict[str, Any], settings: Settings
) -> None:
    """5xx, 408, HTML, incomplete responses, redirects and timeouts open the circuit."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": 0.2}
    google.fail_next(5, **fault)
    for account in accounts[:5]:
        assert attempt(account) != "token"

    assert attempt(accounts[5]) == "provider_unavailable"
    assert asked(google) == 5


def test_token_that_lives_serves_meanwhile(
    google: FakeGoogle, alice: FakeUser, accounts: list[GoogleAccount]
) -> None:
    """A valid token is returned without a request, with the reason for not refreshing it."""
    open_circuit(google, accounts)
    GoogleAccount.objects.filter(pk=accounts[6].pk).update(access_token_expires_at=in_seconds(60))

    token = fresh_access_token(accounts[6])

    assert not token.is_new
    assert "provider_unavailable" in str(token.problem)
    assert asked(google) == 5


# How it closes


@pytest.mark.slow
def test_one_probe_in_half_a_minute_finds_out(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """While the circuit is open, all accounts together get one request every 30 seconds."""
    google.fail_next(100)
    attempt_each(accounts)

    for number in range(1, 4):
        with travel(seconds=31 * number):
            assert sorted(attempt_each(accounts)) == ["no_answer"] + ["provider_unavailable"] * 7

    assert asked(google) == 5 + 3


@pytest.mark.slow
def test_probe_is_one_callers_turn(google: FakeGoogle, accounts: list[GoogleAccount]) -> None:
    """During a probe other callers fail immediately instead of waiting for it."""
    open_circuit(google, accounts)
    outcomes: list[str] = []

    with (
        travel(seconds=31),
        during_refresh(google, lambda: outcomes.extend(attempt_each(accounts[1:]))),
    ):
        assert attempt(accounts[0]) == "token"

    assert outcomes == ["provider_unavailable"] * 7
    assert asked(google) == 6


@pytest.mark.slow
def test_probe_of_another_worker_is_left_to_it(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """A caller fails if another worker has just taken the probe."""
    open_circuit(google, accounts)
    with travel(seconds=31):
        circuit = read_circuit(google.url, using="default")
        assert circuit.retry_at is None
        # Another worker takes the probe now.
        CircuitBreaker.objects.update(retry_at=in_seconds(31 + 15))
        with pytest.raises(TokenEndpointError, match="provider_unavailable"):
            circuit.enter()

        CircuitBreaker.objects.update(retry_at=in_seconds(0))
        read_circuit(google.url, using="default").enter()


@pytest.mark.slow
def test_answer_ends_the_waits_that_began_meanwhile(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """Closing the circuit ends the waiting times of the outage, but no other ones."""
    google.fail_next(status=429)
    assert attempt(accounts[0]) == "no_answer"
    google.error_next("access_denied")
    assert attempt(accounts[1]) == "access_denied"
    google.fail_next(5)
    assert attempt_each(accounts[2:7]) == ["no_answer"] * 5
    GoogleAccount.objects.filter(refresh_problem="unavailable").update(
        refresh_retry_at=in_seconds(3000)
    )

    with travel(seconds=31):
        assert attempt(accounts[7]) == "token"
        GoogleAccount.objects.filter(refresh_problem="throttled").update(
            refresh_retry_at=in_seconds(3000)
        )
        assert attempt_each(accounts[2:7]) == ["token"] * 5
        assert attempt_each(accounts[:2]) == ["backing_off", "access_denied"]

    assert asked(google) == 13


@pytest.mark.slow
def test_account_that_waits_may_be_the_one_to_find_out(
    google: FakeGoogle, alice: FakeUser, accounts: list[GoogleAccount]
) -> None:
    """An account that failed in the outage can probe, however long its waiting time is."""
    open_circuit(google, accounts)
    GoogleAccount.objects.update(refresh_retry_at=in_seconds(3000))

    with travel(seconds=31):
        assert attempt(accounts[0]) == "token"


@pytest.mark.slow
def test_account_that_was_failing_before_finds_out_nothing(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """An account that was failing before the outage is not used as a probe."""
    GoogleAccount.objects.filter(pk=accounts[7].pk).update(
        refresh_failing_since=in_seconds(-3600),
        refresh_retry_at=in_seconds(3000),
        refresh_problem="unavailable",
        refresh_failed_at=in_seconds(-600),
    )
    open_circuit(google, accounts)

    with travel(seconds=31):
        assert attempt(accounts[7]) == "backing_off"
        assert attempt(accounts[6]) == "token"
        assert attempt(accounts[7]) == "token"


@pytest.mark.slow
def test_failure_after_the_outage_is_waited_out(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """A waiting time that begins after the outage is kept."""
    open_circuit(google, accounts)

    with travel(seconds=31):
        assert attempt(accounts[0]) == "token"
        google.fail_next()
        assert attempt_each([accounts[1], accounts[1]]) == ["no_answer", "backing_off"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("fault", "is_closed"),
    [
        ({"status": 429}, True),
        ({"status": 400, "body": {"error": "access_denied"}}, True),
        ({"status": 400, "body": {"error": "invalid_grant"}}, True),
        ({"status": 503}, False),
    ],
)
def test_any_answer_that_makes_sense_says_that_google_is_back(
    google: FakeGoogle, accounts: list[GoogleAccount], fault: dict[str, Any], is_closed: bool
) -> None:
    """A probe that is refused or throttled closes the circuit; a 503 does not."""
    open_circuit(google, accounts)
    google.fail_next(**fault)

    with travel(seconds=31):
        with pytest.raises(GoogleLinkError):
            fresh_access_token(accounts[6])
        assert attempt(accounts[7]) == ("token" if is_closed else "provider_unavailable")


def test_probe_that_is_interrupted_is_the_next_callers(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """If a probe is interrupted, the next caller may probe."""
    open_circuit(google, accounts)

    with travel(seconds=31):
        circuit = read_circuit(google.url, using="default")
        circuit.enter()
        with pytest.raises(KeyboardInterrupt), circuit.watch("account"):
            raise KeyboardInterrupt
        assert attempt(accounts[0]) == "token"


@pytest.mark.slow
def test_account_that_cannot_ask_takes_no_probe(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """An account of a former client id does not use up the probe."""
    open_circuit(google, accounts)
    GoogleAccount.objects.filter(pk=accounts[6].pk).update(client_id="former")

    with travel(seconds=31):
        with pytest.raises(ClientMisconfiguredError):
            fresh_access_token(accounts[6])
        assert attempt(accounts[7]) == "token"


def test_interruption_of_what_is_no_probe_changes_nothing(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """An interrupted request that is not a probe writes nothing."""
    circuit = read_circuit(google.url, using="default")
    circuit.enter()
    with pytest.raises(KeyboardInterrupt), circuit.watch("account"):
        raise KeyboardInterrupt

    assert not CircuitBreaker.objects.exists()


@pytest.mark.slow
def test_late_success_closes_it(google: FakeGoogle, accounts: list[GoogleAccount]) -> None:
    """A success of a request sent before the failures closes the circuit."""
    google.fail_next()
    assert attempt(accounts[0]) == "no_answer"
    circuit = read_circuit(google.url, using="default")
    google.fail_next(4)
    assert attempt_each(accounts[1:5]) == ["no_answer"] * 4

    with circuit.watch("account"):
        pass

    assert attempt(accounts[5]) == "token"


@pytest.mark.slow
def test_operator_who_checks_is_no_exception(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """``check_grant()`` respects the open circuit, and releases its lease."""
    open_circuit(google, accounts)

    with pytest.raises(TokenEndpointError, match="provider_unavailable"):
        check_grant(accounts[6])

    assert not GoogleAccount.objects.exclude(refresh_lease=None).exists()
    with travel(seconds=31):
        check_grant(accounts[6])


# Failures of one process


@pytest.mark.slow
def test_worker_that_cannot_connect_may_be_alone_with_it(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """Connection errors open the circuit of their own process only."""
    google.stop()
    outcomes = attempt_each(accounts)
    google.start()

    assert outcomes == ["unreachable"] * 5 + ["provider_unavailable"] * 3
    assert process_breaker.is_open(google.url)
    assert CircuitBreaker.objects.get().opened_at is None
    assert GoogleAccount.objects.filter(refresh_problem="unreachable").count() == 5
    process_breaker.forget_failures()  # Another worker.
    assert attempt(accounts[7]) == "token"


@pytest.mark.slow
def test_second_worker_that_cannot_connect_makes_it_everybodys(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """If a second process cannot connect either, the circuit opens for all workers."""
    google.stop()
    attempt_each(accounts)
    CircuitBreaker.objects.update(worker="another:1")
    process_breaker.forget_failures()
    GoogleAccount.objects.update(refresh_retry_at=None)
    attempt_each(accounts)
    google.start()

    assert CircuitBreaker.objects.get().opened_at is not None
    process_breaker.forget_failures()
    assert attempt(accounts[7]) == "provider_unavailable"
    with travel(seconds=31):
        assert attempt(accounts[7]) == "token"
        assert attempt(accounts[0]) == "token"


@pytest.mark.matrix
@pytest.mark.parametrize("worker", ["", "another:1"])
def test_worker_that_cannot_connect_leaves_the_probe_to_another(
    google: FakeGoogle, accounts: list[GoogleAccount], worker: str
) -> None:
    """If a probe cannot connect, another process may probe now, unless it failed as well."""
    open_circuit(google, accounts)
    CircuitBreaker.objects.update(worker=worker)

    with travel(seconds=31):
        google.stop()
        assert attempt(accounts[6]) == "unreachable"
        google.start()
        process_breaker.forget_failures()
        assert attempt(accounts[7]) == ("provider_unavailable" if worker else "token")


@pytest.mark.slow
def test_worker_that_can_connect_again_tells_the_others(
    google: FakeGoogle, accounts: list[GoogleAccount], caplog: pytest.LogCaptureFixture
) -> None:
    """When a process can connect again, the waiting times of connection errors end."""
    google.stop()
    attempt_each(accounts)
    google.start()
    assert caplog.text.count("is unavailable to this process: one request in 30 s") == 1
    GoogleAccount.objects.filter(refresh_problem="unreachable").update(
        refresh_retry_at=in_seconds(3000)
    )
    assert attempt(accounts[7]) == "provider_unavailable"

    with travel(seconds=31):
        assert attempt_each(accounts) == ["token"] * 8
    assert caplog.text.count("is available to this process again.") == 1


@pytest.mark.slow
def test_worker_asks_once_as_well(google: FakeGoogle, accounts: list[GoogleAccount]) -> None:
    """The threads of a process that cannot connect share one probe."""
    google.stop()
    attempt_each(accounts)

    with travel(seconds=31):
        circuits = [read_circuit(google.url, using="default") for _ in range(2)]
        circuits[0].enter()
        with pytest.raises(TokenEndpointError, match="provider_unavailable"):
            circuits[1].enter()
        assert attempt(accounts[7]) == "provider_unavailable"


def test_slowest_answer_is_remembered_for_ten_minutes() -> None:
    """Unless the issuer remains slow: then what it takes lately counts."""
    issuer = "https://slow.example"
    with travel(minutes=0):
        process_breaker.record_slow_answer(issuer, 3)
        process_breaker.record_slow_answer(issuer, 2)
        assert process_breaker.find_slow_answer(issuer) == 3
    with travel(minutes=9):
        assert process_breaker.find_slow_answer(issuer) == 3
        process_breaker.record_slow_answer(issuer, 2)
    with travel(minutes=18):
        assert process_breaker.find_slow_answer(issuer) == 2
    with travel(minutes=20):
        assert process_breaker.find_slow_answer(issuer) == 0
    assert process_breaker.find_slow_answer(issuer) == 0  # The clock was set back.


def test_probe_of_a_process_is_one_threads_turn(google: FakeGoogle) -> None:
    """One caller in a process has the probe, until it gives it back."""
    assert process_breaker.take_probe(google.url)
    assert not process_breaker.take_probe(google.url)
    process_breaker.give_probe_back(google.url)
    assert process_breaker.take_probe(google.url)


def test_circuit_is_known_by_its_issuer() -> None:
    """``str()`` returns the issuer."""
    assert str(CircuitBreaker(issuer="https://issuer.example")) == "https://issuer.example"


def test_transaction_of_the_callers_writes_nothing(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """In a caller's transaction failures are counted in memory: a rollback would undo them."""
    google.fail_next(6)
    with transaction.atomic():
        assert attempt_each(accounts) == ["no_answer"] * 5 + ["provider_unavailable"] * 3
        assert not CircuitBreaker.objects.exists()
        with travel(seconds=31):
            assert attempt_each(accounts[:2]) == ["no_answer", "provider_unavailable"]
        with travel(seconds=62):
            assert attempt_each(accounts[:2]) == ["token"] * 2

    assert asked(google) == 5 + 1 + 2


def test_transaction_of_the_callers_heeds_what_others_know(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """In a caller's transaction the shared state is read, but not written."""
    open_circuit(google, accounts)
    before = CircuitBreaker.objects.values().get()

    with transaction.atomic():
        assert attempt(accounts[6]) == "provider_unavailable"
        with travel(seconds=31):
            google.fail_next()
            assert attempt_each(accounts[6:]) == ["no_answer", "token"]

    assert CircuitBreaker.objects.values().get() == before


def test_database_that_takes_no_notes_keeps_nobody_from_the_answer(
    google: FakeGoogle, accounts: list[GoogleAccount], caplog: pytest.LogCaptureFixture
) -> None:
    """If the shared state cannot be saved, the process counts failures by itself."""
    google.fail_next(6)

    with refusing(DatabaseError("no"), "google_link_circuitbreaker", "INSERT"):
        assert attempt_each(accounts[:6]) == ["no_answer"] * 5 + ["provider_unavailable"]

    assert "could not be saved: DatabaseError" in caplog.text


@pytest.mark.parametrize("error", [OperationalError("disk full"), DatabaseError("read only")])
def test_wait_that_cannot_be_saved_keeps_nobody_from_the_answer(
    google: FakeGoogle,
    accounts: list[GoogleAccount],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """If the waiting time cannot be saved, the caller gets Google's error all the same."""
    google.fail_next()

    with refusing(error, "UPDATE", "refresh_failures"):
        assert attempt(accounts[0]) == "no_answer"

    assert f"could not be saved: {type(error).__name__}" in caplog.text


# Many accounts


def wait_of(**values: Any) -> dict[str, Any]:
    """Return the columns of an account's waiting time."""
    return {
        "refresh_retry_at": in_seconds(3000),
        "refresh_problem": "unavailable",
        "refresh_failing_since": in_seconds(-60),
        "refresh_failed_at": in_seconds(-60),
        **values,
    }


WAITS: list[dict[str, Any]] = [
    {"refresh_retry_at": None, "refresh_problem": "", "refresh_failing_since": None},
    {},
    {"refresh_retry_at": -1},
    {"refresh_problem": "throttled"},
    {"refresh_problem": "refused"},
    {"refresh_problem": "unreachable"},
    {"refresh_failed_at": None},
    {"refresh_failed_at": -3},
    {"refresh_failed_at": 60, "refresh_problem": "throttled"},
    {"refresh_failing_since": -7200},
    {"refresh_failing_since": None},
]


@pytest.mark.matrix
@pytest.mark.parametrize("state", ["unknown", "open", "closed", "another's"])
def test_query_for_many_agrees_with_the_judgement_of_one(
    google: FakeGoogle, alice: FakeUser, shared_database: None, state: str
) -> None:
    """``match_waiting()`` as a query agrees with ``heeds_wait()`` for each account."""
    accounts = link_many(google, alice, len(WAITS))
    for account, values in zip(accounts, WAITS, strict=True):
        times = {
            name: in_seconds(value) if isinstance(value, int) else value
            for name, value in wait_of(**values).items()
        }
        GoogleAccount.objects.filter(pk=account.pk).update(**times)
    issuer = "https://another.example" if state == "another's" else google.url
    if state != "unknown":
        circuit = read_circuit(issuer, using="default")
        for number in range(5):
            with pytest.raises(TokenEndpointError), circuit.watch(str(number)):
                raise RefreshUnavailableError("no_answer", status=503)
    circuits = CircuitBreaker.objects.all()
    if state == "closed":
        circuits.update(opened_at=None, closed_at=in_seconds(-10))
    elif state != "unknown":
        circuits.update(opened_at=in_seconds(-30), retry_at=in_seconds(20))

    circuit = read_circuit(google.url, using="default")
    waiting = GoogleAccount.objects.filter(match_waiting(using="default"))

    rows = GoogleAccount.objects.all()
    waits = {row.pk for row in rows if vars(read_state(rows, row.pk))["retry_at"]}
    assert set(waiting) == {row for row in rows if row.pk in waits and circuit.heeds_wait(row)}


def run_refresh() -> str:
    """Run the command, which must fail, and return what it prints."""
    out = io.StringIO()
    with pytest.raises(CommandError, match="were not refreshed"):
        call_command("google_link_refresh", expiring_within=0, workers=1, stdout=out)
    return out.getvalue()


@pytest.mark.slow
def test_command_in_an_outage_says_so_each_time(
    google: FakeGoogle, alice: FakeUser, shared_database: None
) -> None:
    """google_link_refresh makes five requests for 60 accounts in an outage, later one a run."""
    link_many(google, alice, 60)
    google.fail_next(100)

    assert run_refresh() == "      60 postponed: no usable response from the provider\n"
    assert asked(google) == 5
    assert run_refresh() == "      60 postponed: no usable response from the provider\n"
    assert asked(google) == 5
    with travel(seconds=31):
        assert run_refresh() == "      60 postponed: no usable response from the provider\n"
    assert asked(google) == 6


def test_command_in_an_outage_counts_what_a_living_token_hides(
    google: FakeGoogle, alice: FakeUser, shared_database: None
) -> None:
    """An account that could not be refreshed counts as postponed, though its token is valid."""
    link_many(google, alice, 8)
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(60))
    google.fail_next(100)
    out = io.StringIO()

    with pytest.raises(CommandError):
        call_command("google_link_refresh", expiring_within=15, workers=1, stdout=out)

    assert out.getvalue() == "       8 postponed: no usable response from the provider\n"


@pytest.mark.slow
def test_status_names_the_outage_and_what_fails(
    google: FakeGoogle, accounts: list[GoogleAccount]
) -> None:
    """google_link_status shows an outage and failing accounts; after an hour --check fails."""
    google.error_next("access_denied")
    attempt(accounts[7])
    open_circuit(google, accounts)
    out = io.StringIO()

    call_command("google_link_status", stdout=out)

    assert f"No response from {google.url} since " in out.getvalue()
    assert "Failing refreshes: 6, the oldest since " in out.getvalue()
    assert " (1 refused, 5 unavailable)\n" in out.getvalue()
    with travel(minutes=61), pytest.raises(CommandError, match="has not responded since"):
        call_command("google_link_status", check=True, stdout=out)
