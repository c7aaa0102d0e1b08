"""Grants that are to end at Google: nothing of a link that is gone may live on there.

Whatever deletes an account, its tokens move to the outbox ``PendingRevocation`` in the same
transaction. There is one attempt as soon as that has committed; ``google_link_revoke_pending``
makes the others, until Google has said yes.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import models, router, transaction
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..conf.clients import (
    GOOGLE_CLIENT_ID_SUFFIX,
    OAuthClient,
    clients_sharing_endpoint,
    get_revoking_client,
    google_project_number,
)
from ..exceptions import GoogleLinkError, TokenUndecryptableError
from ..models import GoogleAccount, PendingRevocation, Reason, Status, TokenName
from ..oauth import endpoints
from ..secret import Secret
from ..signals import send_on_commit
from .database import backoff, database_now, lease_duration

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
    tell_unlinked(account, user_id=account.user_id, using=using)
    logger.info("The account %s is unlinked.", account.pk)
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
        client_id=account.client_id,
        sub=account.sub,
        sealed_refresh_token=account.sealed_refresh_token,
        sealed_access_token=account.sealed_access_token,
        retry_at=database_now(rows.all()),
        created_at=clock.now(),
    )
    if attempts_now:
        # Whatever goes wrong then is no concern of the one who unlinks: the command will see to it.
        transaction.on_commit(lambda: _attempt_now(pending), using=using, robust=True)


@sensitive_variables()
def end_grant(client: OAuthClient, sub: str, token: Secret, *, owner: str) -> None:
    """End a grant that could not be stored: at once, or by the command.

    Args:
        client: to which it was given.
        token: either of its tokens.
        owner: the primary key of the user, as text.
    """
    rows = outbox()
    pending = PendingRevocation(
        account_id=uuid.uuid4(),
        owner=owner,
        client=client.name,
        client_id=client.client_id,
        sub=sub,
        created_at=clock.now(),
    )
    pending.seal_token("refresh_token", token)
    pending.retry_at = database_now(rows)
    pending.save(using=rows.db)
    _attempt_now(pending)


def _attempt_now(pending: PendingRevocation) -> None:
    process(pending.pk, using=pending._state.db)


def tell_unlinked(account: GoogleAccount, *, user_id: Any, using: str) -> None:
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
    """Forget the revocations of a grant that has been renewed: they would end the new one."""
    same = _of_grant(client.name, client.client_id, sub)
    PendingRevocation.objects.using(using).filter(same).delete()


def _of_grant(client: str, client_id: str, sub: str) -> Q:
    """Find the rows of one grant: what ends for one of them ends for all."""
    project = google_project_number(client_id)
    given_to = (
        Q(client_id__startswith=f"{project}-", client_id__endswith=GOOGLE_CLIENT_ID_SUFFIX)
        if project
        else Q(client_id=client_id, client__in=clients_sharing_endpoint(client))
    )
    return given_to & Q(sub=sub)


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
    if not rows.filter(retry_at__lte=now).update(**claimed):
        return RevocationOutcome.SHARED
    pending = rows.first()
    if pending is None:
        return RevocationOutcome.SHARED
    try:
        outcome = _revoke(pending)
    except TokenUndecryptableError:
        outcome = RevocationOutcome.ABANDONED
        logger.error(
            "The unlinked account %s could not be revoked at Google: its tokens are of no use.",
            pending.account_id,
        )
    except (GoogleLinkError, ImproperlyConfigured) as error:
        if not _is_too_old(pending):
            _postpone(pending, error)
            return RevocationOutcome.POSTPONED
        outcome = RevocationOutcome.ABANDONED
        logger.error(
            "The unlinked account %s could not be revoked at Google in half a year: %s",
            pending.account_id,
            error,
        )
    rows.delete()
    return outcome


@sensitive_variables()
def _revoke(pending: PendingRevocation) -> RevocationOutcome:
    if _is_shared(pending):
        return RevocationOutcome.CANCELLED
    refresh_token = _opened(pending, "refresh_token")
    token = refresh_token or _opened(pending, "access_token")
    if token is None:
        raise TokenUndecryptableError
    client = get_revoking_client(pending.client, pending.client_id)
    was_alive = endpoints.revoke(client, token=token)
    if not (was_alive or refresh_token):
        raise TokenUndecryptableError  # Of an access token it says only that its hour is over.
    logger.info("The unlinked account %s is revoked at Google.", pending.account_id)
    return RevocationOutcome.REVOKED


def _is_shared(pending: PendingRevocation) -> bool:
    """Say whether a link that works lives on the same grant: Google would end that as well."""
    # What an operator has asked to be linked again works as long as nobody does anything.
    works = Q(status=Status.ACTIVE) | Q(status_reason=Reason.REQUESTED)
    rows = GoogleAccount.objects.using(pending._state.db).exclude(sealed_refresh_token="")
    same = _of_grant(pending.client, pending.client_id, pending.sub)
    return rows.filter(same, works).exists()


def _opened(pending: PendingRevocation, name: TokenName) -> Secret | None:
    """Return a token, if it is there and whole: either of them ends the grant while it lives."""
    try:
        return pending.unseal_token(name)
    except TokenUndecryptableError:
        return None


def _is_too_old(pending: PendingRevocation) -> bool:
    return bool(clock.now() - pending.created_at > _LONGEST_AGE)


def _postpone(pending: PendingRevocation, error: Exception) -> None:
    delay = backoff(pending.attempts - 1, first=_FIRST_BACKOFF, longest=_LONGEST_BACKOFF)
    rows = PendingRevocation.objects.using(pending._state.db).filter(pk=pending.pk)
    rows.update(retry_at=database_now(rows) + delay, last_error=str(error)[:300])
    logger.warning(
        "The unlinked account %s could not be revoked at Google, next attempt in %d s: %s",
        pending.account_id,
        delay.total_seconds(),
        error,
    )
