"""The revocation endpoint (RFC 7009), as Google has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import OAuthError
from .responses import json_response, oauth_error_response

if TYPE_CHECKING:
    from werkzeug.wrappers import Request, Response

    from .provider import Provider


def revoke(provider: Provider, request: Request) -> Response:
    """End the whole grant behind an access or refresh token. Needs no client authentication.

    See https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke.
    """
    value = request.form.get("token")
    if not value:
        return oauth_error_response(
            OAuthError("invalid_request", "Missing required parameter: token")
        )
    with provider.lock:
        now = provider.now()
        token = provider.grants.refresh_token(value, now) or provider.grants.access_token(
            value, now
        )
        if token is None:
            return oauth_error_response(OAuthError("invalid_token", "Token expired or revoked"))
        provider.end_grant(token.user, token.client)
    return json_response({})
