"""Ending a test run: at once on Ctrl-C, and within a minute if a thread hangs."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import NoReturn

import pytest

_PATIENCE = 60  # seconds


def pytest_configure(config: pytest.Config) -> None:
    """Terminate workers of pytest-xdist on Ctrl-C.

    By default KeyboardInterrupt is raised in whatever runs: a test that expects one itself, or a
    thread that must be waited for; and the run waits ten seconds for the worker.
    """
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> NoReturn:
    os._exit(128 + signal.SIGINT)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Fail with all stacks if a hanging thread keeps the process from exiting."""
    faulthandler.dump_traceback_later(_PATIENCE, exit=True, file=sys.__stderr__)
