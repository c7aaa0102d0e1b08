"""Fetches the signing keys and other documents of issuers.

They are cached in this process, for as long as the issuer allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..conf import clock
from ..exceptions import RefreshUnavailableError
from .caching import read_max_age
from .measurements import measured
from .transport import Answer, fetch

if TYPE_CHECKING:
    from jwt import PyJWK

#: The algorithms that Google signs with.
ALGORITHMS = ["RS256"]

#: The key type for each accepted algorithm. None uses a shared secret: the algorithm that a token
#: or key claims for itself cannot be trusted (RFC 8725 section 3.1).
KEY_TYPES = {
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

#: Exceptions that PyJWT may raise for input that is not a JSON Web Token.
NONSENSE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)

#: Seconds between two requests for a key id that is not in the cached set.
_MIN_REFETCH = 60
_DEFAULT_AGE = 300
#: Seconds after a failure in which no request is sent on behalf of an anonymous sender.
_REST = 5

_Keys = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Cached:
    content: Any
    fetched_at: float
    expires_at: float

    def holds(self, now: float) -> bool:
        """Return whether it is still fresh; if the clock was set back since, it is not."""
        return self.fetched_at <= now < self.expires_at


_cache: dict[str, _Cached] = {}
_failed_at: dict[str, float] = {}


def find_signing_key(
    jwks_uri: str, kid: object, *, algorithm: str = "RS256", rests: bool = False
) -> PyJWK | None:
    """Return the issuer's key with this id; its only key, if the token names none.

    Keys for other uses and of unknown types are ignored.

    Args:
        jwks_uri: the address of the issuer's keys.
        kid: the ``kid`` of the token, or ``None`` without one.
        algorithm: the ``alg`` of the token; a key of ``KEY_TYPES``.
        rests: whether to fail immediately if a request has just failed.

    Raises:
        RefreshUnavailableError: if the keys cannot be fetched.
    """
    published = _get_keys(jwks_uri, must_hold=kid, rests=rests)
    keys = [key for key in published if _fits(key, algorithm)]
    for key in keys:
        if key.get("kid") == kid or (kid is None and len(keys) == 1):
            return _make_key(key, algorithm)
    return None


def read_document(url: str, *, rests: bool = False) -> Mapping[str, Any]:
    """Return a JSON object that an issuer publishes.

    Args:
        url: the address of the document.
        rests: as for :func:`find_signing_key`.

    Raises:
        RefreshUnavailableError: if it cannot be fetched.
    """
    cached = _cache.get(url)
    if cached and cached.holds(clock.timestamp()):
        return cast("Mapping[str, Any]", cached.content)
    content = _fetch_and_keep(url, "document_unavailable", _read_object, rests=rests)
    return cast("Mapping[str, Any]", content)


def forget_published() -> None:
    """Clear the caches: in tests, issuers use the same address one after another."""
    _cache.clear()
    _failed_at.clear()


def _get_keys(jwks_uri: str, *, must_hold: object, rests: bool) -> _Keys:
    """Return the issuer's keys; fetch them if the cached ones are too old or lack the one named."""
    cached, now = _cache.get(jwks_uri), clock.timestamp()
    if cached and cached.holds(now):
        is_held = any(key.get("kid") == must_hold for key in cached.content)
        if must_hold is None or is_held or now < cached.fetched_at + _MIN_REFETCH:
            return cast("_Keys", cached.content)
    keys = _fetch_and_keep(jwks_uri, "signing_keys_unavailable", _read_keys, rests=rests)
    return cast("_Keys", keys)


def _fetch_and_keep(url: str, problem: str, read: Callable[[Answer], Any], *, rests: bool) -> Any:
    now = clock.timestamp()
    if rests and abs(now - _failed_at.get(url, now - 2 * _REST)) < _REST:
        raise RefreshUnavailableError(problem, "It could not be fetched a moment ago.")
    try:
        with measured("published", ""):
            answer = fetch(url)
            content = read(answer) if answer.status == 200 else None
            if content is None:
                raise RefreshUnavailableError(problem, status=answer.status)
    except RefreshUnavailableError:
        # It may have taken longer than the rest.
        _failed_at[url] = clock.timestamp()
        raise
    max_age = read_max_age(answer, default=_DEFAULT_AGE)
    _cache[url] = _Cached(content, now, now + max_age)
    return content


def _read_object(answer: Answer) -> Mapping[str, Any] | None:
    return answer.document or None


def _read_keys(answer: Answer) -> _Keys | None:
    """Return the published keys, of whatever type (RFC 7517 section 5)."""
    published = answer.document.get("keys")
    if not isinstance(published, list):
        return None
    return [key for key in published if isinstance(key, dict)] or None


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Return whether a published key can be used with this algorithm (RFC 7517 section 4)."""
    return (
        key.get("kty") == KEY_TYPES[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )


def _make_key(key: Mapping[str, Any], algorithm: str) -> PyJWK | None:
    import jwt

    try:
        return jwt.PyJWK(dict(key), algorithm)
    except (jwt.PyJWTError, *NONSENSE):
        return None
