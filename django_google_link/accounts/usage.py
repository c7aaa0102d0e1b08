"""When a link was last used: recorded once per hour, without delaying anyone.

During a request it is written after the response, otherwise at once, or after the commit of an open
transaction. A connection opened for it is closed again. Updates lost with a worker or a database
failure are made at the next use.
"""

from __future__ import annotations

import os
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
#: The number of links for which a process remembers that their use was noted.
MOST_REMEMBERED = 10_000


class _Link(NamedTuple):
    """A link, identified by database alias, tenant and primary key."""

    using: str
    tenant: str
    pk: uuid.UUID


class _Process:
    lock = Lock()


def _start_anew() -> None:
    """Replace the lock after a fork: its holder does not exist in the child process."""
    _Process.lock = Lock()


os.register_at_fork(after_in_child=_start_anew)

_this_thread = local()
_noted: dict[_Link, datetime] = {}
# Pending updates, with the thread that serves the request; 0 for those noted in an event loop,
# which uses many threads.
_pending: set[tuple[int, _Link]] = set()


def note_use(account: GoogleAccount) -> None:
    """Note that a link is used, unless that was noted within the last hour; makes no query.

    Args:
        account: the account, read at any time; its primary key is enough.
    """
    now = clock.now()
    if not _is_due(account.last_used_at, now):
        return
    using, in_event_loop = router.db_for_write(GoogleAccount), is_in_event_loop()
    link = _Link(using, "" if in_event_loop else name_tenant(using), account.pk)
    if not _is_due(_noted.get(link), now):
        return
    is_deferred = in_event_loop or getattr(_this_thread, "is_serving", False)
    with _Process.lock:
        if len(_noted) >= MOST_REMEMBERED:
            _noted.clear()
            _pending.clear()
        _noted[link] = now
        if is_deferred:
            _pending.add((0 if in_event_loop else get_ident(), link))
    if not is_deferred:
        _write_after_commit(link)


def connect_signals() -> None:
    """Write pending updates after each response, before its database connection is closed."""
    request_started.connect(begin_request)
    request_finished.disconnect(close_old_connections)
    request_finished.connect(finish_request)
    request_finished.connect(close_old_connections)


def forget_uses() -> None:
    """Discard all noted uses: in tests, they concern links of the previous test."""
    with _Process.lock:
        _noted.clear()
        _pending.clear()


def begin_request(**kwargs: Any) -> None:
    """Defer the updates of this thread until the response is sent (``request_started``)."""
    _this_thread.is_serving = True


def finish_request(**kwargs: Any) -> None:
    """Write pending updates (``request_finished``)."""
    _this_thread.is_serving = False
    with _Process.lock:
        # Another thread may serve another tenant, whose rows are not visible here.
        due = {one for one in _pending if one[0] in {0, get_ident()}}
        _pending.difference_update(due)
    for _, link in due:
        _write_after_commit(link)


def _is_due(last: datetime | None, now: datetime) -> bool:
    return last is None or abs(now - last) >= _INTERVAL


def _write_after_commit(link: _Link) -> None:
    # Without autocommit, on_commit raises an error: the end of the transaction is unknown.
    with suppress(DatabaseError, InterfaceError), connections_as_before():
        transaction.on_commit(partial(_write, link.using, link.pk), using=link.using)


def _write(using: str, pk: uuid.UUID) -> None:
    rows, now = GoogleAccount.objects.using(using), clock.now()

    def write() -> None:
        # A locked row is in use by another transaction: do not wait for it.
        free = lock_free_rows(rows, [pk])
        is_due = Q(last_used_at=None) | Q(last_used_at__lte=now - _INTERVAL)
        rows.filter(is_due, pk__in=free).update(last_used_at=now)

    with suppress(DatabaseError, InterfaceError):
        run_in_transaction(write, using=using, patience=0)
