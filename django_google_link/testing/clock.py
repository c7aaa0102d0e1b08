"""Time that passes at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from ..conf import clock
from .provider import clock as provider_clock


@contextmanager
def travel(**by: float) -> Iterator[None]:
    """Let time pass for the app and for every ``FakeGoogle`` of this process::

        with travel(hours=1, minutes=1):
            ...  # The access token has expired.

    It goes on from there, and is back afterwards. Django's own clocks (sessions, signatures),
    Google's libraries and other processes do not move; libraries that move those too, such as
    freezegun and time-machine, move this one with them. A ``FakeGoogle`` whose ``now`` was set
    keeps to that.

    Args:
        by: the arguments of ``datetime.timedelta``; negative ones go back.
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
