"""What the user brings back from Google, traded for tokens and for who they are."""

from __future__ import annotations

import secrets

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..exceptions import IDTokenError, StateError
from ..secret import Secret
from . import endpoints
from .endpoints import TokenResponse
from .id_token import Identity, read_identity, verify_id_token
from .metadata import with_endpoints
from .userinfo import fetch_identity


def check_issuer(client: OAuthClient, issuer: str | None) -> None:
    """Check who has sent an authorization response, be it a code or an error (RFC 9207).

    Args:
        issuer: the response's ``iss``, if it has one.

    Raises:
        StateError: when it is another authorization server than was asked; when it does not say
            which, and that server's metadata says that it does.
        TokenEndpointError: when its metadata is needed, and cannot be had.
    """
    if issuer is None and with_endpoints(client).sends_issuer:
        raise StateError("The answer names no authorization server, and should.")
    if issuer not in {None, client.issuer}:
        raise StateError(
            "The answer came from another authorization server than was asked.",
            reason="issuer_mismatch",
        )


@sensitive_variables()
def exchange_code(
    client: OAuthClient,
    *,
    code: Secret,
    redirect_uri: str,
    code_verifier: str,
) -> TokenResponse:
    """Trade the code of an authorization response for tokens.

    Args:
        code: of the response.
        redirect_uri: as it was sent to Google.
        code_verifier: whose challenge was sent.

    Raises:
        StateError: when the response has no code.
        TokenEndpointError: when Google refuses, or cannot be reached.
    """
    if not code:
        raise StateError("The answer carries no code.")
    return endpoints.exchange_code(
        client, code=code, redirect_uri=redirect_uri, code_verifier=code_verifier
    )


@sensitive_variables()
def identify_user(client: OAuthClient, response: TokenResponse, *, nonce: str | None) -> Identity:
    """Find out who has given a grant, in the way that the settings of the client name.

    Where nothing says it the subject is made up, and stands for this one grant.

    Args:
        response: of the token endpoint.
        nonce: as it was sent with the authorization request; ``None`` where none was: by a flow of
            the project's own, by Google's script or by its SDKs.

    Raises:
        IDTokenError, UserinfoError: when it does not say for sure who the user is.
        RefreshUnavailableError: when the issuer's keys cannot be fetched, or its userinfo.
    """
    if client.identity == "none":
        return read_identity({"sub": secrets.token_hex(16)})
    if client.identity == "userinfo":
        return fetch_identity(client, response.access_token)
    if response.id_token is None:
        raise IDTokenError("The answer carries no ID token.")
    return verify_id_token(client, response.id_token, nonce=nonce)
