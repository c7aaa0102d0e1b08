"""Tokens at rest: sealed with the first of the configured keys, unsealed with any of them."""

from __future__ import annotations

import base64
import binascii
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from django.views.decorators.debug import sensitive_variables

from ..conf.settings import conf
from ..conf.validators import read_or_default, strip_invisible
from ..exceptions import EncryptionKeyUnavailableError, SettingsError
from ..secret import Secret
from .format import Binding, parse_sealed
from .key_mistakes import describe_unusable_key
from .token_digests import DigestPurpose, TokenDigests, make_digests

if TYPE_CHECKING:
    from .key import Key

_KEY_BYTES = 32


def seal(secret: Secret, binding: Binding) -> str:
    """Seal a token with the first of ``ENCRYPTION_KEYS``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return _load_keys()[0].seal(secret, binding)


@sensitive_variables()
def unseal(sealed: str, binding: Binding) -> Secret:
    """Unseal a token that :func:`seal` made for the same binding.

    Raises:
        EncryptionKeyUnavailableError: when its key is not among ``ENCRYPTION_KEYS``.
        TokenUndecryptableError: when it is not what that key sealed for this row and owner.
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    key, data = _find_key(_load_keys(), sealed)
    return key.unseal(data, binding)


class Resealer:
    """Reseals tokens with the first of ``ENCRYPTION_KEYS``.

    The settings are read when it is made, for as many tokens as there are.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """

    def __init__(self) -> None:
        self._keys = _load_keys()

    @sensitive_variables()
    def reseal(self, sealed: str, binding: Binding) -> tuple[str, Secret | None]:
        """Return a token sealed anew, and bare; what the first key has sealed stays as it is.

        Raises what :func:`unseal` does.
        """
        key, data = _find_key(self._keys, sealed)
        newest = self._keys[0]
        if key is newest:
            return sealed, None
        token = key.unseal(data, binding)
        return newest.seal(token, binding), token

    @sensitive_variables()
    def digest(self, token: Secret) -> TokenDigests:
        """Return the digests of a token under the first key, as :func:`digest_token` does."""
        return make_digests(self._keys[0], token)


@sensitive_variables()
def digest_token(token: Secret) -> TokenDigests:
    """Return the digests of a token under the first of ``ENCRYPTION_KEYS``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return make_digests(_load_keys()[0], token)


def list_digests(purpose: DigestPurpose, identifier: bytes) -> list[str]:
    """Return the digests that a row may have of what identifies its token: one for each key.

    Args:
        purpose: which of the two digests.
        identifier: the first characters of a token, or the SHA-512 of its SHA-512.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return [key.digest(purpose, identifier) for key in _load_keys()]


def make_key() -> str:
    """Return a new encryption key, for ``ENCRYPTION_KEYS``."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode("ascii")


def key_ids() -> tuple[str, ...]:
    """Return the ids of the configured keys; the first one seals.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return tuple(key.id for key in _load_keys())


def list_configured_keys() -> tuple[str, ...]:
    """Return the ids of the keys, the newest first; none while the settings are broken."""
    return read_or_default(key_ids, ())


@sensitive_variables()
def decode_key(text: Secret, *, position: int = 1) -> bytes:
    """Read a key from its url-safe base64 form.

    Args:
        text: of the setting; blanks, line breaks and a byte order mark around it do not count.
        position: in the list, from 1 on, for the message.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it is not 32 bytes; it says what it is.
    """
    # Files end with a line break, and lists in the environment have blanks.
    bare = strip_invisible(text.reveal())
    try:
        key = base64.b64decode(bare.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        key = b""
    if len(key) != _KEY_BYTES:
        what, advice = describe_unusable_key(bare)
        del key, bare
        raise SettingsError(
            "E004",
            f"Encryption key {position} {what}.",
            hint=f"{advice} A new key does not decrypt what is stored.",
        )
    return key


def _find_key(keys: tuple[Key, ...], sealed: str) -> tuple[Key, bytes]:
    """Return the key that sealed a token, and the bytes for it to unseal."""
    key_id, data = parse_sealed(sealed)
    for key in keys:
        if key.id == key_id:
            return key, data
    raise EncryptionKeyUnavailableError(
        f"A token was encrypted with the key {key_id[:20]!r}, which is not configured. "
        'Put that key back into GOOGLE_LINK["ENCRYPTION_KEYS"].'
    )


def _load_keys() -> tuple[Key, ...]:
    return _derive_keys(conf.encryption_keys)


@lru_cache(maxsize=8)
def _derive_keys(keys: tuple[Secret, ...]) -> tuple[Key, ...]:
    from .key import Key

    return tuple(Key(decode_key(key, position=n)) for n, key in enumerate(keys, 1))
