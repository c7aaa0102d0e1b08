"""Smaller chunks, so that a few rows fill several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_google_link.accounts.database import in_chunks


def use_small_chunks(
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    size: int,
    *,
    after_reading: Callable[[], Any] = lambda: None,
) -> None:
    """Have a module read this many rows at a time.

    Args:
        module: a module that imports ``in_chunks``.
        size: the number of rows.
        after_reading: called after each chunk was read, before the module gets it.
    """

    def read(rows: Any, **options: Any) -> Iterator[list[Any]]:
        for chunk in in_chunks(rows, size=size):
            after_reading()
            yield chunk

    monkeypatch.setattr(module, "in_chunks", read)
