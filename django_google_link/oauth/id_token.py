"""Who the linked account is: the ID token (OpenID Connect Core section 3.1.3.7)."""

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

#: Seconds by which our clock and Google's may differ: what the answer is worth it owes to the
#: nonce and PKCE, and a slow clock must not keep everybody from linking.
CLOCK_SKEW = 60

#: No NumericDate is larger: this is the year 5138.
MAX_TIME = 1e11
#: As long as RFC 5321 lets an address be, and our column is.
_MAX_EMAIL = 254

#: OpenID Connect Core section 2: ASCII characters, case sensitive.
SUBJECT = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The identity of an account at the provider: ``sub`` is it, all else is for display."""

    sub: str
    email: str
    email_verified: bool
    name: str
    picture: str
    hosted_domain: str


def verify_id_token(client: OAuthClient, id_token: Secret, *, nonce: str | None) -> Identity:
    """Check an ID token and return whom it names.

    Args:
        client: whose ``client_id`` is the audience and whose issuer must have signed.
        id_token: as the token endpoint gave it.
        nonce: as it was sent with the authorization request; ``None`` for the answer to a refresh,
            which has none (OpenID Connect Core section 12.2).

    Raises:
        IDTokenError: when it cannot be trusted.
        RefreshUnavailableError: when the issuer's keys cannot be fetched.
    """
    import jwt

    client = with_endpoints(client)
    if client.jwks_uri is None:
        raise IDTokenError("No JWKS_URI is configured by which to verify the ID token.")
    key = _find_signing_key(client, client.jwks_uri, id_token)
    try:
        claims = jwt.decode(
            id_token.reveal(),
            key,
            algorithms=[key.algorithm_name],
            audience=client.client_id,
            issuer=list(client.issuers),
            options={
                "require": ["aud", "exp", "iat", "iss", "sub"],
                # By our own clock: see _check_times.
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
        raise IDTokenError("The ID token carries another nonce than was sent.")
    return read_identity(claims)


def read_unverified_identity(id_token: Secret) -> Identity | None:
    """Return what an ID token claims, of which nothing is verified; ``None`` for nonsense."""
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
    # NaN and infinity are not less, and integers may be larger than any float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_TIME


def _check_party(client: OAuthClient, claims: dict[str, Any]) -> None:
    """Check for whom the token is: OpenID Connect Core section 3.1.3.7, points 3 to 5."""
    audiences, party = claims["aud"], claims.get("azp")
    is_shared = isinstance(audiences, list) and set(audiences) != {client.client_id}
    # Google's may name the client of a mobile app of the same project.
    is_others = party is not None and not client.is_google
    if (is_shared or is_others) and party != client.client_id:
        raise IDTokenError("The ID token is meant for several parties, and not issued to this one.")
    if not client.accepts_domain(claims.get("hd")):
        raise HostedDomainError(client.hosted_domains)


def read_identity(claims: Mapping[str, Any]) -> Identity:
    """Read the claims of OpenID Connect Core section 5.1: only the subject has to be there.

    Raises:
        IDTokenError: when that is not a subject.
    """
    sub = claims.get("sub")
    if not isinstance(sub, str) or not SUBJECT.fullmatch(sub):
        raise IDTokenError("The ID token names no usable subject.")
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
    """Return whether a claim is true: some providers write it as text, and 1 is not the same."""
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


def _find_signing_key(client: OAuthClient, jwks_uri: str, id_token: Secret) -> PyJWK:
    import jwt

    try:
        header = jwt.get_unverified_header(id_token.reveal())
    except (jwt.PyJWTError, *NONSENSE):
        raise IDTokenError("The ID token is malformed.") from None
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _choose_algorithms(client):
        raise IDTokenError("The ID token is signed in a way that is not accepted of its issuer.")
    key = find_signing_key(jwks_uri, header.get("kid"), algorithm=algorithm)
    if key is None:
        raise IDTokenError("The ID token is signed with a key that its issuer does not publish.")
    return key


def _choose_algorithms(client: OAuthClient) -> frozenset[str]:
    """Return what the issuer may sign with: of ours, what it publishes, if that is known."""
    if client.is_google:
        return frozenset(ALGORITHMS)
    return frozenset(KEY_TYPES).intersection(client.signing_algorithms or KEY_TYPES)
