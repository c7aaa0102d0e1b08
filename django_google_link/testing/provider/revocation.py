"""The revocation endpoint (RFC 7009), as Google has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import OAuthError
from .responses import json_response, oauth_error_response

if TYPE_CHECKING:
    from werkzeug.wrappers import Request, Response

    from .provider import Provider


def revoke(provider: Provider, request: Request) -> Response:
    """End an access or refresh token, and its whole grant. Needs no client authentication.

    See https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke.
    """
    value = request.form.get("token")
    if not value:
        return oauth_error_response(
            OAuthError("invalid_request", "Missing required parameter: token")
        )
    with provider.lock:
        if not _end_token(provider, value):
            return oauth_error_response(OAuthError("invalid_token", "Token expired or revoked"))
    return json_response({})


def _end_token(provider: Provider, value: str) -> bool:
    """End a token and what goes with it; tell whether there was anything to end.

    A refresh token that was replaced by rotation still names its grant, and ends it.
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
