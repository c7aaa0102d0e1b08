"""The RSA keys that sign ID tokens (RFC 7517, RFC 7518)."""

from __future__ import annotations

import threading
from typing import Any

from joserfc.jwk import RSAKey

_lock = threading.Lock()
_made: dict[str, RSAKey] = {}


def rsa_key(name: str) -> RSAKey:
    """Return the key with this name. It is generated once per process, since that is slow."""
    with _lock:
        if name not in _made:
            _made[name] = RSAKey.generate_key(2048, auto_kid=True)
        return _made[name]


class SigningKeys:
    """The keys of one provider: all are published, and the newest one signs."""

    def __init__(self) -> None:
        self._first = self._last = 0

    @property
    def current(self) -> RSAKey:
        """The signing key."""
        return self._find_key(self._last)

    def rotate(self, *, drop_old: bool) -> None:
        """Sign with a new key from now on.

        Args:
            drop_old: whether to stop publishing the previous keys.
        """
        self._last += 1
        if drop_old:
            self._first = self._last

    def public_jwks(self) -> dict[str, Any]:
        """Return the published key set (RFC 7517 section 5)."""
        published = range(self._first, self._last + 1)
        return {"keys": [_publish_key(self._find_key(number)) for number in published]}

    def _find_key(self, number: int) -> RSAKey:
        return rsa_key(f"signing {number}")


def _publish_key(key: RSAKey) -> dict[str, Any]:
    # The key itself has no "alg", so that tests can sign with another algorithm.
    return key.as_dict(private=False, use="sig", alg="RS256")
