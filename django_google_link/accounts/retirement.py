"""A scope that is no longer used: the grants that have it end, and their users are asked anew.

At Google a revocation ends the whole grant of a user for the project, so all links that live on it
are retired together: of each the tokens go to the outbox, and it remembers of what was granted only
what is still needed. The next consent asks for that alone, without ``include_granted_scopes``.
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
    """Return the links that end with this one, itself included: at Google, those of its grant."""
    rows = GoogleAccount.objects.using(router.db_for_write(GoogleAccount))
    if not is_google_issuer(account.issuer):
        return list(rows.filter(pk=account.pk))
    return [row for row in rows.filter(_same_subject(account)) if _shares_grant(row, account)]


def retire_grant(
    account: GoogleAccount, scope: str, *, needed: Collection[str]
) -> list[PendingRevocation] | None:
    """Retire all links that live on the grant of an account.

    Args:
        account: that has been granted the scope.
        scope: that is no longer used.
        needed: the scopes that the site still uses.

    Returns:
        The revocations that are to be told Google; ``None`` if the scope is gone already.
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
    """Return what is to be asked again: what is still needed and was granted, or implied."""
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
        # A refresh that is under way must not bring the tokens back.
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
    """Return the revocations of a retired account's grant that Google has not confirmed.

    A consent before that would be ended with them, or would call them off.
    """
    rows = read_outbox().filter(_same_subject(account))
    return [row for row in rows if row.sub == account.sub and share_grant(row, account)]


def _shares_grant(row: GoogleAccount, account: GoogleAccount) -> bool:
    return row.sub == account.sub and share_grant(row, account)


def _same_subject(account: GoogleAccount) -> Q:
    return Q(sub=account.sub, issuer=account.issuer)
