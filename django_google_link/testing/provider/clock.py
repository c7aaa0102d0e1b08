"""The fake's own clock: it works without Django, and so without the app's."""

from __future__ import annotations

import time
from datetime import timedelta

_moved = timedelta()


def timestamp() -> float:
    """Return the present, in seconds since the epoch."""
    return time.time() + moved_by()


def moved_by() -> float:
    """Return how many seconds this clock is ahead of the real one."""
    return _moved.total_seconds()


def move(by: timedelta) -> None:
    """Move this clock of this process, forward or back."""
    global _moved  # noqa: PLW0603
    _moved += by
