"""The reference says what is there: no more, and no less."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.dispatch import Signal

import django_google_link
from django_google_link import exceptions, signals, urls
from django_google_link.conf import clients, service_accounts
from django_google_link.conf import settings as conf
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.web.access import Requirement
from tests.documentation.pages import PAGES, names_in, tables, text_of

PACKAGE = Path(django_google_link.__file__).parent
SOURCES = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
COMMANDS = {name for name, app in get_commands().items() if app == "django_google_link"}


def first_column(table: list[list[str]]) -> list[str]:
    """Return the names in the first column of a table."""
    return [name for row in table for name in names_in(row[0])]


def test_settings_have_every_key() -> None:
    """No key is missing, and none is made up."""
    found = [set(first_column(table)) for table in tables(text_of("reference/settings"))]

    assert found == [conf.KEYS, clients.KEYS, service_accounts.KEYS]


def test_checks_have_every_id() -> None:
    """Each has a row of its own, in their order."""
    [table] = tables(text_of("reference/checks"))

    assert first_column(table) == sorted(set(re.findall(r'"([EW]\d{3})"', SOURCES)))


def test_signals_have_their_arguments() -> None:
    """As the comment above each of them says."""
    source = inspect.getsource(signals)
    said = re.findall(r"^#: .*?: (.+)\.\n(\w+) = Signal", source, flags=re.MULTILINE)
    sent = {name: re.findall(r"``([a-z_]+)``", arguments) for arguments, name in said}
    assert set(sent) == {name for name, value in vars(signals).items() if isinstance(value, Signal)}

    [table] = tables(text_of("reference/signals"))

    assert {names_in(row[0])[0]: names_in(row[1]) for row in table} == sent


def test_errors_are_a_tree() -> None:
    """Each is drawn, below what it is a kind of."""
    tree = re.search(r"```text\n(.*?)```", text_of("reference/errors"), flags=re.DOTALL)
    assert tree
    path: list[str] = []
    drawn: dict[str, str] = {}
    for line in tree[1].splitlines():
        [name] = re.findall(r"\w+Error", line)[:1]
        depth = line.index(name) // 4
        path[depth:] = [name]
        drawn.setdefault(name, path[depth - 1] if depth else "")

    assert drawn.pop("GoogleLinkError") == ""
    assert drawn == {
        name: value.__base__.__name__
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and name.endswith("Error") and name != "GoogleLinkError"
    } | {"TokenUndecryptableError": "ConsentRequiredError"}


def test_urls_have_their_names() -> None:
    """And the paths under the app's."""
    [found, _] = tables(text_of("reference/pages"))

    assert {names_in(row[0])[0]: "".join(names_in(row[1])) for row in found} == {
        f"google_link:{pattern.name}": str(pattern.pattern).replace("<uuid:pk>", "<uuid>")
        for pattern in urls.urlpatterns
    }


def test_templates_are_all_there() -> None:
    """Those of the admin are Django's affair."""
    [_, found] = tables(text_of("reference/pages"))

    assert set(first_column(found)) == {
        path.name for path in (PACKAGE / "templates" / "django_google_link").glob("*.html")
    }


@pytest.mark.parametrize("row", tables(text_of("reference/pages"))[1], ids=lambda row: row[0])
def test_templates_use_their_context(row: list[str]) -> None:
    """What a template prints stands in the table."""
    [name] = names_in(row[0])
    text = (PACKAGE / "templates" / "django_google_link" / name).read_text(encoding="utf-8")
    local = {"entry", "scope", "account", "csrf_token", "LANGUAGE_CODE", "LANGUAGE_BIDI", "form"}
    used = set(re.findall(r"(?:{{ |{% if (?:not )?|with \w+=)(\w+)", text)) - local

    assert used <= {"expected", "other"} | set(names_in(row[2]))


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a parser and of its subcommands, but for Django's own."""
    found: set[str] = set()
    for action in parser._actions:
        found |= {name for name in action.option_strings if name.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):
            for choice in action.choices.values():
                found |= options(choice)
    return found


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_have_their_options(name: str) -> None:
    """With the defaults that they have."""
    parser = load_command_class("django_google_link", name).create_parser("manage.py", name)
    common = options(load_command_class("django.core", "migrate").create_parser("", ""))
    common -= {"--check", "--fake", "--plan", "--prune", "--database"}
    _, _, rest = text_of("reference/commands").partition(f"\n## `{name}")
    section = rest.partition("\n## ")[0]

    rows = [row for table in tables(section) for row in table]

    assert {names_in(row[0])[0] for row in rows} == options(parser) - common
    for row in rows:
        [option] = names_in(row[0])
        default = parser.get_default(option.strip("-").replace("-", "_"))
        if isinstance(default, int) and not isinstance(default, bool):
            assert str(default) in row[1]


def test_commands_and_permissions_exist() -> None:
    """None is made up, and none forgotten."""
    permissions = {
        name for model in (GoogleAccount, PendingRevocation) for name, _ in model._meta.permissions
    }
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)

    assert set(re.findall(r"manage.py (google_link_[a-z_]+)", text)) == COMMANDS
    named = set(re.findall(r"`([a-z]+_(?:googleaccount|pendingrevocation))`", text))
    assert named == permissions | {"delete_googleaccount", "delete_pendingrevocation"}


def test_options_of_decorators_are_all_there() -> None:
    """And so is what ``request.google`` has."""
    [decorators, access] = tables(text_of("howto/views"))
    expected: Any = inspect.signature(Requirement.of).parameters

    assert set(first_column(decorators)) == set(expected)
    assert len(access) > 1
