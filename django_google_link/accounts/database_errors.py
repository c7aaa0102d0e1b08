"""Classifying database errors: serialization conflicts, transient failures, rejected characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, DataError, InterfaceError, InternalError, OperationalError

Form = TypeVar("Form")
Result = TypeVar("Result")

#: Errors that the database or its driver may raise while a grant is stored or looked up.
DATABASE_FAILURES = (DatabaseError, InterfaceError, ObjectDoesNotExist, UnicodeEncodeError)

# PostgreSQL's SQLSTATEs: serialization failure, deadlock detected, lock not available.
_LOST_RACE_STATES = frozenset({"40001", "40P01", "55P03"})
# MariaDB: record has changed since the snapshot. Both: lock wait timeout, deadlock. MySQL: rolled
# back by group replication at commit, lock not available.
_MYSQL_LOST_RACES = frozenset({(1020,), (1205,), (1213,), (3101,), (3572,)})
# mysqlclient raises it as an OperationalError.
_MYSQL_INCORRECT_STRING = 1366


def is_lost_race(error: Exception) -> bool:
    """Return whether the database aborted a transaction or statement in favour of a concurrent one.

    That is a deadlock, a serialization failure or a lock timeout.
    """
    if not isinstance(error, DatabaseError):
        return False
    cause = error.__cause__
    # psycopg 3 has sqlstate, psycopg2 has pgcode.
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    is_sqlite_busy = isinstance(error, OperationalError) and "is locked" in str(error)
    return state in _LOST_RACE_STATES or error.args[:1] in _MYSQL_LOST_RACES or is_sqlite_busy


def may_pass(error: Exception) -> bool:
    """Return whether a retry may succeed because the error depends on the database's state.

    A row that has just been deleted counts as well.
    """
    passing = (OperationalError, InterfaceError, InternalError, ObjectDoesNotExist)
    return isinstance(error, passing) and not is_refused_text(error)


def is_refused_text(error: Exception) -> bool:
    """Return whether the database or its connection cannot represent a character."""
    if isinstance(error, DataError | UnicodeEncodeError):
        return True
    return error.args[:1] == (_MYSQL_INCORRECT_STRING,)


def store_as_taken(forms: Sequence[Form], store: Callable[[Form], Result]) -> Result:
    """Store a text, or the most complete form of it that the database accepts.

    Args:
        forms: the text as it is, then with fewer and fewer characters.
        store: stores one form in a transaction of its own.

    Raises:
        DatabaseError, UnicodeEncodeError: from the last attempt.
    """
    *fuller, simplest = forms
    for form in fuller:
        try:
            return store(form)
        except (DatabaseError, UnicodeEncodeError) as error:
            if not is_refused_text(error):
                raise
    return store(simplest)
