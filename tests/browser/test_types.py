"""The module for front ends: its types hold, and those that are shipped are its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import django_google_link

pytestmark = pytest.mark.node

MODULE = Path(django_google_link.__file__).parent / "static/django_google_link/google_link.js"
SETTINGS = Path(__file__).with_name("tsconfig.json")

USE = """
import { GoogleLink, GoogleLinkError, csrfHeaders } from "./google_link.js";
const google = new GoogleLink({ api: "/google/api/", headers: () => csrfHeaders() });
const linked = await google.link({ way: "popup", add: true });
const email: string = linked.account.email;
const returned: string | undefined = (await google.complete())?.account.label;
// @ts-expect-error There is no such way.
google.link({ way: "iframe" });
// @ts-expect-error Scopes never come from a front end.
google.link({ scopes: ["email"] });
export const word: string = new GoogleLinkError("a", "b").error + email + returned;
"""


def run_tsc(node_modules: Path, folder: Path, *arguments: str) -> str:
    """Check what is in a folder, and return the complaints."""
    shutil.copy(SETTINGS, folder)
    command = ["node", str(node_modules / "typescript" / "bin" / "tsc"), "--project", str(folder)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    return done.stdout


def test_types_of_module(node_modules: Path, tmp_path: Path) -> None:
    """It has no mistake that its own annotations show, and the shipped declarations are made of it.

    To make them anew, run what this test runs.
    """
    shutil.copy(MODULE, tmp_path)

    assert run_tsc(node_modules, tmp_path) == ""

    made = tmp_path / "google_link.d.ts"
    assert made.read_text() == MODULE.with_suffix(".d.ts").read_text()


def test_types_in_use(node_modules: Path, tmp_path: Path) -> None:
    """A project in TypeScript is told what it may pass, and what it gets."""
    shutil.copy(MODULE.with_suffix(".d.ts"), tmp_path)
    (tmp_path / "use.ts").write_text(USE)

    assert run_tsc(node_modules, tmp_path) == ""
