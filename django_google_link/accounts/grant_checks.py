"""Links about which Google is to be asked: what it has told of them may be of another grant.

They are noted in the transaction in which that was learnt, and asked about after it, by
``google_link_security_events check``: at most once for each link and minute.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import router
from django.db.models import Q, QuerySet

from ..models import GoogleAccount, GrantCheck
from .database import database_now
from .locks import delete_in_one_order
from .transactions import run_in_transaction

#: Google is asked about a link once in this time, however often it is spoken of.
INTERVAL = timedelta(minutes=1)
_CHUNK = 500


def request_checks(keys: Iterable[uuid.UUID], *, using: str) -> None:
    """Note that Google is to be asked about these links, in the transaction that is open.

    Args:
        keys: of the accounts, which this transaction has locked, so that nobody else adds a check.
        using: the alias of the database.
    """
    rows = GrantCheck.objects.using(using)
    for key in sorted(keys):
        row = rows.filter(pk=key)
        if not row.update(requested_at=database_now(row)):
            rows.create(account_id=key, requested_at=database_now(row))


def list_requested_checks() -> QuerySet[GrantCheck]:
    """Return all checks that have not been made."""
    return _query_checks().filter(requested_at__isnull=False)


def list_due_checks() -> QuerySet[GrantCheck]:
    """Return the checks that may be made now."""
    rows = list_requested_checks()
    return rows.filter(Q(asked_at=None) | Q(asked_at__lte=database_now(rows) - INTERVAL))


def claim_check(check: GrantCheck) -> bool:
    """Return whether it is ours to make a check, which nobody else makes for a minute then."""
    rows = list_due_checks().filter(pk=check.pk)
    now = database_now(rows)
    return bool(run_in_transaction(lambda: rows.update(asked_at=now), using=rows.db))


def finish_check(check: GrantCheck) -> None:
    """Note that Google has answered, unless the check was requested again meanwhile."""
    rows = _query_checks().filter(pk=check.pk, requested_at=check.requested_at)
    run_in_transaction(lambda: rows.update(requested_at=None), using=rows.db)


def delete_old_checks() -> int:
    """Forget the checks that were made a while ago, some at a time; return how many there were."""
    rows = _query_checks()
    old = rows.filter(requested_at=None, asked_at__lt=database_now(rows) - 60 * INTERVAL)
    return delete_in_one_order(rows, run_in_transaction(lambda: _list_keys(old), using=rows.db))


def _list_keys(rows: QuerySet[GrantCheck]) -> list[Any]:
    return list(rows.order_by("pk").values_list("pk", flat=True)[:_CHUNK])


def _query_checks() -> QuerySet[GrantCheck]:
    return GrantCheck.objects.using(router.db_for_write(GoogleAccount))
