"""Bodies that are read while they are sent, and may have to be sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def find_position(body: Any) -> int | None:
    """Return where a stream stands, if it can be brought back there; of all else nothing."""
    if not hasattr(body, "seek"):
        return None
    try:
        position: int = body.tell()
    except (AttributeError, OSError):
        return None
    return position


def find_rewinding(*bodies: Any) -> Callable[[], None] | None:
    """Return what brings bodies back to where they stand now, or ``None`` if one can be read once.

    Args:
        bodies: streams, iterators, or anything else that can be read as often as one likes.
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
