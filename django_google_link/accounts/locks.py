"""Row locks, always acquired in the same order.

**The order of locks.** Each transaction locks what it needs of these, in this order:

1. a security event, for which only receivers of the same event compete;
2. the row of a user who has no account yet whose lock others would wait for;
3. the accounts of one user and client, by primary key (of two users, when a link is reassigned; of
   any users, for a security event);
4. the outbox, by primary key;
5. spent states, by primary key;
6. checks of grants, by primary key.

Code that adds or removes an account, or changes which one is the default, locks 2 or all of 3; code
that writes a single row locks only that. Primary keys are in the order of the database: see
:func:`.database.sort_keys`. Django's cascade deletes a user's accounts by primary key, and then the
user: for a user who has accounts, only their rows are locked. A row needed out of order is locked
only if it is free. Rows are locked and written by primary key alone: MySQL also locks the rows it
scans in another index. A transaction that still loses a race is repeated: see
:func:`.transactions.run_in_transaction`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import connections, router, transaction
from django.db.models import QuerySet

from ..models import GoogleAccount, GoogleAccountQuerySet
from .transactions import open_transaction, run_in_transaction

Result = TypeVar("Result")


def lock_in_one_order(rows: GoogleAccountQuerySet) -> list[GoogleAccount]:
    """Lock all these rows until the transaction ends; return them by primary key.

    A common order prevents deadlocks.
    """
    _begin_with_a_write(rows)
    return _lock_by_key(rows, _list_keys(rows))


def lock_whole_set(rows: GoogleAccountQuerySet) -> list[GoogleAccount]:
    """Lock all these rows like :func:`lock_in_one_order`, also those that are added meanwhile.

    Another worker may add one while this one waits. Locking it after the others could deadlock, so
    their locks are released first, with the savepoint (but not by MySQL).
    """
    _begin_with_a_write(rows)
    while True:
        with suppress(_IncompleteError), transaction.atomic(using=rows.db):
            keys = _list_keys(rows)
            locked = _lock_by_key(rows, keys)
            # Compared with what was listed: a snapshot may list rows that no longer exist.
            if not set(_list_keys(rows)) <= set(keys):
                raise _IncompleteError
            return locked


class _IncompleteError(Exception):
    """A row was added before all others were locked."""


def _begin_with_a_write(rows: GoogleAccountQuerySet) -> None:
    """Lock the database of SQLite, which has no row locks, by a write that matches nothing."""
    if not connections[rows.db].features.has_select_for_update:
        rows.filter(grant_version=0).update(grant_version=0)


def _list_keys(rows: GoogleAccountQuerySet) -> list[Any]:
    return list(rows.values_list("pk", flat=True))


def _lock_by_key(rows: GoogleAccountQuerySet, keys: list[Any]) -> list[GoogleAccount]:
    # By primary key: MySQL locks in the order of the index it uses.
    locked = GoogleAccount.objects.using(rows.db).filter(pk__in=keys).select_for_update()
    return list(locked.order_by("pk"))


def lock_links(rows: GoogleAccountQuerySet, *, user_id: Any) -> list[GoogleAccount]:
    """Lock the accounts of a user, or the user if there are none, so that none can be added.

    A user without accounts is locked before all accounts: another worker may have held that lock,
    and may have added an account that has to be locked in order with the others.

    Args:
        rows: the accounts; some may belong to another user.
        user_id: the primary key of the user, who may have no account yet.

    Returns:
        The accounts, by primary key.
    """
    owned = rows.filter(user_id=user_id)
    if not owned.exists() and _lock_user(user_id, using=rows.db):
        return lock_in_one_order(rows)
    locked = lock_in_one_order(rows)
    if any(row.user_id == user_id for row in locked) or not _lock_user(user_id, using=rows.db):
        return locked
    return lock_in_one_order(rows)  # The last account was removed in between.


def _lock_user(user_id: Any, *, using: str) -> bool:
    """Lock a user's row until the transaction ends; return whether that took a lock.

    It only blocks other first links of the user, and updates or deletion of the user.
    """
    features, model = connections[using].features, get_user_model()
    if not features.has_select_for_update or router.db_for_write(model) != using:
        return False
    users = model._base_manager.using(using).filter(pk=user_id)
    users = users.select_for_update(no_key=features.has_select_for_no_key_update)
    return bool(users.values_list("pk", flat=True))


def delete_in_one_order(rows: QuerySet[Any], keys: Iterable[Any]) -> int:
    """Delete these rows after locking them by primary key; return their number.

    Args:
        rows: of any model.
        keys: the primary keys.
    """
    doomed = rows.filter(pk__in=list(keys))

    def delete() -> int:
        if connections[rows.db].features.has_select_for_update:
            list(doomed.select_for_update().order_by("pk").values_list("pk"))
        return doomed.delete()[0]

    return run_in_transaction(delete, using=rows.db)


def lock_free_rows(rows: QuerySet[Any], keys: Iterable[Any]) -> set[Any]:
    """Lock those of the rows that no other transaction has locked; return their primary keys.

    Databases that cannot skip locked rows wait for them.

    Args:
        rows: of any model.
        keys: the primary keys of the wanted rows.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update:
        # SQLite has no row locks, and reading first could prevent the write that follows.
        return set(keys)
    free = rows.filter(pk__in=keys).select_for_update(
        skip_locked=features.has_select_for_update_skip_locked,
        # As an update of non-key columns does, it allows foreign keys to refer to the row.
        no_key=features.has_select_for_no_key_update,
    )
    return set(free.order_by("pk").values_list("pk", flat=True))


def is_locked(rows: QuerySet[Any], key: Any) -> bool:
    """Return whether another transaction has locked this row, so that an update would wait for it.

    That transaction might be our caller's, on another connection, and would then wait for us. On
    databases that cannot skip locked rows this cannot be told, and the result is false.
    """
    features = connections[rows.db].features
    return features.has_select_for_update_skip_locked and not lock_free_rows(rows, [key])


def write_unless_locked(rows: QuerySet[Any], write: Callable[[], Result]) -> Result:
    """Write to rows in a transaction, without waiting for another transaction's lock.

    Databases without ``NOWAIT`` do wait.

    Args:
        rows: the rows to write to.
        write: writes to them.

    Raises:
        DatabaseError: if another transaction has locked one of them.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update_nowait:
        return write()
    with open_transaction(rows.db):
        list(rows.select_for_update(nowait=True).values_list("pk"))
        return write()
