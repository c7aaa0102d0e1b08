"""The lists for those who read all that people are told leave nothing out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from babel.messages.pofile import read_po

from tests.documentation.pages import ROOT

pytestmark = pytest.mark.slow

CATALOG = ROOT / "django_google_link" / "locale" / "de" / "LC_MESSAGES" / "django.po"

#: Files whose texts are in no catalogue, one of each kind.
OTHERS = (
    "django_google_link/checks/mistakes.py",
    "django_google_link/management/commands/google_link_authorize.py",
    "django_google_link/accounts/linking.py",
    "django_google_link/static/django_google_link/google_link.js",
    "django_google_link/testing/provider/templates/consent.html",
    "example_project/pages/templates/pages/home.html",
)


def run_tool(name: str) -> str:
    """Return what one of the tools prints."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    for key in ("TEST_DATABASE", "TEST_ISOLATION"):
        environment.pop(key, None)
    command = [sys.executable, f"tools/{name}.py"]
    return subprocess.check_output(command, cwd=ROOT, env=environment, text=True)


def test_sentences() -> None:
    """Each that can be translated, and those that cannot."""
    printed = run_tool("list_sentences")

    with CATALOG.open("rb") as file:
        ids = [message.id for message in read_po(file) if message.id]
    texts = [text for id in ids for text in ([id] if isinstance(id, str) else id)]
    assert [text for text in texts if f"\n- {text}\n" not in printed] == []
    assert [name for name in OTHERS if f"\n## {name}\n\n- " not in printed] == []
    assert "for somebody who reads them all" not in printed  # That is a docstring.


def test_mistakes() -> None:
    """Something is said of each."""
    printed = run_tool("list_mistakes")

    assert printed.count("\n| ") > 70
    assert [line for line in printed.splitlines() if line.endswith("| nothing |")] == []
