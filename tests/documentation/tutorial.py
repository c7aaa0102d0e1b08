"""Follow the tutorial: what it says to type is typed, what it says to write is written."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.documentation.pages import text_of

# What pip brings is there already, and what asks a person has its own way in.
_LEFT_OUT = (
    "python -m venv",
    ". .venv",
    "pip install",
    "python manage.py runserver",
    "python manage.py google_link_fake",
)
WITHOUT_QUESTIONS = {
    "python manage.py createsuperuser": "--no-input --username anna --email anna@example.com",
}


def read_steps() -> list[tuple[str, str]]:
    """Return the blocks of the tutorial, each with its language: ``sh`` is what to type."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text_of("tutorial"), flags=re.DOTALL | re.MULTILINE)


def follow(python: str, folder: Path) -> list[str]:
    """Follow the tutorial in an empty folder, and return what each command printed.

    Args:
        python: an interpreter that has the package with its extras ``api`` and ``testing``.
        folder: where the project is to be.

    Raises:
        subprocess.CalledProcessError: when a command fails.
    """
    printed = []
    for language, block in read_steps():
        if language == "sh":
            printed += [type_in(python, line, folder) for line in block.splitlines()]
        else:
            write(block, folder)
    return printed


def type_in(python: str, line: str, folder: Path) -> str:
    """Run a line of the shell, and return what it printed."""
    if line.startswith(_LEFT_OUT):
        return ""
    line = f"{line} {WITHOUT_QUESTIONS.get(line, '')}"
    line = re.sub(r"^python ", f"{python} ", line)
    line = re.sub(r"^django-admin ", f"{python} -m django ", line)
    environment = {**os.environ, "DJANGO_SUPERUSER_PASSWORD": "pw"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    result = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, f"{line}\n{output}"
    return output


def write(block: str, folder: Path) -> None:
    """Write a block to the file that its first line names, or add to one that is there."""
    first, _, text = block.partition("\n")
    [name] = re.findall(r"[\w./]+\.(?:py|html)", first)
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    adds = file.is_file() and name.startswith("mysite/")
    file.write_text((file.read_text() if adds else "") + text)
