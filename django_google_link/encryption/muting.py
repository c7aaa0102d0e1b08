"""Muting libraries that log requests and responses at DEBUG during calls that contain a key."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident


@contextmanager
def mute_loggers(*names: str) -> Iterator[None]:
    """Drop what these loggers and their children log in this thread.

    Args:
        names: the names of the loggers, whose modules have been imported.
    """
    loggers = [logger for name in names for logger in _list_loggers(name)]
    mute = _OtherThreads(get_ident())
    for logger in loggers:
        logger.addFilter(mute)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(mute)


class _OtherThreads(logging.Filter):
    """A filter that passes records of other threads."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is from another thread."""
        return get_ident() != self._thread


def _list_loggers(name: str) -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict)
    below = [other for other in known if other.startswith(f"{name}.")]
    return [logging.getLogger(other) for other in (name, *below)]
