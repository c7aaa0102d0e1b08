"""Tokens at rest: sealed with the first of the configured keys, unsealed with any of them."""

from __future__ import annotations

import base64
import binascii
import os
import string
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from django.views.decorators.debug import sensitive_variables

from ..conf.settings import conf
from ..conf.validators import read_or_default
from ..exceptions import EncryptionKeyUnavailableError, SettingsError
from ..secret import Secret
from .format import Binding, parse_sealed
from .key_mistakes import describe_unusable_key

if TYPE_CHECKING:
    from .key import Key

_KEY_BYTES = 32
_AROUND = string.whitespace + "\u00a0\ufeff\u200b"


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


def make_resealer() -> Callable[[str, Binding], str]:
    """Return a function that reseals tokens with the first of ``ENCRYPTION_KEYS``.

    It takes a sealed token with its binding and raises what :func:`unseal` does; the settings are
    read now, for as many tokens as there are. What that key has sealed it leaves as it is.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when no usable key is configured.
    """
    keys = _load_keys()

    @sensitive_variables()
    def reseal(sealed: str, binding: Binding) -> str:
        key, data = _find_key(keys, sealed)
        return sealed if key is keys[0] else keys[0].seal(key.unseal(data, binding), binding)

    return reseal


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
    bare = text.reveal().strip(_AROUND)
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
