"""Digests by which a refresh token named in a security event can be found.

Google's security events identify a refresh token by its first characters or by a hash. Sealed
tokens cannot be searched, and a bare prefix or hash would help an attacker who guesses tokens, so
two keyed digests are stored.

See https://developers.google.com/identity/protocols/risc#token_identifiers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from django.views.decorators.debug import sensitive_variables

from ..secret import Secret

if TYPE_CHECKING:
    from .key import Key

#: Part of every digest: never change these.
DigestPurpose = Literal["refresh_token.prefix", "refresh_token.double_hash"]

_PREFIX_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class TokenDigests:
    """The two digests of a refresh token."""

    prefix: str
    double_hash: str


@sensitive_variables()
def make_digests(key: Key, token: Secret) -> TokenDigests:
    """Return the digests of a token under a key."""
    prefix, double_hash = _identify_token(token)
    return TokenDigests(
        prefix=key.digest("refresh_token.prefix", prefix),
        double_hash=key.digest("refresh_token.double_hash", double_hash),
    )


@sensitive_variables()
def _identify_token(token: Secret) -> tuple[bytes, bytes]:
    """Return the first characters of a token, and the double SHA-512 hash of it."""
    data = token.reveal().encode()
    prefix = token.reveal()[:_PREFIX_LENGTH].encode()
    return prefix, hashlib.sha512(hashlib.sha512(data).digest()).digest()
