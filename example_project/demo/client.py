"""The settings of an OAuth client at the demo's Google."""

from typing import Any


def client_settings(url: str) -> dict[str, Any]:
    """Return the entry in ``GOOGLE_LINK["CLIENTS"]`` for the FakeGoogle at this address."""
    return {
        "CLIENT_ID": "daybook.apps.googleusercontent.com",
        "CLIENT_SECRET": "known to the demo's own Google only",
        # Only needed for a fake on loopback.
        "PROVIDER": "google",
        "AUTHORIZATION_ENDPOINT": f"{url}/o/oauth2/v2/auth",
        "TOKEN_ENDPOINT": f"{url}/token",
        "REVOCATION_ENDPOINT": f"{url}/revoke",
        "JWKS_URI": f"{url}/oauth2/v3/certs",
        "ISSUER": url,
        "API_ENDPOINT": url,
    }
