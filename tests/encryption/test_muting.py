"""Muting libraries' loggers while they handle a key."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from threading import Thread

import pytest

from django_google_link.encryption.muting import mute_loggers


def test_only_the_thread_with_the_key_is_muted(caplog: pytest.LogCaptureFixture) -> None:
    """Other threads, other loggers and later records are not muted."""
    caplog.set_level(logging.DEBUG)
    library, other = logging.getLogger("library.parsers"), logging.getLogger("library2")

    with mute_loggers("library"):
        library.debug("the key")
        other.debug("of another library")
        thread = Thread(target=library.debug, args=("of another thread",))
        thread.start()
        thread.join()
    library.debug("afterwards")

    assert caplog.messages == ["of another library", "of another thread", "afterwards"]


class Meanwhile(logging.Filter):
    """Ends another call while a record is on its way through the filters."""

    def __init__(self, call: ExitStack) -> None:
        super().__init__()
        self._call = call

    def filter(self, record: logging.LogRecord) -> bool:
        """End the call."""
        self._call.close()
        return True


def test_call_that_ends_meanwhile_unmutes_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Two keys may be unwrapped at once."""
    caplog.set_level(logging.DEBUG)
    library = logging.getLogger("library.of_two_keys")

    with ExitStack() as first:
        first.enter_context(mute_loggers("library"))
        library.addFilter(Meanwhile(first))
        thread = Thread(target=log_while_muted, args=[library])
        thread.start()
        thread.join()

    assert caplog.messages == []


def log_while_muted(library: logging.Logger) -> None:
    """Log what must not be seen."""
    with mute_loggers("library"):
        library.debug("the key")
