"""Locks, retries and isolation levels on each database."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from datetime import timedelta

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)
from django.test.utils import CaptureQueriesContext

from django_google_link.accounts import lease
from django_google_link.accounts.database import backoff, in_chunks, sort_keys
from django_google_link.accounts.database_errors import is_refused_text, may_pass
from django_google_link.accounts.grant_checks import request_checks
from django_google_link.accounts.locks import is_locked, lock_free_rows, lock_in_one_order
from django_google_link.accounts.transactions import (
    open_transaction,
    read_isolation_level,
    run_durably,
    sees_other_commits,
)
from django_google_link.models import GoogleAccount
from django_google_link.testing.accounts import make_google_account
from tests.support.databases import at_once, new_user
from tests.support.isolation import isolated
from tests.support.races import locked_elsewhere
from tests.support.times import skip_pauses

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


def rows_of(count: int) -> list[GoogleAccount]:
    """Create accounts of one user, and return them by primary key."""
    user = new_user()
    for _ in range(count):
        make_google_account(user)
    return list(GoogleAccount.objects.order_by("pk"))


PASSING = [
    OperationalError(1213, "Deadlock found when trying to get lock"),
    OperationalError("database is locked"),
    OperationalError(1290, "The MySQL server is running with the --read-only option"),
    InterfaceError("connection already closed"),
    InternalError("cannot execute UPDATE in a read-only transaction"),
    ObjectDoesNotExist("It was there a moment ago."),
]

LASTING = [
    DataError("value too long"),
    ProgrammingError("no such table"),
    OperationalError(1366, "Incorrect string value"),
    ValueError("No error of the database's."),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A transient error is retried until it works, with pauses of up to half a second."""
    pauses = skip_pauses(monkeypatch)
    failures = [error] * 8

    def work() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert may_pass(error)
    assert run_durably(work, using="default") == "done"
    assert 0 < pauses[0] <= 0.02
    assert max(pauses) <= 0.5
    assert sum(pauses) > 1


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_what_does_not_pass_is_tried_once(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A permanent error is raised after one attempt."""
    pauses = skip_pauses(monkeypatch)
    attempts = []

    def work() -> None:
        attempts.append(1)
        raise error

    assert not may_pass(error)
    with pytest.raises(type(error)) as caught:
        run_durably(work, using="default")

    assert caught.value is error
    assert len(attempts) == 1
    assert not any(pauses)


def test_what_does_not_pass_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a transient error lasts, it is raised after five to six seconds of retries."""
    pauses = skip_pauses(monkeypatch)

    def work() -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with pytest.raises(OperationalError):
        run_durably(work, using="default")

    assert 5 <= sum(pauses) <= 6


def test_what_fails_in_the_callers_transaction_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a caller's transaction nothing is retried, since all of it would have to be."""
    attempts = []

    def work() -> None:
        attempts.append(1)
        raise OperationalError("deadlock detected")

    with pytest.raises(OperationalError), transaction.atomic():
        run_durably(work, using="default")

    assert len(attempts) == 1


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), True),
        (OperationalError(1366, "Incorrect string value"), True),
        (OperationalError(1213, "Deadlock found"), False),
        (DatabaseError(), False),
    ],
    ids=str,
)
def test_refused_text_is_told_from_other_errors(error: Exception, is_refused: bool) -> None:
    """Text that a database refuses is recognized by DataError, or by MySQL's error number."""
    assert is_refused_text(error) is is_refused


def test_rows_are_locked_and_returned_by_their_keys() -> None:
    """Rows are locked and returned by primary key, whatever the order of the query."""
    rows = rows_of(5)

    with transaction.atomic():
        assert lock_in_one_order(GoogleAccount.objects.order_by("-pk")) == rows


def test_free_rows_are_those_that_were_asked_for() -> None:
    """Free rows are among those asked for, and an unlocked row counts as free."""
    first, second, _ = rows_of(3)
    second.delete()

    with transaction.atomic():
        free = lock_free_rows(GoogleAccount.objects.all(), [first.pk, second.pk])
        assert first.pk in free
        # SQLite has one writer at a time: nothing is read beforehand.
        assert free <= {first.pk, second.pk}
        assert not is_locked(GoogleAccount.objects.all(), first.pk)


