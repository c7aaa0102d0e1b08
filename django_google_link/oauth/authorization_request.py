"""Writes authorization requests with google-auth-oauthlib."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from .authorization_params import choose_params
from .metadata import with_endpoints

# google-auth-oauthlib rejects http, which is right on loopback only, and rewrites the query of an
# endpoint. It therefore gets this address, and its query is appended to the configured endpoint.
_ADDRESS = "https://provider.invalid/"


@sensitive_variables("code_verifier", "flow")
def write_authorization_url(
    client: OAuthClient,
    *,
    redirect_uri: str,
    scopes: Iterable[str],
    state: str,
    nonce: str,
    code_verifier: str,
    prompt: str = "",
    login_hint: str = "",
    include_granted_scopes: bool = True,
) -> str:
    """Return the URL at the provider where the user gives consent (RFC 6749 section 4.1.1).

    See https://developers.google.com/identity/protocols/oauth2/web-server and RFC 7636 section 4.3.

    Args:
        redirect_uri: the callback, exactly as registered.
        scopes: the scopes to request.
        state: returned to the callback unchanged.
        nonce: returned in the ID token.
        code_verifier: only its S256 challenge is sent.
        prompt: ``"consent"``, ``"select_account"``, both, or an empty string.
        login_hint: the ``sub`` or e-mail address of the expected account.
        include_granted_scopes: whether to request the scopes granted before as well.

    Raises:
        RefreshUnavailableError: if the issuer's metadata is needed but cannot be fetched.
        ClientMisconfiguredError: if the metadata is missing or unusable.
    """
    from google_auth_oauthlib import flow as library

    client = with_endpoints(client)
    params = choose_params(
        client,
        nonce=nonce,
        prompt=prompt,
        login_hint=login_hint,
        include_granted_scopes=include_granted_scopes,
    )
    asked = client.scope_separator.join(scopes)
    flow = library.Flow.from_client_config(
        {
            "web": {
                "client_id": client.client_id,
                # In the query, since a parameter may have the name of an argument of the library.
                "auth_uri": f"{_ADDRESS}?{urlencode(params)}",
                "token_uri": client.token_endpoint,
            }
        },
        scopes=[asked] if asked else None,
        redirect_uri=redirect_uri,
        code_verifier=code_verifier,
    )
    # The library sends access_type=offline to every provider, but leaves out an empty value.
    url, _ = flow.authorization_url(state=state, access_type="")
    separator = "&" if urlsplit(client.authorization_endpoint).query else "?"
    return f"{client.authorization_endpoint}{separator}{urlsplit(url).query}"
