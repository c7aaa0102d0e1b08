"""The time: read here and nowhere else, so that a test can live through an hour or a month.

Waits within one call are no matter of this clock: they go by ``time.monotonic``.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.utils import timezone

_moved = timedelta()


def now() -> datetime:
    """Return the present, aware where ``USE_TZ`` is true."""
    return timezone.now() + _moved


def timestamp() -> float:
    """Return the present in seconds since 1970, as JSON Web Tokens have it."""
    return time.time() + _moved.total_seconds()


def moved_by() -> timedelta:
    """Return how far this clock has been moved; nothing outside of tests."""
    return _moved


def move(by: timedelta) -> None:
    """Move this clock of this process, forward or back. For tests."""
    global _moved  # noqa: PLW0603
    _moved += by
