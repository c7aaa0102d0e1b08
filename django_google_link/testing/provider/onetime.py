"""Stores values that can be used once and for a short time: codes and consent pages."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class OneTimeStore(Generic[T]):
    """Values with unguessable keys, each returned once. The caller holds the provider's lock.

    Args:
        prefix: the beginning of each key.
        lifetime: the seconds after which a value expires.
    """

    def __init__(self, *, prefix: str = "", lifetime: float = 600.0) -> None:
        self.prefix = prefix
        self.lifetime = lifetime
        self._values: dict[str, tuple[T, float]] = {}

    def put(self, value: T, now: float) -> str:
        """Store a value, and return its key."""
        self.discard(lambda _: False, now)
        key = self.prefix + secrets.token_urlsafe(48)
        self._values[key] = (value, now + self.lifetime)
        return key

    def get(self, key: str, now: float) -> T | None:
        """Return the value without removing it, or ``None`` if there is none."""
        value, expires_at = self._values.get(key, (None, now))
        return value if now < expires_at else None

    def pop(self, key: str, now: float) -> T | None:
        """Remove and return the value, or return ``None`` if there is none."""
        value = self.get(key, now)
        self._values.pop(key, None)
        return value

    def discard(self, unwanted: Callable[[T], bool], now: float) -> None:
        """Remove expired values, and those for which ``unwanted`` is true."""
        self._values = {
            key: (value, expires_at)
            for key, (value, expires_at) in self._values.items()
            if now < expires_at and not unwanted(value)
        }
