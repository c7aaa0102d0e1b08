"""What an authorization request says, to each provider in its own words."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from ..conf.clients import OAuthClient


def choose_params(
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
) -> dict[str, str]:
    """Return the parameters of an authorization request (RFC 6749 section 4.1.1).

    What Google alone understands is sent to Google alone: some others refuse what they do not know.

    Args: as those of ``endpoints.authorization_url``.
    """
    params = {
        "client_id": client.client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": client.scope_separator.join(scopes),
        "state": state,
        "code_challenge": code_challenge(code_verifier),
        "code_challenge_method": "S256",
    }
    if client.identity == "id_token":
        params["nonce"] = nonce
    if client.is_google:
        params |= {
            "access_type": "offline",
            "include_granted_scopes": "true" if include_granted_scopes else "",
            "login_hint": login_hint,
            "hd": client.hosted_domain or "",
        }
    params |= client.authorization_params
    params["prompt"] = _choose_prompt(client, prompt)
    return {key: value for key, value in params.items() if value}


def code_challenge(code_verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _choose_prompt(client: OAuthClient, prompt: str) -> str:
    """Return what the user is to be asked, as far as the provider understands it."""
    wished = client.authorization_params.get("prompt")
    if client.is_google:
        # Without our "consent" there would be no refresh token, whatever else is wished.
        return " ".join(dict.fromkeys([*prompt.split(), *(wished or "").split()]))
    if wished is not None:
        return wished
    # OpenID Connect Core section 11: without it, no refresh token has to come.
    asks = client.identity == "id_token" and "consent" in prompt.split()
    return "consent" if asks else ""
