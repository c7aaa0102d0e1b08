"""Resealing stored tokens with the newest key, while the site is running."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Generator, Hashable, Iterator
from contextlib import closing
from functools import cache
from typing import Any, cast

from django.db import connections, router
from django.db.models import Q, QuerySet, TextChoices
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from ..accounts import history
from ..accounts.database import in_chunks
from ..accounts.locks import lock_free_rows
from ..accounts.transactions import run_in_transaction
from ..encryption.format import sealed_prefix
from ..encryption.keyring import Resealer, key_ids
from ..exceptions import EncryptionKeyUnavailableError, TokenUndecryptableError
from ..models import (
    REFRESH_TOKEN_FIELDS,
    GoogleAccount,
    HistoryEvent,
    PendingRevocation,
    TokenName,
)
from .parallel import in_parallel

logger = logging.getLogger("django_google_link")

_CHUNK = 1000
_COLUMNS: dict[TokenName, str] = {
    "refresh_token": "sealed_refresh_token",
    "access_token": "sealed_access_token",
}
#: The fields of an account that a rotation reads. Reading the others would double its time.
_READ = (
    "user",
    "issuer",
    "client_id",
    "sub",
    *REFRESH_TOKEN_FIELDS,
    "sealed_access_token",
    "access_token_expires_at",
)

#: Rows with the new values of their columns.
_Resealed = list[tuple[Any, dict[str, str]]]


class RotationOutcome(TextChoices):
    """The outcome for a row with a token that was not sealed with the newest key."""

    ROTATED = "rotated", _("re-encrypted")
    CHANGED = "changed", _("changed by another process meanwhile")
    UNREADABLE = "unreadable", _("left unchanged: their key is not configured")
    DAMAGED = "damaged", _("left unchanged: no key can decrypt them")


def rows_left() -> list[QuerySet[Any]]:
    """Return, for each table, the rows with tokens not sealed with the newest key.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    newest = sealed_prefix(key_ids()[0])
    old = Q()
    for column in _COLUMNS.values():
        old |= ~Q(**{column: ""}) & ~Q(**{f"{column}__startswith": newest})
    tables: list[Any] = [GoogleAccount, PendingRevocation]
    return [model.objects.using(router.db_for_write(model)).filter(old) for model in tables]


def estimate_rows_left() -> int:
    """Return the approximate number of rows left, from an index, for a progress bar.

    There is no index on access tokens, because each refresh would have to update it. Most of them
    were sealed together with the refresh token, or have been replaced since.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    newest = sealed_prefix(key_ids()[0]).rstrip(".")
    accounts = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    between = Q(sealed_by__gt="", sealed_by__lt=newest) | Q(sealed_by__gt=newest)
    return accounts.filter(between).count()


def reseal_row(row: GoogleAccount | PendingRevocation) -> RotationOutcome:
    """Reseal the tokens of this row with the newest key."""
    [outcome] = _reseal_chunk([row])
    return outcome


def rotate(*, workers: int = 4) -> Generator[RotationOutcome, None, None]:
    """Reseal all tokens with the newest key and delete expired ones; yield an outcome for each row.

    Each chunk is one short transaction, which writes only rows that have not changed since they
    were read: a concurrent refresh or link takes precedence, and uses the newest key anyway. The
    rotation can be interrupted and repeated, and may run on several machines at once.

    Args:
        workers: the number of threads, each with its own database connection.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    rotating = in_parallel(
        _reseal_chunk, _read_chunks(), workers=workers, stopped=threading.Event()
    )
    with closing(rotating) as chunks:
        for outcomes in chunks:
            yield from outcomes


def _read_chunks() -> Iterator[list[Any]]:
    accounts, revocations = rows_left()
    yield from in_chunks(accounts.only(*_READ), size=_CHUNK)
    yield from in_chunks(revocations, size=_CHUNK)


def _reseal_chunk(chunk: list[Any]) -> list[RotationOutcome]:
    outcomes, resealed, resealer = [], [], Resealer()
    for row in chunk:
        try:
            resealed.append((row, _reseal_tokens(row, resealer)))
        except (EncryptionKeyUnavailableError, TokenUndecryptableError) as error:
            is_damaged = isinstance(error, TokenUndecryptableError)
            logger.error("The tokens of %r were not re-encrypted: %s", row, error)
            outcomes.append(RotationOutcome.DAMAGED if is_damaged else RotationOutcome.UNREADABLE)
    written = _write_unchanged(resealed) if resealed else 0
    return [
        *outcomes,
        *[RotationOutcome.ROTATED] * written,
        *[RotationOutcome.CHANGED] * (len(resealed) - written),
    ]


