"""What the databases have in common, and where they differ: clock, row locks, chunks, backoff.

**The order of locks.** Every transaction of ours locks what it needs of these, in this order:

1. a security event, which nobody else wants but who has received the same;
2. the accounts of one user and client by their keys (of two users, where an account is moved; of
   any, where Google speaks of them);
3. that user's own row, where there is no account yet whose lock others would wait for;
4. the outbox, by keys;
5. spent states, by keys;
6. checks of grants, by keys.

Whoever adds an account, takes one away, or says which is the default has all of 2 or else 3;
whoever writes one row alone has that. It is the order of Django's cascade as well, which deletes a
user's accounts by their keys, and then the user. A row that is wanted out of order is taken only
if it is free. Rows are locked and written by their keys alone: MySQL also locks what it passes on
its way through another index. What loses a race all the same is done once more: see
:func:`run_in_transaction`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import uniform
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
    router,
    transaction,
)
from django.db.models import ExpressionWrapper, Model, QuerySet, Value
from django.db.models.functions import Now

from ..conf import clock
from ..conf.settings import conf
from ..models import GoogleAccount, GoogleAccountQuerySet, MomentField

Form = TypeVar("Form")
Result = TypeVar("Result")

#: Seconds: for how long what may pass is tried again.
PATIENCE = 5.0
# Seconds between the attempts.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
#: Who has lost a race against another writer sees what that one wrote at the next attempt.
_MOST_COLLISIONS = 3
# SQL's own, in PostgreSQL's dress: could not serialize, deadlock, lock not available.
_LOST_RACE_STATES = frozenset({"40001", "40P01", "55P03"})
# MariaDB: the row has changed since the snapshot. Both: lock wait time-out, deadlock. MySQL: the
# transaction was rolled back by its group when it was to be committed.
_MYSQL_LOST_RACES = frozenset({(1020,), (1205,), (1213,), (3101,)})
#: In a transaction of these nothing is seen of what others commit meanwhile.
SNAPSHOT_LEVELS = frozenset({"repeatable read", "serializable"})
# The server is asked, and not Django's option: a database and a role have defaults of their own.
_ISOLATION_QUERIES = {
    "postgresql": "SHOW transaction_isolation",
    # MySQL has the one, older versions of MariaDB the other.
    "mysql": "SHOW VARIABLES WHERE Variable_name IN ('transaction_isolation', 'tx_isolation')",
}
#: So many keys stand in one statement.
_MOST_KEYS = 1000
# mysqlclient has it as an OperationalError.
_MYSQL_INCORRECT_STRING = 1366


def database_now(rows: QuerySet[Any]) -> Any:
    """Return the present by the clock that all workers share, for a query on these rows.

    SQLite is on this machine, and keeps times as text which its own clock writes otherwise.
    """
    if connections[rows.db].vendor == "sqlite":
        return clock.now()
    return _UTCNow() + clock.moved_by() if clock.moved_by() else _UTCNow()


def database_now_expression(rows: QuerySet[Any]) -> Any:
    """Return the present as :func:`database_now` does, to be selected beside the rows."""
    now = database_now(rows)
    kind = Value if isinstance(now, datetime) else ExpressionWrapper
    return kind(now, output_field=MomentField())


class _UTCNow(Now):
    """The present, in UTC on MySQL as well, whose ``CURRENT_TIMESTAMP`` knows summer time."""

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


def lock_in_one_order(rows: GoogleAccountQuerySet) -> list[GoogleAccount]:
    """Lock all these rows until the transaction ends, and return them by their keys.

    Everybody locks in the order of the keys, so that nobody waits in a circle.
    """
    # SQLite has no row locks: there a write has to come first, though it finds nothing.
    if not connections[rows.db].features.has_select_for_update:
        rows.filter(grant_version=0).update(grant_version=0)
    # By their keys: MySQL locks in the order of the index by which it finds them.
    keys = sorted(rows.values_list("pk", flat=True))
    locked = GoogleAccount.objects.using(rows.db).filter(pk__in=keys).select_for_update()
    return list(locked.order_by("pk"))


def lock_links(rows: GoogleAccountQuerySet, *, user_id: Any) -> list[GoogleAccount]:
    """Lock the accounts that are a user's, or else the user, so that none is added meanwhile.

    Args:
        rows: the accounts, which may be another user's too.
        user_id: the primary key of the user who may have none yet.

    Returns:
        The accounts by their keys.
    """
    locked = lock_in_one_order(rows)
    if any(row.user_id == user_id for row in locked) or not _lock_user(user_id, using=rows.db):
        return locked
    return lock_in_one_order(rows)  # Somebody else may have had that lock, and have added one.


def _lock_user(user_id: Any, *, using: str) -> bool:
    """Lock a user's row until the transaction ends; return whether there may be others who do.

    Nobody but another first link waits for it, and who updates or deletes the user.
    """
    features, model = connections[using].features, get_user_model()
    if not features.has_select_for_update or router.db_for_write(model) != using:
        return False
    users = model._base_manager.using(using).filter(pk=user_id)
    users = users.select_for_update(no_key=features.has_select_for_no_key_update)
    return bool(users.values_list("pk", flat=True))


def delete_in_one_order(rows: QuerySet[Any], keys: Iterable[Any]) -> int:
    """Delete these rows, locked by their keys before; return how many there were.

    Args:
        rows: of any kind.
        keys: the primary keys.
    """
    doomed = rows.filter(pk__in=list(keys))

    def delete() -> int:
        if connections[rows.db].features.has_select_for_update:
            list(doomed.select_for_update().order_by("pk").values_list("pk"))
        return doomed.delete()[0]

    return run_in_transaction(delete, using=rows.db)


def insert_selected(model: type[Model], values: Mapping[str, Any], rows: QuerySet[Any]) -> None:
    """Have the database write rows of a table that it makes of the rows of another one.

    To read fifty thousand and to write them again takes twice as long as to delete them.

    Args:
        model: of the table that is written.
        values: an expression on the rows for each column.
        rows: that are read.
    """
    quote = connections[rows.db].ops.quote_name
    select = rows.order_by().values_list(*values.values()).query
    sql, parameters = select.get_compiler(rows.db).as_sql()
    table, columns = quote(model._meta.db_table), ", ".join(map(quote, values))
    with connections[rows.db].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) {sql}", parameters)


def lock_free_rows(rows: QuerySet[Any], keys: Iterable[Any]) -> set[Any]:
    """Lock those of the rows that no other transaction has locked, and return their keys.

    Where the database cannot skip locked rows it waits for them.

    Args:
        rows: of any kind.
        keys: the primary keys of those that are wanted.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update:
        # SQLite has no row locks, and to read first would keep it from writing afterwards.
        return set(keys)
    free = rows.filter(pk__in=keys).select_for_update(
        skip_locked=features.has_select_for_update_skip_locked,
        # As an update that leaves the keys alone, it gets along with those who refer to the row.
        no_key=features.has_select_for_no_key_update,
    )
    return set(free.order_by("pk").values_list("pk", flat=True))


