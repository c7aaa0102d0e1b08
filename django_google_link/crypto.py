"""Tokens at rest: AES-256-GCM, bound to the row, its owner and the Google account.

A sealed token reads ``gl1.<key id>.<base64url(nonce + ciphertext + tag)>``.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.views.decorators.debug import sensitive_variables

from .conf import SettingsError, conf
from .exceptions import EncryptionKeyUnavailableError, TokenUndecryptableError
from .secret import Secret

FORMAT = "gl1"
KEY_BYTES = 32
_KEY_ID_BYTES = 6
#: The characters of ``gl1.<key id>.`` without its last point.
PREFIX_LENGTH = len(FORMAT) + 1 + _KEY_ID_BYTES * 4 // 3
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What a sealed token belongs to: opened anywhere else, it fails.

    Args:
        purpose: a frozen literal such as ``"account.refresh_token"``.
        row_id: the primary key of the row.
        owner: the primary key of the local user.
        sub: the Google account's subject identifier.
    """

    purpose: str
    row_id: str
    owner: str
    sub: str


class _Key:
    """One encryption key, with the id that is derived from it."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.id = _encode(_derive(key, _KEY_ID_BYTES, "key id"))

    def encrypt(self, plaintext: bytes, binding: Binding) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        data = self._cipher(binding).encrypt(nonce, plaintext, self._associated_data(binding))
        return f"{sealed_prefix(self.id)}{_encode(nonce + data)}"

    def decrypt(self, data: bytes, binding: Binding) -> bytes:
        nonce, ciphertext = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
        try:
            return self._cipher(binding).decrypt(nonce, ciphertext, self._associated_data(binding))
        except InvalidTag:
            raise TokenUndecryptableError from None

    def _cipher(self, binding: Binding) -> AESGCM:
        """Return the cipher of this row: a key of its own, so that random nonces never run out."""
        return AESGCM(_derive(self._key, KEY_BYTES, "row key", binding.purpose, binding.row_id))

    def _associated_data(self, binding: Binding) -> bytes:
        return _framed(FORMAT, self.id, binding.purpose, binding.row_id, binding.owner, binding.sub)


def seal(secret: Secret, binding: Binding) -> str:
    """Encrypt a token under the first of ``ENCRYPTION_KEYS``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return _keys()[0].encrypt(secret.reveal().encode(), binding)


@sensitive_variables()
def unseal(sealed: str, binding: Binding) -> Secret:
    """Decrypt a token that :func:`seal` made for the same binding.

    Raises:
        EncryptionKeyUnavailableError: when its key is not among ``ENCRYPTION_KEYS``.
        TokenUndecryptableError: when it is not what that key sealed for this row and owner.
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    key, data = _opened_by(_keys(), sealed)
    return Secret(key.decrypt(data, binding).decode())


def resealer() -> Callable[[str, Binding], str]:
    """Return a function that seals tokens anew under the first of ``ENCRYPTION_KEYS``.

    It takes a sealed token with its binding and raises what :func:`unseal` does; the settings are
    read now, for as many tokens as there are. What that key has sealed it leaves as it is.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    keys = _keys()

    @sensitive_variables()
    def reseal(sealed: str, binding: Binding) -> str:
        key, data = _opened_by(keys, sealed)
        return sealed if key is keys[0] else keys[0].encrypt(key.decrypt(data, binding), binding)

    return reseal


def key_id_of(sealed: str) -> str:
    """Return the id of the key that sealed this token.

    Raises:
        TokenUndecryptableError: when it is not a sealed token.
    """
    return _parse(sealed)[0]


def sealed_prefix(key_id: str) -> str:
    """Return how everything begins that the key of this id has sealed."""
    return f"{FORMAT}.{key_id}."


def make_key() -> str:
    """Return a new encryption key, for ``ENCRYPTION_KEYS``."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode("ascii")


def key_ids() -> tuple[str, ...]:
    """Return the ids of the configured keys; the first one seals.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return tuple(key.id for key in _keys())


def decode_key(text: Secret) -> bytes:
    """Read a key from its url-safe base64 form.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it is not 32 bytes.
    """
    try:
        key = base64.b64decode(text.reveal().encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        del key
        raise SettingsError(
            "E004",
            'A key in GOOGLE_LINK["ENCRYPTION_KEYS"] is not 32 bytes in url-safe base64.',
            hint="Make it with base64.urlsafe_b64encode(os.urandom(32)): it has 44 characters.",
        )
    return key


def _opened_by(keys: tuple[_Key, ...], sealed: str) -> tuple[_Key, bytes]:
    """Return the key that opens a sealed token, and what it opens."""
    key_id, data = _parse(sealed)
    for key in keys:
        if key.id == key_id:
            return key, data
    raise EncryptionKeyUnavailableError(
        f"A token was sealed with the key {key_id[:20]!r}, which is not configured. "
        'Put that key back into GOOGLE_LINK["ENCRYPTION_KEYS"].'
    )


def _keys() -> tuple[_Key, ...]:
    return _key_ring(conf.encryption_keys)


@lru_cache(maxsize=8)
def _key_ring(keys: tuple[Secret, ...]) -> tuple[_Key, ...]:
    return tuple(_Key(decode_key(key)) for key in keys)


def _parse(sealed: str) -> tuple[str, bytes]:
    parts = sealed.split(".")
    if len(parts) != 3 or parts[0] != FORMAT or not parts[1]:
        raise TokenUndecryptableError
    try:
        data = base64.b64decode(_padded(parts[2]), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise TokenUndecryptableError from None
    if len(data) < _NONCE_BYTES + _TAG_BYTES:
        raise TokenUndecryptableError
    return parts[1], data


def _derive(key: bytes, length: int, *info: str) -> bytes:
    return HKDF(hashes.SHA256(), length, salt=None, info=_framed(FORMAT, *info)).derive(key)


def _framed(*parts: str) -> bytes:
    """Join with the length before each part, so that no two lists give the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join([len(part).to_bytes(4, "big") + part for part in encoded])


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _padded(text: str) -> bytes:
    return (text + "=" * (-len(text) % 4)).encode("ascii")
