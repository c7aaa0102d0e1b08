"""A progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def with_bar(things: Iterator[T], total: int) -> Iterator[T]:
    """Show a bar on a terminal, and nothing elsewhere."""
    from tqdm import tqdm

    return iter(tqdm(things, total=total, disable=None, leave=False))
