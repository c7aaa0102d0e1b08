"""The revocation endpoint (RFC 7009), like Google's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .client_authentication import authenticate_client
from .errors import OAuthError
from .responses import json_response, oauth_error_response

if TYPE_CHECKING:
    from werkzeug.wrappers import Request, Response

    from .grants import Token
    from .provider import Provider


def revoke(provider: Provider, request: Request) -> Response:
    """Revoke an access or refresh token, and its whole grant.

    Google requires no client authentication; other providers do.

    See https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke.
    """
    value = request.form.get("token")
    if not value:
        return oauth_error_response(
            OAuthError("invalid_request", "Missing required parameter: token")
        )
    with provider.lock:
        try:
            _check_owner(provider, request, value)
        except OAuthError as error:
            return oauth_error_response(error)
        if not _end_token(provider, value):
            return oauth_error_response(OAuthError("invalid_token", "Token expired or revoked"))
    return json_response({})


def _check_owner(provider: Provider, request: Request, value: str) -> None:
    """Authenticate the client, unless it is Google's (RFC 7009 section 2.1).

    Raises:
        OAuthError: if authentication fails, or the token is another client's.
    """
    token = _find_token(provider, value)
    if token is None or token.client.speaks_google:
        return
    if authenticate_client(request, provider.directory) is not token.client:
        raise OAuthError("unauthorized_client", "The token is another client's.")


def _find_token(provider: Provider, value: str) -> Token | None:
    grants = provider.grants
    return grants.refresh_token(value) or grants.replaced_token(value) or grants.access_token(value)


def _end_token(provider: Provider, value: str) -> bool:
    """Revoke a token and what depends on it. Return whether there was anything to revoke.

    A refresh token that was replaced by rotation still identifies its grant.
    """
    grants = provider.grants
    refresh_token = grants.refresh_token(value) or grants.replaced_token(value)
    token = refresh_token or grants.access_token(value)
    if token is None:
        return False
    if provider.behaviour.revocation_ends_grant:
        provider.end_grant(token.user, token.client)
    elif refresh_token:
        grants.remove_family(token.family)
    else:
        grants.drop_access_tokens(lambda other: other is token)
    return True
