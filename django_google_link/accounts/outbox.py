"""The outbox: grants to be revoked at Google, kept until it has confirmed.

Whatever deletes an account, its tokens are moved here in the same transaction. ``revocations.py``
makes the attempts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.db import models, router
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..conf.clients import OAuthClient, is_google_issuer, share_grant
from ..models import GoogleAccount, GoogleAccountQuerySet, HistoryEvent, PendingRevocation
from ..secret import Secret
from ..signals import send_on_commit
from . import history
from .database import database_now
from .locks import delete_in_one_order


def read_outbox(using: str | None = None) -> models.QuerySet[PendingRevocation]:
    """Return the pending revocations, in the named database or else the one written to."""
    return PendingRevocation.objects.using(using or router.db_for_write(PendingRevocation))


def enqueue_account(account: GoogleAccount, *, using: str) -> list[PendingRevocation]:
    """Copy an account's sealed tokens to the outbox; return the new entries."""
    return _copy_tokens([account], using=using)


def enqueue_accounts(accounts: GoogleAccountQuerySet) -> list[PendingRevocation]:
    """Copy the sealed tokens of accounts to the outbox; return the new entries."""
    return _copy_tokens(accounts, using=accounts.db)


def _copy_tokens(accounts: Iterable[GoogleAccount], *, using: str) -> list[PendingRevocation]:
    rows = PendingRevocation.objects.using(using)
    return rows.bulk_create(
        PendingRevocation(
            account_id=account.pk,
            owner=account.owner,
            client=account.client,
            issuer=account.issuer,
            client_id=account.client_id,
            sub=account.sub,
            sealed_refresh_token=account.sealed_refresh_token,
            sealed_access_token=account.sealed_access_token,
            retry_at=database_now(rows),
            refreshed_at=account.refreshed_at,
            created_at=clock.now(),
        )
        for account in accounts
        if account.sealed_refresh_token or account.sealed_access_token
    )


@sensitive_variables()
def enqueue_token(
    client: OAuthClient,
    sub: str,
    token: Secret,
    *,
    owner: str,
    key: uuid.UUID,
    using: str,
    delay: timedelta = timedelta(),
) -> PendingRevocation:
    """Put a token that is not stored in an account into the outbox.

    Args:
        client: the OAuth client to which it was issued.
        sub: the subject identifier of the account; empty if it could not be verified.
        token: the refresh token or the access token of the grant.
        owner: the primary key of the user, as text.
        key: the primary key of the entry.
        using: the database alias.
        delay: how long to wait before revoking. Linking the same account meanwhile cancels it.
    """
    rows = read_outbox(using)
    pending = PendingRevocation(
        pk=key,
        account_id=key,
        owner=owner,
        client=client.name,
        issuer=client.issuer,
        client_id=client.client_id,
        sub=sub,
        refreshed_at=clock.now(),
        created_at=clock.now(),
    )
    pending.seal_token("refresh_token", token)
    pending.retry_at = database_now(rows) + delay if delay else database_now(rows)
    pending.save(using=rows.db)
    return pending


def discard_revocations(client: OAuthClient, sub: str, *, using: str) -> None:
    """Delete the pending revocations of a grant that has been renewed: they would end the new one.

    At Google the grant is the same for all of our users who link the account. At other providers
    each token has its own grant, and pending revocations stay.

    Args:
        client: the OAuth client through which the grant was renewed.
        sub: the subject identifier of the account.
        using: the database alias.
    """
    if not is_google_issuer(client.issuer):
        return
    rows = PendingRevocation.objects.using(using).filter(issuer=client.issuer, sub=sub)
    renewed = [row for row in rows if row.sub == sub and share_grant(row, client)]
    given_up = [row for row in renewed if row.had_link]
    for row in given_up:
        announce_end(row, outcome="cancelled", using=using)
    history.record_all(given_up, HistoryEvent.REVOCATION_ENDED, using=using, reason="linked_again")
    if renewed:
        delete_in_one_order(rows, [row.pk for row in renewed])


def announce_end(pending: PendingRevocation, *, outcome: str, using: str) -> None:
    """Send ``revocation_finished`` after the commit, which removes the outbox entry."""
    send_on_commit(
        signals.revocation_finished, None, using=using, client=pending.client, outcome=outcome
    )


def list_siblings(pending: PendingRevocation) -> list[uuid.UUID]:
    """Return the pending revocations of the same grant: at Google, one revocation ends them all.

    Those whose token was used most recently come first, because Google invalidates the oldest
    refresh tokens of a grant first; those that were refused before come last.
    """
    if not pending.sub or not is_google_issuer(pending.issuer):
        return []
    rows = read_outbox(pending._state.db).filter(issuer=pending.issuer, sub=pending.sub)
    rows = rows.only("issuer", "client_id", "sub", "last_error", "refreshed_at")
    found = [row for row in rows if row.sub == pending.sub and share_grant(row, pending)]
    return [row.pk for row in sorted(found, key=_rank)]


def _rank(pending: PendingRevocation) -> tuple[bool, float]:
    used = pending.refreshed_at.timestamp() if pending.refreshed_at else 0
    return bool(pending.last_error), -used
