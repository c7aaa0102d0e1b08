"""Checking grants whose state is uncertain after a security event."""

from __future__ import annotations

import threading
from collections.abc import Generator

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from ..accounts.database import in_chunks
from ..accounts.grant_checks import claim_check, finish_check, list_due_checks
from ..models import GoogleAccount, GrantCheck
from .parallel import in_parallel
from .refresh import RefreshOutcome, check_account

_CHUNK = 500


class CheckOutcome(TextChoices):
    """The outcome of a check."""

    WORKS = "works", _("still valid")
    LOST = "lost", _("lost: their users have to link again")
    GONE = "gone", _("unlinked meanwhile, or handled by another process")
    POSTPONED = "postponed", _("postponed: see the log")


_OUTCOMES = {
    RefreshOutcome.REFRESHED: CheckOutcome.WORKS,
    RefreshOutcome.LOST: CheckOutcome.LOST,
    RefreshOutcome.SHARED: CheckOutcome.GONE,
}


def make_checks(*, workers: int) -> Generator[CheckOutcome, None, None]:
    """Check the grants that are due; yield an outcome for each.

    Any number of processes may do so at the same time. A check that was interrupted is due again a
    minute later.

    Args:
        workers: the number of threads, each with its own database connection.
    """
    due = (check for chunk in in_chunks(list_due_checks(), size=_CHUNK) for check in chunk)
    return in_parallel(_make_check, due, workers=workers, stopped=threading.Event())


def _make_check(check: GrantCheck) -> CheckOutcome:
    if not claim_check(check):
        return CheckOutcome.GONE
    outcome = check_account(GoogleAccount(pk=check.account_id))
    if outcome not in _OUTCOMES:
        return CheckOutcome.POSTPONED
    finish_check(check)
    return _OUTCOMES[outcome]
