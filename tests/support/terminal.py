"""A terminal in which an account is linked, with a browser next to it."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from typing import Any

import requests
from django.core.management import call_command

from django_google_link.testing import FakeGoogle, FakeUser

Visit = Callable[[str], None]


class Terminal(io.StringIO):
    """The command's output; every URL in it is opened in a browser."""

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self.visits: list[threading.Thread] = []
        self._visit = visit

    def write(self, text: str) -> int:
        for url in re.findall(r"^  (http\S+)$", text, flags=re.MULTILINE):
            self.visits.append(threading.Thread(target=self._visit, args=[url]))
            self.visits[-1].start()
        return super().write(text)


def allowing(google: FakeGoogle, alice: FakeUser, **how: Any) -> Visit:
    """Return the actions of Alice's browser."""

    def visit(url: str) -> None:
        back = google.consent(url, user=alice, **how)
        assert requests.get(f"{back.partition('/?')[0]}/favicon.ico").status_code == 404
        assert "Back to the terminal" in requests.get(back).text

    return visit


def run_authorize(user: Any, visit: Visit, **options: Any) -> str:
    """Run ``google_link_authorize``; return its output."""
    terminal = Terminal(visit)
    try:
        call_command(
            "google_link_authorize", user, stdout=terminal, no_browser=True, timeout=20, **options
        )
    finally:
        for thread in terminal.visits:
            thread.join()
    return terminal.getvalue()
