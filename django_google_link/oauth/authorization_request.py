"""What the user is sent to the provider with: google-auth-oauthlib writes it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from .authorization_params import choose_params
from .metadata import with_endpoints

# google-auth-oauthlib takes no http, which is right on loopback alone, and writes the query of an
# endpoint that has one anew: what it writes for this address is put on the one that is configured.
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
    """Return the address at the provider where the user gives consent (RFC 6749 section 4.1.1).

    See https://developers.google.com/identity/protocols/oauth2/web-server and RFC 7636 section 4.3.

    Args:
        redirect_uri: our callback, exactly as registered.
        scopes: all that is asked for.
        state: comes back to the callback unchanged.
        nonce: comes back inside the ID token.
        code_verifier: kept here; only its S256 challenge is sent.
        prompt: ``"consent"``, ``"select_account"``, both, or nothing.
        login_hint: the ``sub`` or e-mail of the account that is expected.
        include_granted_scopes: whether it is for what was granted before as well.

    Raises:
        RefreshUnavailableError: when the issuer's metadata is needed, and cannot be had.
        ClientMisconfiguredError: when it must not be used.
    """
    from google_auth_oauthlib.flow import Flow

    client = with_endpoints(client)
    params = choose_params(
        client,
        nonce=nonce,
        prompt=prompt,
        login_hint=login_hint,
        include_granted_scopes=include_granted_scopes,
    )
    asked = client.scope_separator.join(scopes)
    flow = Flow.from_client_config(
        {
            "web": {
                "client_id": client.client_id,
                # Not as arguments: a parameter may be called as one of the library's own.
                "auth_uri": f"{_ADDRESS}?{urlencode(params)}",
                "token_uri": client.token_endpoint,
            }
        },
        scopes=[asked] if asked else None,
        redirect_uri=redirect_uri,
        code_verifier=code_verifier,
    )
    # The library would ask everybody for "offline"; what is empty it leaves out.
    url, _ = flow.authorization_url(state=state, access_type="")
    separator = "&" if urlsplit(client.authorization_endpoint).query else "?"
    return f"{client.authorization_endpoint}{separator}{urlsplit(url).query}"
