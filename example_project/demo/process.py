"""Runs the demo in a separate process, for scripts and tests. Imports nothing from the site."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PORTS = ("--port=0", "--app-port=0", "--google-port=0")


@dataclass(kw_only=True)
class Demo:
    """A running demo."""

    site: str
    app: str
    google: str
    environment: dict[str, str] = field(repr=False)

    def manage(self, *arguments: str) -> str:
        """Run another command of ``manage.py`` meanwhile, and return its output."""
        command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
        return subprocess.check_output(command, env=self.environment, text=True)  # noqa: S603


@contextmanager
def running_demo(
    data_dir: Path, *options: str, settings: str = "daybook.settings"
) -> Iterator[Demo]:
    """Run ``manage.py demo`` on free ports.

    Args:
        data_dir: where its keys and its database are.
        options: further options of the command.
        settings: the module of the settings.

    Raises:
        RuntimeError: if it does not start.
    """
    environment = {
        **os.environ,
        "DEMO_DIR": str(data_dir),
        "DJANGO_SETTINGS_MODULE": settings,
        "PYTHONPATH": str(PROJECT.parent),
    }
    command = [sys.executable, str(PROJECT / "manage.py"), "demo", *PORTS]
    process = subprocess.Popen(  # noqa: S603
        [*command, *options], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        site, app, google = _addresses(process)
        environment["DEMO_GOOGLE_PORT"] = google.rpartition(":")[2]
        yield Demo(site=site, app=app, google=google, environment=environment)
    finally:
        process.terminate()
        process.communicate()


def _addresses(process: subprocess.Popen[str]) -> tuple[str, str, str]:
    printed = ""
    for line in process.stdout or ():
        printed += line
        if line.startswith("Stop with"):
            site, app, google, *_ = re.findall(r"http://127\.0\.0\.1:\d+", printed)
            return site, app, google
    raise RuntimeError(f"The demo did not start: {printed}")
