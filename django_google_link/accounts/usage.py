"""When a link was last used: to the hour, and written when nobody waits for it.

In a request it is written after the response, else at once, on a connection that is closed again if
it was opened for that; inside of a transaction after its commit. It is never waited for, and what
is lost with a worker or in a broken database is written at the next use.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from threading import Lock, get_ident, local
from typing import Any, NamedTuple

from django.core.signals import request_finished, request_started
from django.db import DatabaseError, InterfaceError, close_old_connections, router, transaction
from django.db.models import Q

from ..conf import clock
from ..models import GoogleAccount
from .locks import lock_free_rows
from .tenants import name_tenant
from .threads import connections_as_before, is_in_event_loop
from .transactions import run_in_transaction

_INTERVAL = timedelta(hours=1)
#: So many links a process remembers to have noted.
MOST_REMEMBERED = 10_000


class _Link(NamedTuple):
    """A link, by the alias of its database, its tenant there, and its primary key."""

    using: str
    tenant: str
    pk: uuid.UUID


_this_thread = local()
_lock = Lock()
_noted: dict[_Link, datetime] = {}
# What waits for the response, and the thread that serves it; 0 for what an event loop has noted,
# whose threads are many.
_pending: set[tuple[int, _Link]] = set()


def note_use(account: GoogleAccount) -> None:
    """Note that a link is used, unless that was noted in the last hour. Asks the database nothing.

    Args:
        account: as it was read, perhaps long ago; its primary key is enough.
    """
    now = clock.now()
    if not _is_due(account.last_used_at, now):
        return
    using, in_event_loop = router.db_for_write(GoogleAccount), is_in_event_loop()
    link = _Link(using, "" if in_event_loop else name_tenant(using), account.pk)
    if not _is_due(_noted.get(link), now):
        return
    is_deferred = in_event_loop or getattr(_this_thread, "is_serving", False)
    with _lock:
        if len(_noted) >= MOST_REMEMBERED:
            _noted.clear()
            _pending.clear()
        _noted[link] = now
        if is_deferred:
            _pending.add((0 if in_event_loop else get_ident(), link))
    if not is_deferred:
        _write_after_commit(link)


def connect_signals() -> None:
    """Write what is pending after each response, while its connection to the database is open."""
    request_started.connect(begin_request)
    request_finished.disconnect(close_old_connections)
    request_finished.connect(finish_request)
    request_finished.connect(close_old_connections)


def forget_uses() -> None:
    """Forget what is noted and not written yet: in tests, the links are those of the last one."""
    with _lock:
        _noted.clear()
        _pending.clear()


def begin_request(**kwargs: Any) -> None:
    """Let what this thread uses from now on wait for the response (``request_started``)."""
    _this_thread.is_serving = True


def finish_request(**kwargs: Any) -> None:
    """Write what is pending (``request_finished``)."""
    _this_thread.is_serving = False
    with _lock:
        # What another thread serves may be another tenant's, whose rows are not seen here.
        due = {one for one in _pending if one[0] in {0, get_ident()}}
        _pending.difference_update(due)
    for _, link in due:
        _write_after_commit(link)


def _is_due(last: datetime | None, now: datetime) -> bool:
    return last is None or abs(now - last) >= _INTERVAL


def _write_after_commit(link: _Link) -> None:
    # Without autocommit Django refuses: nobody would know when that ends.
    with suppress(DatabaseError, InterfaceError), connections_as_before():
        transaction.on_commit(partial(_write, link.using, link.pk), using=link.using)


def _write(using: str, pk: uuid.UUID) -> None:
    rows, now = GoogleAccount.objects.using(using), clock.now()

    def write() -> None:
        # What somebody else has locked is being used anyway: nobody waits for this.
        free = lock_free_rows(rows, [pk])
        is_due = Q(last_used_at=None) | Q(last_used_at__lte=now - _INTERVAL)
        rows.filter(is_due, pk__in=free).update(last_used_at=now)

    with suppress(DatabaseError, InterfaceError):
        run_in_transaction(write, using=using, patience=0)
