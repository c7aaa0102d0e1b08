"""One account that many processes use at the same time."""

from __future__ import annotations

import io
import os
import signal
from collections import Counter
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, transaction
from pytest_django import Settings

from django_google_link.models import GoogleAccount, PendingRevocation, Status
from django_google_link.testing import FakeGoogle, FakeUser
from tests.concurrency.workers import Worker, results_of, working
from tests.support.accounts import linked, save, token_of
from tests.support.databases import new_user
from tests.support.tables import links
from tests.support.times import in_seconds, until

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, whose access token has expired."""
    return linked(new_user(), google, alice, access_token_expires_at=in_seconds(-60))


def asked(google: FakeGoogle) -> int:
    """Return the number of token requests."""
    return len(google.requests_to("token"))


def set_key(settings: Settings, **keys: Any) -> None:
    """Change keys of ``GOOGLE_LINK``."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, **keys}


def test_callers_at_expiry_ask_google_once(google: FakeGoogle, account: GoogleAccount) -> None:
    """24 callers in 6 processes, one token request, one token, no error."""
    google.delay = 0.1

    results = results_of(*[Worker("fresh", account, threads=4) for _ in range(6)])

    assert len(results) == 24
    assert {result.error for result in results} == {None}
    assert {result.value for result in results} == {token_of(account, "access_token")}
    assert asked(google) == 1


