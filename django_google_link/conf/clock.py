"""The time: read here and nowhere else, so that a test can live through an hour or a month.

Waits within one call are no matter of this clock: they go by ``time.monotonic``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from .django import django_conf
from .local_time import LocalTime

_moved = timedelta()


def now() -> datetime:
    """Return the present, aware where ``USE_TZ`` is true."""
    return from_timestamp(time.time()) + _moved


def from_timestamp(seconds: float) -> datetime:
    """Return a moment, aware where ``USE_TZ`` is true.

    Args:
        seconds: since 1970.
    """
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment if django_conf.use_tz else LocalTime.of(moment)


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
