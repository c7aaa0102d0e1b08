"""What stands in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_django import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
GOOGLE = "https://www.googleapis.com"

# What a project imports; all else is private.
PUBLIC_MODULES = [
    f"django_google_link.{name}"
    for name in (
        "admin",
        "contrib.key_services",
        "contrib.ninja",
        "contrib.rest_framework",
        "decorators",
        "exceptions",
        "headless",
        "middleware",
        "mixins",
        "models",
        "request",
        "services",
        "signals",
        "testing",
    )
]


def name_of(page: Path) -> str:
    """Return what to call a page in a test's name."""
    return page.relative_to(ROOT).as_posix()


def text_of(name: str) -> str:
    """Return the text of a page, ``"howto/views"`` or ``"README"``."""
    page = README if name == "README" else DOCS / f"{name}.md"
    return page.read_text(encoding="utf-8")


def blocks(text: str, language: str = "python") -> list[str]:
    """Return the code blocks of a language, those in lists moved to the left."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.DOTALL | re.MULTILINE)
    return [dedent(block) for _, block in found]


def block_with(name: str, text: str, language: str = "python") -> str:
    """Return the code block of a page in which this text stands."""
    [block] = [block for block in blocks(text_of(name), language) if text in block]
    return block


def run(name: str, text: str, *, apis: str = GOOGLE, **names: Any) -> dict[str, Any]:
    """Run the code block of a page in which this text stands, and return its names.

    Args:
        name: of the page.
        text: in the block.
        apis: where Google's APIs are, for code that names them.
        names: that the block finds.
    """
    block = block_with(name, text).replace(f"{GOOGLE}/calendar/", f"{apis}/calendar/")
    names = {"__name__": f"tests.documentation.{name}", **names}
    exec(block, names)
    return names


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of all tables, without their heads."""
    return [
        [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines()]
        for rows in re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    ]


def names_in(cell: str) -> list[str]:
    """Return what a cell says in code."""
    return re.findall(r"`([^`]+)`", cell)


def use_templates(settings: Settings, templates: dict[str, str]) -> None:
    """Put these in front of the apps' own."""
    loaders = [
        ("django.template.loaders.locmem.Loader", templates),
        "django.template.loaders.app_directories.Loader",
    ]
    [engine] = settings.TEMPLATES
    options = {**engine["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**engine, "APP_DIRS": False, "OPTIONS": options}]