def test_callers_before_expiry_do_not_wait(
    google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """All but one get the unexpired token, while that one refreshes it."""
    account = linked(new_user(), google, alice, access_token_expires_at=in_seconds(120))
    old = token_of(account, "access_token")
    google.delay = 2

    results = results_of(*[Worker("fresh", account, threads=4) for _ in range(3)])

    assert {result.error for result in results} == {None}
    assert asked(google) == 1
    # A caller that had waited would have the new token too.
    values = Counter(result.value for result in results)
    assert values == {old: 11, token_of(account, "access_token"): 1}


def test_worker_that_is_killed_leaves_its_turn_to_others(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """SIGKILL during the token request: after the lease has expired, one other refreshes."""
    google.delay = 5
    killed = Worker("fresh", account)

    with working(killed):
        until(lambda: asked(google))
        os.kill(killed.process.pid, signal.SIGKILL)
        google.delay = 0
        # Let the lease expire in a second.
        leased = GoogleAccount.objects.exclude(refresh_lease=None)
        assert leased.update(refresh_lease_expires_at=in_seconds(1))
        results = results_of(*[Worker("fresh", account, threads=2) for _ in range(2)])

    assert {result.error for result in results} == {None}
    assert {result.value for result in results} == {token_of(account, "access_token")}
    assert asked(google) == 2


def test_process_that_is_forked_during_a_refresh_gets_tokens(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """The child does not wait for a thread that only its parent has."""
    google.delay = 1

    [result] = results_of(Worker("fresh_in_a_fork", account))

    assert (result.value, result.error) == (token_of(account, "access_token"), None)
    assert asked(google) == 1


def test_processes_that_are_forked_beside_threads_do_not_hang(
    account: GoogleAccount,
) -> None:
    """At the fork, another thread may be using the process's circuit breaker."""
    [result] = results_of(Worker("probe_in_forks", account))

    assert (result.value, result.error) == ("True", None)


def test_worker_that_is_told_to_stop_leaves_its_turn_at_once(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """SIGINT, as in a deployment: the lease is released, so nobody waits for it to expire."""
    google.delay = 1
    stopped = Worker("fresh", account)

    with working(stopped):
        until(lambda: asked(google))
        os.kill(stopped.process.pid, signal.SIGINT)
        assert stopped.results()[0].error == "KeyboardInterrupt: "

    assert GoogleAccount.objects.get().refresh_lease is None


def test_consent_renewed_meanwhile_survives(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """The response for the old grant does not overwrite the new one."""
    google.delay = 2
    worker = Worker("fresh", account)

    with working(worker):
        until(lambda: asked(google))
        save(account.user, alice.sub)
        [result] = worker.results()

    assert result.error is None
    assert result.value == "ya29.new"
    assert token_of(account, "refresh_token") == "1//new"


@pytest.mark.parametrize("gone", ["row", "user"])
def test_account_that_goes_meanwhile_stays_gone(
    google: FakeGoogle, account: GoogleAccount, gone: str
) -> None:
    """NotLinkedError is raised, and the deleted row is not created again."""
    google.delay = 2
    worker = Worker("fresh", account)

    with working(worker):
        until(lambda: asked(google))
        (account if gone == "row" else account.user).delete()
        [result] = worker.results()

    assert result.error
    assert result.error.startswith("NotLinkedError")
    assert not GoogleAccount.objects.exists()
    assert get_user_model().objects.exists() == (gone == "row")


def test_grant_that_is_dead_is_known_once(google: FakeGoogle, account: GoogleAccount) -> None:
    """One token request finds the loss, and all other callers read it from the row."""
    google.error_next("invalid_grant", count=100)
    google.delay = 0.1

    results = results_of(*[Worker("fresh", account, threads=4, times=5) for _ in range(3)])

    assert {str(result.error).partition(":")[0] for result in results} == {"GrantLostError"}
    assert asked(google) == 1
    assert GoogleAccount.objects.get().status == Status.NEEDS_REAUTHORIZATION


def test_outage_is_not_a_storm(google: FakeGoogle, account: GoogleAccount) -> None:
    """While the token endpoint returns 503, 1,000 calls send one request; the link is kept."""
    google.fail_next(status=503, count=1000)
    before = token_of(account, "refresh_token")

    results = results_of(*[Worker("fresh", account, threads=5, times=50) for _ in range(4)])

    assert len(results) == 1000
    errors = {str(result.error).partition(":")[0] for result in results}
    assert errors == {"RefreshUnavailableError"}
    assert asked(google) == 1
    row = GoogleAccount.objects.get()
    assert (row.status, row.refresh_failures) == (Status.ACTIVE, 1)
    assert token_of(account, "refresh_token") == before


def test_client_that_is_refused_changes_no_account(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """With an outdated client secret every call fails, and no link is changed."""
    linked(new_user("dora"), google, alice, access_token_expires_at=in_seconds(-60))
    google.error_next("invalid_client", status=401, count=1000)
    before = links()

    results = results_of(*[Worker("fresh", account, threads=4, times=5) for _ in range(2)])

    errors = {str(result.error).partition(":")[0] for result in results}
    assert errors == {"ClientMisconfiguredError"}
    assert links() == before


def test_api_that_always_says_401_is_not_a_storm(google: FakeGoogle, alice: FakeUser) -> None:
    """One forced refresh per account and minute; every call gets its 401."""
    account = linked(new_user(), google, alice)
    google.fail_next(endpoint="/drive", status=401, count=1000)

    results = results_of(
        *[Worker("get", account, threads=3, times=4, url=f"{google.url}/drive") for _ in range(3)]
    )

    assert len(results) == 36
    assert {(result.value, result.error) for result in results} == {("401", None)}
    assert asked(google) == 1


def test_transaction_that_is_rolled_back_loses_the_token_and_nothing_else(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """The next caller gets another token, which is stored."""
    [result] = results_of(Worker("fresh_then_rolled_back", account))
    assert result.error is None
    assert token_of(account, "access_token") != result.value

    [result] = results_of(Worker("fresh", account))

    assert result.value == token_of(account, "access_token")
    assert asked(google) == 2


def test_worker_that_is_killed_while_it_revokes_loses_nothing(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """SIGKILL before Google has responded: the command repeats the revocation."""
    google.fail_next(endpoint="revoke", delay=5)
    killed = Worker("unlink", account)

    with working(killed):
        until(lambda: google.requests_to("revoke"))
        os.kill(killed.process.pid, signal.SIGKILL)
    assert not GoogleAccount.objects.exists()
    PendingRevocation.objects.update(retry_at=in_seconds(-1))
    call_command("google_link_revoke_pending", stdout=io.StringIO())

    assert google.granted_scopes(alice) is None
    assert not PendingRevocation.objects.exists()


def count_statements_of_unlinking(google: FakeGoogle) -> int:
    """Unlink an account in this process, and return the number of statements."""
    account = linked(new_user("first"), google, google.add_user("first@gmail.com"))
    statements: list[str] = []

    def note(execute: Any, sql: str, *arguments: Any) -> Any:
        statements.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(note):
        GoogleAccount.objects.get(pk=account.pk).unlink()
    return len(statements)


def test_worker_that_is_killed_at_any_step_of_unlinking_loses_nothing(google: FakeGoogle) -> None:
    """SIGKILL before each statement: either the link is kept, or its grant is revoked."""
    # The last worker is never killed, however often it loses a race and retries.
    numbers = [*range(1, count_statements_of_unlinking(google) + 1), 10**6]
    owners = [google.add_user(f"user{n}@gmail.com") for n in numbers]
    accounts = [linked(new_user(f"user{n}"), google, who) for n, who in enumerate(owners, start=1)]
    workers = [Worker("unlink", row, die_at=n) for n, row in zip(numbers, accounts, strict=True)]

    with working(*workers):
        ends = [worker.process.wait(60) for worker in workers]
    PendingRevocation.objects.update(retry_at=in_seconds(-1))
    call_command("google_link_revoke_pending", stdout=io.StringIO())

    linked_still = [GoogleAccount.objects.filter(pk=account.pk).exists() for account in accounts]
    granted_still = [google.granted_scopes(who) is not None for who in owners]
    assert linked_still == granted_still
    assert set(linked_still) == {True, False}
    assert ends == [-signal.SIGKILL] * (len(ends) - 1) + [0]
    assert not PendingRevocation.objects.exists()


def test_commands_on_several_machines_share_the_work(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """Three of them refresh 60 accounts with 60 token requests, and leave none out."""
    for n in range(59):
        linked(account.user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-60))
    google.delay = 0.02

    results = results_of(*[Worker("command", account) for _ in range(3)])

    assert {result.error for result in results} == {None}
    assert asked(google) == 60
    assert not GoogleAccount.objects.filter(access_token_expires_at__lt=in_seconds(0)).exists()


def test_command_that_is_killed_is_run_again(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """After SIGKILL, only the requests that were under way are sent again."""
    for n in range(39):
        linked(account.user, google, alice, sub=str(n), access_token_expires_at=in_seconds(-60))
    google.delay = 0.1
    killed = Worker("command", account)

    with working(killed):
        until(lambda: asked(google) >= 8)
        os.kill(killed.process.pid, signal.SIGKILL)
    # Let the leases of the killed process expire.
    leased = GoogleAccount.objects.filter(refresh_lease_expires_at__gt=in_seconds(0))
    leased.update(refresh_lease_expires_at=in_seconds(-1))
    [result] = results_of(Worker("command", account))

    assert result.error is None
    assert 40 <= asked(google) <= 44 + 4
    assert not GoogleAccount.objects.filter(access_token_expires_at__lt=in_seconds(0)).exists()


if os.environ.get("TEST_DATABASE"):
    ACTIVITY = {
        "postgresql": "SELECT state, xact_start FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        # An autovacuum worker may be there, too.
        " AND backend_type = 'client backend'",
        "mysql": "SELECT IF(command = 'Sleep', 'idle', command), trx_started"
        " FROM information_schema.processlist"
        " LEFT JOIN information_schema.innodb_trx ON trx_mysql_thread_id = id"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    }

    def activity() -> list[tuple[Any, ...]]:
        """Return the state of every other session, and when its transaction began."""
        with connection.cursor() as cursor:
            cursor.execute(ACTIVITY[connection.vendor])
            return list(cursor.fetchall())

    def test_slow_endpoint_holds_no_transaction_open(
        google: FakeGoogle, account: GoogleAccount
    ) -> None:
        """During the token request, the worker's session is idle and the row is not locked."""
        google.delay = 1
        worker = Worker("fresh", account)

        with working(worker):
            until(lambda: asked(google))
            assert activity() == [("idle", None)]
            with transaction.atomic():
                assert GoogleAccount.objects.select_for_update(nowait=True).get() == account
            [result] = worker.results()

        assert result.error is None
        until(lambda: activity() == [])

    @pytest.mark.parametrize("skews", [(-180, 0, 180), (-600, 600, 0)])
    def test_clocks_that_disagree(
        google: FakeGoogle, account: GoogleAccount, skews: tuple[int, ...]
    ) -> None:
        """Workers whose clocks differ by minutes agree on the lease and on the waiting time."""
        google.delay = 0.2

        results = results_of(*[Worker("fresh", account, threads=2, skew=skew) for skew in skews])
        assert {result.error for result in results} == {None}
        assert asked(google) == 1

        GoogleAccount.objects.update(access_token_expires_at=in_seconds(-3600))
        google.fail_next(count=100)
        results = results_of(
            *[Worker("fresh", account, threads=2, times=3, skew=skew) for skew in skews]
        )
        errors = {str(result.error).partition(":")[0] for result in results}
        assert errors == {"RefreshUnavailableError"}
        assert asked(google) == 2

        waits = results_of(*[Worker("seconds_left", account, skew=skew) for skew in skews])
        assert all(5 < float(result.value or 0) <= 36 for result in waits)

    def test_second_connection_keeps_what_a_transaction_loses(
        google: FakeGoogle, account: GoogleAccount, settings: Settings
    ) -> None:
        """The token is stored, and Google asked once, although every transaction rolls back."""
        set_key(settings, REFRESH_USING="apart")

        results = results_of(
            *[
                Worker("fresh_then_rolled_back", account, aliases=["apart"], threads=3)
                for _ in range(3)
            ]
        )

        assert {result.error for result in results} == {None}
        assert {result.value for result in results} == {token_of(account, "access_token")}
        assert asked(google) == 1

    def test_second_connection_keeps_the_news_of_a_dead_grant(
        google: FakeGoogle, account: GoogleAccount, settings: Settings
    ) -> None:
        """The loss of the grant is stored, although the transaction is rolled back."""
        set_key(settings, REFRESH_USING="apart")
        google.error_next("invalid_grant")

        [result] = results_of(Worker("fresh_then_rolled_back", account, aliases=["apart"]))

        assert str(result.error).startswith("GrantLostError")
        assert GoogleAccount.objects.get().status == Status.NEEDS_REAUTHORIZATION

    def test_second_connection_never_waits_for_the_first(
        google: FakeGoogle, account: GoogleAccount, settings: Settings
    ) -> None:
        """A transaction that has locked the row itself gets an error instead of a deadlock."""
        set_key(settings, REFRESH_USING="apart", HTTP_TIMEOUT=1)

        [result] = results_of(Worker("fresh_while_locked", account, aliases=["apart"]))

        assert "RefreshUnavailableError" in str(result.error)
        assert "refresh_under_way" in str(result.error)
        assert asked(google) == 0
