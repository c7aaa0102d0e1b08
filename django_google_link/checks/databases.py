"""Checks of how databases isolate transactions: ``manage.py check --database default``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, register
from django.db import DatabaseError, connections, router

from ..accounts.transactions import SNAPSHOT_LEVELS, read_isolation_level
from ..conf.settings import conf
from ..conf.validators import read_or_default
from ..models import GoogleAccount
from .messages import warning

_READ_COMMITTED = 'Set "isolation_level" to read committed in the OPTIONS of the database.'


@register(Tags.database)
def check_isolation(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that a transaction sees the tokens that other workers store."""
    return [message for alias in databases or () for message in _check_database(alias)]


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
