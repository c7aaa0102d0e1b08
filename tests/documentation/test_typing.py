"""The views of the documentation pass the type checker of a strict project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT, blocks, text_of
from tests.documentation.tutorial import write

pytestmark = pytest.mark.processes

# As an installed package is followed: what is wrong in it is not the project's matter.
CONFIGURATION = """
[mypy.plugins.django-stubs]
django_settings_module = mysite.settings
[mypy]
strict = True
plugins = mypy_django_plugin.main
follow_imports = silent
"""

SETTINGS = """# mysite/settings.py
from pathlib import Path

BASE_DIR = Path(__file__).parent.parent
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_google_link"]
"""


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has nothing yet but the app."""
    write(SETTINGS, tmp_path)
    cache = f"cache_dir = {tmp_path_factory.getbasetemp() / 'mypy'}\n"
    (tmp_path / "mypy.ini").write_text(CONFIGURATION + cache)
    return tmp_path


def check_types(project: Path) -> str:
    """Run mypy on all of a project, and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--explicit-package-bases", "."],
        cwd=project,
        env={**os.environ, "MYPYPATH": f"{ROOT}", "PYTHONPATH": f"{project}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not result.stderr
    return result.stdout


def test_views_of_the_front_page(project: Path) -> None:
    """What a newcomer copies first."""
    views = [block for block in blocks(text_of("README")) if "@google_" in block]
    assert len(views) == 2
    for number, view in enumerate(views):
        (project / f"views{number}.py").write_text(view)

    assert check_types(project) == "Success: no issues found in 3 source files\n"


def test_files_of_the_tutorial(project: Path) -> None:
    """All that its reader writes: views, tests, and a command."""
    files = [block for block in blocks(text_of("tutorial")) if block.startswith("# agenda/")]
    assert len(files) == 3
    for file in files:
        write(file, project)

    assert check_types(project) == "Success: no issues found in 4 source files\n"


def test_page_about_typing(project: Path) -> None:
    """Its blocks are one module, as its reader would write them."""
    (project / "views.py").write_text("\n".join(blocks(text_of("howto/typing"))))

    assert check_types(project) == "Success: no issues found in 2 source files\n"


def test_mistakes_are_found(project: Path) -> None:
    """The checker sees through the decorators, and knows what an account may be."""
    [aware] = [block for block in blocks(text_of("README")) if "@google_aware" in block]
    careless = aware.replace("if not request.google:", "if request.google.account.email:")
    (project / "views.py").write_text(careless)

    assert 'Item "None" of "GoogleAccount | None" has no attribute "email"' in check_types(project)
