"""The drawing of the house, and the rules about it that import-linter cannot say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "django_google_link"

# What sees a request. All the rest must work in a worker, where there is none.
WEB = {
    "admin",
    "checks",
    "contrib",
    "decorators",
    "headless",
    "middleware",
    "mixins",
    "request",
    "views",
    "web",
}

# Other rules hold for these: migrations are generated, and the kit is a program of its own.
OUTSIDE = {"migrations", "testing"}

MODULES = {
    path.relative_to(PACKAGE): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] not in OUTSIDE
}


@cache
def read_tests() -> dict[Path, ast.Module]:
    """Return all files of the tests: parsed here, and not while tests are collected."""
    return {
        path.relative_to(ROOT): ast.parse(path.read_text())
        for path in sorted((ROOT / "tests").rglob("*.py"))
    }


def room(path: Path) -> str:
    """Return the module of the drawing that a file belongs to."""
    return path.parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def without_type_checking(tree: ast.Module) -> ast.Module:
    """Return a module without its ``if TYPE_CHECKING:`` blocks."""
    body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body=body, type_ignores=[])


def calls_of(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield every call in a file."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def private_names_of_ours(tree: ast.AST) -> Iterator[str]:
    """Yield each private name of the package's that is imported, read or patched."""
    ours = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{PACKAGE.name}.")
        for alias in node.names
    }
    yield from (name for name in ours.values() if has_private_part(name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and has_private_part(node.attr):
            written = ast.unparse(node)
            if re.split(r"\W", written)[0] in ours and not written.endswith("._meta"):
                yield written
    for call in calls_of(tree):
        if ast.unparse(call.func).endswith((".setattr", ".delattr", ".setitem")):
            owner, *rest = (ast.unparse(argument).strip("'") for argument in call.args)
            target = f"{owner}.{rest[0]}" if rest else owner
            known = owner.split(".")[0] in ours or owner.startswith(PACKAGE.name)
            if known and has_private_part(target):
                yield target


def has_private_part(dotted: str) -> bool:
    """Return whether any part of a dotted name begins with one underscore."""
    return any(re.match(r"_(?!_)", part) for part in dotted.split("."))


def uses_request(tree: ast.AST) -> bool:
    """Return whether requests or sessions are named."""
    named = any(
        name.startswith(
            ("django.http.HttpRequest", "django.http.request", "django.contrib.sessions")
        )
        for name in imports(tree)
    )
    return named or any(
        isinstance(node, ast.Attribute)
        and node.attr in {"session", "GET", "POST", "META", "headers"}
        and ast.unparse(node.value).endswith("request")
        for node in ast.walk(tree)
    )


def test_contracts() -> None:
    """A line of the drawing imports the lines below it, never above, never sideways."""
    # In a process of its own: it would disable the loggers of this one.
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True
    )

    assert result.returncode == 0, result.stdout


def test_django_settings_only_in_conf() -> None:
    """Settings are read in one place, where each has its type."""
    readers = [
        path
        for path, tree in MODULES.items()
        if room(path) != "conf" and any(name.startswith("django.conf.") for name in imports(tree))
    ]

    assert readers == []


@pytest.mark.slow
def test_one_clock() -> None:
    """The time is read in one place, which a test can move."""
    clocks = {"time.time", "timezone.now", "timezone.localtime", "datetime.today", "date.today"}
    readers = {
        path
        for path, tree in MODULES.items()
        for call in calls_of(tree)
        if ast.unparse(call.func) in clocks
    }

    assert readers == {Path("conf/clock.py")}


@pytest.mark.slow
def test_requests_only_in_the_web_layer() -> None:
    """Whatever has no request in its name works without one."""
    # They pass a request on to the receivers of a signal, and annotate it.
    annotated = {Path("accounts/grants.py"), Path("accounts/linking.py")}
    users = [
        path
        for path, tree in MODULES.items()
        if room(path) not in WEB
        and uses_request(without_type_checking(tree) if path in annotated else tree)
    ]

    assert users == []


@pytest.mark.slow
def test_tests_do_not_import_each_other() -> None:
    """What several of them need is in ``tests/support/``, where it is looked for."""
    borrowed = [
        f"{path}: {name}"
        for path, tree in read_tests().items()
        for name in imports(tree)
        if name.startswith("tests.")
        and any(part == "conftest" or part.startswith("test_") for part in name.split("."))
    ]

    assert borrowed == []


@pytest.mark.slow
def test_tests_disconnect_what_they_connect() -> None:
    """A receiver is connected for the time of a ``with`` statement, whatever happens in it."""
    connecting = [
        f"{path}:{call.lineno}"
        for path, tree in read_tests().items()
        if path != Path("tests/support/signals.py")
        for call in calls_of(tree)
        if (isinstance(call.func, ast.Attribute) and call.func.attr == "connect")
        or (isinstance(call.func, ast.Name) and call.func.id == "receiver")
    ]

    assert connecting == []


@pytest.mark.slow
def test_tests_do_not_measure_time() -> None:
    """What takes a second here takes three elsewhere: something else has to prove the same."""
    readings = [
        f"{path}:{call.lineno}"
        for path, tree in read_tests().items()
        if path != Path("tests/support/times.py")  # It ends a wait in vain.
        and not path.is_relative_to("tests/testing")
        for call in calls_of(tree)
        if ast.unparse(call.func) in {"time.monotonic", "time.perf_counter", "monotonic"}
    ]

    assert readings == []


@pytest.mark.slow
def test_tests_use_no_private_names_of_ours() -> None:
    """They say what the package does, and not how."""
    reached = {
        f"{path}: {name}"
        for path, tree in read_tests().items()
        if not path.is_relative_to("tests/testing")
        for name in private_names_of_ours(tree)
    }

    assert reached == set()


def test_private_names_are_recognised() -> None:
    """Imported, read through what was imported, or patched."""
    test = """
from django_google_link.accounts import grants
from django_google_link.accounts.grants import _save_grant
from django_google_link.models import GoogleAccount
grants._apply_scopes
GoogleAccount._meta
monkeypatch.setattr(grants, "_send_news", None)
monkeypatch.delattr("django_google_link.accounts.grants._recover_status")
monkeypatch.setattr(grants, "save_grant", None)
"""

    assert list(private_names_of_ours(ast.parse(test))) == [
        "django_google_link.accounts.grants._save_grant",
        "grants._apply_scopes",
        "grants._send_news",
        "django_google_link.accounts.grants._recover_status",
    ]
