"""Sealing what is stored anew, under the newest key, while everybody works on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import closing
from functools import cache
from typing import Any, cast

from django.db import connections, router, transaction
from django.db.models import Q, QuerySet, TextChoices
from django.utils.translation import gettext_lazy as _

from ..accounts.database import in_chunks, lock_free_rows
from ..encryption.format import Binding, sealed_prefix
from ..encryption.keyring import key_ids, make_resealer
from ..exceptions import EncryptionKeyUnavailableError, TokenUndecryptableError
from ..models import GoogleAccount, PendingRevocation, TokenName
from .parallel import in_parallel

logger = logging.getLogger("django_google_link")

_CHUNK = 1000
_COLUMNS: dict[TokenName, str] = {
    "refresh_token": "sealed_refresh_token",
    "access_token": "sealed_access_token",
}


#: Rows, and what their columns are to be.
_Sealed = list[tuple[Any, dict[str, str]]]


class RotationOutcome(TextChoices):
    """What became of a row with a token that the newest key did not seal."""

    ROTATED = "rotated", _("sealed anew")
    CHANGED = "changed", _("changed in the same moment")
    UNREADABLE = "unreadable", _("left: their key is not configured")
    DAMAGED = "damaged", _("left: no key opens them")


def rows_left() -> list[QuerySet[Any]]:
    """Return, for each table, the rows with a token that the newest key did not seal.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    newest = sealed_prefix(key_ids()[0])
    old = Q()
    for column in _COLUMNS.values():
        old |= ~Q(**{column: ""}) & ~Q(**{f"{column}__startswith": newest})
    tables: list[Any] = [GoogleAccount, PendingRevocation]
    return [model.objects.using(router.db_for_write(model)).filter(old) for model in tables]


def reseal(row: GoogleAccount | PendingRevocation) -> RotationOutcome:
    """Seal the tokens of this row anew."""
    [outcome] = _rotate([row])
    return outcome


def rotate(*, workers: int = 4) -> Generator[RotationOutcome, None, None]:
    """Seal the tokens of these rows anew, drop those that have expired, and yield an outcome.

    Each chunk is one short transaction, which touches only what is still as it was read: a refresh
    or a new link in the same moment wins, and is sealed by the newest key anyway. It may be
    stopped at any time and run again, and on several machines at once.

    Args:
        workers: the number of threads, each with a database connection of its own.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    rotating = in_parallel(_rotate, _chunks(), workers=workers, stopped=threading.Event())
    with closing(rotating) as chunks:
        for outcomes in chunks:
            yield from outcomes


def _chunks() -> Iterator[list[Any]]:
    for rows in rows_left():
        yield from in_chunks(rows, size=_CHUNK)


def _rotate(chunk: list[Any]) -> list[RotationOutcome]:
    outcomes, sealed, reseal = [], [], make_resealer()
    for row in chunk:
        try:
            sealed.append((row, _sealed_anew(row, reseal)))
        except (EncryptionKeyUnavailableError, TokenUndecryptableError) as error:
            is_damaged = isinstance(error, TokenUndecryptableError)
            logger.error("The tokens of %r were not sealed anew: %s", row, error)
            outcomes.append(RotationOutcome.DAMAGED if is_damaged else RotationOutcome.UNREADABLE)
    changed = _write(sealed) if sealed else 0
    return [
        *outcomes,
        *[RotationOutcome.ROTATED] * changed,
        *[RotationOutcome.CHANGED] * (len(sealed) - changed),
    ]


def _sealed_anew(row: Any, reseal: Callable[[str, Binding], str]) -> dict[str, str]:
    tokens = {name: getattr(row, column) for name, column in _COLUMNS.items()}
    if isinstance(row, GoogleAccount) and not row.has_unexpired_access_token():
        tokens["access_token"] = ""  # It has expired: nobody needs it any more.
    return {
        _COLUMNS[name]: reseal(sealed, row.binding_of(name)) if sealed else ""
        for name, sealed in tokens.items()
    }


def _write(sealed: _Sealed) -> int:
    """Write what is still as it was read, and return how many rows that were."""
    model = type(sealed[0][0])
    rows = model.objects.using(router.db_for_write(model))
    connection = connections[rows.db]
    with transaction.atomic(using=rows.db), connection.cursor() as cursor:
        # What somebody else has locked is left to them: a rotation never waits with its hands full.
        free = lock_free_rows(rows, [row.pk for row, _ in sealed])
        cursor.executemany(
            _compare_and_swap(cast("Hashable", model), rows.db),
            [
                [
                    *new.values(),
                    row._meta.pk.get_db_prep_value(row.pk, connection),
                    *(getattr(row, column) for column in new),
                ]
                for row, new in sealed
                if row.pk in free
            ],
        )
        return max(0, int(cursor.rowcount))


@cache
def _compare_and_swap(model: Any, using: str) -> str:
    """Return the statement for one row. Django takes longer to write it than it takes to run."""
    quote = connections[using].ops.quote_name
    columns = [quote(column) for column in _COLUMNS.values()]
    values, as_read = (
        separator.join(f"{column} = %s" for column in columns) for separator in (", ", " AND ")
    )
    table, key = quote(model._meta.db_table), quote(model._meta.pk.column)
    return f"UPDATE {table} SET {values} WHERE {key} = %s AND {as_read}"  # noqa: S608
