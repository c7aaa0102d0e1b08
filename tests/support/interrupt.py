"""A run ends: at once by Ctrl-C, and in a minute where a thread hangs."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import NoReturn

import pytest

_PATIENCE = 60  # seconds


def pytest_configure(config: pytest.Config) -> None:
    """Let a worker of pytest-xdist end where it stands.

    By itself it would raise KeyboardInterrupt into whatever runs, which may be a test that takes it
    for its own, or a thread that must be waited for; the run then waits ten seconds for the worker.
    """
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> NoReturn:
    os._exit(128 + signal.SIGINT)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Fail with all stacks where a thread that hangs keeps the process from its end."""
    faulthandler.dump_traceback_later(_PATIENCE, exit=True, file=sys.__stderr__)
