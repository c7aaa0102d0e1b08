"""What issuers publish: the keys that they sign with, and where these are.

It is kept as long as the issuer says, in this process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..conf import clock
from ..exceptions import RefreshUnavailableError
from .measurements import measured
from .transport import Answer, fetch

if TYPE_CHECKING:
    from jwt import PyJWK, PyJWKSet

#: What Google signs with. A list of ours: what a token or a key says of itself proves nothing
#: (RFC 8725 section 3.1).
ALGORITHMS = ["RS256"]

#: What PyJWT runs into where somebody sends something else than a JSON Web Token.
NONSENSE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)

#: Seconds between two fetches for a key id that is not in the cached set.
_MIN_REFETCH = 60
_DEFAULT_AGE, _MAX_AGE = 300, 24 * 3600


@dataclass(frozen=True)
class _Cached:
    content: Any
    fetched_at: float
    expires_at: float


_cache: dict[str, _Cached] = {}


def find_signing_key(jwks_uri: str, kid: object) -> PyJWK | None:
    """Return the key of an issuer with this id, or its only one, if a token names none.

    Args:
        jwks_uri: where the issuer publishes its keys.
        kid: as the token says; ``None`` where it does not.

    Raises:
        RefreshUnavailableError: when the keys cannot be fetched.
    """
    published = _get_keys(jwks_uri, must_hold=kid).keys
    keys = [key for key in published if key.algorithm_name in ALGORITHMS]
    for key in keys:
        if key.key_id == kid or (kid is None and len(keys) == 1):
            return key
    return None


def read_document(url: str) -> Mapping[str, Any]:
    """Return a JSON object that an issuer publishes.

    Raises:
        RefreshUnavailableError: when it cannot be fetched.
    """
    cached = _cache.get(url)
    if cached and clock.timestamp() < cached.expires_at:
        return cached.content  # type: ignore[no-any-return]
    return _fetch_and_keep(url, "document_unavailable", lambda answer: answer.document or None)  # type: ignore[no-any-return]


def forget_published() -> None:
    """Forget the keys of all issuers: in tests, the next one may have the address of the last."""
    _cache.clear()


def _get_keys(jwks_uri: str, *, must_hold: object) -> PyJWKSet:
    """Return the issuer's keys: fetched when the cached ones are too old, or lack the one named."""
    cached, now = _cache.get(jwks_uri), clock.timestamp()
    if cached and now < cached.expires_at:
        is_held = any(key.key_id == must_hold for key in cached.content.keys)
        if must_hold is None or is_held or now < cached.fetched_at + _MIN_REFETCH:
            return cached.content  # type: ignore[no-any-return]
    return _fetch_and_keep(jwks_uri, "signing_keys_unavailable", _read_keys)  # type: ignore[no-any-return]


def _fetch_and_keep(url: str, problem: str, read: Callable[[Answer], Any]) -> Any:
    now = clock.timestamp()
    with measured("published", ""):
        answer = fetch(url)
        content = read(answer) if answer.status == 200 else None
        if content is None:
            raise RefreshUnavailableError(problem, status=answer.status)
    max_age = _read_max_age(answer.headers.get("Cache-Control", ""))
    _cache[url] = _Cached(content, now, now + max_age)
    return content


def _read_keys(answer: Answer) -> PyJWKSet | None:
    import jwt

    try:
        return jwt.PyJWKSet.from_dict(dict(answer.document))
    except (jwt.PyJWTError, *NONSENSE):
        return None


def _read_max_age(cache_control: str) -> float:
    match = re.search(r"max-age=(\d{1,9})", cache_control)
    return min(int(match[1]), _MAX_AGE) if match else _DEFAULT_AGE
