"""Checks of how databases isolate transactions: ``manage.py check --database default``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.core.checks import CheckMessage
from django.db import DatabaseError, connections, router
from django.utils.timezone import get_default_timezone

from ..accounts.transactions import SNAPSHOT_LEVELS, read_isolation_level
from ..conf import clock
from ..conf.django import django_conf
from ..conf.settings import conf
from ..conf.validators import read_or_default
from ..models import GoogleAccount
from .messages import warning

_READ_COMMITTED = 'Set "isolation_level" to read committed in the OPTIONS of the database.'


def check_isolation(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that a transaction sees the tokens that other workers store."""
    return [message for alias in databases or () for message in _check_database(alias)]


def check_driver(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that times come from the database with all that they say.

    Without ``USE_TZ`` psycopg2 leaves out which of the two hours of the same name is meant.
    """
    is_well = django_conf.use_tz or all(_tells_hours_apart(alias) for alias in databases or ())
    if is_well or not _puts_clocks_back():
        return []
    return [
        warning(
            "W039",
            "When clocks are put back, an hour comes twice, and without USE_TZ psycopg2 does not "
            "tell the one from the other: access tokens expire an hour too early or too late.",
            hint="Install psycopg 3, or set USE_TZ.",
        )
    ]


def _tells_hours_apart(alias: str) -> bool:
    if connections[alias].vendor != "postgresql":
        return True
    from django.db.backends.postgresql import psycopg_any

    return bool(psycopg_any.is_psycopg3)


def _puts_clocks_back() -> bool:
    zone, year = get_default_timezone(), clock.now().year
    months = (datetime(year, month, 1, tzinfo=zone) for month in range(1, 13))
    return len({month.utcoffset() for month in months}) > 1


def _check_database(alias: str) -> Iterator[CheckMessage]:
    connection = connections[alias]
    vendor, is_atomic = connection.vendor, connection.settings_dict["ATOMIC_REQUESTS"]
    # SQLite has one writer at a time: a second connection would not help.
    if vendor == "sqlite" or router.db_for_write(GoogleAccount) != alias:
        return
    try:
        level = read_isolation_level(alias)
    except DatabaseError:
        return  # Django reports a database that cannot be reached.
    if level == "read uncommitted" and vendor == "mysql":
        yield warning(
            "W015",
            f"The transactions of the database {alias!r} are READ UNCOMMITTED: a token may be used "
            "although its transaction is rolled back.",
            hint=_READ_COMMITTED,
        )
    if not is_atomic or level not in SNAPSHOT_LEVELS:
        return
    if vendor == "mysql" and level == "serializable":
        yield warning(
            "W014",
            f"The transactions of the database {alias!r} are SERIALIZABLE: with ATOMIC_REQUESTS "
            "each view locks the accounts that it reads, and other workers cannot refresh them.",
            hint=_READ_COMMITTED,
        )
    elif not read_or_default(lambda: conf.refresh_using, None):
        yield warning(
            "W014",
            f"The transactions of the database {alias!r} are {level.upper()}: with ATOMIC_REQUESTS "
            "a view does not see a token that another worker fetches meanwhile, and fails.",
            hint="Set REFRESH_USING to a second connection to the same database.",
        )
