"""A key service for tests, in this process: it counts its calls, and can fail."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from threading import Event
from typing import Any, ClassVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pytest_django import Settings

from django_google_link.contrib.key_services import KeyService
from django_google_link.encryption.keyring import make_key
from django_google_link.encryption.wrapped_keys import wrap_key
from django_google_link.secret import Secret

#: A service's error message that must not be shown.
HUSH = "hush-hush"


class Safe(KeyService):
    """Wraps keys with AES-GCM, bound to the context."""

    keys: ClassVar[dict[str, bytes]] = {"one": os.urandom(32), "two": os.urandom(32)}
    #: The ids of the keys that it was called for.
    asked: ClassVar[list[str]] = []
    #: The error raised instead of unwrapping.
    failure: ClassVar[Exception | None] = None
    answer: ClassVar[Any] = None
    is_open: ClassVar[Event] = Event()

    def wrap(self, key: bytes, *, name: str, context: Mapping[str, str]) -> tuple[str, bytes]:
        """Encrypt a key."""
        nonce = os.urandom(12)
        return name, nonce + self._cipher(name).encrypt(nonce, key, _encode(context))

    def unwrap(self, wrapped: bytes, *, name: str, context: Mapping[str, str]) -> bytes:
        """Decrypt a key, or raise the configured error."""
        self.asked.append(context["key_id"])
        self.is_open.wait()
        if self.failure:
            raise self.failure
        key = self._cipher(name).decrypt(wrapped[:12], wrapped[12:], _encode(context))
        return key if self.answer is None else self.answer

    def _cipher(self, name: str) -> AESGCM:
        return AESGCM(self.keys[name])


def _encode(context: Mapping[str, str]) -> bytes:
    return json.dumps(context, sort_keys=True).encode()


def wrap(text: str = "", *, service: str = "safe", name: str = "one", site: str = "here") -> str:
    """Return a key, new by default, wrapped as in the settings."""
    key = Secret(text or make_key())
    wrapped = wrap_key(key, service=service, name=name, site=site)
    Safe.asked.clear()
    return wrapped


def use_keys(settings: Settings, *keys: str, **changes: Any) -> None:
    """Configure these keys; the first one seals."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": list(keys), **changes}


def make_up(service: str, name: str) -> str:
    """Return an invented wrapped key, unique among these tests."""
    return f"{service}:{name}:{secrets.token_urlsafe(6)}:{secrets.token_urlsafe(60)}"
