"""Moves time in tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from ..conf import clock
from .provider import clock as provider_clock


@contextmanager
def travel(**by: float) -> Iterator[None]:
    """Move time for the app and for every ``FakeGoogle`` of this process::

        with travel(hours=1, minutes=1):
            ...  # The access token has expired.

    Time continues from there, and is moved back afterwards. Django's own clocks (sessions,
    signatures), Google's libraries and other processes are not affected. Libraries that move those
    too, such as freezegun and time-machine, also move the app's time. A ``FakeGoogle`` whose
    ``now`` was set is not affected.

    Args:
        by: the arguments of ``datetime.timedelta``; negative ones move time back.
    """
    step = timedelta(**by)
    _move_clocks(step)
    try:
        yield
    finally:
        _move_clocks(-step)


def _move_clocks(by: timedelta) -> None:
    clock.move(by)
    provider_clock.move(by)
