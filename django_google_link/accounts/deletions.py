"""Deletion of accounts: their tokens move to the outbox before the rows are deleted.

The number of statements does not grow with the number of accounts. Django deletes users and their
links in several ways, and calls into this module in each of them: see :func:`enqueue_deleted`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Sequence
from functools import partial
from itertools import chain
from typing import Any

from django.db import connections, models, transaction
from django.db.models import CharField, F, Func, UUIDField, Value
from django.db.models.deletion import CASCADE, Collector
from django.db.models.functions import Cast
from django.db.models.signals import post_delete, pre_delete

from .. import signals
from ..conf import clock
from ..models import (
    GoogleAccount,
    GoogleAccountQuerySet,
    HistoryEvent,
    MomentField,
    PendingRevocation,
)
from .database import database_now, insert_selected, sort_keys, split_keys
from .history import list_same_owners, record_selected
from .outbox import enqueue_accounts

logger = logging.getLogger("django_google_link")

#: The most accounts that the log names individually.
_MOST_NAMED = 10
#: The number of accounts from which the database copies the tokens itself.
_MANY = 100
#: Selected from each account while it is locked.
_COLUMNS = ("pk", "user_id", "client", "sub", "email")


def enqueue_deleted(
    sender: type[GoogleAccount], instance: GoogleAccount, origin: Any, using: str, **kwargs: Any
) -> None:
    """Move the tokens of an account that is about to be deleted to the outbox (``pre_delete``).

    Django sends this signal for each row, whatever deletes it. Bulk deletions are skipped here:
    :func:`move_queryset` handles deletion by queryset, and :func:`delete_with_user` handles
    accounts deleted with their user.

    If a single account or its user is deleted, one attempt to revoke follows the commit. After a
    deletion by queryset, which may be large, revoking is left to ``google_link_revoke_pending``.
    """
    if instance.moves_with_user or instance.pk in getattr(origin, "moved", ()):
        return
    _write_first(using)
    known = _lock_all([instance.pk], using=using)
    _move_tokens(known, using=using, attempts_now=isinstance(origin, models.Model))


def move_queryset(rows: GoogleAccountQuerySet) -> Collection[uuid.UUID]:
    """Move the tokens of all these accounts to the outbox; return the accounts' primary keys."""
    _write_first(rows.db)
    known = _lock_all(list(rows.values_list("pk", flat=True)), using=rows.db)
    return frozenset(_move_tokens(known, using=rows.db, attempts_now=False))


def delete_with_user(collector: Collector, field: Any, sub_objs: Any, using: str) -> None:
    """Delete accounts with their users, as ``CASCADE`` does, after moving their tokens.

    When Django calls this nothing has been deleted yet, and perhaps nothing will be: the admin's
    confirmation page collects in the same way. The work is therefore added to the collector's fast
    deletes, which it runs inside its transaction before it deletes the collected rows.
    """
    is_read = _has_to_read_rows(collector)
    if is_read:
        CASCADE(collector, field, sub_objs, using)
        for account in sub_objs:
            account.moves_with_user = True
    attempts_now = isinstance(collector.origin, models.Model)
    going: Any = _Going(sub_objs, attempts_now=attempts_now, is_read=is_read)
    collector.fast_deletes.append(going)


class _Going:
    """Accounts deleted with their users, in the form of a ``Collector``'s fast delete."""

    model = GoogleAccount

    def __init__(self, accounts: Any, *, attempts_now: bool, is_read: bool) -> None:
        self._accounts, self._attempts_now, self._is_read = accounts, attempts_now, is_read

    def _raw_delete(self, using: str) -> int:
        """Move the tokens; return the number of rows deleted here rather than by the collector."""
        _write_first(using)
        if self._is_read:
            known = _lock_all([account.pk for account in self._accounts], using=using)
        else:
            known = _lock_owned(self._accounts)
        found = _move_tokens(known, using=using, attempts_now=self._attempts_now, is_with_user=True)
        if self._is_read:
            return 0
        rows: Any = GoogleAccount.objects.using(using)
        return sum(rows.filter(pk__in=part)._raw_delete(using) for part in split_keys(found))


def _has_to_read_rows(collector: Collector) -> bool:
    """Return whether other code needs the deleted accounts as instances.

    That is a page that lists them, a signal receiver, or a model of the project that refers to
    them.
    """
    if type(collector) is not Collector or getattr(collector, "force_collection", False):
        return True
    meta = GoogleAccount._meta
    if meta.private_fields or any(
        field.auto_created and not field.concrete for field in meta.get_fields(include_hidden=True)
    ):
        return True
    receivers = chain.from_iterable(
        chain(*signal._live_receivers(GoogleAccount)) for signal in (pre_delete, post_delete)
    )
    return any(receiver is not enqueue_deleted for receiver in receivers)


