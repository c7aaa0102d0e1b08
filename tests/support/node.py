"""Packages from the npm registry."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def install(package: Path, folder: Path) -> Path:
    """Install the dependencies of a ``package.json``; return the folder they are in.

    Without npm the test is skipped.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("There is no npm.")
    shutil.copy(package, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder
