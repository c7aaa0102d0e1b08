"""Which parameters an authorization request has, to each provider in its own words."""

from __future__ import annotations

from ..conf.clients import OAuthClient


def choose_params(
    client: OAuthClient,
    *,
    nonce: str,
    prompt: str = "",
    login_hint: str = "",
    include_granted_scopes: bool = True,
) -> dict[str, str]:
    """Return the parameters besides those that RFC 6749 section 4.1.1 and PKCE have.

    What Google alone understands is sent to Google alone: some others refuse what they do not know.

    Args: as those of ``write_authorization_url``.
    """
    params = {"nonce": nonce} if client.identity == "id_token" else {}
    if client.is_google:
        params |= {
            "access_type": "offline",
            "include_granted_scopes": "true" if include_granted_scopes else "",
            "login_hint": login_hint,
            "hd": client.hd,
        }
    params |= client.authorization_params
    params["prompt"] = _choose_prompt(client, prompt)
    return {key: value for key, value in params.items() if value}


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