def test_chunks_hold_all_rows_once() -> None:
    """Chunks contain each row once, by primary key, with ``values()`` as well."""
    rows = rows_of(5)
    every = GoogleAccount.objects.all()

    assert list(in_chunks(every, size=2)) == [rows[:2], rows[2:4], rows[4:]]
    values = list(in_chunks(every.values("pk"), size=3))
    assert values == [[{"pk": row.pk} for row in part] for part in (rows[:3], rows[3:])]
    assert list(in_chunks(every.none(), size=2)) == []


def test_keys_are_sorted_as_the_database_sorts_them() -> None:
    """MariaDB begins with the last group of a UUID."""
    rows = rows_of(12)

    assert sort_keys({row.pk for row in rows}, using="default") == [row.pk for row in rows]


def test_checks_of_grants_are_written_in_that_order() -> None:
    """One by one, as another transaction locks them."""
    keys = [row.pk for row in rows_of(8)]

    with transaction.atomic(), CaptureQueriesContext(connection) as captured:
        request_checks(reversed(keys), using="default")

    added = [query["sql"].replace("-", "") for query in captured if "INSERT" in query["sql"]]
    assert [key for sql in added for key in keys if key.hex in sql] == keys


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 30), (1, 60), (2, 120), (6, 1920), (7, 3600), (10**6, 3600)]
)
def test_backoff_doubles_up_to_its_limit(failures: int, seconds: int) -> None:
    """The delay doubles up to its limit, and varies by a fifth to spread the retries."""
    delays = {backoff(failures, first=30, longest=3600) for _ in range(50)}

    assert all(0.8 * seconds <= delay.total_seconds() <= 1.2 * seconds for delay in delays)
    assert max(delays) - min(delays) > timedelta(seconds=seconds / 10)


def test_what_others_commit_is_seen_outside_of_transactions() -> None:
    """Outside a transaction the commits of others are visible, on every database."""
    assert sees_other_commits("default")


