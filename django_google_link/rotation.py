"""Sealing what is stored anew, under the newest key, while everybody works on."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

from django.db.models import Case, F, Q, QuerySet, TextChoices, TextField, Value, When
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
    return [GoogleAccount.objects.filter(old), PendingRevocation.objects.filter(old)]


def reseal(row: GoogleAccount | PendingRevocation) -> Outcome:
    """Seal the tokens of this row anew, whichever key has sealed them."""
    [outcome] = _rotate(type(row), [row])
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
            yield from _rotate(rows.model, chunk)
            chunk = list(rows.filter(pk__gt=chunk[-1].pk).order_by("pk")[:_CHUNK])


def _rotate(model: Any, chunk: list[Any]) -> Generator[Outcome, None, None]:
    same, cases = Q(), {column: [] for column in _COLUMNS.values()}  # type: ignore[var-annotated]
    sealed = 0
    for row in chunk:
        try:
            new = {column: sealed_anew(row, name) for name, column in _COLUMNS.items()}
        except (EncryptionKeyUnavailableError, TokenUndecryptableError) as error:
            is_damaged = isinstance(error, TokenUndecryptableError)
            logger.error("The tokens of %r were not sealed anew: %s", row, error)
            yield Outcome.DAMAGED if is_damaged else Outcome.UNREADABLE
            continue
        as_read = Q(pk=row.pk, **{column: getattr(row, column) for column in new})
        same |= as_read
        sealed += 1
        for column, value in new.items():
            cases[column].append(When(pk=row.pk, then=Value(value)))
    if not sealed:
        return
    changed = model.objects.filter(same).update(
        **{
            column: Case(*whens, default=F(column), output_field=TextField())
            for column, whens in cases.items()
        }
    )
    yield from [Outcome.ROTATED] * changed
    yield from [Outcome.CHANGED] * (sealed - changed)
