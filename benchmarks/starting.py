"""Measures what the app adds to the start of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import Any

_RUNS = 25
_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.admin",
]
_OURS = ["django_google_link"]
_SETUP = """
import gc, json, sys, time
import django
from django.conf import settings

apps, collects = json.loads(sys.argv[1])
if not collects:
    gc.disable()
settings.configure(INSTALLED_APPS=apps)
start = time.perf_counter()
django.setup()
seconds = time.perf_counter() - start
loaded = {name.partition(".")[0] for name in sys.modules}
heavy = {"google", "google_auth_oauthlib", "googleapiclient", "httplib2", "requests", "urllib3"}
print(json.dumps({"seconds": seconds, "heavy": len(heavy & loaded), "modules": len(sys.modules)}))
"""


def start_of_a_process() -> dict[str, Any]:
    """Row 5: ``django.setup()`` with and without the app, interleaved, the fastest of many.

    A few thousand additional objects may or may not trigger another run of the garbage collector,
    so it is also measured without it.
    """
    with_gc, without_gc = _compared(collects=True), _compared(collects=False)
    return {**with_gc, "milliseconds_without_gc": without_gc["milliseconds"]}


def _compared(*, collects: bool) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    with TemporaryDirectory() as folder:
        for turn in range(_RUNS + 1):
            without, with_app = (_setup([*_APPS, *more], collects, folder) for more in ([], _OURS))
            if turn:  # The first one compiles.
                runs["without"].append(without)
                runs["with"].append(with_app)
    # The work is always the same, so the shortest time is the least disturbed one.
    seconds = {name: min(run["seconds"] for run in found) for name, found in runs.items()}
    return {
        "ratio": seconds["with"] / seconds["without"],
        "milliseconds": 1000 * (seconds["with"] - seconds["without"]),
        "heavy": runs["with"][0]["heavy"],
        "modules": runs["with"][0]["modules"] - runs["without"][0]["modules"],
    }


def _setup(apps: list[str], collects: bool, bytecode: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", _SETUP, json.dumps([apps, collects])]
    found: dict[str, Any] = json.loads(subprocess.check_output(command, env=environment))
    return found
