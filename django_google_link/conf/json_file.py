"""JSON files with secrets, as downloaded from Google's console."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

from .masking import mask_document

_MAX_BYTES = 100_000


def read_json_file(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. The result is cached until the file changes; do not modify it.

    Args:
        path: the path of the file.

    Returns:
        Its content, in which secrets are ``Secret``.

    Raises:
        OSError: if it cannot be read.
        TypeError: if the path is a number.
        ValueError: if the content is invalid; the message does not quote it.
    """
    if isinstance(path, int):
        raise TypeError("it is a number, not a path")
    status = os.stat(path)
    return _parse_version(os.fspath(path), status.st_mtime_ns, status.st_size)


def explain_failure(error: Exception) -> str:
    """Return the reason of a failure, for a message that already names the file."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@lru_cache(maxsize=64)
def _parse_version(path: str, modified_ns: int, size: int) -> Any:
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes, too many for a file from Google's console")
    with open(path, "rb") as file:
        content = file.read()
    if not content.strip():
        raise ValueError("it is empty")
    try:
        # json.loads() detects UTF-16, which PowerShell writes, and a byte order mark.
        return json.loads(content, object_hook=mask_document)
    except (ValueError, RecursionError):
        # Without the original error, which quotes the content.
        raise ValueError("it is not JSON") from None
