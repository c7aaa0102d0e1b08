"""What the user brings back from Google, traded for tokens and for who they are."""

from __future__ import annotations

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..exceptions import IDTokenError, StateError
from ..secret import Secret
from . import endpoints
from .endpoints import TokenResponse
from .id_token import Identity, verify_id_token


@sensitive_variables()
def exchange(
    client: OAuthClient,
    *,
    code: Secret,
    issuer: str | None,
    redirect_uri: str,
    code_verifier: str,
    nonce: str,
) -> tuple[TokenResponse, Identity]:
    """Trade the code of an authorization response, and verify who has given it.

    Args:
        issuer: the response's ``iss``, if it has one (RFC 9207).
        redirect_uri: as it was sent to Google.
        code_verifier: whose challenge was sent.
        nonce: as it was sent.

    Raises:
        StateError: when the response is another server's, or has no code.
        IDTokenError: when it does not say for sure who the user is.
        TokenEndpointError: when Google refuses, or cannot be reached.
    """
    # RFC 9207: an answer that names another issuer was meant for another client.
    if issuer not in {None, client.issuer}:
        raise StateError("The answer came from another authorization server than was asked.")
    if not code:
        raise StateError("The answer carries no code.")
    response = endpoints.exchange_code(
        client, code=code, redirect_uri=redirect_uri, code_verifier=code_verifier
    )
    if response.id_token is None:
        raise IDTokenError("The answer carries no ID token.")
    return response, verify_id_token(client, response.id_token, nonce=nonce)
