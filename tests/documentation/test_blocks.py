"""Every block of code in the documentation runs."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.apps import apps
from django.contrib.admin import site
from django.core.management import get_commands, load_command_class
from django.template import engines
from django.urls import path
from django.utils import timezone
from pytest_django import Settings

from django_google_link.testing import FakeGoogle
from tests.documentation.commands import COMMANDS, COMMANDS_OF_OTHERS
from tests.documentation.pages import DOCS, PAGES, ROOT, blocks, name_of

# These are run by tests of their own.
ELSEWHERE = {
    DOCS / "tutorial.md",
    *(
        DOCS / "howto" / f"{name}.md"
        for name in ("grpc", "operating", "other-clients", "tenants", "testing", "wagtail")
    ),
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LANGUAGES = {"python", "sh", "html", "css", "js", "json", "kotlin", "swift", "text", ""}
OPTIONS_OF_PIP = {"--editable", "--group", "--upgrade"}
TARGETS = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def runnable(page: Path) -> list[str]:
    """Return the blocks that this Django can run."""
    return [
        block
        for block in blocks(page.read_text(encoding="utf-8"))
        if django.VERSION >= (6,) or "django.tasks" not in block
    ]


@pytest.fixture
def own_admin() -> Iterator[None]:
    """The admin has the app's own pages again, whatever a guide has registered instead."""
    models = apps.get_app_config("google_link").get_models()
    registered = {
        model: type(site.get_model_admin(model)) for model in models if site.is_registered(model)
    }
    yield
    for model, model_admin in registered.items():
        site.unregister(model)
        site.register(model, model_admin)


@pytest.mark.matrix
@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE], ids=name_of)
@pytest.mark.django_db
@pytest.mark.usefixtures("own_admin")
def test_python_runs(
    page: Path,
    google: FakeGoogle,
    user: Any,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """One after the other, as a reader would try them."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]
    for name in re.findall(r'os\.environ\["(\w+)"\]', page.read_text()):
        monkeypatch.setenv(name, name)
    (tmp_path / "encryption.key").write_text("a key")
    names: dict[str, Any] = {
        "__name__": "mysite",
        "DEBUG": True,
        "GOOGLE_LINK": {},
        "INSTALLED_APPS": [],
        "BASE_DIR": tmp_path,
        "YOUTUBE_UPLOAD": "https://www.googleapis.com/auth/youtube.upload",
        "ask_to_link_again": lambda user, reason: None,
        "path": path,
        "stopped_at": timezone.now(),
        "user": user,
    }

    for block in runnable(page):
        exec(re.sub(r"^from mysite\.\w+ import \w+\n", "", block, flags=re.MULTILINE), names)


SHELL = [
    pytest.param(line, id=f"{name_of(page)}: {line[:60]}")
    for page in PAGES
    for block in blocks(page.read_text(encoding="utf-8"), "sh")
    for line in re.sub(r"\$\(\n(.*?)\n\)", r"$(\1)", block).splitlines()
]


@pytest.mark.matrix
@pytest.mark.parametrize("line", SHELL)
def test_shell_is_understood(line: str) -> None:
    """Commands and their options exist; so do extras and targets."""
    line = re.sub(r"^TEST_DATABASE=\w+ ", "", line)
    match shlex.split(line.partition("=$(")[0], comments=True):
        case ["python", "manage.py", name, *arguments]:
            assert_command(name, arguments)
        case ["pip", "install", *requirements]:
            for requirement in requirements:
                assert_requirement(requirement)
        case ["make", target, *_]:
            assert target in TARGETS
        case words:
            known = {"python", "export", "printf", "django-admin", "pytest", "."}
            assert set(words[:1]) <= known, line


def assert_command(name: str, arguments: list[str]) -> None:
    """Assert that a management command takes these arguments, where it is not the tutorial's."""
    app = {**get_commands(), **COMMANDS, **COMMANDS_OF_OTHERS}.get(name)
    if app is None:
        assert (name, arguments) == ("agenda", [])
        return
    command = load_command_class(app, name) if isinstance(app, str) else app
    command.create_parser("manage.py", name).parse_args(arguments)


def assert_requirement(requirement: str) -> None:
    """Assert that these are extras of ours, or that it is another package."""
    found = re.fullmatch(r"(?:django-google-link|\.)\[([\w,]+)\]", requirement)
    if found:
        assert set(found[1].split(",")) <= set(PROJECT["optional-dependencies"])
    else:
        assert requirement in {"django", "pip", "pytest-django", "test", *OPTIONS_OF_PIP}


HTML = [
    pytest.param(block, id=f"{name_of(page)}: {block[:30]}")
    for page in PAGES
    for block in blocks(page.read_text(encoding="utf-8"), "html")
]


@pytest.mark.parametrize("block", HTML)
def test_templates_are_templates(block: str) -> None:
    """Django takes them."""
    engines["django"].from_string(block)


@pytest.mark.matrix
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_their_language(page: Path) -> None:
    """A block without one, or with another, would be run by nobody."""
    text = page.read_text(encoding="utf-8")
    languages = re.findall(r"^ *```(\S*)\n.*?^ *```$", text, flags=re.DOTALL | re.MULTILINE)

    assert set(languages) <= LANGUAGES | DIRECTIVES


DIRECTIVES = {"{toctree}", "{graphviz}", "{eval-rst}", "{include}", "{layers}"}


@pytest.mark.matrix
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file, and to a heading in it."""
    text = page.read_text(encoding="utf-8")
    for target, _, heading in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", text):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.M)
            assert heading in {re.sub(r"\W+", "-", title.lower()).strip("-") for title in headings}


def test_every_page_is_in_the_menu() -> None:
    """None is lost."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^(?:howto|reference|explanation)/\w.*|^tutorial$", index, flags=re.M))

    assert listed == {
        page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")
    } - {"index"}
    assert os.fspath(DOCS / "index.md")
