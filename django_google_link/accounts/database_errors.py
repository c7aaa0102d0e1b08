"""What a database error means: a lost race, a passing state, a refused character."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, DataError, InterfaceError, InternalError, OperationalError

Form = TypeVar("Form")
Result = TypeVar("Result")

# SQL's own, in PostgreSQL's dress: could not serialize, deadlock, lock not available.
_LOST_RACE_STATES = frozenset({"40001", "40P01", "55P03"})
# MariaDB: the row has changed since the snapshot. Both: lock wait time-out, deadlock. MySQL: the
# transaction was rolled back by its group when it was to be committed.
_MYSQL_LOST_RACES = frozenset({(1020,), (1205,), (1213,), (3101,)})
# mysqlclient has it as an OperationalError.
_MYSQL_INCORRECT_STRING = 1366


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
