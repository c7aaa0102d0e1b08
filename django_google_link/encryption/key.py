"""One encryption key: AES-256-GCM, bound to the row, its owner, the Google account and the client.

Imported late, since no process needs cryptography to start.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..exceptions import TokenUndecryptableError
from .format import FORMAT, KEY_ID_BYTES, NONCE_BYTES, Binding, encode, sealed_prefix


class Key:
    """One encryption key, with the id that is derived from it."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.id = encode(_derive(key, KEY_ID_BYTES, "key id"))

    def encrypt(self, plaintext: bytes, binding: Binding) -> str:
        nonce = os.urandom(NONCE_BYTES)
        data = self._cipher(binding).encrypt(nonce, plaintext, self._associated_data(binding))
        return f"{sealed_prefix(self.id)}{encode(nonce + data)}"

    def decrypt(self, data: bytes, binding: Binding) -> bytes:
        nonce, ciphertext = data[:NONCE_BYTES], data[NONCE_BYTES:]
        try:
            return self._cipher(binding).decrypt(nonce, ciphertext, self._associated_data(binding))
        except InvalidTag:
            raise TokenUndecryptableError from None

    def _cipher(self, binding: Binding) -> AESGCM:
        """Return the cipher of this row: a key of its own, so that random nonces never run out."""
        length = len(self._key)
        return AESGCM(_derive(self._key, length, "row key", binding.purpose, binding.row_id))

    def _associated_data(self, binding: Binding) -> bytes:
        return _framed(
            FORMAT,
            self.id,
            binding.purpose,
            binding.row_id,
            binding.owner,
            binding.sub,
            binding.client_id,
        )


def _derive(key: bytes, length: int, *info: str) -> bytes:
    return HKDF(hashes.SHA256(), length, salt=None, info=_framed(FORMAT, *info)).derive(key)


def _framed(*parts: str) -> bytes:
    """Join with the length before each part, so that no two lists give the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])
