"""The tutorial leads to an agenda."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from django_google_link.testing import FakeUser
from django_google_link.testing.browser.consent import Answer, give_consent
from tests.documentation.pages import ROOT
from tests.documentation.tutorial import follow, type_in
from tests.support.times import until

pytestmark = pytest.mark.processes


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[None]:
    """Run a command of the project beside the test."""
    environment = {**os.environ}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    with (folder / f"{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def pick_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Return whether a server listens."""
    with suppress(requests.ConnectionError):
        return bool(requests.get(url, timeout=5))
    return False


def log_in(browser: requests.Session, site: str) -> None:
    """Log in as the tutorial's user."""
    form = browser.get(f"{site}/admin/login/", timeout=5)
    token = re.findall(r'name="csrfmiddlewaretoken" value="(.+?)"', form.text)[0]
    data = {"username": "anna", "password": "pw", "csrfmiddlewaretoken": token}
    browser.post(f"{site}/admin/login/?next=/admin/", data=data, timeout=5)


def test_tutorial_leads_to_an_agenda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command ends well, the tests pass, and without Google there is an agenda."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    port, google_port = pick_port(), pick_port()

    printed = "".join(follow(sys.executable, tmp_path))

    assert "System check identified no issues" in printed
    assert "Ran 2 tests" in printed
    assert "anna: not_linked" in printed
    settings = tmp_path / "mysite" / "settings.py"
    text = settings.read_text()
    settings.write_text(text.replace("(GOOGLE_LINK)", f"(GOOGLE_LINK, port={google_port})"))
    site, google = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{google_port}"
    with (
        running(tmp_path, "google_link_fake", f"--port={google_port}"),
        running(tmp_path, "runserver", "--noreload", f"127.0.0.1:{port}"),
        requests.Session() as browser,
    ):
        browser.headers["Accept"] = "text/html"
        until(lambda: answers(f"{site}/admin/login/") and answers(google))
        page = browser.get(f"{site}/agenda/", timeout=5)
        assert page.url == f"{site}/admin/login/?next=/agenda/"
        log_in(browser, site)
        authorize = browser.get(f"{site}/agenda/", timeout=5)
        assert authorize.url.startswith(f"{google}/o/oauth2/v2/auth?")
        offered = re.findall(r'value="(1\d{20})"', authorize.text)
        anna = FakeUser(email="anna@example.org", sub=offered[-1])
        callback = give_consent(authorize.url, Answer(user=anna))
        page = browser.get(callback, timeout=5)

        assert page.url == f"{site}/agenda/"
        assert "Agenda of anna@example.org" in page.text
        assert "Dentist" in page.text
        assert "anna: 3" in type_in(sys.executable, "python manage.py agenda", tmp_path)