def _move_tokens(
    known: list[Any], *, using: str, attempts_now: bool, is_with_user: bool = False
) -> list[uuid.UUID]:
    """Move the tokens of accounts to the outbox; return the accounts' primary keys.

    Args:
        known: what :func:`_lock` has returned for the accounts.
        using: the database alias, with an open transaction.
        attempts_now: whether one attempt to revoke follows the commit.
        is_with_user: whether the users are deleted as well.
    """
    # Imported late: it loads the HTTP client, and every process imports this module at startup.
    from .revocations import attempt_after_commit

    found = [pk for pk, *_ in known]
    for part in split_keys(known):
        rows = GoogleAccount.objects.using(using).filter(pk__in=[pk for pk, *_ in part])
        record_selected(rows, HistoryEvent.UNLINKED, known=part, with_user=is_with_user)
        # The row to be attempted must have a known primary key.
        copied = _copy_tokens(rows, part, but_first=attempts_now)
        left = [pk for pk, *_ in part if pk not in copied]
        pending = enqueue_accounts(rows.filter(pk__in=left)) if left else []
        if attempts_now and pending:
            attempt_after_commit(pending[0].pk, using=using)
        transaction.on_commit(partial(_announce, part), using=using)
    transaction.on_commit(partial(_log_unlinked, found), using=using)
    return found


def _write_first(using: str) -> None:
    """Begin with a write on databases without row locks, even if it matches nothing.

    SQLite cannot upgrade a read transaction once another connection has written.
    """
    if not connections[using].features.has_select_for_update:
        GoogleAccount.objects.using(using).filter(pk=uuid.UUID(int=0)).update(grant_version=0)


def _lock_owned(rows: GoogleAccountQuerySet) -> list[Any]:
    """Lock the accounts of some users."""
    if connections[rows.db].vendor != "mysql":
        return _lock(rows)
    # MySQL would lock them in the order of the index it uses.
    owners = dict(rows.values_list("pk", "user_id"))
    locked = _lock_all(list(owners), using=rows.db)
    return [known for known in locked if known[1] == owners[known[0]]]


def _lock_all(keys: list[uuid.UUID], *, using: str) -> list[Any]:
    """Lock the accounts with these primary keys, as far as they still exist."""
    rows = GoogleAccount.objects.using(using)
    parts = split_keys(sort_keys(keys, using=using))
    return [known for part in parts for known in _lock(rows.filter(pk__in=part))]


def _lock(rows: GoogleAccountQuerySet) -> list[Any]:
    """Lock rows until the transaction ends, in the usual order: by primary key.

    A refresh in progress then cannot store another token, which would never be revoked.
    """
    owner = Cast("user_id", CharField())
    return list(rows.select_for_update().order_by("pk").values_list(*_COLUMNS, owner))


def _copy_tokens(
    rows: GoogleAccountQuerySet, known: Sequence[Any], *, but_first: bool
) -> Collection[uuid.UUID]:
    """Have the database copy the tokens of many accounts; return the primary keys of those copied.

    The database must be able to generate primary keys, and to format the owner's primary key as
    Django does: it is part of the binding for which a token is sealed.
    """
    if connections[rows.db].vendor != "postgresql" or len(known) < _MANY:
        return ()
    same = list_same_owners(known[1:] if but_first else known)
    if not same:
        return ()
    if len(same) < len(known):
        rows = rows.filter(pk__in=same)
    values: dict[str, Any] = {
        "id": Func(function="gen_random_uuid", output_field=UUIDField()),
        "account_id": F("pk"),
        "owner": Cast("user_id", CharField()),
        **{name: F(name) for name in ("client", "issuer", "client_id", "sub", "refreshed_at")},
        **{name: F(name) for name in ("sealed_refresh_token", "sealed_access_token")},
        "attempts": Value(0),
        "retry_at": database_now(rows),
        "last_error": Value(""),
        "created_at": Value(clock.now(), output_field=MomentField()),
    }
    accounts = rows.exclude(sealed_refresh_token="", sealed_access_token="")
    insert_selected(PendingRevocation, values, accounts)
    return set(same)


def _log_unlinked(keys: list[uuid.UUID]) -> None:
    for pk in keys[:_MOST_NAMED]:
        logger.info("The account %s was unlinked.", pk)
    if more := keys[_MOST_NAMED:]:
        logger.info("%d more accounts were unlinked.", len(more))


def _announce(known: Sequence[Any]) -> None:
    for _, user_id, client, sub, email, _ in known:
        signals.account_unlinked.send_robust(
            GoogleAccount, user_id=user_id, client=client, sub=sub, email=email
        )
