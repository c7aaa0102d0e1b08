"""Storing the responses of the token endpoint, or revoking the grants that cannot be stored.

An authorization code works once, and a rotated refresh token replaces its predecessor, so a
response cannot be requested again. A grant that is not stored here would remain valid at Google
with no way to revoke it.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, router
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..conf.settings import conf
from ..exceptions import GoogleLinkError, GrantNotStoredError
from ..models import PendingRevocation
from ..oauth import endpoints
from ..oauth.transport import limited
from ..secret import Secret
from . import outbox, revocations
from .database_errors import DATABASE_FAILURES
from .held_grants import HeldGrant
from .transactions import PATIENCE, run_durably

logger = logging.getLogger("django_google_link")

Result = TypeVar("Result")

#: Seconds. Short, because the database has been waited for already and a user waits for the page.
_OUTBOX_PATIENCE = 1


@sensitive_variables()
def hold_grant(
    client: OAuthClient, sub: str, token: Secret, *, owner: str, is_linked: bool, using: str
) -> HeldGrant:
    """Record a response in the outbox before anything else is done with it.

    If the worker dies before the response is stored, the entry stays in the outbox and
    ``google_link_revoke_pending`` revokes the grant. Storing the response deletes the entry in the
    same transaction: see :meth:`HeldGrant.store`.

    Args:
        client: the OAuth client to which the tokens were issued.
        sub: the subject identifier of the account, as far as it is known.
        token: the token that represents the grant.
        owner: the primary key of the user, as text.
        is_linked: whether an active link used the same grant before.
        using: the database alias, where the response is stored as well.

    Raises:
        GrantNotStoredError: when the outbox cannot be written. The grant is revoked then.
    """
    with end_grant_on_failure(client, sub, token, owner=owner, is_linked=is_linked):
        delay = timedelta(seconds=2 * conf.state_max_age)
        return HeldGrant(
            _enqueue_once(
                client, sub, token, owner=owner, delay=delay, using=using, patience=PATIENCE
            )
        )


@sensitive_variables()
def _enqueue_once(
    client: OAuthClient,
    sub: str,
    token: Secret,
    *,
    owner: str,
    delay: timedelta,
    using: str,
    patience: float,
) -> PendingRevocation:
    """Put a token into the outbox, where a second entry would end a grant that is then stored."""
    key, attempts = uuid.uuid4(), itertools.count()

    def enqueue() -> PendingRevocation:
        # An attempt may have been committed although the connection was lost.
        known = outbox.read_outbox(using).filter(pk=key).first() if next(attempts) else None
        return known or outbox.enqueue_token(
            client, sub, token, owner=owner, key=key, delay=delay, using=using
        )

    return run_durably(enqueue, using=using, patience=patience)


@sensitive_variables()
def store_answer(
    store: Callable[[], Result],
    *,
    client: OAuthClient,
    sub: str,
    owner: str,
    token: Secret | None,
    is_linked: bool,
    using: str,
    held: HeldGrant | None = None,
) -> Result:
    """Store a response of the token endpoint, retrying after transient database errors.

    Args:
        store: stores the response in a transaction of its own.
        token: the token that represents the grant and would be lost; ``None`` if nothing would be.
        using: the database alias.

    The other arguments, and the errors, are those of :func:`end_grant_on_failure`.
    """
    with end_grant_on_failure(client, sub, token, owner=owner, is_linked=is_linked, held=held):
        return run_durably(store, using=using)


@contextmanager
@sensitive_variables()
def end_grant_on_failure(
    client: OAuthClient,
    sub: str,
    token: Secret | None,
    *,
    owner: str,
    is_linked: bool,
    held: HeldGrant | None = None,
) -> Iterator[None]:
    """Revoke a grant if anything goes wrong while its response is handled.

    Args:
        client: the OAuth client to which the tokens were issued.
        sub: the subject identifier of the account.
        token: the token that represents the grant; ``None`` if the grant remains usable as before.
        owner: the primary key of the user, as text.
        is_linked: whether an active link used the same grant before.
        held: the same grant in the outbox. If it may be stored, it is not revoked.

    Raises:
        GrantNotStoredError: in place of a database error.
    """
    try:
        yield
        return
    except BaseException as error:  # Also when the worker is told to stop.
        if token and not (held and held.may_be_stored):
            end_grant(client, sub, token, owner=owner, is_linked=is_linked)
        if not isinstance(error, DATABASE_FAILURES):
            raise
        # Only the type: the message of a database error may quote the values to be stored.
        logger.error(
            "The response of %s could not be stored: %s", client.display_name, type(error).__name__
        )
        problem = GrantNotStoredError(
            user_is_gone=isinstance(error, IntegrityError) and not _has_user(owner)
        )
    raise problem


def _has_user(owner: str) -> bool:
    model = get_user_model()
    try:
        return model._base_manager.using(router.db_for_write(model)).filter(pk=owner).exists()
    except DATABASE_FAILURES:
        return True


@sensitive_variables()
def end_grant(
    client: OAuthClient,
    sub: str,
    token: Secret,
    *,
    owner: str,
    is_linked: bool = False,
    delay: timedelta = timedelta(),
) -> None:
    """Revoke a grant that is not stored here, unless an active link uses it.

    The grant goes into the outbox. If that cannot be written, the provider is called directly.

    Args:
        client: the OAuth client to which the grant was issued.
        sub: the subject identifier of the account; empty if it could not be verified.
        token: the refresh token or the access token of the grant.
        owner: the primary key of the user, as text.
        is_linked: whether to assume an active link on the grant if the database cannot tell.
        delay: how long to wait before revoking. Linking the same account meanwhile cancels it.
    """
    try:
        pending = _enqueue_once(
            client,
            sub,
            token,
            owner=owner,
            delay=delay,
            using=router.db_for_write(PendingRevocation),
            patience=_OUTBOX_PATIENCE,
        )
    except (*DATABASE_FAILURES, ImproperlyConfigured) as error:
        logger.error("The outbox could not be written: %s", type(error).__name__)
        _end_now(client, sub, token, owner=owner, is_linked=is_linked)
        return
    if not delay:
        _process_now(pending)


def _process_now(pending: PendingRevocation) -> None:
    try:
        revocations.process_pending(
            pending.pk, using=pending._state.db, timeout=revocations.SHORT_TIMEOUT
        )
    except (*DATABASE_FAILURES, GoogleLinkError) as error:  # google_link_revoke_pending retries.
        logger.warning("A grant could not be revoked immediately: %s", type(error).__name__)


@sensitive_variables()
def _end_now(client: OAuthClient, sub: str, token: Secret, *, owner: str, is_linked: bool) -> None:
    try:
        if revocations.has_living_link(client, sub=sub, owner=owner):
            return  # Unlinking revokes the grant.
    except DATABASE_FAILURES:
        if is_linked:
            _tell_that_it_lives(client, "a link may still use it, and the database cannot be read")
            return
    try:
        with limited(revocations.SHORT_TIMEOUT):
            endpoints.revoke(client, token=token)
    except GoogleLinkError as error:
        _tell_that_it_lives(client, error)


def _tell_that_it_lives(client: OAuthClient, reason: object) -> None:
    logger.error(
        "A grant to the client %r is still valid at %s, but is not stored here: %s",
        client.name,
        client.display_name,
        reason,
    )
