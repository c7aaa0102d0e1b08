"""The paths of the endpoints. They are Google's, but all on one host."""

from __future__ import annotations

PATHS = {
    "discovery": "/.well-known/openid-configuration",
    "oauth_metadata": "/.well-known/oauth-authorization-server",
    "authorize": "/o/oauth2/v2/auth",
    "consent": "/o/oauth2/v2/auth/consent",
    "token": "/token",
    "revoke": "/revoke",
    "certs": "/oauth2/v3/certs",
    "userinfo": "/v1/userinfo",
    "generate_access_token": "/v1/projects/-/serviceAccounts/<email>:generateAccessToken",
    "sign_jwt": "/v1/projects/-/serviceAccounts/<email>:signJwt",
    "risc_configuration": "/.well-known/risc-configuration",
    "stream": "/v1beta/stream",
    "stream_update": "/v1beta/stream:update",
    "stream_status": "/v1beta/stream/status",
    "stream_status_update": "/v1beta/stream/status:update",
    "stream_verify": "/v1beta/stream:verify",
    "style": "/fake-google.css",
    "script": "/gsi/client",
    "relay": "/gsi/relay.js",
}


def client_endpoints(url: str) -> dict[str, str]:
    """Return the settings that lead a client to the fake at this URL."""
    return {
        # Accepted on loopback only.
        "PROVIDER": "google",
        "AUTHORIZATION_ENDPOINT": url + PATHS["authorize"],
        "TOKEN_ENDPOINT": url + PATHS["token"],
        "REVOCATION_ENDPOINT": url + PATHS["revoke"],
        "JWKS_URI": url + PATHS["certs"],
        "ISSUER": url,
        "API_ENDPOINT": url,
    }


def path_of(endpoint: str) -> str:
    """Return the path of an endpoint.

    Args:
        endpoint: a name in ``PATHS``, or an API path such as ``"/calendar/v3/calendars"``.

    Raises:
        ValueError: for a name that is neither.
    """
    if endpoint.startswith("/"):
        return endpoint
    if endpoint not in PATHS:
        raise ValueError(f"Unknown endpoint {endpoint!r}: use a path or one of {', '.join(PATHS)}.")
    return PATHS[endpoint]
