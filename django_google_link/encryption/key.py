"""One encryption key: AES-256-GCM, bound to the row, its owner, the Google account and the client.

Imported late, since no process needs cryptography to start.
"""

from __future__ import annotations

import hmac
import os
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.views.decorators.debug import sensitive_variables

from ..exceptions import TokenUndecryptableError
from ..secret import Secret
from .format import (
    DIGEST_BYTES,
    DIGEST_KEY_BYTES,
    FORMAT,
    KEY_ID_BYTES,
    NONCE_BYTES,
    Binding,
    encode_base64url,
    sealed_prefix,
)


class Key:
    """One encryption key, with the id that is derived from it."""

    __slots__ = ("_digest_key", "_key", "id")

    @sensitive_variables()
    def __init__(self, key: bytes) -> None:
        self._key = key
        self._digest_key = _derive_bytes(key, DIGEST_KEY_BYTES, "digest key")
        # Derived, so that there is no name to configure, to mistake or to use twice. It does not
        # give the key away: what HKDF derives for one use says nothing about another.
        self.id = encode_base64url(_derive_bytes(key, KEY_ID_BYTES, "key id"))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A Key cannot be pickled or copied out of the process.")

    @sensitive_variables()
    def seal(self, secret: Secret, binding: Binding) -> str:
        """Return a sealed token."""
        nonce = os.urandom(NONCE_BYTES)
        cipher, associated_data = self._make_cipher(binding), self._join_associated_data(binding)
        # Revealed at the last moment: Django's debug page shows the frames of what fails above.
        ciphertext = cipher.encrypt(nonce, secret.reveal().encode(), associated_data)
        return f"{sealed_prefix(self.id)}{encode_base64url(nonce + ciphertext)}"

    @sensitive_variables()
    def unseal(self, data: bytes, binding: Binding) -> Secret:
        """Return the token whose bytes these are.

        Raises:
            TokenUndecryptableError: when this key did not seal it for this binding.
        """
        nonce, ciphertext = data[:NONCE_BYTES], data[NONCE_BYTES:]
        try:
            plaintext = self._make_cipher(binding).decrypt(
                nonce, ciphertext, self._join_associated_data(binding)
            )
            return Secret(plaintext.decode())
        except InvalidTag:
            raise TokenUndecryptableError from None

    def digest(self, purpose: str, value: bytes) -> str:
        """Return by what a row can be found that has this value, which nobody learns from it.

        It is an HMAC (RFC 2104) under a sub-key of its own, cut to 128 bits: without the key nobody
        can try values, nor tell which one a row has.

        Args:
            purpose: a frozen literal: the same value for another purpose has another digest.
            value: to be digested.
        """
        mac = hmac.digest(self._digest_key, _join_framed(FORMAT, purpose) + value, "sha256")
        return mac[:DIGEST_BYTES].hex()

    def _make_cipher(self, binding: Binding) -> AESGCM:
        """Return the cipher of one row and purpose, with a sub-key of its own.

        Under random nonces a key is good for 2**32 messages (NIST SP 800-38D, section 8.3): a nonce
        that comes twice breaks AES-GCM. The hourly access tokens of all accounts would add up to
        that; those of one row never do.
        """
        length = len(self._key)
        return AESGCM(_derive_bytes(self._key, length, "row key", binding.purpose, binding.row_id))

    def _join_associated_data(self, binding: Binding) -> bytes:
        """Return what is authenticated and not stored: a token that was moved does not unseal.

        The purpose and the row stand here although the sub-key has them already: the binding does
        not rest on how keys are derived.
        """
        return _join_framed(
            FORMAT,
            self.id,
            binding.purpose,
            binding.row_id,
            binding.owner,
            binding.sub,
            binding.issuer,
            binding.client_id,
        )


@sensitive_variables()
def _derive_bytes(key: bytes, length: int, *info: str) -> bytes:
    """Return what HKDF (RFC 5869) makes of a key for this use, named by its ``info``.

    No salt: the keys are random, and there is no place to keep one.
    """
    return HKDF(hashes.SHA256(), length, salt=None, info=_join_framed(FORMAT, *info)).derive(key)


def _join_framed(*parts: str) -> bytes:
    """Join with the length before each part, so that no two lists give the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])