@sensitive_variables()
def _reseal_tokens(row: Any, resealer: Resealer) -> dict[str, str]:
    """Return the new values of a row's columns."""
    is_account = isinstance(row, GoogleAccount)
    columns = {column: getattr(row, column) for column in _COLUMNS.values()}
    if is_account:
        columns |= {column: getattr(row, column) for column in REFRESH_TOKEN_FIELDS}
        if not row.has_unexpired_access_token():
            columns["sealed_access_token"] = ""  # It has expired.
    for name, column in _COLUMNS.items():
        if not columns[column]:
            continue
        columns[column], token = resealer.reseal(columns[column], row.binding_of(name))
        if token and is_account and name == "refresh_token":
            digests = resealer.digest(token)
            columns["refresh_token_prefix_digest"] = digests.prefix
            columns["refresh_token_hash_digest"] = digests.double_hash
    return columns


def _write_unchanged(resealed: _Resealed) -> int:
    """Write the rows that have not changed since they were read; return their number."""
    model = type(resealed[0][0])
    rows = model.objects.using(router.db_for_write(model))
    return run_in_transaction(lambda: _write_rows(rows, resealed), using=rows.db)


def _write_rows(rows: Any, resealed: _Resealed) -> int:
    # Locked rows are skipped: a rotation never waits for a lock while it holds others.
    free = lock_free_rows(rows, [row.pk for row, _ in resealed])
    changes = [(row, new) for row, new in resealed if row.pk in free]
    if not changes:
        return 0
    is_postgresql = connections[rows.db].vendor == "postgresql"
    written = (_update_together if is_postgresql else _update_each)(rows, changes)
    if written:
        _record_rotation(rows.filter(pk__in=written))
    return len(written)


@sensitive_variables()
def _update_together(rows: Any, changes: _Resealed) -> set[Any]:
    """Update the rows whose tokens have not changed, by one statement; return their primary keys.

    The values are passed as JSON, which is written and read faster than arrays.
    """
    sql = _build_joint_update(cast("Hashable", rows.model), rows.db, tuple(changes[0][1]))
    given = [
        {f"new_{column}": value for column, value in new.items()}
        | {f"old_{column}": getattr(row, column) for column in _COLUMNS.values()}
        | {"key": str(row.pk)}
        for row, new in changes
    ]
    with connections[rows.db].cursor() as cursor:
        cursor.execute(sql, [json.dumps(given)])
        return {pk for (pk,) in cursor.fetchall()}


@sensitive_variables()
def _update_each(rows: Any, changes: _Resealed) -> set[Any]:
    """Update the rows whose tokens have not changed; return their primary keys."""
    sql = _build_update(cast("Hashable", rows.model), rows.db, tuple(changes[0][1]))
    with connections[rows.db].cursor() as cursor:
        cursor.executemany(
            sql,
            [
                [
                    *new.values(),
                    row._meta.pk.get_db_prep_value(row.pk, cursor.db),
                    *(getattr(row, column) for column in _COLUMNS.values()),
                ]
                for row, new in changes
            ],
        )
        count = max(0, int(cursor.rowcount))
    keys = {row.pk for row, _ in changes}
    if count == len(keys):
        return keys
    as_sealed = rows.in_bulk(keys)
    return {
        row.pk for row, new in changes if row.pk in as_sealed and _holds(as_sealed[row.pk], new)
    }


def _record_rotation(rows: Any) -> None:
    event, key = HistoryEvent.REENCRYPTED, key_ids()[0]
    if rows.model is GoogleAccount:
        history.record_selected(rows, event, key=key)
    else:
        history.record_all(rows, event, using=rows.db, key=key)


def _holds(row: Any, columns: dict[str, Any]) -> bool:
    return all(getattr(row, name) == columns[name] for name in _COLUMNS.values())


@cache
def _build_update(model: Any, using: str, columns: tuple[str, ...]) -> str:
    """Return the statement that updates one row if its tokens have not changed.

    It is cached, because Django takes longer to compose it than the database to run it. The other
    columns written never change without the tokens.
    """
    quote = connections[using].ops.quote_name
    values = ", ".join(f"{quote(column)} = %s" for column in columns)
    as_read = " AND ".join(f"{quote(column)} = %s" for column in _COLUMNS.values())
    table, key = quote(model._meta.db_table), quote(model._meta.pk.column)
    return f"UPDATE {table} SET {values} WHERE {key} = %s AND {as_read}"  # noqa: S608


@cache
def _build_joint_update(model: Any, using: str, columns: tuple[str, ...]) -> str:
    """Return the statement that updates many rows, on PostgreSQL; its parameter is a JSON array."""
    quote, key = connections[using].ops.quote_name, model._meta.pk.column
    table = quote(model._meta.db_table)
    values = ", ".join(f"{quote(column)} = given.{quote(f'new_{column}')}" for column in columns)
    as_read = " AND ".join(
        f"{table}.{quote(column)} = given.{quote(f'old_{column}')}" for column in _COLUMNS.values()
    )
    names = [f"new_{column}" for column in columns] + [f"old_{name}" for name in _COLUMNS.values()]
    given = ", ".join(f"{quote(name)} text" for name in names)
    return (
        f"UPDATE {table} SET {values} FROM json_to_recordset(%s) AS given (key uuid, {given}) "  # noqa: S608
        f"WHERE {table}.{quote(key)} = given.key AND {as_read} RETURNING {table}.{quote(key)}"
    )
