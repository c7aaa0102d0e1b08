"""The response to a refresh, stored; or revoked, where it cannot be stored."""

from __future__ import annotations

import logging
from contextlib import suppress
from copy import copy
from functools import partial

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf.clients import OAuthClient
from ..exceptions import (
    GrantNotStoredError,
    IDTokenError,
    RefreshUnavailableError,
)
from ..models import (
    REFRESH_TOKEN_FIELDS,
    GoogleAccount,
    GoogleAccountQuerySet,
    Reason,
)
from ..oauth.endpoints import TokenResponse
from ..oauth.id_token import read_unverified_identity, verify_id_token
from ..secret import Secret
from . import history, lease
from .answers import (
    end_grant,
    hold_grant,
    store_answer,
)
from .database import database_now
from .database_errors import DATABASE_FAILURES
from .grants import is_held
from .held_grants import HeldGrant, release_in_the_end
from .identities import has_identity, save_identity
from .locks import write_unless_locked
from .lost_grants import mark_lost
from .news import announce_ending, record_news, send_news
from .token_fields import ROTATION_FIELDS, TOKEN_FIELDS, apply_refresh, apply_rotation
from .transactions import is_in_callers_transaction

logger = logging.getLogger("django_google_link")


@sensitive_variables()
def store_refresh(
    client: OAuthClient,
    row: GoogleAccount,
    response: TokenResponse,
    *,
    guard: GoogleAccountQuerySet,
    is_forced: bool,
) -> bool:
    """Store the answer to a refresh.

    Args:
        client: the OAuth client that made the request.
        row: as it was read before the attempt.
        response: the token response; one with a problem has to contain a refresh token.
        guard: the row, while this caller may write it; see ``lease.rows_still_ours``.
        is_forced: whether the stored access token looked fresh.

    Returns:
        Whether the row was still this caller's to write.

    Raises:
        RefreshUnavailableError: when a rotated refresh token could not be stored, and is lost.
        GrantNotStoredError: when a new access token cannot be stored. Nothing is lost then.
    """
    token = response.refresh_token
    if token is None:
        return _store_access_token(client, row, response, guard=guard, is_forced=is_forced)

    save = partial(save_refresh, row, response, guard=guard, is_forced=is_forced)

    def store(held: HeldGrant) -> bool:
        is_stored = held.store(save)
        rows = GoogleAccount.objects.using(guard.db).filter(pk=row.pk)
        if not is_stored and not is_held(token, rows):
            # Another worker has written the row, and no stored token would end this grant.
            end_grant(client, row.sub, token, owner=row.owner)
        return is_stored

    held = None
    try:
        # The stored refresh token was rotated: no link depends on it.
        held = hold_grant(client, row.sub, token, owner=row.owner, is_linked=False, using=guard.db)
        return store_answer(
            partial(store, held),
            client=client,
            sub=row.sub,
            owner=row.owner,
            token=None,
            is_linked=True,
            using=guard.db,
        )
    except BaseException as error:
        if not (held and held.may_be_stored):
            _give_up_grant(client, row, token, guard=guard)
        if not isinstance(error, GrantNotStoredError):
            raise
    finally:
        release_in_the_end(held)
    raise RefreshUnavailableError("not_stored")


@sensitive_variables()
def save_refresh(
    row: GoogleAccount, response: TokenResponse, *, guard: GoogleAccountQuerySet, is_forced: bool
) -> bool:
    """Store the response to a refresh, unless the grant was renewed or the row deleted since.

    Of a response that cannot be used, only the refresh token is stored.

    To be called in a transaction, which a database error ends.

    Args:
        row: as it was read before the attempt.
        response: the token response.
        guard: the row, while this caller may write it; see ``lease.rows_still_ours``.
        is_forced: whether the stored access token looked fresh.

    Returns:
        Whether it was stored.
    """
    row = copy(row)  # A second attempt has to start from the same row.
    if response.problem:
        return _save_rotation(row, response, guard=guard)
    news = apply_refresh(row, response)
    values = {name: getattr(row, name) for name in TOKEN_FIELDS}
    if not response.refresh_token:
        # The stored one may have been re-encrypted since it was read.
        for name in REFRESH_TOKEN_FIELDS:
            del values[name]
    if not row.ends_soon:
        values["ending_announced_at"] = None
    if is_forced:
        values["refresh_forced_at"] = database_now(guard)
    stored = guard.update(**values, **lease.AT_REST)
    if stored:
        record_news(row, news, using=guard.db, actor=history.PROVIDER)
        send_news(row, [(signals.token_refreshed, {}), *news], using=guard.db)
        announce_ending(row, using=guard.db)
    return bool(stored)


@sensitive_variables()
def _save_rotation(
    row: GoogleAccount, response: TokenResponse, *, guard: GoogleAccountQuerySet
) -> bool:
    """Store the refresh token of a response; return whether the row was ours to write.

    The lease is kept: the caller has yet to note the failure in the row.
    """
    apply_rotation(row, response)
    return bool(guard.update(**{name: getattr(row, name) for name in ROTATION_FIELDS}))


@sensitive_variables()
def _store_access_token(
    client: OAuthClient,
    row: GoogleAccount,
    response: TokenResponse,
    *,
    guard: GoogleAccountQuerySet,
    is_forced: bool,
) -> bool:
    """Store a response without a new refresh token; return whether the row was ours to write.

    The access token is valid even if it is not stored, so a locked row is not waited for.
    """
    is_callers = is_in_callers_transaction(guard.db)

    def save() -> bool:
        # Only a transaction of the caller's has to survive an error.
        with transaction.atomic(using=guard.db, savepoint=is_callers):
            return save_refresh(row, response, guard=guard, is_forced=is_forced)

    return store_answer(
        save if is_callers else partial(write_unless_locked, guard, save),
        client=client,
        sub=row.sub,
        owner=row.owner,
        token=None,
        is_linked=True,
        using=guard.db,
    )


@sensitive_variables()
def _give_up_grant(
    client: OAuthClient, row: GoogleAccount, token: Secret, *, guard: GoogleAccountQuerySet
) -> None:
    """Revoke a grant whose rotated refresh token could not be stored."""
    # A link that looked active would keep the grant alive for ever.
    with suppress(*DATABASE_FAILURES):
        mark_lost(row, Reason.REVOKED, guard=guard, patience=1)
    end_grant(client, row.sub, token, owner=row.owner)


@sensitive_variables()
def follow_identity(client: OAuthClient, row: GoogleAccount, id_token: Secret) -> None:
    """Store the claims of a refresh's ID token, if they are new.

    The tokens are already stored, so they do not depend on whether the issuer's keys can be
    fetched.
    """
    claimed = read_unverified_identity(id_token)
    if claimed is None or (claimed.sub == row.sub and has_identity(row, claimed)):
        return
    try:
        identity = verify_id_token(client, id_token, nonce=None, rests=True)
    except (IDTokenError, RefreshUnavailableError) as error:
        logger.warning(
            "The ID token in a refresh of the account %s cannot be used: %s", row.pk, error
        )
        return
    if identity.sub != row.sub:  # OpenID Connect Core section 12.2: it must be the same.
        logger.error(
            "The ID token in a refresh of the account %s belongs to another account.", row.pk
        )
        return
    try:
        save_identity(row, identity)
    except DATABASE_FAILURES as error:  # The next refresh states it again.
        logger.warning(
            "The name and address of the account %s could not be saved: %s",
            row.pk,
            type(error).__name__,
        )
