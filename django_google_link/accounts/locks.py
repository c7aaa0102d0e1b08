"""Locks on rows, taken by everybody in one order.

**The order of locks.** Every transaction of ours locks what it needs of these, in this order:

1. a security event, which nobody else wants but who has received the same;
2. the accounts of one user and client by their keys (of two users, where an account is moved; of
   any, where Google speaks of them);
3. that user's own row, where there is no account yet whose lock others would wait for;
4. the outbox, by keys;
5. spent states, by keys;
6. checks of grants, by keys.

Whoever adds an account, takes one away, or says which is the default has all of 2 or else 3;
whoever writes one row alone has that. It is the order of Django's cascade as well, which deletes a
user's accounts by their keys, and then the user. A row that is wanted out of order is taken only
if it is free. Rows are locked and written by their keys alone: MySQL also locks what it passes on
its way through another index. What loses a race all the same is done once more: see
:func:`.transactions.run_in_transaction`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import connections, router
from django.db.models import QuerySet

from ..models import GoogleAccount, GoogleAccountQuerySet
from .transactions import open_transaction, run_in_transaction

Result = TypeVar("Result")


def lock_in_one_order(rows: GoogleAccountQuerySet) -> list[GoogleAccount]:
    """Lock all these rows until the transaction ends, and return them by their keys.

    Everybody locks in the order of the keys, so that nobody waits in a circle.
    """
    # SQLite has no row locks: there a write has to come first, though it finds nothing.
    if not connections[rows.db].features.has_select_for_update:
        rows.filter(grant_version=0).update(grant_version=0)
    # By their keys: MySQL locks in the order of the index by which it finds them.
    keys = sorted(rows.values_list("pk", flat=True))
    locked = GoogleAccount.objects.using(rows.db).filter(pk__in=keys).select_for_update()
    return list(locked.order_by("pk"))


def lock_links(rows: GoogleAccountQuerySet, *, user_id: Any) -> list[GoogleAccount]:
    """Lock the accounts that are a user's, or else the user, so that none is added meanwhile.

    Args:
        rows: the accounts, which may be another user's too.
        user_id: the primary key of the user who may have none yet.

    Returns:
        The accounts by their keys.
    """
    locked = lock_in_one_order(rows)
    if any(row.user_id == user_id for row in locked) or not _lock_user(user_id, using=rows.db):
        return locked
    return lock_in_one_order(rows)  # Somebody else may have had that lock, and have added one.


def _lock_user(user_id: Any, *, using: str) -> bool:
    """Lock a user's row until the transaction ends; return whether there may be others who do.

    Nobody but another first link waits for it, and who updates or deletes the user.
    """
    features, model = connections[using].features, get_user_model()
    if not features.has_select_for_update or router.db_for_write(model) != using:
        return False
    users = model._base_manager.using(using).filter(pk=user_id)
    users = users.select_for_update(no_key=features.has_select_for_no_key_update)
    return bool(users.values_list("pk", flat=True))


def delete_in_one_order(rows: QuerySet[Any], keys: Iterable[Any]) -> int:
    """Delete these rows, locked by their keys before; return how many there were.

    Args:
        rows: of any kind.
        keys: the primary keys.
    """
    doomed = rows.filter(pk__in=list(keys))

    def delete() -> int:
        if connections[rows.db].features.has_select_for_update:
            list(doomed.select_for_update().order_by("pk").values_list("pk"))
        return doomed.delete()[0]

    return run_in_transaction(delete, using=rows.db)


def lock_free_rows(rows: QuerySet[Any], keys: Iterable[Any]) -> set[Any]:
    """Lock those of the rows that no other transaction has locked, and return their keys.

    Where the database cannot skip locked rows it waits for them.

    Args:
        rows: of any kind.
        keys: the primary keys of those that are wanted.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update:
        # SQLite has no row locks, and to read first would keep it from writing afterwards.
        return set(keys)
    free = rows.filter(pk__in=keys).select_for_update(
        skip_locked=features.has_select_for_update_skip_locked,
        # As an update that leaves the keys alone, it gets along with those who refer to the row.
        no_key=features.has_select_for_no_key_update,
    )
    return set(free.order_by("pk").values_list("pk", flat=True))


def is_locked(rows: QuerySet[Any], key: Any) -> bool:
    """Return whether another transaction has locked this row: an update would wait for it.

    It might be our own caller's, on another connection, and would then wait for us. Where the
    database cannot skip locked rows it cannot tell either, and the answer is no.
    """
    features = connections[rows.db].features
    return features.has_select_for_update_skip_locked and not lock_free_rows(rows, [key])


def write_unless_locked(rows: QuerySet[Any], write: Callable[[], Result]) -> Result:
    """Write to rows in a transaction of their own, and wait for nobody who has locked one.

    Where the database cannot tell, it waits.

    Args:
        rows: that are written, as far as they are there.
        write: is what writes them.

    Raises:
        DatabaseError: a race that was lost, where one is locked.
    """
    features = connections[rows.db].features
    if not features.has_select_for_update_nowait:
        return write()
    with open_transaction(rows.db):
        list(rows.select_for_update(nowait=True).values_list("pk"))
        return write()
