"""Storing the responses of the token endpoint, or revoking the grants that cannot be stored.

An authorization code works once, and a rotated refresh token replaces its predecessor, so a
response cannot be requested again. A grant that is not stored here would remain valid at Google
with no way to revoke it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, router
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..conf.settings import conf
from ..exceptions import GoogleLinkError, GrantNotStoredError
from ..models import GoogleAccount, PendingRevocation
from ..oauth import endpoints
from ..oauth.transport import limited
from ..secret import Secret
from . import outbox, revocations
from .database_errors import DATABASE_FAILURES
from .transactions import run_durably

logger = logging.getLogger("django_google_link")

Result = TypeVar("Result")

#: Seconds. Short, because the database has been waited for already and a user waits for the page.
_OUTBOX_PATIENCE = 1


@sensitive_variables()
def hold_grant(
    client: OAuthClient, sub: str, token: Secret, *, owner: str, is_linked: bool
) -> PendingRevocation:
    """Record a response in the outbox before anything else is done with it.

    If the worker dies before the response is stored, the entry stays in the outbox and
    ``google_link_revoke_pending`` revokes the grant. Storing the response deletes the entry in the
    same transaction; so does :func:`release_grant`.

    Args:
        client: the OAuth client to which the tokens were issued.
        sub: the subject identifier of the account, as far as it is known.
        token: the token that represents the grant.
        owner: the primary key of the user, as text.
        is_linked: whether an active link used the same grant before.

    Raises:
        GrantNotStoredError: when the outbox cannot be written. The grant is revoked then.
    """
    with end_grant_on_failure(client, sub, token, owner=owner, is_linked=is_linked):
        return run_durably(
            lambda: outbox.enqueue_token(
                client, sub, token, owner=owner, delay=timedelta(seconds=2 * conf.state_max_age)
            ),
            using=router.db_for_write(PendingRevocation),
        )


def release_grant(held: PendingRevocation) -> None:
    """Delete the outbox entry of a grant that has been stored or otherwise settled."""
    outbox.read_outbox(held._state.db).filter(pk=held.pk).delete()


def release_in_the_end(held: PendingRevocation | None) -> None:
    """Release a grant however its response was handled: only a worker that dies leaves the entry.

    If the database fails here as well, ``google_link_revoke_pending`` finds the entry, and spares a
    grant that an active link uses.
    """
    with suppress(*DATABASE_FAILURES):
        if held:
            release_grant(held)


@sensitive_variables()
def store_answer(
    store: Callable[[], Result],
    *,
    client: OAuthClient,
    sub: str,
    owner: str,
    token: Secret | None,
    is_linked: bool,
) -> Result:
    """Store a response of the token endpoint, retrying after transient database errors.

    Args:
        store: stores the response in a transaction of its own.
        token: the token that represents the grant and would be lost; ``None`` if nothing would be.

    The other arguments, and the errors, are those of :func:`end_grant_on_failure`.
    """
    with end_grant_on_failure(client, sub, token, owner=owner, is_linked=is_linked):
        return run_durably(store, using=router.db_for_write(GoogleAccount))


@contextmanager
@sensitive_variables()
def end_grant_on_failure(
    client: OAuthClient, sub: str, token: Secret | None, *, owner: str, is_linked: bool
) -> Iterator[None]:
    """Revoke a grant if anything goes wrong while its response is handled.

    Args:
        client: the OAuth client to which the tokens were issued.
        sub: the subject identifier of the account.
        token: the token that represents the grant; ``None`` if the grant remains usable as before.
        owner: the primary key of the user, as text.
        is_linked: whether an active link used the same grant before.

    Raises:
        GrantNotStoredError: in place of a database error.
    """
    try:
        yield
        return
    except BaseException as error:  # Also when the worker is told to stop.
        if token:
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
        pending = run_durably(
            lambda: outbox.enqueue_token(client, sub, token, owner=owner, delay=delay),
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
