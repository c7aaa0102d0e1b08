"""Bodies that are read while they are sent, and may have to be sent again."""

from __future__ import annotations

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
