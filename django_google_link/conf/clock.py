"""The only source of the current time, so that tests can move it by an hour or a month.

Waits within a call use ``time.monotonic()`` instead.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from .django import django_conf
from .local_time import LocalTime

_moved = timedelta()


def now() -> datetime:
    """Return the current time, aware if ``USE_TZ`` is true."""
    return from_timestamp(time.time()) + _moved


def from_timestamp(seconds: float) -> datetime:
    """Return a datetime, aware if ``USE_TZ`` is true.

    Args:
        seconds: the Unix time.
    """
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment if django_conf.use_tz else LocalTime.of(moment)


def timestamp() -> float:
    """Return the current Unix time in seconds, as JSON Web Tokens use it (RFC 7519 section 2)."""
    return time.time() + _moved.total_seconds()


def moved_by() -> timedelta:
    """Return by how much this clock has been moved; zero outside of tests."""
    return _moved


def move(by: timedelta) -> None:
    """Move the clock of this process forward, or back by a negative duration. For tests."""
    global _moved  # noqa: PLW0603
    _moved += by
