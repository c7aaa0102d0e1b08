"""A browser on this machine, which may be one that takes the terminal and is waited for."""

from __future__ import annotations

import os
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

#: Those that run in the terminal until their user quits.
_IN_TERMINAL = frozenset({"browsh", "elinks", "links", "links2", "lynx", "w3m", "www-browser"})


def open_browser(url: str) -> Callable[[], None]:
    """Open an address, and return a function that waits until the terminal is free again.

    A browser in the terminal, and one that ``BROWSER`` names, is waited for by ``webbrowser``; it
    waits for our answer itself, so that it is opened beside what gives the answer.
    """
    thread = threading.Thread(target=_open, args=[url], daemon=True)
    thread.start()
    return thread.join if _takes_terminal() else do_nothing


def _open(url: str) -> None:
    # BROWSER may name what cannot be run; the address was printed.
    with suppress(webbrowser.Error, OSError, ValueError):
        webbrowser.open(url)


def _takes_terminal() -> bool:
    try:
        name = getattr(webbrowser.get(), "name", "")
    except (webbrowser.Error, ValueError):
        return False
    return os.path.basename(name) in _IN_TERMINAL


def do_nothing() -> None:
    """Wait for nothing: the terminal is free."""
