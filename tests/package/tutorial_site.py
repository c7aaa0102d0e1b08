"""The site of the tutorial, as it runs, and who visits it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from django_google_link.testing import FakeUser
from django_google_link.testing.browser.consent import Answer, give_consent


@contextmanager
def running(python: str, folder: Path, *arguments: str) -> Iterator[None]:
    """Run a command of the project beside this process."""
    environment = {**os.environ}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    with (folder / f"{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen(
            [python, "manage.py", *arguments],
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
        return bool(requests.get(url, timeout=60))
    return False


def log_in(browser: requests.Session, site: str) -> None:
    """Log in as the tutorial's user."""
    form = browser.get(f"{site}/admin/login/", timeout=60)
    token = re.findall(r'name="csrfmiddlewaretoken" value="(.+?)"', form.text)[0]
    data = {"username": "anna", "password": "pw", "csrfmiddlewaretoken": token}
    browser.post(f"{site}/admin/login/?next=/admin/", data=data, timeout=60)


def visit_agenda(site: str, google: str) -> str:
    """Log in, agree at the fake Google, and return the page with the agenda."""
    with requests.Session() as browser:
        browser.headers["Accept"] = "text/html"
        page = browser.get(f"{site}/agenda/", timeout=60)
        assert page.url == f"{site}/admin/login/?next=/agenda/"
        log_in(browser, site)
        authorize = browser.get(f"{site}/agenda/", timeout=60)
        assert authorize.url.startswith(f"{google}/o/oauth2/v2/auth?")
        offered = re.findall(r'value="(1\d{20})"', authorize.text)
        anna = FakeUser(email="anna@example.org", sub=offered[-1])
        callback = give_consent(authorize.url, Answer(user=anna))
        page = browser.get(callback, timeout=60)
        assert page.url == f"{site}/agenda/"
        return page.text
