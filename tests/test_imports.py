"""What is loaded, and what is not: Google's libraries cost 100 to 190 ms and 30 MB."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import django_google_link

ROOT = Path(__file__).parent.parent

HEAVY = {
    "cryptography",
    "google",
    "google_auth_oauthlib",
    "googleapiclient",
    "grpc",
    "httplib2",
    "httpx",
    "jwt",
    "requests",
    "urllib3",
}

SETUP = "import django_google_link, django; django.setup()"

# Of ours these need a library at once, and so are imported late themselves.
LATE = {"authorized_http", "connections", "contrib", "credentials", "discovery"}
LATE |= {"google_auth", "httpx_auth", "key", "sessions", "testing"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(Path(django_google_link.__file__).parent.rglob("*.py"))
}
LATE_MODULES = {name for name in MODULES if not LATE.isdisjoint(name.split("."))}
EVERYTHING = f"""
from importlib import import_module
for name in {sorted(MODULES.keys() - LATE_MODULES)!r}:
    import_module(name)
"""

# Sleeping whenever a module is looked for lets the other threads go on at the same point.
IMPORT_AT_ONCE = """
import sys, threading, time, traceback

class Pause:
    @staticmethod
    def find_spec(name, path=None, target=None):
        time.sleep(0.001)

def run(statement):
    everybody.wait()
    exec(statement)

failed = []
threading.excepthook = lambda args: failed.append(traceback.format_exception(args.exc_value))
sys.meta_path.insert(0, Pause)
everybody = threading.Barrier(len(STATEMENTS))
threads = [threading.Thread(target=run, args=[statement]) for statement in STATEMENTS]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, "".join(failed[0])
"""

WRITE_AUTHORIZATION_URL = """
from django_google_link.conf.clients import get_client
from django_google_link.oauth.authorization_request import write_authorization_url

arguments = {"redirect_uri": "https://a.example", "scopes": ["openid"]}
arguments |= {"state": "s", "nonce": "n", "code_verifier": "v"}
write_authorization_url(get_client(), **arguments)
"""


# Of ours these are for requests, commands and tasks.
ROOMS_OF_REQUESTS = {"api_clients", "http", "oauth", "operations", "services", "views", "web"}


def loaded(code: str) -> set[str]:
    """Run code in a process of its own, and return the modules it has loaded."""
    report = "import sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=ROOT,
        # A database's driver may load what it likes.
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_DATABASE": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.slow
def test_start_does_not_look_for_installed_packages() -> None:
    """It would take as long as all other imports of ours together."""
    assert "importlib.metadata" not in loaded(SETUP)


@pytest.mark.matrix
@pytest.mark.parametrize("code", [SETUP, SETUP + EVERYTHING], ids=["setup", "every module"])
def test_libraries_are_imported_late(code: str) -> None:
    """Neither starting Django nor importing our modules loads Google's or any other heavy one."""
    modules = loaded(code)

    assert "django_google_link" in modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.slow
def test_what_speaks_to_google_is_imported_late() -> None:
    """A process that starts loads the models and the admin, and nothing below them."""
    modules = loaded(SETUP)

    rooms = {name.split(".")[1] for name in modules if name.startswith("django_google_link.")}
    assert {"admin", "models"} <= rooms
    assert rooms.isdisjoint(ROOMS_OF_REQUESTS)


@pytest.mark.slow
def test_checks_are_imported_when_they_run() -> None:
    """A server runs none of them."""
    checks = "django_google_link.checks."
    run = f"{SETUP}\nfrom django.core.checks import run_checks\nrun_checks()"

    assert not [name for name in loaded(SETUP) if name.startswith(checks)]
    assert f"{checks}settings" in loaded(run)


@pytest.mark.slow
def test_authorization_request_loads_no_client_of_an_api() -> None:
    """A user waits for it, the first time in each process."""
    modules = loaded(f"{SETUP}\n{WRITE_AUTHORIZATION_URL}")

    assert "google_auth_oauthlib" in modules
    assert modules.isdisjoint({"googleapiclient", "grpc", "httplib2", "httpx", "pandas"})


def test_testing_kit_is_imported_late() -> None:
    """Importing the testing kit loads nothing of its extra before a FakeGoogle is asked for."""
    modules = loaded("import django_google_link.testing")

    assert modules.isdisjoint({"jinja2", "joserfc", "werkzeug"})


def list_late_imports() -> Iterator[str]:
    """Yield how libraries are imported by functions, by late modules of ours, and by others."""
    for name in MODULES.keys() - LATE_MODULES:
        tree = ast.parse(MODULES[name].read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from (
                    ast.unparse(node)
                    for node in ast.walk(function)
                    if isinstance(node, ast.Import | ast.ImportFrom)
                    and not HEAVY.isdisjoint(ast.unparse(node).replace(".", " ").split())
                )
    yield from (
        f"import {name}"
        for name in LATE_MODULES
        if {"contrib", "testing"}.isdisjoint(name.split("."))
    )
    for name in ("google.auth", "google_auth_oauthlib", "requests", "urllib3"):
        yield f"import {name}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_threads_may_import_the_libraries_at_once(seed: int) -> None:
    """Otherwise Python would report a deadlock, if one thread imports a package whose module
    another thread has begun to import. So a late import names the package first: ``from urllib3
    import util``."""
    statements = sorted(set(list_late_imports()))
    Random(seed).shuffle(statements)

    loaded(f"{SETUP}\nSTATEMENTS = {statements!r}\n{IMPORT_AT_ONCE}")

    assert "from urllib3 import util" in statements
