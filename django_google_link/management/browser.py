"""Opening a browser on this machine, possibly one that runs in the terminal."""

from __future__ import annotations

import os
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

#: Browsers that run in the terminal until the user quits.
_IN_TERMINAL = frozenset({"browsh", "elinks", "links", "links2", "lynx", "w3m", "www-browser"})


def open_browser(url: str) -> Callable[[], None]:
    """Open a URL; return a function that waits until the terminal is free again.

    ``webbrowser`` waits for a browser in the terminal, and for one that ``BROWSER`` names. That
    browser in turn waits for our response, so it is opened in another thread.
    """
    # Before the other thread: webbrowser looks for browsers once, and not in two threads at once.
    takes_terminal = _takes_terminal()
    thread = threading.Thread(target=_open, args=[url], daemon=True)
    thread.start()
    return thread.join if takes_terminal else do_nothing


def _open(url: str) -> None:
    # BROWSER may name a program that cannot be run; the URL was printed.
    with suppress(webbrowser.Error, OSError, ValueError):
        webbrowser.open(url)


def _takes_terminal() -> bool:
    try:
        name = getattr(webbrowser.get(), "name", "")
    except (webbrowser.Error, ValueError):
        return False
    return os.path.basename(name) in _IN_TERMINAL


def do_nothing() -> None:
    """Return at once: the terminal is free."""
