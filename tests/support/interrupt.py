"""Ctrl-C ends a run in several processes at once."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let a worker of pytest-xdist end where it stands.

    By itself it would raise KeyboardInterrupt into whatever runs, which may be a test that takes it
    for its own, or a thread that must be waited for; the run then waits ten seconds for the worker.
    """
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> NoReturn:
    os._exit(128 + signal.SIGINT)
