"""What a refresh has brought, on its way into the row: stored, or ended where that cannot be."""

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
from .locks import write_unless_locked
from .transactions import is_in_callers_transaction, open_transaction

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
        client: that has asked.
        row: as it was read before the attempt.
        response: the answer.
        guard: the row, as long as it is ours to write; see ``lease.rows_still_ours``.
        is_forced: whether the stored token looked fresh.

    Returns:
        Whether the row was still ours.

    Raises:
        RefreshUnavailableError: when a refresh token that has replaced the stored one is lost.
        GrantNotStoredError: when the database takes no new access token. Nothing is lost then.
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
            # The row is another's by now, and nothing that is stored would end this one.
            end_grant(client, row.sub, token, owner=row.owner)
        return is_stored

    held = None
    try:
        # What is stored is dead by now: no link lives on it.
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
    """Store an answer that leaves the refresh token as it is; return whether the row was ours.

    The access token is good without it, so that nobody who has locked the row is waited for.
    """
    store = partial(save_refresh, row, response, guard=guard, is_forced=is_forced)
    if not is_in_callers_transaction(guard.db):
        store = partial(write_unless_locked, guard, store)
    return store_answer(
        store,
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
    """End a grant whose new refresh token could not be stored: the stored one is dead."""
    # A link that seems to live would keep the grant alive for ever.
    with suppress(*DATABASE_FAILURES):
        mark_lost(row, Reason.REVOKED, guard=guard, patience=1)
    end_grant(client, row.sub, token, owner=row.owner)


@sensitive_variables()
def follow_identity(client: OAuthClient, row: GoogleAccount, id_token: Secret) -> None:
    """Store what the ID token of a refresh says, if it says something new.

    The tokens are stored by then: whether the issuer's keys can be fetched is no matter of theirs.
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
    if identity.sub != row.sub:  # OpenID Connect Core section 12.2: it must be the same.
        logger.error(
            "The ID token in a refresh of the account %s belongs to another account.", row.pk
        )
        return
    try:
        save_identity(row, identity)
    except DATABASE_FAILURES as error:  # The next refresh says it again.
        logger.warning(
            "The name and address of the account %s could not be saved: %s",
            row.pk,
            type(error).__name__,
        )