def test_isolation_level_of_a_database_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown database is assumed to show the commits of others in a transaction."""
    with transaction.atomic():
        monkeypatch.setattr(connection, "vendor", "oracle", raising=False)
        level, is_seen = read_isolation_level("default"), sees_other_commits("default")
        monkeypatch.undo()

    assert level == ""
    assert is_seen


if os.environ.get("TEST_DATABASE"):

    @pytest.mark.parametrize(
        ("level", "is_seen"),
        [("READ COMMITTED", True), ("REPEATABLE READ", False), ("SERIALIZABLE", False)],
    )
    def test_what_others_commit_is_seen_by_the_isolation_level(level: str, is_seen: bool) -> None:
        """Only READ COMMITTED transactions see what others commit while they are open."""
        [row] = rows_of(1)

        with isolated(level), transaction.atomic():
            assert sees_other_commits("default") is is_seen
            assert read_isolation_level("default") == level.lower()
            labels = GoogleAccount.objects.values_list("label", flat=True)
            assert list(labels) == [""]
            if connection.vendor == "postgresql":  # MariaDB's SERIALIZABLE locks what is read.
                at_once(lambda: GoogleAccount.objects.filter(pk=row.pk).update(label="new"))
                assert (list(labels.all()) == ["new"]) is is_seen

    def is_free(row: GoogleAccount) -> bool:
        """Return whether another transaction could lock this row immediately."""

        def lock() -> bool:
            try:
                with transaction.atomic():
                    GoogleAccount.objects.select_for_update(nowait=True).get(pk=row.pk)
            except DatabaseError:
                return False
            return True

        return bool(at_once(lock)[0])

    def test_rows_that_are_locked_in_one_order_are_locked_until_the_end() -> None:
        """The rows of the query, and no others, are locked until the commit."""
        first, second, third = rows_of(3)

        with transaction.atomic():
            lock_in_one_order(GoogleAccount.objects.filter(pk__in=[first.pk, second.pk]))
            assert [is_free(row) for row in (first, second, third)] == [False, False, True]

        assert is_free(first)

    def test_rows_that_others_have_locked_are_not_waited_for() -> None:
        """Rows that another transaction has locked are skipped, and the others locked."""
        first, second = rows_of(2)

        with locked_elsewhere(GoogleAccount.objects.filter(pk=first.pk)), transaction.atomic():
            assert lock_free_rows(GoogleAccount.objects.all(), [first.pk, second.pk]) == {second.pk}
            assert is_locked(GoogleAccount.objects.all(), first.pk)
            assert not is_free(second)

    def test_lease_of_a_row_that_somebody_has_locked_is_not_waited_for() -> None:
        """No lease is taken, without waiting, while another transaction locks the row."""
        [row] = rows_of(1)

        with locked_elsewhere(GoogleAccount.objects.filter(pk=row.pk)):
            assert lease.take(GoogleAccount.objects.all(), row) is None

        assert lease.take(GoogleAccount.objects.all(), row)

    def test_deadlock_is_got_over() -> None:
        """Of two transactions in a deadlock, the one that is rolled back is repeated."""
        first, second = rows_of(2)
        is_locked_by_both = threading.Barrier(2, timeout=20)
        attempts: list[str] = []

        def lock(name: str, rows: list[GoogleAccount]) -> str:
            def work() -> str:
                is_first = attempts.count(name) == 0
                attempts.append(name)
                with transaction.atomic():
                    for row in rows:
                        GoogleAccount.objects.filter(pk=row.pk).update(label=name)
                        if is_first and row is rows[0]:
                            is_locked_by_both.wait()
                return name

            return run_durably(work, using="default")

        done = at_once(lambda: lock("a", [first, second]), lambda: lock("b", [second, first]))

        assert done == ["a", "b"]
        assert len(attempts) == 3
        assert len(set(GoogleAccount.objects.values_list("label", flat=True))) == 1

    @pytest.mark.parametrize("is_atomic", [True, False])
    def test_connection_that_was_lost_is_made_anew(is_atomic: bool) -> None:
        """If the server ends the connection, the work is repeated on a new one."""
        [row] = rows_of(1)
        end = {
            "postgresql": "SELECT pg_terminate_backend(%s)",
            "mysql": "KILL CONNECTION %s",
        }[connection.vendor]
        asked = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
        ended: list[int] = []

        def read_id() -> int:
            with connection.cursor() as cursor:
                cursor.execute(asked[connection.vendor])
                return int(cursor.fetchone()[0])

        def kill(number: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute(end, [number])

        def work() -> int:
            with transaction.atomic() if is_atomic else nullcontext():
                GoogleAccount.objects.filter(pk=row.pk).update(label="x")
                if not ended:
                    ended.append(read_id())
                    at_once(lambda: kill(ended[0]))
                return GoogleAccount.objects.filter(pk=row.pk).update(label="y")

        assert run_durably(work, using="default") == 1
        row.refresh_from_db()
        assert row.label == "y"
        assert read_id() != ended[0]

else:

    def test_nothing_that_others_commit_is_seen_in_a_transaction() -> None:
        """In SQLite a transaction does not see what others commit while it is open."""
        with transaction.atomic():
            assert not sees_other_commits("default")


if os.environ.get("TEST_DATABASE") == "postgresql":

    @pytest.mark.django_db(transaction=True)
    def test_transactions_of_ours_go_back_to_read_committed(
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Our own transactions are READ COMMITTED; a caller's keeps the project's level."""
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        level = IsolationLevel.SERIALIZABLE
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", level)
        connection.close()
        try:
            with open_transaction("default"):
                assert read_isolation_level("default") == "read committed"
            with transaction.atomic(), open_transaction("default"):
                assert read_isolation_level("default") == "serializable"
        finally:
            connection.close()
