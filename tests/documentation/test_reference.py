"""The reference says what is there: no more, and no less."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import load_command_class
from django.dispatch import Signal

import django_google_link
from django_google_link import exceptions, signals, urls
from django_google_link.conf import clients, service_accounts
from django_google_link.conf import settings as conf
from django_google_link.headless import read_openapi
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.web.access import Requirement
from tests.documentation.commands import COMMANDS
from tests.documentation.pages import (
    PAGES,
    PUBLIC_MODULES,
    ROOT,
    names_in,
    tables,
    text_of,
)

PACKAGE = Path(django_google_link.__file__).parent
#: Those of the package: the guides name commands of django-tenants as well.
OUR_COMMANDS = {name: app for name, app in COMMANDS.items() if app.startswith("django_google_link")}
SOURCES = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
#: The pages of the reference that document names to be imported.
PUBLIC_PAGES = ("api", "errors", "front-ends", "signals", "testing")


def public_names() -> set[str]:
    """Return what ``__all__`` of each public module names, by its dotted name."""
    return {f"{module}.{name}" for module in PUBLIC_MODULES for name in module_names(module)}


def module_names(module: str) -> list[str]:
    """Return ``__all__``, each name of which is there."""
    names: list[str] = import_module(module).__all__
    assert all(hasattr(import_module(module), name) for name in names)
    return names


def documented_names(page: str) -> set[str]:
    """Return the dotted names that a page of the reference documents."""
    text = text_of(f"reference/{page}")
    found = set(re.findall(r"auto(?:class|function):: (\S+)", text))
    for module, options in re.findall(r"automodule:: (\S+)\n((?:   :.*\n)*)", text):
        members = re.search(r":members: (.+)", options)
        names = members[1].split(", ") if members else documented_errors()
        found |= {f"{module}.{name}" for name in names}
    found |= set(re.findall(r"`(django_google_link\.models\.\w+)` is public", text))
    if page == "signals":
        [table] = tables(text)
        found |= {f"django_google_link.signals.{name}" for name in first_column(table)}
    return found


def documented_errors() -> list[str]:
    """Return the names in the tree of errors."""
    return re.findall(r"\b[A-Z]\w+Error\b(?!,)", error_tree())


def error_tree() -> str:
    """Return the drawing of the errors."""
    tree = re.search(r"```text\n(.*?)```", text_of("reference/errors"), flags=re.DOTALL)
    assert tree
    return tree[1]


def test_public_names_are_documented() -> None:
    """What can be imported stands in the reference, and what stands there can be imported."""
    documented = set().union(*map(documented_names, PUBLIC_PAGES))

    assert documented == public_names()


def test_modules_at_the_top_are_public() -> None:
    """But for Django's, and the two words that every layer speaks."""
    modules = {path.stem for path in PACKAGE.glob("*.py")}

    assert modules - {"__init__", "apps", "scopes", "secret", "urls"} == {
        module.partition(".")[2] for module in PUBLIC_MODULES
    } - {
        "admin",
        "contrib.key_services",
        "contrib.ninja",
        "contrib.rest_framework",
        "headless",
        "testing",
    }


def test_public_names_are_checked_by_mypy() -> None:
    """As a strict project would import them."""
    tree = ast.parse((ROOT / "tests" / "typing" / "public_names.py").read_text(encoding="utf-8"))
    imported = {
        f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module in PUBLIC_MODULES
        for alias in node.names
    }

    assert imported == public_names()


def first_column(table: list[list[str]]) -> list[str]:
    """Return the names in the first column of a table."""
    return [name for row in table for name in names_in(row[0])]


def test_settings_have_every_key() -> None:
    """No key is missing, and none is made up."""
    found = [set(first_column(table)) for table in tables(text_of("reference/settings"))]

    assert found == [conf.KEYS, clients.KEYS, service_accounts.KEYS]


def test_front_ends_have_every_word() -> None:
    """Each error of the contract stands in the table, and in the OpenAPI document."""
    known = read_openapi()["components"]["schemas"]["Error"]["properties"]["error"]["x-words"]
    *_, words = tables(text_of("reference/front-ends"))

    assert first_column(words) == list(known)


def test_module_for_front_ends_has_every_word() -> None:
    """Each error of its own stands in the table before."""
    source = (ROOT / "django_google_link/static/django_google_link/google_link.js").read_text()
    thrown = set(re.findall(r'(?:new GoogleLinkError|fail)\(\s*"(\w+)"', source))
    *_, own, _ = tables(text_of("reference/front-ends"))

    assert set(first_column(own)) == thrown


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
    path: list[str] = []
    drawn: dict[str, str] = {}
    for line in error_tree().splitlines():
        [name] = re.findall(r"\w+(?:Error|Configured)", line)[:1]
        depth = line.index(name) // 4
        path[depth:] = [name]
        drawn.setdefault(name, path[depth - 1] if depth else "")

    assert drawn == {
        name: getattr(exceptions, name).__bases__[-1].__name__ for name in exceptions.__all__
    } | {"GoogleLinkError": "", "ImproperlyConfigured": ""}


def test_urls_have_their_names() -> None:
    """And the paths under the app's."""
    [found, _] = tables(text_of("reference/pages"))

    assert {(names_in(row[0])[0], "".join(names_in(row[1]))) for row in found} == {
        (f"google_link:{pattern.name}", _write_route(str(pattern.pattern)))
        for pattern in urls.urlpatterns
    }


def _write_route(route: str) -> str:
    return route.replace("<uuid:pk>", "<uuid>").replace("<str:client>", "<client>")


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
    local = {
        "entry",
        "scope",
        "account",
        "csrf_token",
        "LANGUAGE_CODE",
        "LANGUAGE_BIDI",
        "form",
        "date",
        "host",
        "message",
    }
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


@pytest.mark.parametrize("name", sorted(OUR_COMMANDS))
def test_commands_have_their_options(name: str) -> None:
    """With the defaults that they have."""
    parser = load_command_class(OUR_COMMANDS[name], name).create_parser("manage.py", name)
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

    assert set(re.findall(r"manage.py (google_link_[a-z_]+)", text)) == set(OUR_COMMANDS)
    named = set(re.findall(r"`([a-z]+_(?:googleaccount|pendingrevocation))`", text))
    assert named == permissions | {"delete_googleaccount", "delete_pendingrevocation"}


def test_options_of_decorators_are_all_there() -> None:
    """And so is what ``request.google`` has."""
    [decorators, access] = tables(text_of("howto/views"))
    expected: Any = inspect.signature(Requirement.of).parameters

    assert set(first_column(decorators)) == set(expected)
    assert len(access) > 1
