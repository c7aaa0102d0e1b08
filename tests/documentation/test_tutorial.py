"""The tutorial leads to an agenda."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.documentation.pages import ROOT
from tests.documentation.tutorial import follow
from tests.support.times import until

pytestmark = pytest.mark.processes


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run the site as the tutorial does, on a free port, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    environment = {**os.environ}
    del environment["DJANGO_SETTINGS_MODULE"]
    with (folder / "runserver.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    """Return whether a server listens."""
    with suppress(requests.ConnectionError):
        return bool(requests.get(url, timeout=5))
    return False


def test_tutorial_leads_to_an_agenda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command ends well; the tests of its last steps pass."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    printed = "".join(follow(sys.executable, tmp_path))

    assert "System check identified no issues" in printed
    assert "Ran 2 tests" in printed
    assert "anna: not_linked" in printed
    with running(tmp_path) as site:
        until(lambda: answers(f"{site}/admin/login/"))
        page = requests.get(f"{site}/agenda/", timeout=5)
        assert page.url == f"{site}/admin/login/?next=/agenda/"
