"""The README says what the code does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

from django_google_link import clients, conf

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def section(title: str) -> str:
    """Return the text under a heading."""
    _, _, rest = README.partition(f"\n## {title}\n")
    assert rest
    return rest.partition("\n## ")[0]


def block_with(text: str) -> str:
    """Return the code block in which this text stands."""
    [block] = [block for block in BLOCKS if text in block]
    return block


def first_column(table: str) -> set[str]:
    """Return the names in the first column of a Markdown table."""
    cells = re.findall(r"^\| ([^|]+) \|", table, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_settings_tables_name_every_key() -> None:
    """No key is missing from the README, and none is made up."""
    of_the_app, of_a_client = section("Settings").split("Keys of a client:")

    assert first_column(of_the_app) == conf.KEYS
    assert first_column(of_a_client) == clients.KEYS


def test_checks_table_names_every_id() -> None:
    """Each has a row of its own, in their order."""
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([EW]\d{3})` \|", page, flags=re.MULTILINE)
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "django_google_link").rglob("*.py")
    )

    assert rows == sorted(set(re.findall(r'"([EW]\d{3})"', sources)))


@pytest.mark.parametrize("block", BLOCKS)
def test_code_blocks_are_python(block: str) -> None:
    """Every block compiles."""
    compile(block, "README.md", "exec")


def agenda(request: HttpRequest) -> HttpResponse:
    """The view at the top of the README, with a template of one line."""

    def render(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        return HttpResponse(event["summary"] for event in context["events"])

    names: dict[str, Any] = {}
    exec(block_with("def agenda"), names)
    names["render"] = render
    view: Callable[[HttpRequest], HttpResponse] = names["agenda"]
    return view(request)


urlpatterns = [
    path("agenda/", agenda),
    path("google/", include("django_google_link.urls")),
]


@pytest.mark.django_db
@pytest.mark.urls(__name__)
def test_test_of_a_view_works(client: Client, django_user_model: Any, settings: Settings) -> None:
    """The view and its test do together what the README says of them."""
    names: dict[str, Any] = {}
    exec(block_with("def test_agenda"), names)

    names["test_agenda"](client, django_user_model, settings)


def test_commands_exist() -> None:
    """The two commands are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_pictures_exist() -> None:
    """No broken picture on the front page."""
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()
