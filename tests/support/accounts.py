"""Linked accounts and their tokens, created directly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.grants import save_grant
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import TokenEndpointError
from django_google_link.models import GoogleAccount
from django_google_link.oauth.endpoints import TokenResponse
from django_google_link.oauth.id_token import Identity
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, OPENID
from tests.support.times import in_seconds


def token_response(**changes: Any) -> TokenResponse:
    """Return a successful token response."""
    values: dict[str, Any] = {
        "access_token": Secret("ya29.new"),
        "access_token_expires_at": in_seconds(3599),
        "refresh_token": Secret("1//new"),
        "refresh_token_expires_at": None,
        "scopes": (*OPENID, CALENDAR),
        "id_token": None,
        **changes,
    }
    return TokenResponse(**values)


def identity(sub: str = "42", **changes: Any) -> Identity:
    """Return the identity in an ID token."""
    values: dict[str, Any] = {
        "email": "alice@gmail.com",
        "email_verified": True,
        "name": "Alice Example",
        "picture": "https://example.com/alice.png",
        "hosted_domain": "example.com",
        **changes,
    }
    return Identity(sub=sub, **values)


def save(
    user: Any,
    sub: str = "42",
    *,
    client: str = "default",
    requested_scopes: Any = (),
    request: Any = None,
    **changes: Any,
) -> GoogleAccount:
    """Save a grant, as at the end of the flow."""
    return save_grant(
        user,
        replace(get_client(), name=client),
        identity(sub),
        token_response(**changes),
        requested_scopes=requested_scopes,
        request=request,
    )


def linked(user: Any, google: FakeGoogle, alice: FakeUser, **changes: Any) -> GoogleAccount:
    """Link Alice's account with tokens that FakeGoogle accepts."""
    tokens = google.grant(alice, [*OPENID, CALENDAR])
    values: dict[str, Any] = {
        "sub": alice.sub,
        "email": alice.email,
        "name": alice.name,
        "picture": alice.picture,
        "hosted_domain": alice.hosted_domain or "",
        "scopes": [CALENDAR],
        "refresh_token": tokens.refresh_token,
        "access_token": tokens.access_token,
        **changes,
    }
    return make_google_account(user, **values)


def stale(user: Any, google: FakeGoogle, alice: FakeUser, **changes: Any) -> GoogleAccount:
    """Link Alice's account with an access token that has expired."""
    return linked(user, google, alice, access_token_expires_at=in_seconds(-60), **changes)


def token_of(account: GoogleAccount, name: Any) -> str | None:
    """Return a token as stored in the database."""
    secret = GoogleAccount.objects.get(pk=account.pk).unseal_token(name)
    return secret.reveal() if secret else None


def attempt(account: GoogleAccount) -> str:
    """Ask for an access token; return "token", or the code of the error."""
    try:
        fresh_access_token(account)
    except TokenEndpointError as error:
        return error.error
    return "token"
