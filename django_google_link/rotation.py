"""Sealing what is stored anew, under the newest key, while everybody works on."""

from __future__ import annotations

import logging
from collections.abc import Generator
from functools import reduce
from operator import or_
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Case, Q, QuerySet, TextChoices, TextField, Value, When
from django.utils.translation import gettext_lazy as _

from .crypto import key_ids, sealed_prefix
from .exceptions import EncryptionKeyUnavailableError, TokenUndecryptableError
from .models import GoogleAccount, PendingRevocation, TokenName, sealed_anew

logger = logging.getLogger("django_google_link")

_CHUNK = 200
_COLUMNS: dict[TokenName, str] = {
    "refresh_token": "sealed_refresh_token",
    "access_token": "sealed_access_token",
}


#: Rows, and what their columns are to be.
_Sealed = list[tuple[Any, dict[str, str]]]


class Outcome(TextChoices):
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


def reseal(row: GoogleAccount | PendingRevocation) -> Outcome:
    """Seal the tokens of this row anew, whichever key has sealed them."""
    [outcome] = _rotate([row])
    return outcome


def rotate() -> Generator[Outcome, None, None]:
    """Seal the tokens of these rows anew, and yield an outcome for each.

    Each chunk is one statement, which touches only what is still as it was read: a refresh or a
    new link in the same moment wins, and is sealed by the newest key anyway. It may be stopped at
    any time and run again, and on several machines at once.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    for rows in rows_left():
        chunk = list(rows.order_by("pk")[:_CHUNK])
        while chunk:
            yield from _rotate(chunk)
            chunk = list(rows.filter(pk__gt=chunk[-1].pk).order_by("pk")[:_CHUNK])


def _rotate(chunk: list[Any]) -> Generator[Outcome, None, None]:
    sealed: _Sealed = []
    for row in chunk:
        try:
            new = {column: sealed_anew(row, name) for name, column in _COLUMNS.items()}
        except (EncryptionKeyUnavailableError, TokenUndecryptableError) as error:
            is_damaged = isinstance(error, TokenUndecryptableError)
            logger.error("The tokens of %r were not sealed anew: %s", row, error)
            yield Outcome.DAMAGED if is_damaged else Outcome.UNREADABLE
        else:
            sealed.append((row, new))
    changed = _write(sealed) if sealed else 0
    yield from [Outcome.ROTATED] * changed
    yield from [Outcome.CHANGED] * (len(sealed) - changed)


def _write(sealed: _Sealed) -> int:
    """Write what is still as it was read, in one statement, and return how many rows that were."""
    model = type(sealed[0][0])
    as_read = reduce(
        or_, (Q(pk=row.pk, **{name: getattr(row, name) for name in new}) for row, new in sealed)
    )
    rows = model.objects.using(router.db_for_write(model)).filter(as_read)
    values = {
        column: Case(
            *(When(pk=row.pk, then=Value(new[column])) for row, new in sealed),
            output_field=TextField(),
        )
        for column in _COLUMNS.values()
    }
    with transaction.atomic(using=rows.db):
        return int(rows.filter(pk__in=_lock(rows, sealed)).update(**values))


def _lock(rows: QuerySet[Any], sealed: _Sealed) -> list[Any]:
    """Return the keys of what nobody else has: so a rotation never waits with its hands full."""
    features = connections[rows.db].features
    free = rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
    keys = free.order_by("pk").values_list("pk", flat=True)
    # SQLite has no row locks, and there a reader cannot turn into a writer.
    return list(keys) if features.has_select_for_update else [row.pk for row, _ in sealed]
