"""What issuers publish: the keys that they sign with, and where these are.

It is kept as long as the issuer says, in this process.
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

#: What Google signs with.
ALGORITHMS = ["RS256"]

#: The kind of key that each algorithm needs. A list of ours, and none with a shared secret: what a
#: token or a key says of itself proves nothing (RFC 8725 section 3.1).
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

#: What PyJWT runs into where somebody sends something else than a JSON Web Token.
NONSENSE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)

#: Seconds between two fetches for a key id that is not in the cached set.
_MIN_REFETCH = 60
_DEFAULT_AGE = 300
#: Seconds for which an issuer is left alone that has just failed, where anybody may make us ask it.
_REST = 5

_Keys = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Cached:
    content: Any
    fetched_at: float
    expires_at: float

    def holds(self, now: float) -> bool:
        """Return whether it is still what is published; not, if the clock was put back since."""
        return self.fetched_at <= now < self.expires_at


_cache: dict[str, _Cached] = {}
_failed_at: dict[str, float] = {}


def find_signing_key(
    jwks_uri: str, kid: object, *, algorithm: str = "RS256", rests: bool = False
) -> PyJWK | None:
    """Return the key of an issuer with this id, or its only one, if a token names none.

    Keys for something else are passed over, and so are those of kinds that are not known here.

    Args:
        jwks_uri: where the issuer publishes its keys.
        kid: as the token says; ``None`` where it does not.
        algorithm: with which the token is signed; one of ``KEY_TYPES``.
        rests: whether an issuer that has failed a moment ago is left alone.

    Raises:
        RefreshUnavailableError: when the keys cannot be fetched.
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
        url: of the document.
        rests: as for :func:`find_signing_key`.

    Raises:
        RefreshUnavailableError: when it cannot be fetched.
    """
    cached = _cache.get(url)
    if cached and cached.holds(clock.timestamp()):
        return cast("Mapping[str, Any]", cached.content)
    content = _fetch_and_keep(url, "document_unavailable", _read_object, rests=rests)
    return cast("Mapping[str, Any]", content)


def forget_published() -> None:
    """Forget the keys of all issuers: in tests, the next one may have the address of the last."""
    _cache.clear()
    _failed_at.clear()


def _get_keys(jwks_uri: str, *, must_hold: object, rests: bool) -> _Keys:
    """Return the issuer's keys: fetched when the cached ones are too old, or lack the one named."""
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
        _failed_at[url] = now
        raise
    max_age = read_max_age(answer, default=_DEFAULT_AGE)
    _cache[url] = _Cached(content, now, now + max_age)
    return content


def _read_object(answer: Answer) -> Mapping[str, Any] | None:
    return answer.document or None


def _read_keys(answer: Answer) -> _Keys | None:
    """Return what is published, whatever kinds of keys that are (RFC 7517 section 5)."""
    published = answer.document.get("keys")
    if not isinstance(published, list):
        return None
    return [key for key in published if isinstance(key, dict)] or None


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Return whether a published key is one for this algorithm (RFC 7517 section 4)."""
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
