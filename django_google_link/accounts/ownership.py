"""The owner of a link and the user's default: unlinking, making default, reassigning."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, router, transaction
from django.db.models import F
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..exceptions import TokenDecryptionError
from ..models import (
    REFRESH_TOKEN_FIELDS,
    GoogleAccount,
    GoogleAccountQuerySet,
    HistoryEvent,
)
from ..signals import send_on_commit
from . import history, lease
from .locks import is_locked, lock_in_one_order, lock_links, lock_whole_set
from .transactions import run_alone, run_in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

logger = logging.getLogger("django_google_link")

_IDENTITY = ("id", "client", "issuer", "sub")


def unlink(account: GoogleAccount) -> None:
    """Delete a link. ``revocations`` has its grant revoked at Google."""
    using = router.db_for_write(GoogleAccount)
    rows = GoogleAccount.objects.using(using).filter(user_id=account.user_id, client=account.client)

    def delete() -> None:
        row = _find_link(account, lock_in_one_order(rows))
        if row:
            row.delete(using=using)
            _promote_only_account(rows)

    run_in_transaction(delete, using=using)


def make_default(account: GoogleAccount) -> None:
    """Make this account the default of its user and client.

    The choice is recorded as the user's: no other account replaces it automatically.
    """
    using = router.db_for_write(GoogleAccount)
    rows = GoogleAccount.objects.using(using).filter(user_id=account.user_id, client=account.client)

    def choose() -> bool:
        locked = lock_whole_set(rows)
        if not _find_link(account, locked):
            return False
        # By primary key: otherwise MySQL locks other rows as well.
        every = GoogleAccount.objects.using(using)
        others = every.filter(pk__in=[row.pk for row in locked])
        others.update(is_default=False, is_chosen_default=False)
        every.filter(pk=account.pk).update(is_default=True, is_chosen_default=True)
        history.record(account, HistoryEvent.MADE_DEFAULT, using=using)
        return True

    if run_in_transaction(choose, using=using):
        account.is_default = account.is_chosen_default = True


@sensitive_variables()
def reassign(account: GoogleAccount, user: AbstractBaseUser) -> None:
    """Move a link to another user, and reseal its tokens for them.

    Args:
        account: the account; the object is updated as well.
        user: the new owner.

    Raises:
        GoogleAccount.DoesNotExist: when the row no longer exists.
        DoesNotExist: of the user model, when the user no longer exists.
        ValueError: when that user has already linked the same Google account.
        TokenDecryptionError: when the refresh token cannot be decrypted; then nothing has changed.
    """
    using = router.db_for_write(GoogleAccount)
    try:
        moved = run_in_transaction(lambda: _move(account, user, using=using), using=using)
    except IntegrityError:
        model = get_user_model()
        users = model._base_manager.using(router.db_for_write(model))
        if run_alone(users.filter(pk=user.pk).exists, using=users.db):
            raise
        raise model.DoesNotExist(f"The user {user.pk} no longer exists.") from None
    for field in account._meta.concrete_fields:
        setattr(account, field.attname, getattr(moved, field.attname))


@sensitive_variables()
def _move(account: GoogleAccount, user: AbstractBaseUser, *, using: str) -> GoogleAccount:
    """Move a link in the open transaction, and return its row."""
    rows = GoogleAccount.objects.using(using).filter(client=account.client)
    both = rows.filter(user_id__in=[account.user_id, user.pk])
    locked = lock_links(both, user_id=user.pk)
    row = next((row for row in locked if row == account), None)
    if row is None:
        raise GoogleAccount.DoesNotExist(f"The account {account.pk} no longer exists.")
    if row.user_id == user.pk:
        return row
    # Listed again: another worker may have added one while this one waited for the locks.
    theirs = list(rows.filter(user_id=user.pk).values_list("sub", flat=True))
    if row.sub in theirs:
        raise ValueError("This user has already linked the same Google account: unlink it first.")
    former, values = row.user_id, _seal_for(row, user)
    rows.filter(pk=row.pk).update(
        **values,
        **lease.AT_REST,
        user_id=user.pk,
        is_default=not theirs,
        is_chosen_default=False,
        # A refresh in progress has sealed its response for the former owner.
        grant_version=F("grant_version") + 1,
    )
    _promote_only_account(rows.filter(user_id=former))
    moved = rows.get(pk=row.pk)
    # Two entries, one in the history of each user, neither of which names the other.
    former_link = GoogleAccount(**{field: getattr(moved, field) for field in _IDENTITY})
    former_link.user_id = former
    history.record(former_link, HistoryEvent.REASSIGNED, using=using, direction="away")
    history.record(moved, HistoryEvent.REASSIGNED, using=using, direction="here")
    _announce_unlinked(moved, user_id=former, using=using)
    send_on_commit(
        signals.account_linked,
        GoogleAccount,
        using=using,
        account=moved,
        created=True,
        request=None,
    )
    transaction.on_commit(
        lambda: logger.info("The account %s was moved to another user.", moved.pk), using=using
    )
    return moved


@sensitive_variables()
def _seal_for(row: GoogleAccount, user: AbstractBaseUser) -> dict[str, str]:
    """Return the token columns, sealed for this user."""
    refresh_token, access_token = row.unseal_token("refresh_token"), None
    with suppress(TokenDecryptionError):  # The next refresh replaces it.
        access_token = row.unseal_token("access_token")
    row.user_id = user.pk
    row.drop_tokens()
    if refresh_token:
        row.seal_token("refresh_token", refresh_token)
    if access_token:
        row.seal_token("access_token", access_token)
    return {name: getattr(row, name) for name in (*REFRESH_TOKEN_FIELDS, "sealed_access_token")}


def _find_link(account: GoogleAccount, locked: Iterable[GoogleAccount]) -> GoogleAccount | None:
    """Return the row of a link, if it still belongs to the same user."""
    return next((row for row in locked if row == account and row.user_id == account.user_id), None)


def _promote_only_account(rows: GoogleAccountQuerySet) -> None:
    """Make the only remaining account the default. Among several, the user has to choose.

    It does not count as chosen by the user, unless it was the default before. A row that was not
    locked at the beginning is not waited for: another transaction adds it, and decides for itself.
    """
    left = list(rows[:2])
    if len(left) == 1 and not left[0].is_default and not is_locked(rows, left[0].pk):
        rows.filter(pk=left[0].pk).update(is_default=True, is_chosen_default=False)


def _announce_unlinked(account: GoogleAccount, *, user_id: Any, using: str) -> None:
    """Send ``account_unlinked`` for the former owner after the commit."""
    send_on_commit(
        signals.account_unlinked,
        GoogleAccount,
        using=using,
        user_id=user_id,
        client=account.client,
        sub=account.sub,
        email=account.email,
    )
