"""Transactions of ours, alone or as a part of the caller's, under each isolation level."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import uniform
from typing import TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, IntegrityError, InterfaceError, connections, transaction

from .database_errors import is_lost_race, may_pass

Result = TypeVar("Result")

#: Seconds: for how long what may pass is tried again.
PATIENCE = 5.0
# Seconds between the attempts.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
#: Who has lost a race against another writer sees what that one wrote at the next attempt.
_MOST_COLLISIONS = 3
#: In a transaction of these nothing is seen of what others commit meanwhile.
SNAPSHOT_LEVELS = frozenset({"repeatable read", "serializable"})
# The server is asked, and not Django's option: a database and a role have defaults of their own.
_ISOLATION_QUERIES = {
    "postgresql": "SHOW transaction_isolation",
    # MySQL has the one, older versions of MariaDB the other.
    "mysql": "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')",
}


def run_durably(
    work: Callable[[], Result],
    *,
    using: str,
    patience: float = PATIENCE,
    may_repeat: Callable[[Exception], bool] | None = None,
) -> Result:
    """Do what ends with a transaction, and again after what passes: nothing of it was written then.

    A deadlock, a serialization failure, a lock that somebody holds for too long, a connection that
    was lost, a server that is read-only for a moment: it is tried for a few seconds. Inside the
    caller's transaction it is done once, since all of that would have to be done again.

    Args:
        work: opens a transaction of its own.
        using: the alias of the database.
        patience: in seconds, after which no further attempt is made. After a race that was lost
            there is a second one in any case.
        may_repeat: tells whether an error is one after which it is done again; by default
            :func:`.database_errors.may_pass`.

    Raises:
        DatabaseError, InterfaceError, ObjectDoesNotExist: what came of the last attempt.
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
            # It may have waited for a lock for longer than that.
            is_second_due = attempts == 1 and is_lost_race(error)
            is_late = time.monotonic() - started > patience and not is_second_due
            if is_late or not is_passing(error):
                raise
        _close_if_lost(using)
        time.sleep(pause * uniform(0.5, 1))  # noqa: S311  no secret
        pause = min(2 * pause, _LONGEST_PAUSE)


def _close_if_lost(using: str) -> None:
    """Let the next query connect anew, if this connection is of no use any more.

    One that is merely old stays: a role or a search path may have been set on it.
    """
    connection = connections[using]
    if connection.connection is not None and not connection.is_usable():
        connection.close()


def run_in_transaction(
    work: Callable[[], Result], *, using: str, patience: float = PATIENCE
) -> Result:
    """Do this in a transaction, and once more after a race against others that was lost.

    So it is for whatever of ours stands alone; in the caller's transaction it is a part of that,
    and its error the caller's. What waits for the commit (signals, lines in the log) is dropped
    with an attempt that fails. An object of the caller's is changed when this has returned.

    Args:
        work: all that belongs together, from the first reading on; asks nobody but the database.
        using: the alias of the database.
        patience: in seconds, after which no third attempt is made.

    Raises:
        DatabaseError: what came of the last attempt.
    """

    def attempt() -> Result:
        with open_transaction(using):
            return work()

    return run_durably(attempt, using=using, patience=patience, may_repeat=is_lost_race)


@contextmanager
def open_transaction(using: str) -> Iterator[None]:
    """Open a transaction of ours, in which more than one row or statement is concerned.

    Under SERIALIZABLE PostgreSQL cancels the longer of two that have read what the other has
    written, again and again while others write. Ours take locks, and are right without that level;
    the caller's, in which they are a part, keep theirs.
    """
    is_lowered = _is_above_read_committed(using) and not is_in_callers_transaction(using)
    with transaction.atomic(using=using):
        if is_lowered:
            with connections[using].cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield


def _is_above_read_committed(using: str) -> bool:
    """Return whether a project has chosen another isolation level of PostgreSQL's than Django."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return False
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    level = connection.settings_dict["OPTIONS"].get("isolation_level")
    return level not in {None, IsolationLevel.READ_COMMITTED}


def run_alone(statement: Callable[[], Result], *, using: str) -> Result:
    """Run one statement, and once more after a race against others that was lost.

    Under SERIALIZABLE a reading may lose one as well.

    Args:
        statement: a query that is made anew at each call.
        using: the alias of the database.

    Raises:
        DatabaseError: what came of the last attempt.
    """
    return run_durably(statement, using=using, may_repeat=is_lost_race)


def is_in_callers_transaction(using: str) -> bool:
    """Return whether a transaction is open that is not ours to repeat."""
    connection = connections[using]
    # Without autocommit there is one from the first statement on.
    return connection.in_atomic_block or bool(connection.connection and not connection.autocommit)


def sees_other_commits(using: str) -> bool:
    """Return whether what others commit from now on can be seen on this connection.

    Inside a transaction that is REPEATABLE READ or SERIALIZABLE, or SQLite's, all is as it was at
    its beginning, however long one waits.
    """
    if not is_in_callers_transaction(using):
        return True
    return read_isolation_level(using) not in SNAPSHOT_LEVELS


def read_isolation_level(using: str) -> str:
    """Return the isolation level of the transactions on this connection, in SQL's words.

    It is empty where nobody knows how this database tells.
    """
    connection = connections[using]
    if connection.vendor == "sqlite":
        return "serializable"
    query = _ISOLATION_QUERIES.get(connection.vendor)
    if query is None:
        return ""
    # Django's option takes effect where a transaction begins, and is not to be seen before.
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute(query)
        [*_name, level] = cursor.fetchone()
    return str(level).replace("-", " ").lower()
