"""Key services on this machine, which the clients of their vendors speak to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.support.aws_kms import lead_to
from tests.support.google_kms import GoogleKMSServer

# What moto says when it listens.
_LISTENS = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """An AWS of moto's, in a process of its own."""
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    found = next(filter(None, map(_LISTENS.search, process.stderr)))
    yield found[1]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An AWS that boto3 is led to, as an operator would lead it elsewhere."""
    lead_to(moto, monkeypatch)
    return moto


@pytest.fixture
def google_kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleKMSServer]:
    """A Cloud KMS of the tests' own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with GoogleKMSServer() as server:
        yield server


@pytest.fixture
def site(settings: Settings) -> Settings:
    """A site with a name, and patience for two seconds."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "ENCRYPTION_SITE": "www.example.com",
        "HTTP_TIMEOUT": 20,
    }
    return settings
