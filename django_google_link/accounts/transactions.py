"""Our transactions, standing alone or within the caller's, at every isolation level."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import uniform
from typing import TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, Error, IntegrityError, InterfaceError, connections, transaction

from .database_errors import is_lost_race, may_pass

Result = TypeVar("Result")

#: Seconds: how long to retry after transient errors.
PATIENCE = 5.0
# Seconds between attempts.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
#: After an integrity error, the next attempt sees what the other transaction wrote.
_MOST_COLLISIONS = 3
#: At these levels a transaction does not see what others commit meanwhile.
SNAPSHOT_LEVELS = frozenset({"repeatable read", "serializable"})
# The server is asked, because databases and roles have defaults besides Django's option.
_ISOLATION_QUERIES = {
    "postgresql": "SHOW transaction_isolation",
    # MySQL has transaction_isolation, older versions of MariaDB tx_isolation.
    "mysql": "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')",
}


def run_durably(
    work: Callable[[], Result],
    *,
    using: str,
    patience: float = PATIENCE,
    may_repeat: Callable[[Exception], bool] | None = None,
) -> Result:
    """Run work that ends with a commit, and retry it after transient errors.

    These are deadlocks, serialization failures, lock timeouts, lost connections, and servers that
    are read-only for a moment. Each rolls the transaction back, so nothing was written. Inside the
    caller's transaction the work runs once, since all of that transaction would have to be
    repeated.

    Args:
        work: opens a transaction of its own.
        using: the database alias.
        patience: seconds after which no further attempt is made, except for a second attempt after
            a lost race.
        may_repeat: returns whether to retry after an error; by default
            :func:`.database_errors.may_pass`.

    Raises:
        DatabaseError, InterfaceError, ObjectDoesNotExist: from the last attempt.
    """
    if is_in_callers_transaction(using):
        return work()
    is_passing = may_repeat or may_pass
    started, pause, attempts, collisions = time.monotonic(), _SHORTEST_PAUSE, 0, 0
    while True:
        attempts += 1
        try:
            return work()
        except IntegrityError:
            collisions += 1
            if collisions == _MOST_COLLISIONS:
                raise
        except (DatabaseError, InterfaceError, ObjectDoesNotExist) as error:
            # Waiting for a lock alone may have exceeded the patience.
            is_second_due = attempts == 1 and is_lost_race(error)
            is_late = time.monotonic() - started > patience and not is_second_due
            if is_late or not is_passing(error):
                raise
        close_if_lost(using)
        time.sleep(pause * uniform(0.5, 1))  # noqa: S311  jitter, not a secret
        pause = min(2 * pause, _LONGEST_PAUSE)


def close_if_lost(using: str) -> None:
    """Close an unusable connection, so that the next query opens a new one.

    A connection that is merely old is kept: it may have a role or search path set.
    """
    connection = connections[using]
    if connection.connection is not None and not connection.is_usable():
        # PyMySQL refuses to close a connection twice.
        with suppress(Error):
            connection.close()


def run_in_transaction(
    work: Callable[[], Result], *, using: str, patience: float = PATIENCE
) -> Result:
    """Run work in a transaction, and repeat it after a lost race.

    Inside the caller's transaction it is part of that, and errors are the caller's to handle.
    Whatever waits for the commit (signals, log lines) is dropped along with a failed attempt.
    Change the caller's objects only after this returns.

    Args:
        work: reads and writes everything that belongs together; calls nothing but the database.
        using: the database alias.
        patience: seconds after which no third attempt is made.

    Raises:
        DatabaseError: from the last attempt.
    """

    def attempt() -> Result:
        with open_transaction(using):
            return work()

    return run_durably(attempt, using=using, patience=patience, may_repeat=is_lost_race)


@contextmanager
def open_transaction(using: str) -> Iterator[None]:
    """Open a transaction for work on more than one row or statement.

    Under SERIALIZABLE, PostgreSQL cancels the longer of two conflicting transactions, repeatedly
    while others write. Our transactions take locks and are correct without that level, so they run
    at READ COMMITTED; inside the caller's transaction, its level is kept.
    """
    is_lowered = _is_above_read_committed(using) and not is_in_callers_transaction(using)
    with transaction.atomic(using=using):
        if is_lowered:
            with connections[using].cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield


def _is_above_read_committed(using: str) -> bool:
    """Return whether the project has configured a higher isolation level than Django's default."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return False
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    level = connection.settings_dict["OPTIONS"].get("isolation_level")
    return level not in {None, IsolationLevel.READ_COMMITTED}


def run_alone(statement: Callable[[], Result], *, using: str) -> Result:
    """Run a single statement, and repeat it after a lost race.

    Under SERIALIZABLE even a read may fail with a serialization error.

    Args:
        statement: executes a query each time it is called.
        using: the database alias.

    Raises:
        DatabaseError: from the last attempt.
    """
    return run_durably(statement, using=using, may_repeat=is_lost_race)


def is_in_callers_transaction(using: str) -> bool:
    """Return whether a transaction is open that is the caller's, and cannot be repeated here."""
    connection = connections[using]
    # Without autocommit, a transaction is open from the first statement on.
    return connection.in_atomic_block or bool(connection.connection and not connection.autocommit)


def sees_other_commits(using: str) -> bool:
    """Return whether this connection sees what others commit from now on.

    Inside a REPEATABLE READ or SERIALIZABLE transaction, or one of SQLite's, it does not, however
    long one waits.
    """
    if not is_in_callers_transaction(using):
        return True
    return read_isolation_level(using) not in SNAPSHOT_LEVELS


def read_isolation_level(using: str) -> str:
    """Return the isolation level of this connection's transactions, in SQL's words.

    It is empty for databases that are not supported.
    """
    connection = connections[using]
    if connection.vendor == "sqlite":
        return "serializable"
    query = _ISOLATION_QUERIES.get(connection.vendor)
    if query is None:
        return ""
    # Django's option takes effect, and is visible, only inside a transaction.
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute(query)
        [*_name, level] = cursor.fetchone()
    return str(level).replace("-", " ").lower()
