"""Keys that are generated at the first start, and stored outside the code."""

import base64
import os
from collections.abc import Callable
from pathlib import Path


def kept(path: Path, make: Callable[[], str]) -> str:
    """Return the content of a file. If it does not exist, create it, readable only by its owner."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make())
    except FileExistsError:
        pass
    return path.read_text()


def encryption_key() -> str:
    """Make a key for ``GOOGLE_LINK["ENCRYPTION_KEYS"]``."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()