def is_locked(rows: QuerySet[Any], key: Any) -> bool:
    """Return whether another transaction has locked this row: an update would wait for it.

    It might be our own caller's, on another connection, and would then wait for us. Where the
    database cannot skip locked rows it cannot tell either, and the answer is no.
    """
    features = connections[rows.db].features
    return features.has_select_for_update_skip_locked and not lock_free_rows(rows, [key])


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
        may_repeat: tells whether an error is one after which it is done again; :func:`may_pass`,
            if not given.

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


def is_lost_race(error: Exception) -> bool:
    """Return whether the database has undone a transaction, or a statement, in favour of another's.

    A deadlock, a serialization failure, or a lock that was not to be had in time.
    """
    if not isinstance(error, DatabaseError):
        return False
    cause = error.__cause__
    # psycopg 3 has the one, psycopg2 the other.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    is_sqlite_busy = isinstance(error, OperationalError) and "is locked" in str(error)
    return state in _LOST_RACE_STATES or error.args[:1] in _MYSQL_LOST_RACES or is_sqlite_busy


def may_pass(error: Exception) -> bool:
    """Return whether the same may succeed in a moment: it is the database's state that was wrong.

    A row that was there a moment ago, and has gone, counts as that too.
    """
    passing = (OperationalError, InterfaceError, InternalError, ObjectDoesNotExist)
    return isinstance(error, passing) and not is_refused_text(error)


def is_refused_text(error: Exception) -> bool:
    """Return whether the database, or the connection to it, has no way to take a character."""
    if isinstance(error, DataError | UnicodeEncodeError):
        return True
    return error.args[:1] == (_MYSQL_INCORRECT_STRING,)


def store_as_taken(forms: Sequence[Form], store: Callable[[Form], Result]) -> Result:
    """Store a text, or the fullest form of it that the database takes.

    Args:
        forms: the text as it is, and then with fewer and fewer characters.
        store: opens a transaction of its own.

    Raises:
        DatabaseError, UnicodeEncodeError: what came of the last attempt.
    """
    *fuller, simplest = forms
    for form in fuller:
        try:
            return store(form)
        except (DatabaseError, UnicodeEncodeError) as error:
            if not is_refused_text(error):
                raise
    return store(simplest)


def backoff(failures: int, *, first: int, longest: int) -> timedelta:
    """Return how long to wait after so many failures in a row.

    Args:
        failures: before this one.
        first: seconds after the first failure; doubled at each other, give or take a fifth.
        longest: seconds at the most.
    """
    seconds = min(first * 2 ** min(failures, 30), longest)
    return timedelta(seconds=seconds * uniform(0.8, 1.2))  # noqa: S311  no secret


def lease_duration() -> timedelta:
    """Return how long one worker has a row to itself: longer than its request can take."""
    return timedelta(seconds=conf.http_timeout + 5)


def split_keys(keys: list[Any]) -> Iterator[list[Any]]:
    """Yield primary keys, as many at a time as a statement may well have."""
    return (keys[start : start + _MOST_KEYS] for start in range(0, len(keys), _MOST_KEYS))


def in_chunks(rows: QuerySet[Any], *, size: int) -> Iterator[list[Any]]:
    """Yield the rows in the order of their keys, some at a time.

    Each chunk is read when it is asked for, perhaps by another thread, and only once.
    """
    chunk = list(rows.order_by("pk")[:size])
    while chunk:
        yield chunk
        chunk = list(rows.filter(pk__gt=_read_key(chunk)).order_by("pk")[:size])


def _read_key(chunk: Sequence[Any]) -> Any:
    last = chunk[-1]
    return last["pk"] if isinstance(last, dict) else last.pk
