"""Client authentication (RFC 6749 section 2.3.1)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from .errors import OAuthError

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from .identities import Directory, FakeClient


def authenticate_client(request: Request, directory: Directory) -> FakeClient:
    """Return the client whose id and secret are in the HTTP Basic header, or else in the body.

    A client that has to use one of the two ways is rejected if it uses the other or both.

    Raises:
        OAuthError: ``invalid_request`` without an id, ``invalid_client`` (401) for wrong
            credentials.
    """
    client_id, client_secret = _read_credentials(request)
    if not client_id:
        raise OAuthError("invalid_request", "Could not determine client ID from request.")
    client = directory.clients.get(client_id)
    if client is None:
        raise OAuthError("invalid_client", "The OAuth client was not found.", 401)
    if not hmac.compare_digest(client.client_secret.encode(), client_secret.encode()):
        raise OAuthError("invalid_client", "Unauthorized", 401)
    ways = [
        way
        for way, is_used in (
            ("client_secret_basic", request.authorization is not None),
            ("client_secret_post", "client_secret" in request.form),
        )
        if is_used
    ]
    if client.authentication != "any" and ways != [client.authentication]:
        raise OAuthError("invalid_client", f"Use {client.authentication}.", 401)
    return client


def _read_credentials(request: Request) -> tuple[str, str]:
    basic = request.authorization
    if basic is not None and basic.type == "basic":
        return unquote_plus(basic.username or ""), unquote_plus(basic.password or "")
    return request.form.get("client_id", ""), request.form.get("client_secret", "")
