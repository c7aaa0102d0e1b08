"""Rows in smaller portions, so that a few of them are many."""

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
    """Let a module read so many rows at a time.

    Args:
        module: that imports ``in_chunks``.
        size: the number of rows.
        after_reading: what somebody else does before the module gets a chunk.
    """

    def read(rows: Any, **options: Any) -> Iterator[list[Any]]:
        for chunk in in_chunks(rows, size=size):
            after_reading()
            yield chunk

    monkeypatch.setattr(module, "in_chunks", read)
