"""What Google has answered is not lost: it is stored, or the grant that it stands for is ended.

A code works once, and a replaced refresh token is dead: nobody can ask for the same again. What was
granted and is not stored here would live on at Google, and nobody could end it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import DatabaseError, IntegrityError, InterfaceError, router
from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..conf.settings import conf
from ..exceptions import GoogleLinkError, GrantNotStoredError
from ..models import GoogleAccount, PendingRevocation
from ..oauth import endpoints
from ..oauth.transport import limited
from ..secret import Secret
from . import outbox, revocations
from .transactions import run_durably

logger = logging.getLogger("django_google_link")

Result = TypeVar("Result")

#: What a database, or the driver, may say to a caller who is to store or to look up a grant.
DATABASE_FAILURES = (DatabaseError, InterfaceError, ObjectDoesNotExist, UnicodeEncodeError)

#: Seconds: whoever comes here has waited for the database before, and a user waits for the page.
_OUTBOX_PATIENCE = 1


@sensitive_variables()
def hold_grant(
    client: OAuthClient, sub: str, token: Secret, *, owner: str, is_linked: bool
) -> PendingRevocation:
    """Write down what Google has answered, before anything else is done with it.

    A worker that dies before it is stored leaves it in the outbox, and so to the command. Storing
    it takes it out again, in the same transaction; so does :func:`release_grant`.

    Args:
        client: to which the tokens were issued.
        sub: whose they are, as far as that is known.
        token: that stands for the grant.
        owner: the primary key of the user, as text.
        is_linked: whether a link that works was there before, on the same grant.

    Raises:
        GrantNotStoredError: when nothing can be written. The grant is ended then.
    """
    with end_grant_on_failure(client, sub, token, owner=owner, is_linked=is_linked):
        return run_durably(
            lambda: outbox.enqueue_token(
                client, sub, token, owner=owner, delay=timedelta(seconds=2 * conf.state_max_age)
            ),
            using=router.db_for_write(PendingRevocation),
        )


def release_grant(held: PendingRevocation) -> None:
    """Take out of the outbox what is stored by now, or is ended in another way."""
    outbox.read_outbox(held._state.db).filter(pk=held.pk).delete()


def release_in_the_end(held: PendingRevocation | None) -> None:
    """Release a grant however its answer has fared: only a worker that dies leaves it.

    Where that fails as well the command finds it, and spares a grant on which a link lives.
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
    """Store an answer of the token endpoint, and try again what may succeed in a moment.

    Args:
        store: opens a transaction of its own.
        token: that stands for the grant and would be lost; ``None`` for nothing that would be.

    The other arguments, and the errors, are those of :func:`end_grant_on_failure`.
    """
    with end_grant_on_failure(client, sub, token, owner=owner, is_linked=is_linked):
        return run_durably(store, using=router.db_for_write(GoogleAccount))


@contextmanager
@sensitive_variables()
def end_grant_on_failure(
    client: OAuthClient, sub: str, token: Secret | None, *, owner: str, is_linked: bool
) -> Iterator[None]:
    """End a grant if what follows its answer goes wrong, whatever that is.

    Args:
        client: to which the tokens were issued.
        sub: whose they are.
        token: that stands for the grant; ``None`` for one that lives on as it did before.
        owner: the primary key of the user, as text.
        is_linked: whether a link that works was there before, on the same grant.

    Raises:
        GrantNotStoredError: in place of an error of the database's.
    """
    try:
        yield
        return
    except BaseException as error:  # A worker that is told to stop would lose it as well.
        if token:
            end_grant(client, sub, token, owner=owner, is_linked=is_linked)
        if not isinstance(error, DATABASE_FAILURES):
            raise
        # No more than its kind: the database may quote what it was to store.
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
    """End a grant that is not stored here, unless a link lives on it: at once, or by the command.

    Where nothing can be written Google is told all the same.

    Args:
        client: to which it was given.
        sub: whose it is; empty, if that could not be verified.
        token: either of its tokens.
        owner: the primary key of the user, as text.
        is_linked: whether a link may live on the grant, should the database not tell.
        delay: before Google is told. A link to the same account before then calls it off.
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
    except (*DATABASE_FAILURES, GoogleLinkError) as error:  # The command will see to it.
        logger.warning("A grant could not be revoked immediately: %s", type(error).__name__)


@sensitive_variables()
def _end_now(client: OAuthClient, sub: str, token: Secret, *, owner: str, is_linked: bool) -> None:
    try:
        if revocations.has_living_link(client, sub=sub, owner=owner):
            return  # The link stands for the same grant, and ends it when it goes.
    except DATABASE_FAILURES:
        if is_linked:
            _tell_that_it_lives(client, "a link may live on it, and the database does not tell")
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
