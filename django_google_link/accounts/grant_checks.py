"""Checks of grants: links whose state at Google is uncertain after a security event.

A check is requested in the transaction that handles the event, and made later by
``google_link_security_events check``, at most once per link and minute.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import router
from django.db.models import Q, QuerySet

from ..models import GoogleAccount, GrantCheck
from .database import database_now, sort_keys
from .locks import delete_in_one_order
from .transactions import run_in_transaction

#: The shortest time between two checks of a link, however many events concern it.
INTERVAL = timedelta(minutes=1)
_CHUNK = 500


def request_checks(keys: Iterable[uuid.UUID], *, using: str) -> None:
    """Request checks of these links, in the open transaction.

    Args:
        keys: the primary keys of the accounts. This transaction has locked them, so that no other
            adds a check.
        using: the database alias.
    """
    rows = GrantCheck.objects.using(using)
    for key in sort_keys(keys, using=using):
        row = rows.filter(pk=key)
        if not row.update(requested_at=database_now(row)):
            rows.create(account_id=key, requested_at=database_now(row))


def list_requested_checks() -> QuerySet[GrantCheck]:
    """Return all checks that have not been made yet."""
    return _query_checks().filter(requested_at__isnull=False)


def list_due_checks() -> QuerySet[GrantCheck]:
    """Return the checks that may be made now."""
    rows = list_requested_checks()
    return rows.filter(Q(asked_at=None) | Q(asked_at__lte=database_now(rows) - INTERVAL))


def claim_check(check: GrantCheck) -> bool:
    """Claim a check for a minute; return whether no other worker has claimed it."""
    rows = list_due_checks().filter(pk=check.pk)
    now = database_now(rows)
    return bool(run_in_transaction(lambda: rows.update(asked_at=now), using=rows.db))


def finish_check(check: GrantCheck) -> None:
    """Mark a check as made, unless it was requested again meanwhile."""
    rows = _query_checks().filter(pk=check.pk, requested_at=check.requested_at)
    run_in_transaction(lambda: rows.update(requested_at=None), using=rows.db)


def delete_old_checks() -> int:
    """Delete a batch of checks made more than an hour ago; return their number."""
    rows = _query_checks()
    old = rows.filter(requested_at=None, asked_at__lt=database_now(rows) - 60 * INTERVAL)
    return delete_in_one_order(rows, run_in_transaction(lambda: _list_keys(old), using=rows.db))


def _list_keys(rows: QuerySet[GrantCheck]) -> list[Any]:
    return list(rows.order_by("pk").values_list("pk", flat=True)[:_CHUNK])


def _query_checks() -> QuerySet[GrantCheck]:
    return GrantCheck.objects.using(router.db_for_write(GoogleAccount))
