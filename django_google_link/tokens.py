"""Access tokens that are always fresh."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from django.views.decorators.debug import sensitive_variables

from . import oauth
from .clients import get_client
from .conf import conf
from .exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    NotLinkedError,
    RefreshUnavailableError,
    TokenUndecryptableError,
)
from .grants import mark_lost, save_refresh
from .models import GoogleAccount
from .secret import Secret

logger = logging.getLogger("django_google_link")


@dataclass(frozen=True, kw_only=True)
class AccessToken:
    """An access token, and when it expires (aware; ``None``: nobody said)."""

    value: Secret
    expires_at: datetime | None


def stored_access_token(
    account: GoogleAccount, *, leeway: timedelta, rejected: Secret | None = None
) -> AccessToken | None:
    """Return the access token in this row, if it is of use. Never asks the database or Google.

    Args:
        leeway: the life that it must have left.
        rejected: a token that an API refused, or that is about to expire.

    Raises:
        EncryptionKeyUnavailableError: when its key is not configured.
    """
    if not account.access_token_lives(leeway=leeway):
        return None
    try:
        token = account.open_token("access_token")
    except TokenUndecryptableError:
        return None  # The refresh token can still give another one.
    if token is None or token == rejected:
        return None
    return AccessToken(value=token, expires_at=account.access_token_expires_at)


def refresh_leeway() -> timedelta:
    """Return the life below which an access token is refreshed first."""
    return timedelta(seconds=conf.refresh_leeway)


@sensitive_variables()
def fresh_access_token(account: GoogleAccount, *, rejected: Secret | None = None) -> AccessToken:
    """Return an access token that is good for now, from the database or from Google.

    Args:
        account: whose row is read again first.
        rejected: a token that an API refused, or that is about to expire.

    Raises:
        NotLinkedError: when the row is gone.
        GrantLostError: when Google no longer honours the grant.
        TokenUndecryptableError: when the stored refresh token was tampered with.
        EncryptionKeyUnavailableError: when the key of the stored token is not configured.
        ClientMisconfiguredError: when Google refuses our client.
        RefreshUnavailableError: when Google cannot be reached and no stored token lives.
    """
    row = GoogleAccount.objects.filter(pk=account.pk).first()
    if row is None:
        raise NotLinkedError
    if not row.is_active:
        raise GrantLostError(reason=row.status_reason, account=row)
    stored = stored_access_token(row, leeway=refresh_leeway(), rejected=rejected)
    if stored:
        return stored
    try:
        return _refresh(row)
    except (RefreshUnavailableError, ClientMisconfiguredError):
        alive = stored_access_token(row, leeway=timedelta(), rejected=rejected)
        if alive:
            return alive
        raise


@sensitive_variables()
def _refresh(row: GoogleAccount) -> AccessToken:
    client = get_client(row.client)
    try:
        # An active row has one.
        refresh_token = cast("Secret", row.open_token("refresh_token"))
        response = oauth.refresh(client, refresh_token=refresh_token)
    except (GrantLostError, TokenUndecryptableError) as error:
        error.account = row
        mark_lost(row, error.reason)
        raise
    except ClientMisconfiguredError as error:
        logger.error("Google refuses the client %r: %s", row.client, error)
        raise
    save_refresh(row, response)
    return AccessToken(value=response.access_token, expires_at=response.access_token_expires_at)
