"""The configured encryption keys: the first one seals tokens, all of them unseal.

A wrapped key states its id, and is unwrapped only when it has to encrypt or decrypt.
"""

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
from .wrapped_keys import (
    KEY_BYTES,
    WrappedKey,
    is_wrapped,
    parse_wrapped_key,
    unwrap_key,
    wrap_key,
)

if TYPE_CHECKING:
    from .key import Key


def seal(secret: Secret, binding: Binding) -> str:
    """Seal a token with the first of ``ENCRYPTION_KEYS``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return _load_newest_key().seal(secret, binding)


@sensitive_variables()
def unseal(sealed: str, binding: Binding) -> Secret:
    """Unseal a token that :func:`seal` returned for the same binding.

    Raises:
        EncryptionKeyUnavailableError: when its key is not among ``ENCRYPTION_KEYS``.
        TokenUndecryptableError: when it is damaged, or was sealed for another binding.
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    key_id, data = parse_sealed(sealed)
    return _load_key(key_id).unseal(data, binding)


def require_key() -> None:
    """Check that a token can be sealed, before requesting one that cannot be requested again.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured, or (a
            ``KeyServiceError``) when it cannot be unwrapped.
    """
    _load_newest_key()


class Resealer:
    """Reseals tokens with the first of ``ENCRYPTION_KEYS``.

    Each key is looked up once.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """

    def __init__(self) -> None:
        self._newest = _load_newest_key()
        self._others: dict[str, Key] = {}

    @sensitive_variables()
    def reseal(self, sealed: str, binding: Binding) -> tuple[str, Secret | None]:
        """Return the resealed and the bare token; a token sealed with the first key is unchanged.

        For the errors see :func:`unseal`.
        """
        key_id, data = parse_sealed(sealed)
        if key_id == self._newest.id:
            return sealed, None
        if key_id not in self._others:
            self._others[key_id] = _load_key(key_id)
        token = self._others[key_id].unseal(data, binding)
        return self._newest.seal(token, binding), token

    @sensitive_variables()
    def digest(self, token: Secret) -> TokenDigests:
        """Return the digests of a token under the first key, as :func:`digest_token` does."""
        return make_digests(self._newest, token)


@sensitive_variables()
def digest_token(token: Secret) -> TokenDigests:
    """Return the digests of a token under the first of ``ENCRYPTION_KEYS``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return make_digests(_load_newest_key(), token)


def list_digests(purpose: DigestPurpose, identifier: bytes) -> list[str]:
    """Return the possible digests of a token's identifier: one for each key.

    Args:
        purpose: which of the two digests.
        identifier: the first characters of a token, or its double SHA-512 hash.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return [_open(key).digest(purpose, identifier) for key in _read_keys()]


def make_key() -> str:
    """Generate an encryption key for ``ENCRYPTION_KEYS``."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode("ascii")


def key_ids() -> tuple[str, ...]:
    """Return the ids of the configured keys, without unwrapping any; the first one seals.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return tuple(key.id for key in _read_keys())


def list_configured_keys() -> tuple[str, ...]:
    """Return the ids of the configured keys, newest first; empty if the settings are invalid."""
    return read_or_default(key_ids, ())


@sensitive_variables()
def decode_key(text: Secret, *, position: int = 1) -> bytes:
    """Decode a key from url-safe base64.

    Args:
        text: the configured text; surrounding whitespace and a byte order mark are ignored.
        position: the position in the list, from 1, for the error message.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it is not 32 bytes; the message says what
            is wrong.
    """
    # Files end with a line break, and lists in environment variables may contain spaces.
    bare = strip_invisible(text.reveal())
    try:
        key = base64.b64decode(bare.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        what, advice = describe_unusable_key(bare)
        del key, bare
        raise SettingsError(
            "E004",
            f"Encryption key {position} {what}.",
            hint=f"{advice} A new key cannot decrypt the stored tokens.",
        )
    return key


def list_wrapped_keys() -> list[WrappedKey]:
    """Return those of the configured keys that are wrapped.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    return [key for key in _read_keys() if isinstance(key, WrappedKey)]


@sensitive_variables()
def rewrap_keys(*, service: str, name: str, site: str) -> list[str]:
    """Wrap all configured keys again, in their order; plain ones are wrapped as well.

    Args:
        service: the name of a key service.
        name: the name of the wrapping key in the service.
        site: the value of ``ENCRYPTION_SITE`` to use.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured, or the
            service does not exist.
        KeyServiceError: when a key cannot be unwrapped or wrapped.
    """
    return [
        wrap_key(
            unwrap_key(key) if isinstance(key, WrappedKey) else text,
            service=service,
            name=name,
            site=site,
        )
        for key, text in zip(_read_keys(), conf.encryption_keys, strict=True)
    ]


def read_key(text: Secret, *, position: int = 1) -> Key | WrappedKey:
    """Parse a configured key, plain or wrapped.

    Args:
        text: the configured text.
        position: the position in the list, from 1, for the error message.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it is neither.
    """
    from .key import Key

    if is_wrapped(text):
        return parse_wrapped_key(text, site=conf.encryption_site, position=position)
    return Key(decode_key(text, position=position))


def _load_newest_key() -> Key:
    return _open(_read_keys()[0])


def _load_key(key_id: str) -> Key:
    """Return the key of this id; if it is unknown, the settings' key function is called again.

    Raises:
        EncryptionKeyUnavailableError: when it is not configured, or (a ``KeyServiceError``) cannot
            be unwrapped.
    """
    key = _find_key(key_id)
    if key is None:
        # Other threads continue to seal with the previous first key until the new one can be used.
        conf.reread_encryption_keys(lambda keys: _open(_derive_keys(keys, conf.encryption_site)[0]))
        key = _find_key(key_id)
    if key is not None:
        return _open(key)
    raise EncryptionKeyUnavailableError(
        f"A token was encrypted with the key {key_id[:20]!r}, which is not configured. "
        'Add that key back to GOOGLE_LINK["ENCRYPTION_KEYS"].'
    )


def _find_key(key_id: str) -> Key | WrappedKey | None:
    return next((key for key in _read_keys() if key.id == key_id), None)


def _open(key: Key | WrappedKey) -> Key:
    return key.load() if isinstance(key, WrappedKey) else key


def _read_keys() -> tuple[Key | WrappedKey, ...]:
    return _derive_keys(conf.encryption_keys, conf.encryption_site)


@lru_cache(maxsize=8)
def _derive_keys(keys: tuple[Secret, ...], site: str | None) -> tuple[Key | WrappedKey, ...]:
    return tuple(read_key(key, position=n) for n, key in enumerate(keys, 1))
