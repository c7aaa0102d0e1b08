"""An encryption key: AES-256-GCM, bound to the row, its owner, the Google account and the client.

Imported late, since processes do not need cryptography at startup.
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
    """An encryption key, with an id derived from it."""

    __slots__ = ("_digest_key", "_key", "id")

    @sensitive_variables()
    def __init__(self, key: bytes) -> None:
        self._key = key
        self._digest_key = _derive_bytes(key, DIGEST_KEY_BYTES, "digest key")
        # Derived, so that there is no name to configure, mistype or use twice. The id does not
        # reveal the key: HKDF's outputs for different uses are independent.
        self.id = encode_base64url(_derive_bytes(key, KEY_ID_BYTES, "key id"))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A Key cannot be pickled or copied out of the process.")

    @sensitive_variables()
    def seal(self, secret: Secret, binding: Binding) -> str:
        """Seal a token for a binding."""
        nonce = os.urandom(NONCE_BYTES)
        cipher, associated_data = self._make_cipher(binding), self._join_associated_data(binding)
        # Revealed in the call itself: Django's debug page shows the local variables of a failing
        # frame.
        ciphertext = cipher.encrypt(nonce, secret.reveal().encode(), associated_data)
        return f"{sealed_prefix(self.id)}{encode_base64url(nonce + ciphertext)}"

    @sensitive_variables()
    def unseal(self, data: bytes, binding: Binding) -> Secret:
        """Unseal the bytes of a token.

        Raises:
            TokenUndecryptableError: when they were not sealed with this key for this binding.
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
        """Return a keyed digest of a value, by which rows with that value can be found.

        It is an HMAC (RFC 2104) with a separate sub-key, truncated to 128 bits: without the key,
        values can neither be guessed nor compared.

        Args:
            purpose: a constant; the digests of a value for different purposes are unrelated.
            value: the value.
        """
        mac = hmac.digest(self._digest_key, _join_framed(FORMAT, purpose) + value, "sha256")
        return mac[:DIGEST_BYTES].hex()

    def _make_cipher(self, binding: Binding) -> AESGCM:
        """Return the cipher for one row and purpose, which has its own sub-key.

        With random nonces, a key is good for 2**32 messages (NIST SP 800-38D section 8.3), since a
        repeated nonce breaks AES-GCM. The hourly access tokens of all accounts could add up to
        that; those of one row cannot.
        """
        length = len(self._key)
        return AESGCM(_derive_bytes(self._key, length, "row key", binding.purpose, binding.row_id))

    def _join_associated_data(self, binding: Binding) -> bytes:
        """Return the associated data, which prevents a token from being moved to another row.

        It includes the purpose and row id although the sub-key depends on them already, so that the
        binding does not rely on key derivation.
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
    """Derive bytes from a key with HKDF (RFC 5869), for the use named by ``info``.

    There is no salt: the keys are random, and there is no place to store one.
    """
    return HKDF(hashes.SHA256(), length, salt=None, info=_join_framed(FORMAT, *info)).derive(key)


def _join_framed(*parts: str) -> bytes:
    """Join strings, each preceded by its length, so that different lists give different bytes."""
    return b"".join([len(encoded := part.encode()).to_bytes(4, "big") + encoded for part in parts])
