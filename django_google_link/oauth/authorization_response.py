"""Exchanges an authorization response for tokens, and identifies the account."""

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
    """Check the issuer of an authorization response, be it a code or an error (RFC 9207).

    Args:
        issuer: the response's ``iss``, or ``None`` without one.

    Raises:
        StateError: if the response is from another authorization server, or has no ``iss`` although
            the metadata says that it always does.
        TokenEndpointError: if the metadata is needed but cannot be fetched.
    """
    if issuer is None and with_endpoints(client).sends_issuer:
        raise StateError("The authorization response has no iss, although the issuer sends it.")
    if issuer not in {None, client.issuer}:
        raise StateError(
            "The authorization response is from another authorization server.",
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
    """Exchange the code of an authorization response for tokens.

    Args:
        code: the code in the response.
        redirect_uri: the redirect URI of the authorization request.
        code_verifier: the verifier whose challenge was sent (RFC 7636 section 4.5).

    Raises:
        StateError: if the response has no code.
        TokenEndpointError: if Google rejects the request or cannot be reached.
    """
    if not code:
        raise StateError("The authorization response has no code.")
    return endpoints.exchange_code(
        client, code=code, redirect_uri=redirect_uri, code_verifier=code_verifier
    )


@sensitive_variables()
def identify_user(client: OAuthClient, response: TokenResponse, *, nonce: str | None) -> Identity:
    """Identify the account of a grant, in the way that the client's ``IDENTITY`` says.

    If that is ``"none"``, the subject is a random value, different for each grant.

    Args:
        response: the response of the token endpoint.
        nonce: the nonce of the authorization request; ``None`` if none was sent: by a flow of the
            project's own, by Google's script or by its SDKs.

    Raises:
        IDTokenError, UserinfoError: if the account cannot be identified.
        RefreshUnavailableError: if the issuer's keys or the userinfo cannot be fetched.
    """
    if client.identity == "none":
        return read_identity({"sub": secrets.token_hex(16)})
    if client.identity == "userinfo":
        return fetch_identity(client, response.access_token)
    if response.id_token is None:
        raise IDTokenError("The response of the token endpoint has no ID token.")
    return verify_id_token(client, response.id_token, nonce=nonce)
