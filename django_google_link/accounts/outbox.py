"""The outbox: grants that are to end at Google, until it has said yes.

Whatever deletes an account, its tokens move here in the same transaction. ``revocations.py`` makes
the attempts.
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
    """Return what is pending, in the named database or in the one that is written to."""
    return PendingRevocation.objects.using(using or router.db_for_write(PendingRevocation))


def enqueue_account(account: GoogleAccount, *, using: str) -> list[PendingRevocation]:
    """Put an account's tokens into the outbox, as they are sealed; return what is there then."""
    return _copy_tokens([account], using=using)


def enqueue_accounts(accounts: GoogleAccountQuerySet) -> list[PendingRevocation]:
    """Put the tokens of accounts into the outbox, as they are sealed; return what is there then."""
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
    client: OAuthClient, sub: str, token: Secret, *, owner: str, delay: timedelta = timedelta()
) -> PendingRevocation:
    """Put a token into the outbox that stands in no row.

    Args:
        client: to which it was issued.
        sub: whose it is; empty, if that could not be verified.
        token: either of the two tokens of the grant.
        owner: the primary key of the user, as text.
        delay: before Google is told. A link to the same account before then calls it off.
    """
    rows, key = read_outbox(), uuid.uuid4()
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
    """Forget the revocations of a grant that has been renewed: they would end the new one.

    At Google the grant is the same whichever of our users links the account. At other providers
    each token is its own, and the one that waits is still to end.

    Args:
        client: through which it was renewed.
        sub: whose it is.
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
    """Send ``revocation_finished`` after the commit: it is no longer in the outbox."""
    send_on_commit(
        signals.revocation_finished, None, using=using, client=pending.client, outcome=outcome
    )


def list_siblings(pending: PendingRevocation) -> list[uuid.UUID]:
    """Return what waits for the end of the same grant: at Google one revocation is for them all.

    Those come first whose token Google has honoured last. Of the refresh tokens of one grant it
    lets the oldest die. What has been refused before comes last.
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
