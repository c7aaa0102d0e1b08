"""A fresh project, written by what the documentation says, and run as its developer runs it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.documentation.pages import block_with

#: How to find a block of the documentation: the page, and a text in it.
Block = tuple[str, str]

#: The blocks that every project has in its settings. The first is that of the README, which says in
#: words to add the app.
APP: Block = ("README", '"CLIENT_SECRETS_FILE": BASE_DIR')
PROXY: Block = ("howto/deploying", "SECURE_PROXY_SSL_HEADER")
FAKE: Block = ("howto/developing", "fake_google_settings")

_HOST = "www.example.com"
_KEY = "kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="
# As Google's console gives it for a client of the type "Web application".
_CLIENT_SECRET = {
    "web": {
        "client_id": "123456789012-abc.apps.googleusercontent.com",
        "client_secret": "GOCSPX-abcdefghijklmnopqrstuvwxyz12",
        "redirect_uris": [
            "http://127.0.0.1:8000/google/callback/",
            f"https://{_HOST}/google/callback/",
            "https://app.example.com/linked/",
        ],
    }
}


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a ``manage.py``, in which there is nothing of ours yet.

    Args:
        python: an interpreter that has the wheel.
        folder: which is not there yet.
        settings: the file in it with the settings.
        environment: what the project is told by variables.
    """

    python: str
    folder: Path
    settings: str = "mysite/settings.py"
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, command: Sequence[str] = ("-m", "django", "startproject")) -> None:
        """Make it, and put beside it what comes from Google's console and the key.

        Args:
            command: of the interpreter's.
        """
        self.folder.mkdir(parents=True)
        self.run(self.python, *command, "mysite", ".")
        (self.folder / "client_secret.json").write_text(json.dumps(_CLIENT_SECRET))
        (self.folder / "encryption.key").write_text(_KEY)
        self.write(self.settings, f'ALLOWED_HOSTS = ["{_HOST}"]\n')

    def write(self, name: str, text: str) -> None:
        """Add to a file: what a guide begins a list with is in a fresh project already."""
        added = re.sub(
            r"^(INSTALLED_APPS|urlpatterns) = \[(?![^]]*\*\1)",
            r"\1 += [",
            text,
            flags=re.MULTILINE,
        )
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as opened:
            opened.write(f"\n{added}")

    def write_blocks(self, blocks: Mapping[str, Sequence[Block]]) -> None:
        """Add blocks of the documentation to files."""
        for name, found in blocks.items():
            for page, text in found:
                if (page, text) == APP:
                    self.write(name, 'INSTALLED_APPS += ["django_google_link"]\n')
                self.write(name, block_with(page, text))

    def manage(self, *words: str) -> str:
        """Call ``manage.py``, and return what it says."""
        return self.run(self.python, "manage.py", *words)

    def check(self) -> None:
        """Let the checks look at it as they would where users are: nothing of ours is amiss."""
        said = self.manage("check", "--deploy", "--database", "default")
        if "google_link" in said:
            sys.exit(f"{self.folder.name}: check --deploy\n{said}")

    def lead_to_fake(self, port: int, *, settings: str = "", block: Block = FAKE) -> None:
        """Develop it without Google.

        Args:
            port: of the fake Google on 127.0.0.1.
            settings: the file with the settings of development, where it is another one.
            block: that says how.
        """
        led = block_with(*block).replace("(GOOGLE_LINK)", f"(GOOGLE_LINK, port={port})")
        self.write(settings or self.settings, f"ALLOWED_HOSTS = []\n{led}")
        self.manage("check", "--fail-level", "WARNING")

    @contextmanager
    def running(self, port: int, google_port: int) -> Iterator[None]:
        """Run it beside the fake Google, both on 127.0.0.1."""
        with (
            self._running("google_link_fake", f"--port={google_port}") as google,
            self._running("runserver", "--noreload", f"127.0.0.1:{port}") as site,
        ):
            self._wait_for(google, google_port)
            self._wait_for(site, port)
            yield

    @contextmanager
    def _running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{command[0]}.log").open("w") as log:
            process = subprocess.Popen(
                [self.python, "manage.py", *command],
                cwd=self.folder,
                env=self._variables(),
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()

    def _wait_for(self, process: subprocess.Popen[bytes], port: int) -> None:
        """Wait until a process listens, and give up when it has ended."""
        for _ in range(1200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"{process.args!r} does not listen:\n{self._read_logs()}")

    def run(self, *command: str) -> str:
        """Run a command in its folder, and return what it says: all of it, should it fail."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self._variables(),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            said = f"{result.stdout}{result.stderr}{self._read_logs()}"
            sys.exit(f"{self.folder.name}: {' '.join(command)}\n{said}")
        return result.stdout + result.stderr

    def _read_logs(self) -> str:
        return "\n".join(log.read_text()[-5000:] for log in self.folder.glob("*.log"))

    def _variables(self) -> dict[str, str]:
        kept = dict(os.environ)
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        return {**kept, "DJANGO_SUPERUSER_PASSWORD": "pw", **self.environment}


def pick_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
