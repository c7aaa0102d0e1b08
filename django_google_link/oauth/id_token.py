"""Who the linked account is: the ID token (OpenID Connect Core section 3.1.3.7)."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.crypto import constant_time_compare

from ..conf import clock
from ..conf.clients import OAuthClient
from ..exceptions import HostedDomainError, IDTokenError, RefreshUnavailableError
from ..secret import Secret
from .caching import read_max_age
from .metadata import with_endpoints
from .transport import fetch

if TYPE_CHECKING:
    from jwt import PyJWK

#: Seconds by which our clock and Google's may differ: what the answer is worth it owes to the
#: nonce and PKCE, and a slow clock must not keep everybody from linking.
CLOCK_SKEW = 60

#: Seconds between two fetches for a key id that is not in the cached set.
_MIN_REFETCH = 60
#: No NumericDate is larger: this is the year 5138.
_MAX_TIME = 1e11
#: As long as RFC 5321 lets an address be, and our column is.
_MAX_EMAIL = 254

#: OpenID Connect Core section 2: ASCII characters, case sensitive.
_SUBJECT = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")

#: The kind of key that each algorithm needs. A list of ours, and none with a shared secret: what a
#: token or a key says of itself proves nothing (RFC 8725 section 3.1).
_KEY_TYPES = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "EdDSA": "OKP",
}
_GOOGLES_ALGORITHMS = ("RS256",)

#: What PyJWT runs into where a provider sends something else than a JSON Web Token.
_NONSENSE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)

_DEFAULT_KEYS_AGE = 300

_Keys = Sequence[Mapping[str, Any]]


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
    except (jwt.PyJWTError, *_NONSENSE) as error:
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
    except (jwt.PyJWTError, IDTokenError, *_NONSENSE):
        return None


def forget_signing_keys() -> None:
    """Forget the keys of all issuers: in tests, the next one may have the address of the last."""
    _cache.clear()


def _is_same(claim: object, sent: str) -> bool:
    return isinstance(claim, str) and constant_time_compare(claim.encode(errors="replace"), sent)


def _check_times(claims: dict[str, Any]) -> None:
    now = clock.timestamp()
    times = {name: claims.get(name, now) for name in ("exp", "iat", "nbf")}
    if not all(_is_number(value) for value in times.values()):
        raise IDTokenError("The ID token is not valid: its times are not numbers.")
    if times["exp"] <= now - CLOCK_SKEW:
        raise IDTokenError("The ID token is not valid: it has expired.")
    if max(times["iat"], times["nbf"]) > now + CLOCK_SKEW:
        raise IDTokenError("The ID token is not valid: it is not valid yet.")


def _is_number(value: object) -> bool:
    """Return whether a claim is a NumericDate (RFC 7519 section 2)."""
    # NaN and infinity are not less, and integers may be larger than any float.
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_TIME
    )


def _check_party(client: OAuthClient, claims: dict[str, Any]) -> None:
    """Check for whom the token is: OpenID Connect Core section 3.1.3.7, points 3 to 5."""
    audiences, party = claims["aud"], claims.get("azp")
    is_shared = isinstance(audiences, list) and set(audiences) != {client.client_id}
    # Google's may name the client of a mobile app of the same project.
    is_others = party is not None and not client.is_google
    if (is_shared or is_others) and party != client.client_id:
        raise IDTokenError("The ID token is meant for several parties, and not issued to this one.")
    if client.hosted_domain and claims.get("hd") != client.hosted_domain:
        raise HostedDomainError(client.hosted_domain)


def read_identity(claims: Mapping[str, Any]) -> Identity:
    """Read the claims of OpenID Connect Core section 5.1: only the subject has to be there.

    Raises:
        IDTokenError: when that is not a subject.
    """
    sub = claims.get("sub")
    if not isinstance(sub, str) or not _SUBJECT.fullmatch(sub):
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
    except (jwt.PyJWTError, *_NONSENSE):
        raise IDTokenError("The ID token is malformed.") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in _choose_algorithms(client):
        raise IDTokenError("The ID token is signed in a way that is not accepted of its issuer.")
    published = _get_keys(jwks_uri, must_hold=kid)
    keys = [key for key in published if _fits(key, algorithm)]
    for key in keys:
        if key.get("kid") == kid or (kid is None and len(keys) == 1):
            return _make_key(key, algorithm)
    raise IDTokenError("The ID token is signed with a key that its issuer does not publish.")


def _choose_algorithms(client: OAuthClient) -> frozenset[str]:
    """Return what the issuer may sign with: of ours, what it publishes, if that is known."""
    if client.is_google:
        return frozenset(_GOOGLES_ALGORITHMS)
    return frozenset(_KEY_TYPES).intersection(client.signing_algorithms or _KEY_TYPES)


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Return whether a published key is one for this algorithm (RFC 7517 section 4)."""
    return (
        key.get("kty") == _KEY_TYPES[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )


def _make_key(key: Mapping[str, Any], algorithm: str) -> PyJWK:
    import jwt

    try:
        return jwt.PyJWK(dict(key), algorithm)
    except (jwt.PyJWTError, *_NONSENSE):
        raise IDTokenError("The ID token is signed with a key that cannot be used.") from None


@dataclass(frozen=True)
class _CachedKeys:
    keys: _Keys
    fetched_at: float
    expires_at: float


_cache: dict[str, _CachedKeys] = {}
_cache_lock = threading.Lock()


def _get_keys(jwks_uri: str, *, must_hold: str | None) -> _Keys:
    """Return the issuer's keys: fetched when the cached ones are too old, or lack the one named."""
    cached, now = _cache.get(jwks_uri), clock.timestamp()
    if cached and now < cached.expires_at:
        is_held = any(key.get("kid") == must_hold for key in cached.keys)
        if must_hold is None or is_held or now < cached.fetched_at + _MIN_REFETCH:
            return cached.keys
    keys, max_age = _fetch_keys(jwks_uri)
    with _cache_lock:
        _cache[jwks_uri] = _CachedKeys(keys, now, now + max_age)
    return keys


def _fetch_keys(jwks_uri: str) -> tuple[_Keys, int]:
    """Return what is published, whatever kinds of keys that are (RFC 7517 section 5)."""
    answer = fetch(jwks_uri)
    published = answer.document.get("keys")
    if answer.status == 200 and isinstance(published, list):
        keys = [key for key in published if isinstance(key, dict)]
        if keys:
            return keys, read_max_age(answer, default=_DEFAULT_KEYS_AGE)
    raise RefreshUnavailableError("signing_keys_unavailable", status=answer.status)
