"""Muting libraries' loggers while they handle a key."""

from __future__ import annotations

import logging
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


def test_filters_are_left_in_place() -> None:
    """Another thread may be going through them, and would skip one if another were removed."""
    library = logging.getLogger("library.of_two_keys")
    seen = []

    for _ in range(2):
        with mute_loggers("library"):
            seen.append(list(library.filters))
        seen.append(list(library.filters))

    assert len(seen[0]) == 1
    assert all(filters == seen[0] for filters in seen)
