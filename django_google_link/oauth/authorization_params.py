"""Chooses the parameters of an authorization request for each provider."""

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
    """Return the parameters in addition to those of RFC 6749 section 4.1.1 and of PKCE.

    Parameters that only Google defines are sent to Google only, since some providers reject
    unknown ones.

    Args: those of ``write_authorization_url()``.
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
    """Return the ``prompt`` parameter, as far as the provider supports it."""
    configured = client.authorization_params.get("prompt")
    if client.is_google:
        # Without "consent" there may be no refresh token, whatever the settings contain.
        return " ".join(dict.fromkeys([*prompt.split(), *(configured or "").split()]))
    if configured is not None:
        return configured
    # OpenID Connect Core section 11: without it, the provider need not issue a refresh token.
    asks = client.identity == "id_token" and "consent" in prompt.split()
    return "consent" if asks else ""
