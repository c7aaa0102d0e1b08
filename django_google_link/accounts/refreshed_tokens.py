"""Storing the response to a refresh, or revoking a rotated grant that cannot be stored."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..exceptions import (
    GrantNotStoredError,
    IDTokenError,
    RefreshUnavailableError,
)
from ..models import GoogleAccount, GoogleAccountQuerySet, PendingRevocation, Reason
from ..oauth.endpoints import TokenResponse
from ..oauth.id_token import read_unverified_identity, verify_id_token
from ..secret import Secret
from .answers import (
    DATABASE_FAILURES,
    end_grant,
    hold_grant,
    release_grant,
    release_in_the_end,
    store_answer,
)
from .grants import has_identity, is_held, mark_lost, save_identity, save_refresh
from .transactions import open_transaction

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
    """Store the response to a refresh.

    Args:
        client: the OAuth client that sent the request.
        row: the account as it was read before the request.
        response: the token response.
        guard: the row, for as long as we may write it; see ``lease.rows_still_ours``.
        is_forced: whether the stored access token had not expired.

    Returns:
        Whether we could still write the row.

    Raises:
        RefreshUnavailableError: when a rotated refresh token is lost.
        GrantNotStoredError: when a new access token cannot be stored. The grant remains usable.
    """
    token = response.refresh_token
    if token is None:
        return _store_access_token(client, row, response, guard=guard, is_forced=is_forced)

    def store(held: PendingRevocation) -> bool:
        with open_transaction(guard.db):
            is_stored = save_refresh(row, response, guard=guard, is_forced=is_forced)
            release_grant(held)
        rows = GoogleAccount.objects.using(guard.db).filter(pk=row.pk)
        if not is_stored and not is_held(token, rows):
            # The row has a different grant or owner by now: nothing stored would ever revoke this
            # one.
            end_grant(client, row.sub, token, owner=row.owner)
        return is_stored

    held = None
    try:
        # The stored refresh token has been rotated out, so that no active link uses the grant.
        held = hold_grant(client, row.sub, token, owner=row.owner, is_linked=False)
        return store_answer(
            partial(store, held),
            client=client,
            sub=row.sub,
            owner=row.owner,
            token=None,
            is_linked=True,
        )
    except BaseException as error:
        _give_up_grant(client, row, token, guard=guard)
        release_in_the_end(held)
        if not isinstance(error, GrantNotStoredError):
            raise
    raise RefreshUnavailableError("not_stored")


@sensitive_variables()
def _store_access_token(
    client: OAuthClient,
    row: GoogleAccount,
    response: TokenResponse,
    *,
    guard: GoogleAccountQuerySet,
    is_forced: bool,
) -> bool:
    """Store a response without a new refresh token; return whether we could still write the row."""
    return store_answer(
        partial(save_refresh, row, response, guard=guard, is_forced=is_forced),
        client=client,
        sub=row.sub,
        owner=row.owner,
        token=None,
        is_linked=True,
    )


@sensitive_variables()
def _give_up_grant(
    client: OAuthClient, row: GoogleAccount, token: Secret, *, guard: GoogleAccountQuerySet
) -> None:
    """Revoke a grant whose rotated refresh token could not be stored."""
    # Otherwise the link would count as active, and the grant would be spared.
    with suppress(*DATABASE_FAILURES):
        mark_lost(row, Reason.REVOKED, guard=guard, patience=1)
    end_grant(client, row.sub, token, owner=row.owner)


@sensitive_variables()
def follow_identity(client: OAuthClient, row: GoogleAccount, id_token: Secret) -> None:
    """Store changes in the profile from the ID token of a refresh.

    The tokens have been stored before: they do not depend on whether the issuer's keys can be
    fetched.
    """
    claimed = read_unverified_identity(id_token)
    if claimed is None or (claimed.sub == row.sub and has_identity(row, claimed)):
        return
    try:
        identity = verify_id_token(client, id_token, nonce=None)
    except (IDTokenError, RefreshUnavailableError) as error:
        logger.warning(
            "The ID token in a refresh of the account %s cannot be used: %s", row.pk, error
        )
        return
    if identity.sub != row.sub:  # OpenID Connect Core 1.0 section 12.2: it must be the same.
        logger.error(
            "The ID token in a refresh of the account %s belongs to another account.", row.pk
        )
        return
    try:
        save_identity(row, identity)
    except DATABASE_FAILURES as error:  # The next refresh brings it again.
        logger.warning(
            "The name and address of the account %s could not be saved: %s",
            row.pk,
            type(error).__name__,
        )
