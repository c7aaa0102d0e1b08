"""Bodies that are read while they are sent, and may have to be sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def find_position(body: Any) -> int | None:
    """Return the position of a stream, if it can be restored; otherwise ``None``."""
    if not hasattr(body, "seek"):
        return None
    try:
        position: int = body.tell()
    except (AttributeError, OSError):
        return None
    return position


def find_rewinding(*bodies: Any) -> Callable[[], None] | None:
    """Return a function that rewinds bodies to their present position, or ``None`` if one cannot.

    Args:
        bodies: streams, iterators, or objects that can be read any number of times.
    """
    positions = [(body, find_position(body)) for body in bodies if _is_used_up_by_reading(body)]
    if any(position is None for _, position in positions):
        return None

    def rewind() -> None:
        for body, position in positions:
            body.seek(position)

    return rewind


def _is_used_up_by_reading(body: Any) -> bool:
    return hasattr(body, "read") or isinstance(body, Iterator)
