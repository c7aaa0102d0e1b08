"""Muting libraries that log requests and responses at DEBUG during calls that contain a key."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local


@contextmanager
def mute_loggers(*names: str) -> Iterator[None]:
    """Drop what these loggers and their children log in this thread.

    Args:
        names: the names of the loggers, whose modules have been imported.
    """
    # Never removed: another thread may be going through the filters of the same logger.
    for logger in (logger for name in names for logger in _list_loggers(name)):
        logger.addFilter(_mute)
    was_muted, _this_thread.is_muted = getattr(_this_thread, "is_muted", False), True
    try:
        yield
    finally:
        _this_thread.is_muted = was_muted


_this_thread = local()


class _Mute(logging.Filter):
    """A filter that drops records of the threads that are muted."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this thread is not muted."""
        return not getattr(_this_thread, "is_muted", False)


_mute = _Mute()


def _list_loggers(name: str) -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict)
    below = [other for other in known if other.startswith(f"{name}.")]
    return [logging.getLogger(other) for other in (name, *below)]
