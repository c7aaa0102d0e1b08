"""Retirement of a scope: grants with it are revoked, and users are asked for consent again.

At Google a revocation ends a user's whole grant to the project, so all links that share it are
retired together. Their tokens go to the outbox, and of the granted scopes only those still needed
are remembered. The next consent requests exactly these, without ``include_granted_scopes``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

from django.db import router, transaction
from django.db.models import F, Q

from .. import signals
from ..conf import clock
from ..conf.clients import is_google_issuer, share_grant
from ..conf.scope_rules import missing_scopes
from ..models import (
    REFRESH_TOKEN_FIELDS,
    GoogleAccount,
    HistoryEvent,
    PendingRevocation,
    Reason,
    Status,
)
from ..scopes import IDENTITY_SCOPES
from ..signals import send_on_commit
from . import history, lease
from .locks import lock_in_one_order
from .outbox import enqueue_account, read_outbox
from .transactions import run_in_transaction

logger = logging.getLogger("django_google_link")


def list_grant(account: GoogleAccount) -> list[GoogleAccount]:
    """Return the links that a revocation of this one ends, including itself: those of its grant."""
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    if not is_google_issuer(account.issuer):
        return list(rows.filter(pk=account.pk))
    return [row for row in rows.filter(_same_subject(account)) if _shares_grant(row, account)]


def retire_grant(
    account: GoogleAccount, scope: str, *, needed: Collection[str]
) -> list[PendingRevocation] | None:
    """Retire all links that share the grant of an account.

    Args:
        account: an account with the scope.
        scope: the scope that is no longer used.
        needed: the scopes that the site still uses.

    Returns:
        The revocations to be made; ``None`` if the account no longer has the scope.
    """
    using = router.db_for_write(GoogleAccount)
    retire = partial(_retire_grant, account, scope, needed=needed, using=using)
    return run_in_transaction(retire, using=using)


def _retire_grant(
    account: GoogleAccount, scope: str, *, needed: Collection[str], using: str
) -> list[PendingRevocation] | None:
    keys = [row.pk for row in list_grant(account)]
    rows = lock_in_one_order(GoogleAccount.objects.using(using).filter(pk__in=keys))
    if not any(row.pk == account.pk and scope in row.granted_scopes for row in rows):
        return None
    for row in rows:
        enqueue_account(row, using=using)
        _retire(row, _list_kept(row, scope, needed), using=using)
    history.record_all(rows, HistoryEvent.RETIRED, using=using, scope=scope)
    return list(read_outbox(using).filter(account_id__in=keys).order_by("pk"))


def _list_kept(row: GoogleAccount, scope: str, needed: Collection[str]) -> list[str]:
    """Return the scopes to request again: still needed, and granted or implied by a granted one."""
    had = set(needed) - missing_scopes(needed, row.granted_scopes)
    return sorted((had | set(IDENTITY_SCOPES)) - {scope})


def _retire(row: GoogleAccount, kept: list[str], *, using: str) -> None:
    GoogleAccount.objects.using(using).filter(pk=row.pk).update(
        status=Status.NEEDS_REAUTHORIZATION,
        status_reason=Reason.RETIRED,
        status_changed_at=clock.now(),
        granted_scopes=kept,
        **dict.fromkeys((*REFRESH_TOKEN_FIELDS, "sealed_access_token"), ""),
        refresh_token_scopes=[],
        refresh_token_expires_at=None,
        access_token_expires_at=None,
        # A refresh in progress must not restore the tokens.
        grant_version=F("grant_version") + 1,
        **lease.AT_REST,
    )
    was_active = row.status == Status.ACTIVE
    row.refresh_from_db(using=using)
    transaction.on_commit(
        lambda: logger.info(
            "The account %s was retired along with a scope that is no longer used.", row.pk
        ),
        using=using,
    )
    if was_active:
        send_on_commit(
            signals.authorization_lost,
            GoogleAccount,
            using=using,
            account=row,
            reason=Reason.RETIRED.value,
        )


def list_unrevoked(account: GoogleAccount) -> list[PendingRevocation]:
    """Return the pending revocations of a retired account's grant.

    A consent given before they are confirmed would be revoked with them, or would cancel them.
    """
    rows = read_outbox().filter(_same_subject(account))
    return [row for row in rows if row.sub == account.sub and share_grant(row, account)]


def _shares_grant(row: GoogleAccount, account: GoogleAccount) -> bool:
    return row.sub == account.sub and share_grant(row, account)


def _same_subject(account: GoogleAccount) -> Q:
    return Q(sub=account.sub, issuer=account.issuer)
