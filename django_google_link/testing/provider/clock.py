"""The fake's clock, separate from the app's so that the fake works without Django."""

from __future__ import annotations

import time
from datetime import timedelta

_moved = timedelta()


def timestamp() -> float:
    """Return the current Unix time in seconds."""
    return time.time() + moved_by()


def moved_by() -> float:
    """Return by how many seconds this clock has been moved."""
    return _moved.total_seconds()


def move(by: timedelta) -> None:
    """Move the clock of this process, forward or back by a negative duration."""
    global _moved  # noqa: PLW0603
    _moved += by
