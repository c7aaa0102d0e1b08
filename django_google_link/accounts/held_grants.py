"""Grants that are in the outbox until their response is stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import TypeVar

from django.db.models import QuerySet

from ..models import PendingRevocation
from .database_errors import DATABASE_FAILURES
from .locks import write_unless_locked
from .outbox import read_outbox
from .transactions import is_in_callers_transaction, open_transaction

Result = TypeVar("Result")


class HeldGrant:
    """A grant that is in the outbox while its response is handled.

    Args:
        entry: the outbox entry.
    """

    def __init__(self, entry: PendingRevocation) -> None:
        self.pk = entry.pk
        self.is_stored = False
        self._using = str(entry._state.db)
        self._is_committing = False

    def store(self, work: Callable[[], Result]) -> Result:
        """Do work in a transaction. If it stores the grant, the entry is deleted in the same one.

        Args:
            work: stores the grant, and returns a false value if it did not.
        """
        # The end of the caller's transaction decides, and that is not awaited here.
        is_callers = is_in_callers_transaction(self._using)
        with open_transaction(self._using):
            result = work()
            if result:
                self._read().delete()
                self._is_committing = not is_callers
        self.is_stored = self.is_stored or bool(result and not is_callers)
        return result

    @cached_property
    def may_be_stored(self) -> bool:
        """Whether the grant is stored, or a commit that seemed to fail may have taken effect.

        A connection may be lost before it confirms. The entry tells, once the database responds: it
        is gone if the grant was stored; if not, ``google_link_revoke_pending`` revokes it.
        """
        if self.is_stored or not self._is_committing:
            return self.is_stored
        try:
            # The commit may still be under way, without us: the entry is locked then.
            return not write_unless_locked(self._read(), self._read().exists)
        except DATABASE_FAILURES:
            return True

    def release(self) -> None:
        """Delete the outbox entry of a grant that is settled."""
        self._read().delete()

    def _read(self) -> QuerySet[PendingRevocation]:
        return read_outbox(self._using).filter(pk=self.pk)


def release_in_the_end(held: HeldGrant | None) -> None:
    """Release a grant however its response was handled, unless it may be stored.

    A worker that dies leaves the entry as well. If the database fails here,
    ``google_link_revoke_pending`` finds the entry, and spares a grant that an active link uses.
    """
    with suppress(*DATABASE_FAILURES):
        if held and not held.may_be_stored:
            held.release()
