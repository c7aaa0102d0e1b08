"""What comes from the npm registry."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def install(package: Path, folder: Path) -> Path:
    """Install what a ``package.json`` asks for, and return the folder in which it is.

    Without npm the test is skipped.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("There is no npm.")
    shutil.copy(package, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder
