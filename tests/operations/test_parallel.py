"""Threads that share a piece of work."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from threading import Event, current_thread
from typing import Any

import pytest
from django.db import connection, connections, transaction
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.operations.parallel import in_parallel
from tests.documentation.pages import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


def list_threads(*, workers: int = 3) -> set[str]:
    """Return the names of the working threads, without their numbers."""
    names = in_parallel(
        lambda _: current_thread().name, iter(range(9)), workers=workers, stopped=Event()
    )
    return {name.partition("_")[0] for name in names}


def test_work_is_done_in_the_context_of_the_caller() -> None:
    """A router that depends on context selects the same database in every thread."""
    tenant = ContextVar("tenant", default="default")
    tenant.set("blue")

    seen = in_parallel(lambda _: tenant.get(), iter(range(9)), workers=3, stopped=Event())

    assert list(seen) == ["blue"] * 9


def test_threads_of_their_own_do_the_work() -> None:
    """Threads are used if their connections see the same rows."""
    assert list_threads() == {"google-link"}


def test_one_worker_is_the_caller() -> None:
    """A single worker uses the caller's connection."""
    assert list_threads(workers=1) == {current_thread().name}


def test_work_inside_a_transaction_stays_there() -> None:
    """Other connections would not see the caller's writes."""
    with transaction.atomic():
        assert list_threads() == {current_thread().name}


@pytest.mark.parametrize("table", ["report", "google_link_googleaccount"])
def test_temporary_tables_of_the_connection(table: str) -> None:
    """They matter only under the name of a table of ours, which no other connection would see."""
    if connection.vendor == "mysql" and table != "report":
        pytest.skip("MySQL does not say which tables are temporary")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE {table} (n integer)")
        try:
            threads = list_threads()
        finally:
            cursor.execute(f"DROP TABLE {'temp.' * (connection.vendor == 'sqlite')}{table}")

    assert threads == {"google-link" if table == "report" else current_thread().name}


class ThreadRouter:
    """Selects the database by thread."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """Return the alias, by the thread."""
        return None if current_thread() is MAIN else "elsewhere"

    db_for_read = db_for_write


MAIN = current_thread()


def test_router_that_goes_by_the_thread(settings: Settings) -> None:
    """Other threads would use another database."""
    settings.DATABASE_ROUTERS = [ThreadRouter()]

    assert list_threads() == {current_thread().name}


def test_router_of_the_guide(settings: Settings) -> None:
    """It depends on the context, which threads share."""
    guide = run("howto/tenants", "class TenantRouter")
    settings.DATABASE_ROUTERS = [guide["TenantRouter"]()]

    seen = in_parallel(
        lambda _: (guide["DATABASE"].get(), current_thread() is MAIN),
        iter(range(9)),
        workers=3,
        stopped=Event(),
    )

    assert set(seen) == {("default", False)}


def test_database_that_takes_no_other_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's connection is the only one."""
    connection.ensure_connection()
    monkeypatch.setitem(connections.settings["default"], "NAME", "/nowhere/at/all")

    assert list_threads() == {current_thread().name}


def test_table_that_is_a_view() -> None:
    """A view may depend on the caller's session settings."""
    table = connection.ops.quote_name(GoogleAccount._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO every_account")
        cursor.execute(f"CREATE VIEW {table} AS SELECT * FROM every_account")
    try:
        assert list_threads() == {current_thread().name}
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP VIEW {table}")
            cursor.execute(f"ALTER TABLE every_account RENAME TO {table}")


def test_error_ends_the_work() -> None:
    """Work in progress finishes, and the error is raised to the caller."""

    def fail(number: int) -> int:
        raise ValueError(number)

    begun: list[int] = []

    def begin(number: int) -> int:
        begun.append(number)
        return number

    with pytest.raises(ValueError, match=r"\d"):
        list(in_parallel(fail, map(begin, range(100)), workers=2, stopped=Event()))

    assert len(begun) < 10


def test_nothing_is_begun_once_it_is_stopped() -> None:
    """Neither by threads nor by the caller."""
    stopped = Event()
    stopped.set()

    for workers in (1, 3):
        done = list(in_parallel(str, iter(range(9)), workers=workers, stopped=stopped))
        assert len(done) == 0


def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a limit of the machine the work ends with an error, and does not hang."""
    submit, started = ThreadPoolExecutor.submit, itertools.count()

    def refuse_third(*args: Any) -> Any:
        if next(started) == 3:  # The first looks whether other threads see the same rows.
            raise RuntimeError("can't start new thread")
        return submit(*args)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse_third)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(in_parallel(str, iter(range(9)), workers=4, stopped=Event()))
