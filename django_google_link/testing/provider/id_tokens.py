"""ID tokens (OpenID Connect Core section 2), signed for real, and spoilt on request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from .grants import Token
from .keys import rsa_key
from .scopes import EMAIL, PROFILE

LIFETIME = 3600
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ALGORITHMS = RSA_ALGORITHMS | {"HS256", "none"}


@dataclass(frozen=True, kw_only=True)
class Tampering:
    """What is wrong with the next ID token.

    Attributes:
        claims: claims to set.
        remove: claims to leave out.
        foreign_key: sign with an unpublished key, under the name of the published one.
        alg: another algorithm: ``"none"`` leaves the signature out; ``"HS256"`` takes the published
            key for a shared secret (RFC 8725 section 2.1).
        raw: sent instead of any token.
    """

    claims: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    foreign_key: bool = False
    alg: str = "RS256"
    raw: str | None = None


def user_claims(token: Token) -> dict[str, Any]:
    """Return what the token's scopes let its client know about the user."""
    user = token.user
    claims: dict[str, Any] = {"sub": user.sub}
    if EMAIL in token.scopes:
        claims |= {"email": user.email, "email_verified": user.email_verified}
    if PROFILE in token.scopes:
        claims |= {"name": user.name, "picture": user.picture}
    claims["hd"] = user.hosted_domain
    return {name: value for name, value in claims.items() if value not in (None, "")}


def id_token_claims(token: Token, *, issuer: str, now: float, nonce: str | None) -> dict[str, Any]:
    """Return the claims of the ID token that is given out with an access token.

    See https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload.
    """
    claims = {
        "iss": issuer,
        "azp": token.client.client_id,
        "aud": token.client.client_id,
        **user_claims(token),
        "at_hash": _base64url(hashlib.sha256(token.value.encode()).digest()[:16]),
        "iat": int(now),
        "exp": int(now) + LIFETIME,
    }
    return claims if nonce is None else {**claims, "nonce": nonce}


def sign_id_token(claims: dict[str, Any], key: RSAKey, tampering: Tampering) -> str:
    """Return the token in compact form, spoilt as ``tampering`` says."""
    if tampering.raw is not None:
        return tampering.raw
    claims = {**claims, **tampering.claims}
    claims = {name: value for name, value in claims.items() if name not in tampering.remove}
    header = {"alg": tampering.alg, "kid": key.kid, "typ": "JWT"}
    if tampering.alg not in RSA_ALGORITHMS:
        return _without_private_key(header, claims, key)
    signer = rsa_key("foreign") if tampering.foreign_key else key
    return jwt.encode(header, claims, signer, algorithms=[tampering.alg])


def _without_private_key(header: dict[str, Any], claims: dict[str, Any], key: RSAKey) -> str:
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    if header["alg"] == "none":
        return f"{signed}."
    signature = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
