"""The format of a sealed token, and what it is bound to.

The format is ``gl1.<key id>.<base64url(nonce + ciphertext + tag)>``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from ..exceptions import TokenUndecryptableError

FORMAT = "gl1"
KEY_ID_BYTES = 6
#: The length of ``gl1.<key id>``.
PREFIX_LENGTH = len(FORMAT) + 1 + KEY_ID_BYTES * 4 // 3
NONCE_BYTES = 12
TAG_BYTES = 16
DIGEST_KEY_BYTES = 32
DIGEST_BYTES = 16
#: The length of a digest, in hexadecimal digits.
DIGEST_LENGTH = 2 * DIGEST_BYTES


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What a sealed token is bound to: it cannot be unsealed with any other binding.

    Otherwise someone with write access to the database, but without a key, could copy another row's
    token into their own row and use it.

    Args:
        purpose: a constant such as ``"account.refresh_token"``.
        row_id: the primary key of the row.
        owner: the primary key of the local user.
        sub: the subject identifier of the Google account.
        issuer: the issuer of the token; a client id is unique only per issuer. Empty if there is
            none.
        client_id: the OAuth client id to which the token was issued; empty if there is none. The
            client's name is not used, because the operator may change it.
    """

    purpose: str
    row_id: str
    owner: str
    sub: str
    issuer: str
    client_id: str


def sealed_prefix(key_id: str) -> str:
    """Return the prefix of every token sealed with the key of this id."""
    return f"{FORMAT}.{key_id}."


def key_id_of(sealed: str) -> str:
    """Return the id of the key that sealed a token.

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
    """Encode bytes in base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pad_base64(text: str) -> bytes:
    return (text + "=" * (-len(text) % 4)).encode("ascii")
