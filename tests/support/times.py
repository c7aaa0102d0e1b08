"""Moments as the database wants them, and waiting for what happens elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone


def in_seconds(seconds: float) -> Any:
    """Return a moment as the database wants it."""
    return timezone.now() + timedelta(seconds=seconds)


def deadline_in(seconds: float) -> float:
    """Return a moment as those who wait have it."""
    return time.monotonic() + seconds


def skip_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let ``time.sleep`` return at once and ``time.monotonic`` move, and note by how much."""
    pauses: list[float] = []
    clock = time.monotonic
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + sum(pauses))
    return pauses


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait for something to happen elsewhere."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
