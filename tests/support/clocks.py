"""A worker with a wrong clock, next to a database with the right one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from django_google_link.conf import clock


@contextmanager
def clock_ahead(by: timedelta) -> Iterator[None]:
    """Put the clock of this process ahead, for the app and the tests."""
    right, seconds = timezone.now, by.total_seconds()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(timezone, "now", lambda: right() + by)
        patched.setattr(clock, "time", SimpleNamespace(time=lambda: time.time() + seconds))
        yield
