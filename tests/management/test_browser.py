"""Browsers on this machine, as Python's ``webbrowser`` finds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

OPENING = """
from django_google_link.management.browser import open_browser

open_browser("https://example.org/")()
"""


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["", "BROWSER"])
def test_browser_in_the_terminal_is_waited_for(tmp_path: Path, variable: str) -> None:
    """It is found on the path, or named by BROWSER, and in the terminal until its user quits."""
    browser = tmp_path / "w3m"
    browser.write_text(f"#!/bin/sh\n/bin/sleep 0.5\necho $1 > {tmp_path}/visited\n")
    browser.chmod(0o755)
    # Looking through them takes so long that another thread would see half of the result.
    places = [f"{tmp_path}/bin{n}" for n in range(500)]
    named = {variable: str(browser)} if variable else {}

    subprocess.run(
        [sys.executable, "-c", OPENING],
        cwd=ROOT,
        env={
            "PATH": ":".join([*places, str(tmp_path)]),
            "TERM": "dumb",
            **named,
        },
        timeout=60,
        check=True,
    )

    assert (tmp_path / "visited").read_text() == "https://example.org/\n"
