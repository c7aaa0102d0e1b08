"""Discovery: the metadata and the signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .endpoints import PATHS
from .resources import unknown_method
from .responses import json_response
from .scopes import EMAIL, OPENID, PROFILE

if TYPE_CHECKING:
    from werkzeug.wrappers import Request, Response

    from .provider import Provider

_OPENIDS = frozenset(
    {
        "claims_supported",
        "id_token_signing_alg_values_supported",
        "jwks_uri",
        "scopes_supported",
        "subject_types_supported",
        "userinfo_endpoint",
    }
)
_CLAIMS = ("aud", "azp", "email", "email_verified", "exp", "hd", "iat", "iss", "name", "picture")


def discovery(provider: Provider, request: Request) -> Response:
    """Return the provider's metadata (OpenID Connect Discovery section 4)."""
    if provider.behaviour.metadata != "openid":
        return unknown_method(request)
    return _publish(_describe(provider))


def oauth_metadata(provider: Provider, request: Request) -> Response:
    """Return the metadata of a provider without OpenID Connect (RFC 8414 section 2)."""
    if provider.behaviour.metadata != "oauth":
        return unknown_method(request)
    document = _describe(provider)
    return _publish({key: value for key, value in document.items() if key not in _OPENIDS})


def _describe(provider: Provider) -> dict[str, Any]:
    issuer = provider.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": issuer + PATHS["authorize"],
        "token_endpoint": issuer + PATHS["token"],
        "userinfo_endpoint": issuer + PATHS["userinfo"],
        "revocation_endpoint": issuer + PATHS["revoke"],
        "jwks_uri": issuer + PATHS["certs"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": [OPENID, "email", "profile", EMAIL, PROFILE],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "claims_supported": ["sub", *_CLAIMS],
        "code_challenge_methods_supported": ["S256"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "authorization_response_iss_parameter_supported": provider.behaviour.declares_iss,
    }


def _publish(document: dict[str, Any]) -> Response:
    return json_response(document, headers={"Cache-Control": "public, max-age=3600"})


def certs(provider: Provider, request: Request) -> Response:
    """Return the signing keys (RFC 7517 section 5), cacheable for ``certs_max_age`` seconds."""
    with provider.lock:
        key_set = provider.keys.public_jwks()
    max_age = provider.behaviour.certs_max_age
    cache_control = f"public, max-age={max_age}, must-revalidate, no-transform"
    return json_response(key_set, headers={"Cache-Control": cache_control})
