"""Signs ID tokens (OpenID Connect Core section 2), and tampers with them on request."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from .faults import replace_fields
from .grants import Token
from .keys import rsa_key
from .scopes import EMAIL, PROFILE

LIFETIME = 3600
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ALGORITHMS = RSA_ALGORITHMS | {"HS256", "none"}


@dataclass(frozen=True, kw_only=True)
class IDTokenTampering:
    """Changes to the next ID token.

    Attributes:
        claims: claims to set, to any JSON value.
        remove: claims to leave out.
        header: header parameters to set, to any JSON value.
        remove_header: header parameters to leave out.
        payload: signed instead of the claims: bytes unchanged, other values as JSON. ``...`` stands
            for the claims.
        foreign_key: sign with an unpublished key, using the id of the published one.
        alg: another algorithm: ``"none"`` omits the signature; ``"HS256"`` uses the published key
            as a shared secret (RFC 8725 section 2.1).
        raw: sent instead of a token.
    """

    claims: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict)
    remove_header: tuple[str, ...] = ()
    payload: Any = ...
    foreign_key: bool = False
    alg: str = "RS256"
    raw: str | None = None


def user_claims(token: Token) -> dict[str, Any]:
    """Return the claims about the user that the token's scopes allow."""
    user = token.user
    claims: dict[str, Any] = {"sub": user.sub}
    if EMAIL in token.scopes:
        claims |= {"email": user.email, "email_verified": user.email_verified}
    if PROFILE in token.scopes:
        claims |= {"name": user.name, "picture": user.picture}
    claims["hd"] = user.hosted_domain
    return {name: value for name, value in claims.items() if value not in (None, "")}


def id_token_claims(token: Token, *, issuer: str, now: float, nonce: str | None) -> dict[str, Any]:
    """Return the claims of the ID token that is issued with an access token.

    See https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload.
    """
    claims = {
        "iss": issuer,
        "azp": token.client.client_id,
        "aud": token.client.client_id,
        **user_claims(token),
        "at_hash": _encode_base64url(hashlib.sha256(token.value.encode()).digest()[:16]),
        "iat": int(now),
        "exp": int(now) + LIFETIME,
    }
    return claims if nonce is None else {**claims, "nonce": nonce}


def sign_id_token(claims: dict[str, Any], key: RSAKey, tampering: IDTokenTampering) -> str:
    """Return the token in compact serialization, with the changes in ``tampering``."""
    if tampering.raw is not None:
        return tampering.raw
    header = replace_fields(
        {"alg": tampering.alg, "kid": key.kid, "typ": "JWT"},
        tampering.header,
        tampering.remove_header,
    )
    payload = tampering.payload
    if payload is ...:
        payload = replace_fields(claims, tampering.claims, tampering.remove)
    signed = ".".join(_encode_base64url(_encode_part(part)) for part in (header, payload))
    signer = rsa_key("foreign") if tampering.foreign_key else key
    return f"{signed}.{_encode_base64url(_sign(signed.encode(), signer, tampering.alg))}"


def _encode_part(part: Any) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


def _sign(message: bytes, key: RSAKey, algorithm: str) -> bytes:
    # Without joserfc's jws module, which refuses insecure algorithms.
    if algorithm == "none":
        return b""
    if algorithm == "HS256":
        return hmac.digest(key.as_pem(private=False), message, "sha256")
    return JWSRegistry(algorithms=[algorithm]).get_alg(algorithm).sign(message, key)


def _encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
