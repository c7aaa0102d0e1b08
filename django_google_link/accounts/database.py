"""What the databases have in common, and where they differ: clock, row locks, chunks, backoff."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from random import uniform
from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
)
from django.db.models import DateTimeField, QuerySet, Value
from django.db.models.functions import Now

from ..conf import clock
from ..conf.settings import conf
from ..models import GoogleAccount, GoogleAccountQuerySet

Form = TypeVar("Form")
Result = TypeVar("Result")

# Seconds: for how long what may pass is tried again, and the pauses between the attempts.
_PATIENCE, _SHORTEST_PAUSE, _LONGEST_PAUSE = 5, 0.02, 0.5
#: Who has lost a race against another writer sees what that one wrote at the next attempt.
_MOST_RACES = 3
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
    return Value(now, output_field=DateTimeField()) if isinstance(now, datetime) else now


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


def run_durably(work: Callable[[], Result], *, using: str, patience: float = _PATIENCE) -> Result:
    """Do what ends with a transaction, and again after what passes: nothing of it was written then.

    A deadlock, a serialization failure, a lock that somebody holds for too long, a connection that
    was lost, a server that is read-only for a moment: it is tried for a few seconds. Inside the
    caller's transaction it is done once, since all of that would have to be done again.

    Args:
        work: opens a transaction of its own.
        using: the alias of the database.
        patience: in seconds, after which no further attempt is made.

    Raises:
        DatabaseError, InterfaceError, ObjectDoesNotExist: what came of the last attempt.
    """
    if connections[using].in_atomic_block:
        return work()
    started, pause, races = time.monotonic(), _SHORTEST_PAUSE, 0
    while True:
        try:
            return work()
        except IntegrityError:
            races += 1
            if races == _MOST_RACES:
                raise
        except (DatabaseError, InterfaceError, ObjectDoesNotExist) as error:
            if not may_pass(error) or time.monotonic() - started > patience:
                raise
        connections[using].close_if_unusable_or_obsolete()
        time.sleep(pause * uniform(0.5, 1))  # noqa: S311  no secret
        pause = min(2 * pause, _LONGEST_PAUSE)


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
