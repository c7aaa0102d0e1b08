"""What an answer of the token endpoint sets in the row of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.views.decorators.debug import sensitive_variables

from .. import signals
from ..conf import clock
from ..models import REFRESH_TOKEN_FIELDS, GoogleAccount, Status

if TYPE_CHECKING:
    from ..conf.clients import OAuthClient
    from ..oauth.endpoints import TokenResponse
    from ..oauth.id_token import Identity
    from .news import News

IDENTITY_FIELDS = ("email", "email_verified", "name", "picture", "hosted_domain")
ROTATION_FIELDS = (*REFRESH_TOKEN_FIELDS, "refresh_token_expires_at")
TOKEN_FIELDS = (
    *REFRESH_TOKEN_FIELDS,
    "without_refresh_token",
    "refresh_token_scopes",
    "refresh_token_expires_at",
    "sealed_access_token",
    "access_token_expires_at",
    "granted_scopes",
    "refreshed_at",
    "status",
    "status_reason",
    "status_changed_at",
)


@sensitive_variables()
def apply_grant(
    client: OAuthClient,
    account: GoogleAccount,
    response: TokenResponse,
    *,
    requested: frozenset[str],
) -> News:
    """Set the fields of a row to the token response after a consent, and return what is news."""
    answered = requested if response.scopes is None else frozenset(response.scopes)
    if response.refresh_token:
        granted = answered
        _apply_refresh_token(account, response, carries=granted)
        account.ending_announced_at = None
    elif not keeps_refresh_token(client, account):
        granted = answered
        account.drop_refresh_token()
        account.refresh_token_expires_at = None
        account.refresh_token_scopes = sorted(granted)
        account.without_refresh_token = True
    else:
        declined = requested - answered
        granted = frozenset(account.refresh_token_scopes) - declined
    # An access token with fewer scopes than were granted would be refused for an hour.
    _apply_access_token(account, response, is_whole=granted <= answered)
    return [*_apply_scopes(account, granted), *_recover_status(account)]


@sensitive_variables()
def apply_refresh(account: GoogleAccount, response: TokenResponse) -> News:
    """Set the fields of a row to the response to a refresh, and return what is news."""
    granted = frozenset(account.granted_scopes)
    if response.scopes is not None:
        # A refresh requests no scopes: those it names are all that the refresh token carries.
        granted = frozenset(response.scopes)
        account.refresh_token_scopes = sorted(granted)
    _apply_refresh_token(account, response, carries=frozenset(account.refresh_token_scopes))
    _apply_access_token(account, response, is_whole=True)
    return [*_apply_scopes(account, granted), *_recover_status(account)]


@sensitive_variables()
def apply_rotation(account: GoogleAccount, response: TokenResponse) -> None:
    """Set the refresh token of a row to that of a response which cannot be used otherwise."""
    _apply_refresh_token(account, response, carries=frozenset(account.refresh_token_scopes))


def apply_identity(account: GoogleAccount, identity: Identity) -> None:
    account.email, account.email_verified = identity.email, identity.email_verified
    account.name, account.picture = identity.name, identity.picture
    account.hosted_domain = identity.hosted_domain


def keeps_refresh_token(client: OAuthClient, account: GoogleAccount) -> bool:
    """Return whether the stored refresh token is valid for the grant that was just renewed.

    Without an identity it may belong to another account.
    """
    return account.is_active and bool(account.sealed_refresh_token) and client.identity != "none"


def forget_tokens(account: GoogleAccount) -> None:
    account.drop_tokens()
    account.refresh_token_scopes = []


@sensitive_variables()
def _apply_refresh_token(
    account: GoogleAccount, response: TokenResponse, *, carries: frozenset[str]
) -> None:
    if response.refresh_token:
        account.without_refresh_token = False
        account.seal_token("refresh_token", response.refresh_token)
        account.refresh_token_expires_at = response.refresh_token_expires_at
        account.refresh_token_scopes = sorted(carries)
    elif response.refresh_token_expires_at:
        # A refresh may state when the stored refresh token expires.
        account.refresh_token_expires_at = response.refresh_token_expires_at


@sensitive_variables()
def _apply_access_token(account: GoogleAccount, response: TokenResponse, *, is_whole: bool) -> None:
    account.refreshed_at = clock.now()
    if is_whole:
        account.seal_token("access_token", response.access_token)
        account.access_token_expires_at = response.access_token_expires_at
    else:
        account.sealed_access_token, account.access_token_expires_at = "", None


def _apply_scopes(account: GoogleAccount, after: frozenset[str]) -> News:
    before, account.granted_scopes = frozenset(account.granted_scopes), sorted(after)
    if not before or before == after:
        return []
    changes = {"added": after - before, "removed": before - after}
    return [(signals.scopes_changed, changes)]


def _recover_status(account: GoogleAccount) -> News:
    if account.status == Status.ACTIVE:
        return []
    account.status, account.status_reason = Status.ACTIVE, ""
    account.status_changed_at = clock.now()
    return [(signals.authorization_recovered, {})]
