"""Validates ID tokens, which identify the linked account (OpenID Connect Core section 3.1.3.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.crypto import constant_time_compare

from ..conf import clock
from ..conf.clients import OAuthClient
from ..exceptions import HostedDomainError, IDTokenError
from ..secret import Secret
from .metadata import with_endpoints
from .published import ALGORITHMS, KEY_TYPES, NONSENSE, find_signing_key

if TYPE_CHECKING:
    from jwt import PyJWK

#: Seconds by which clocks may differ. Nonce and PKCE protect the response, so tolerance costs no
#: security, and a slow clock must not prevent users from linking.
CLOCK_SKEW = 60

#: The largest NumericDate that is accepted: in the year 5138.
MAX_TIME = 1e11
#: The maximum length of an address (RFC 5321), and of our column.
_MAX_EMAIL = 254

#: At most 255 ASCII characters, case sensitive (OpenID Connect Core section 2).
SUBJECT = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """An account at the provider. Only ``sub`` identifies it; the rest is for display."""

    sub: str
    email: str
    email_verified: bool
    name: str
    picture: str
    hosted_domain: str


def verify_id_token(
    client: OAuthClient, id_token: Secret, *, nonce: str | None, rests: bool = False
) -> Identity:
    """Validate an ID token and return the account that it identifies.

    Args:
        client: the client that the token must be issued to, by its issuer.
        id_token: the ID token from the token endpoint.
        nonce: the nonce of the authorization request; ``None`` for the response to a refresh, which
            has none (OpenID Connect Core section 12.2).
        rests: whether to fail immediately if a request for the issuer's keys has just failed.

    Raises:
        IDTokenError: if the token is invalid.
        RefreshUnavailableError: if the issuer's keys cannot be fetched.
    """
    import jwt

    client = with_endpoints(client)
    if client.jwks_uri is None:
        raise IDTokenError("The ID token cannot be verified: the client has no JWKS_URI.")
    key = _find_signing_key(client, client.jwks_uri, id_token, rests=rests)
    try:
        claims = jwt.decode(
            id_token.reveal(),
            key,
            algorithms=[key.algorithm_name],
            audience=client.client_id,
            issuer=list(client.issuers),
            options={
                "require": ["aud", "exp", "iat", "iss", "sub"],
                # _check_times() uses the app's own clock.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, *NONSENSE) as error:
        raise IDTokenError(f"The ID token is not valid: {error}") from None
    _check_times(claims)
    _check_party(client, claims)
    if nonce is not None and not _is_same(claims.get("nonce"), nonce):
        raise IDTokenError("The nonce in the ID token is not the one that was sent.")
    return read_identity(claims)


def read_unverified_identity(id_token: Secret) -> Identity | None:
    """Return the claims of an ID token without verifying it; ``None`` if it is malformed."""
    import jwt

    try:
        claims = jwt.decode(id_token.reveal(), options={"verify_signature": False})
        return read_identity(claims)
    except (jwt.PyJWTError, IDTokenError, *NONSENSE):
        return None


def _is_same(claim: object, sent: str) -> bool:
    return isinstance(claim, str) and constant_time_compare(claim.encode(errors="replace"), sent)


def _check_times(claims: dict[str, Any]) -> None:
    now = clock.timestamp()
    times = {name: claims.get(name, now) for name in ("exp", "iat", "nbf")}
    if not all(is_numeric_date(value) for value in times.values()):
        raise IDTokenError("The ID token is not valid: its times are not numbers.")
    if times["exp"] <= now - CLOCK_SKEW:
        raise IDTokenError("The ID token is not valid: it has expired.")
    if max(times["iat"], times["nbf"]) > now + CLOCK_SKEW:
        raise IDTokenError("The ID token is not valid: it is not valid yet.")


def is_numeric_date(value: object) -> bool:
    """Return whether a claim is a NumericDate (RFC 7519 section 2)."""
    # The comparison is false for NaN and infinity, and works for integers larger than any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_TIME


def _check_party(client: OAuthClient, claims: dict[str, Any]) -> None:
    """Check for whom the token was issued: OpenID Connect Core section 3.1.3.7, points 3 to 5."""
    audiences, party = claims["aud"], claims.get("azp")
    is_shared = isinstance(audiences, list) and set(audiences) != {client.client_id}
    # In Google's tokens, azp may be the client of a mobile app of the same project.
    is_others = party is not None and not client.is_google
    if (is_shared or is_others) and party != client.client_id:
        raise IDTokenError("The ID token was issued to another client, or for several audiences.")
    if not client.accepts_domain(claims.get("hd")):
        raise HostedDomainError(client.hosted_domains)


def read_identity(claims: Mapping[str, Any]) -> Identity:
    """Return the claims of OpenID Connect Core section 5.1. Only ``sub`` is required.

    Raises:
        IDTokenError: if ``sub`` is missing or invalid.
    """
    sub = claims.get("sub")
    if not isinstance(sub, str) or not SUBJECT.fullmatch(sub):
        raise IDTokenError("The ID token has no valid sub claim.")
    email = _read_email(claims.get("email"))
    return Identity(
        sub=sub,
        email=email,
        email_verified=bool(email) and _is_true(claims.get("email_verified")),
        name=_read_text(claims.get("name"))[:200],
        picture=_read_address(claims.get("picture")),
        hosted_domain=_read_text(claims.get("hd"))[:253],
    )


def _read_text(value: object) -> str:
    return "".join(filter(str.isprintable, value)) if isinstance(value, str) else ""


def _is_true(value: object) -> bool:
    """Return whether a claim is true; some providers send a string. A 1 does not count."""
    return value is True or value == "true"


def _read_email(value: object) -> str:
    text = _read_text(value)
    try:
        validate_email(text)
    except ValidationError:
        return ""
    return text if len(text) <= _MAX_EMAIL else ""


def _read_address(value: object) -> str:
    text = _read_text(value)
    return text if text.startswith("https://") and len(text) <= 1000 else ""


def _find_signing_key(
    client: OAuthClient, jwks_uri: str, id_token: Secret, *, rests: bool
) -> PyJWK:
    import jwt

    try:
        header = jwt.get_unverified_header(id_token.reveal())
    except (jwt.PyJWTError, *NONSENSE):
        raise IDTokenError("The ID token is malformed.") from None
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _choose_algorithms(client):
        raise IDTokenError("The ID token is signed with an algorithm not accepted of its issuer.")
    key = find_signing_key(jwks_uri, header.get("kid"), algorithm=algorithm, rests=rests)
    if key is None:
        raise IDTokenError("The ID token is signed with a key that its issuer does not publish.")
    return key


def _choose_algorithms(client: OAuthClient) -> frozenset[str]:
    """Return the supported algorithms, limited to those in the issuer's metadata if known."""
    if client.is_google:
        return frozenset(ALGORITHMS)
    return frozenset(KEY_TYPES).intersection(client.signing_algorithms or KEY_TYPES)
