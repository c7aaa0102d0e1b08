"""Grants that are to end at Google: nothing of a link that is gone may live on there.

Whatever deletes an account, its tokens move to the outbox ``PendingRevocation`` in the same
transaction. There is one attempt as soon as that has committed; ``google_link_revoke_pending``
makes the others, until Google has said yes.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models, router, transaction
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..conf.clients import Issued, OAuthClient, get_revoking_client, is_google_issuer, share_grant
from ..exceptions import GoogleLinkError, TokenUndecryptableError
from ..models import GoogleAccount, PendingRevocation, Reason, Status, TokenName
from ..oauth import endpoints
from ..secret import Secret
from ..signals import send_on_commit
from .database import (
    backoff,
    database_now,
    delete_in_one_order,
    lease_duration,
    run_in_transaction,
)

logger = logging.getLogger("django_google_link")

#: Google drops a refresh token that nobody has used for six months: then there is nothing to end.
_LONGEST_AGE = timedelta(days=190)
_FIRST_BACKOFF, _LONGEST_BACKOFF = 60, 86_400  # seconds


class RevocationOutcome(models.TextChoices):
    """What became of a pending revocation."""

    REVOKED = "revoked", _("revoked")
    CANCELLED = "cancelled", _("not revoked: another link lives on the same grant")
    ABANDONED = "abandoned", _("given up: see the log")
    POSTPONED = "postponed", _("postponed: see the log")
    SHARED = "shared", _("handled by another process")


def enqueue_deleted(
    sender: type[GoogleAccount], instance: GoogleAccount, using: str, origin: Any, **kwargs: Any
) -> None:
    """Move the tokens of an account that is about to be deleted to the outbox (``pre_delete``).

    The first attempt follows the commit where one account or its user is deleted. What a queryset
    deletes may be much, and is left to the command.
    """
    rows = GoogleAccount.objects.using(using).filter(pk=instance.pk)
    # A write comes first: it locks the row, and no refresh that is under way brings it back.
    if not rows.update(grant_version=F("grant_version") + 1):
        return
    account = rows.get()  # As it is now: the grant may have been renewed since.
    announce_unlinked(account, user_id=account.user_id, using=using)
    transaction.on_commit(
        lambda: logger.info("The account %s is unlinked.", account.pk), using=using
    )
    enqueue(account, using=using, attempts_now=isinstance(origin, models.Model))


def enqueue(account: GoogleAccount, *, using: str, attempts_now: bool) -> None:
    """Put an account's tokens into the outbox, as they are sealed.

    Args:
        attempts_now: whether Google is told as soon as the transaction has committed.
    """
    if not account.sealed_refresh_token and not account.sealed_access_token:
        return
    rows = PendingRevocation.objects.using(using)
    pending = rows.create(
        account_id=account.pk,
        owner=account.owner,
        client=account.client,
        issuer=account.issuer,
        client_id=account.client_id,
        sub=account.sub,
        sealed_refresh_token=account.sealed_refresh_token,
        sealed_access_token=account.sealed_access_token,
        retry_at=database_now(rows.all()),
        created_at=clock.now(),
    )
    if attempts_now:
        # Whatever goes wrong then is no concern of the one who unlinks: the command will see to it.
        transaction.on_commit(lambda: _process_now(pending), using=using, robust=True)


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
    rows = outbox()
    pending = PendingRevocation(
        account_id=uuid.uuid4(),
        owner=owner,
        client=client.name,
        issuer=client.issuer,
        client_id=client.client_id,
        sub=sub,
        created_at=clock.now(),
    )
    pending.seal_token("refresh_token", token)
    pending.retry_at = database_now(rows) + delay if delay else database_now(rows)
    pending.save(using=rows.db)
    return pending


def _process_now(pending: PendingRevocation) -> None:
    process(pending.pk, using=pending._state.db)


def announce_unlinked(account: GoogleAccount, *, user_id: Any, using: str) -> None:
    """Send ``account_unlinked`` after the commit: this user has the link no more."""
    send_on_commit(
        signals.account_unlinked,
        GoogleAccount,
        using=using,
        user_id=user_id,
        client=account.client,
        sub=account.sub,
        email=account.email,
    )


def discard(client: OAuthClient, sub: str, *, using: str) -> None:
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
    renewed = [row.pk for row in rows if row.sub == sub and share_grant(row, client)]
    if renewed:
        delete_in_one_order(rows, renewed)


def outbox(using: str | None = None) -> models.QuerySet[PendingRevocation]:
    """Return what is pending, in the named database or in the one that is written to."""
    return PendingRevocation.objects.using(using or router.db_for_write(PendingRevocation))


@sensitive_variables()
def process(pk: uuid.UUID, *, using: str | None = None) -> RevocationOutcome:
    """Tell Google to end a grant, unless another link lives on it.

    Whoever dies in the middle leaves the revocation to the next one, after ``HTTP_TIMEOUT`` and a
    few seconds more. No transaction is open while Google is asked.
    """
    rows = outbox(using).filter(pk=pk)
    now = database_now(rows)
    claimed = {"attempts": F("attempts") + 1, "retry_at": now + lease_duration()}

    def claim() -> PendingRevocation | None:
        return rows.first() if rows.filter(retry_at__lte=now).update(**claimed) else None

    pending = run_in_transaction(claim, using=rows.db)
    if pending is None:
        return RevocationOutcome.SHARED
    try:
        outcome = _revoke_grant(pending)
    except TokenUndecryptableError:
        outcome = RevocationOutcome.ABANDONED
        logger.error(
            "The unlinked account %s could not be revoked at Google: its tokens are of no use.",
            pending.account_id,
        )
    except (GoogleLinkError, ImproperlyConfigured) as error:
        if not _is_too_old(pending):
            _postpone_revocation(pending, error)
            return RevocationOutcome.POSTPONED
        outcome = RevocationOutcome.ABANDONED
        logger.error(
            "The unlinked account %s could not be revoked at Google in half a year: %s",
            pending.account_id,
            error,
        )
    run_in_transaction(rows.delete, using=rows.db)
    return outcome


@sensitive_variables()
def _revoke_grant(pending: PendingRevocation) -> RevocationOutcome:
    rows = outbox(pending._state.db)
    if run_in_transaction(
        lambda: has_living_link(pending, sub=pending.sub, owner=pending.owner, using=rows.db),
        using=rows.db,
    ):
        if not pending.sub:
            logger.warning(
                "A grant to the client %r may live on at Google: nobody knows whose it is, and its "
                "user has another link.",
                pending.client,
            )
        return RevocationOutcome.CANCELLED
    refresh_token = _unseal_if_whole(pending, "refresh_token")
    tokens = [
        token for token in (refresh_token, _unseal_if_whole(pending, "access_token")) if token
    ]
    if not tokens:
        raise TokenUndecryptableError
    client = get_revoking_client(pending)
    if client.revocation_endpoint is None:
        logger.error(
            "The unlinked account %s lives on at %s, which has no revocation endpoint: its user "
            "can end it there.",
            pending.account_id,
            pending.issuer,
        )
        return RevocationOutcome.ABANDONED
    siblings = run_in_transaction(lambda: _list_siblings(pending), using=rows.db)
    # A refresh token that Google no longer knows may have been replaced: the grant may live on.
    if any(endpoints.revoke(client, token=token) for token in tokens):
        delete_in_one_order(rows, siblings)
        if len(tokens) > 1 and not is_google_issuer(pending.issuer):
            _revoke_access_token(client, tokens[-1])
    elif refresh_token is None:
        raise TokenUndecryptableError  # Of an access token it says only that its hour is over.
    logger.info("The unlinked account %s is revoked at Google.", pending.account_id)
    return RevocationOutcome.REVOKED


@sensitive_variables()
def _revoke_access_token(client: OAuthClient, token: Secret) -> None:
    """End an access token as well, where the provider can: it would live on for its hour.

    See RFC 7009 section 2.1: the end of the refresh token should be its end, and need not be.
    """
    with suppress(GoogleLinkError):
        endpoints.revoke(client, token=token)


def _list_siblings(pending: PendingRevocation) -> list[uuid.UUID]:
    """Return what waits for the end of the same grant: at Google one revocation is for them all."""
    if not pending.sub or not is_google_issuer(pending.issuer):
        return []
    rows = outbox(pending._state.db).filter(issuer=pending.issuer, sub=pending.sub)
    return [row.pk for row in rows if row.sub == pending.sub and share_grant(row, pending)]


def has_living_link(issued: Issued, *, sub: str, owner: str, using: str | None = None) -> bool:
    """Return whether a link that works lives on the same grant: to revoke would end it as well.

    At Google that is so. At other providers each token is of a grant of its own.

    Args:
        issued: to whom the tokens of the grant were issued.
        sub: whose grant it is. Where that is not known, any link of this user may live on it.
        owner: the primary key of the user, as text.
    """
    if not is_google_issuer(issued.issuer):
        return False
    # What an operator has asked to be linked again works as long as nobody does anything.
    works = Q(status=Status.ACTIVE) | Q(status_reason=Reason.REQUESTED)
    rows = GoogleAccount.objects.using(using or router.db_for_write(GoogleAccount))
    rows = rows.filter(works, issuer=issued.issuer).exclude(sealed_refresh_token="")
    same = rows.filter(sub=sub) if sub else rows.filter(user_id=owner)
    return any(row.sub == (sub or row.sub) and share_grant(row, issued) for row in same)


def _unseal_if_whole(pending: PendingRevocation, name: TokenName) -> Secret | None:
    """Return a token, if it is there and whole: either of them ends the grant while it lives."""
    try:
        return pending.unseal_token(name)
    except TokenUndecryptableError:
        return None


def _is_too_old(pending: PendingRevocation) -> bool:
    return bool(clock.now() - pending.created_at > _LONGEST_AGE)


def _to_ascii(text: str) -> str:
    """Return a provider's text with the characters that every database takes."""
    return text.encode("ascii", "replace").decode()


def _postpone_revocation(pending: PendingRevocation, error: Exception) -> None:
    delay = backoff(pending.attempts - 1, first=_FIRST_BACKOFF, longest=_LONGEST_BACKOFF)
    rows = PendingRevocation.objects.using(pending._state.db).filter(pk=pending.pk)
    noted = {"retry_at": database_now(rows) + delay, "last_error": _to_ascii(str(error))[:300]}
    run_in_transaction(lambda: rows.update(**noted), using=rows.db)
    logger.warning(
        "The unlinked account %s could not be revoked at Google, next attempt in %d s: %s",
        pending.account_id,
        delay.total_seconds(),
        error,
    )
