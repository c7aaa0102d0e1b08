"""Moments in the form that the database expects, and waiting for events elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone


def in_seconds(seconds: float) -> Any:
    """Return a moment in the form that the database expects."""
    return timezone.now() + timedelta(seconds=seconds)


def deadline_in(seconds: float) -> float:
    """Return a deadline in the form that waiting code uses."""
    return time.monotonic() + seconds


def skip_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make ``time.sleep`` advance ``time.monotonic`` instead, and record the pauses."""
    pauses: list[float] = []
    clock = time.monotonic
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(pauses))
    return pauses


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
