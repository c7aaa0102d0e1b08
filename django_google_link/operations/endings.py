"""Announcing time-limited grants that are about to expire."""

from __future__ import annotations

from functools import partial

from django.db import router

from ..accounts.database import in_chunks
from ..accounts.news import announce_ending
from ..accounts.transactions import run_in_transaction
from ..conf import clock
from ..models import ENDING_NOTICE, GoogleAccount, GoogleAccountQuerySet, Status

_CHUNK = 500


def list_endings(*, using: str | None = None) -> GoogleAccountQuerySet:
    """Return the active accounts whose grants expire within a week."""
    now = clock.now()
    accounts = GoogleAccount.objects.using(using or router.db_for_write(GoogleAccount))
    return accounts.filter(
        status=Status.ACTIVE,
        refresh_token_expires_at__gt=now,
        refresh_token_expires_at__lte=now + ENDING_NOTICE,
    ).exclude(sealed_refresh_token="")


def announce_endings() -> int:
    """Send ``authorization_ending`` once for each of them; return how many were sent."""
    rows = list_endings().filter(ending_announced_at=None)
    count = 0
    for chunk in in_chunks(rows, size=_CHUNK):
        for account in chunk:
            announce = partial(announce_ending, account, using=rows.db)
            count += run_in_transaction(announce, using=rows.db)
    return count
