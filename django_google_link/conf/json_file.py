"""A JSON file with secrets in it, as Google's console gives them."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

from .masking import mask_document

_MAX_BYTES = 100_000


def read_json_file(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file, parsed once per version of it, so not to be changed.

    Args:
        path: of the file.

    Returns:
        Its content, with its secrets as ``Secret``.

    Raises:
        OSError: when it cannot be read.
        TypeError: when the path is not one.
        ValueError: saying what is wrong with the content, without quoting it.
    """
    if isinstance(path, int):
        raise TypeError("it is a number, and no path")
    status = os.stat(path)
    return _parse_version(os.fspath(path), status.st_mtime_ns, status.st_size)


def explain_failure(error: Exception) -> str:
    """Return what is wrong, for a message that names the file already."""
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
        # Editors on Windows put a byte order mark in front, and PowerShell writes UTF-16.
        return json.loads(content, object_hook=mask_document)
    except (ValueError, RecursionError):
        # The error of Python quotes what it stumbles over.
        raise ValueError("it is not JSON") from None
