"""What a sealed token looks like, and what it belongs to.

It is ``gl1.<key id>.<base64url(nonce + ciphertext + tag)>``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from ..exceptions import TokenUndecryptableError

FORMAT = "gl1"
KEY_ID_BYTES = 6
#: The characters of ``gl1.<key id>.`` without its last point.
PREFIX_LENGTH = len(FORMAT) + 1 + KEY_ID_BYTES * 4 // 3
NONCE_BYTES = 12
TAG_BYTES = 16
DIGEST_KEY_BYTES = 32
DIGEST_BYTES = 16
#: The characters of a digest.
DIGEST_LENGTH = 2 * DIGEST_BYTES


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What a sealed token belongs to: with any other, it does not unseal.

    Otherwise somebody who can write to the database, and has no key, could copy another row's token
    into their own row and use it.

    Args:
        purpose: a frozen literal such as ``"account.refresh_token"``.
        row_id: the primary key of the row.
        owner: the primary key of the local user.
        sub: the Google account's subject identifier.
        issuer: that issued the token; a client id means nothing without it. Empty for none.
        client_id: of the OAuth client to which the token was given; empty for none. Not its name,
            which is the operator's to change.
    """

    purpose: str
    row_id: str
    owner: str
    sub: str
    issuer: str
    client_id: str


def sealed_prefix(key_id: str) -> str:
    """Return what every token begins with that the key of this id has sealed."""
    return f"{FORMAT}.{key_id}."


def key_id_of(sealed: str) -> str:
    """Return the id of the key that sealed this token.

    Raises:
        TokenUndecryptableError: when it is not a sealed token.
    """
    return parse_sealed(sealed)[0]


def parse_sealed(sealed: str) -> tuple[str, bytes]:
    """Return the key id and the bytes of a sealed token.

    Raises:
        TokenUndecryptableError: when it is not a sealed token.
    """
    parts = sealed.split(".")
    if len(parts) != 3 or parts[0] != FORMAT or not parts[1]:
        raise TokenUndecryptableError
    try:
        data = base64.b64decode(_pad_base64(parts[2]), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise TokenUndecryptableError from None
    if len(data) < NONCE_BYTES + TAG_BYTES:
        raise TokenUndecryptableError
    return parts[1], data


def encode_base64url(data: bytes) -> str:
    """Return bytes in base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pad_base64(text: str) -> bytes:
    return (text + "=" * (-len(text) % 4)).encode("ascii")
