"""Follow the tutorial in an empty directory, with nothing installed, and time each step.

    python -m tools.time_tutorial

What it says to type is typed as it stands there; the package is a wheel of this checkout. This is
done twice: with the fake Google, and with the file of a client at Google, up to Google's own page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from tests.documentation.pages import ROOT
from tests.documentation.tutorial import WITHOUT_QUESTIONS, read_steps, write
from tests.package.tutorial_site import answers, log_in, pick_port, running, visit_agenda
from tests.support.times import until

#: What Google's console gives.
SECRETS = {
    "client_id": "123456789012-abcdefghijklmnopqrstuvwxyz012345.apps.googleusercontent.com",
    "client_secret": "GOCSPX-abcdefghijklmnopqrstuvwxyz12",
    "token_uri": "https://oauth2.googleapis.com/token",
}


def main() -> None:
    """Print the seconds of each step, in both ways."""
    os.environ.pop("PYTHONPATH", None)
    with TemporaryDirectory() as directory:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
        subprocess.run([*build, directory, str(ROOT)], check=True)
        for is_fake in (True, False):
            print(f"\n{'Without' if is_fake else 'With'} a Google account")
            folder = Path(directory, "fake" if is_fake else "google")
            folder.mkdir()
            with timed("in all"), ExitStack() as stack:
                Reader(folder, wheels=directory, is_fake=is_fake, stack=stack).follow()


class Reader:
    """Somebody who does what the tutorial says."""

    def __init__(self, folder: Path, *, wheels: str, is_fake: bool, stack: ExitStack) -> None:
        self.folder, self.is_fake, self.stack = folder, is_fake, stack
        self.port, self.google_port = pick_port(), pick_port()
        self.environment = {
            **os.environ,
            "PIP_FIND_LINKS": wheels,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "DJANGO_SUPERUSER_PASSWORD": "pw",
        }
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)

    def follow(self) -> None:
        """Do all of it."""
        for language, block in read_steps():
            if language == "sh":
                for line in block.splitlines():
                    self.type_in(line)
            elif self.is_fake or "fake_google_settings" not in block:
                port = f"(GOOGLE_LINK, port={self.google_port})"
                write(block.replace("(GOOGLE_LINK)", port), self.folder)

    def type_in(self, line: str) -> None:
        """Run a line; the two that go on for ever, beside the others."""
        if line.endswith("google_link_fake"):
            if self.is_fake:
                self.start(line, f"--port={self.google_port}", port=self.google_port, path="/")
        elif line.endswith("runserver"):
            address = f"127.0.0.1:{self.port}"
            self.start(line, "--noreload", address, port=self.port, path="/admin/login/")
            with timed("(open the page, log in, give consent)"):
                self.open_page(f"http://127.0.0.1:{self.port}")
        else:
            with timed(line):
                self.run(f"{line} {WITHOUT_QUESTIONS.get(line, '')}")
        if line.startswith("printf"):
            callback = f"http://127.0.0.1:{self.port}/google/callback/"
            content = {"web": {**SECRETS, "redirect_uris": [callback]}}
            if not self.is_fake:
                (self.folder / "client_secret.json").write_text(json.dumps(content))

    def run(self, line: str) -> None:
        """Run a line as a shell would in which the environment is active."""
        if (activate := self.folder / ".venv" / "bin" / "activate").is_file():
            line = f". {activate}; {line}"
        result = subprocess.run(
            ["sh", "-ec", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            sys.exit(f"{line}\n{result.stdout}{result.stderr}")

    def start(self, line: str, *arguments: str, port: int, path: str) -> None:
        """Start what goes on for ever, and wait until it answers."""
        python = str(self.folder / ".venv" / "bin" / "python")
        with timed(line):
            name = line.rpartition(" ")[2]
            self.stack.enter_context(running(python, self.folder, name, *arguments))
            until(lambda: answers(f"http://127.0.0.1:{port}{path}"), seconds=120)

    def open_page(self, site: str) -> None:
        """Look at the agenda; with a client of Google's, see that Google would be asked."""
        if self.is_fake:
            page = visit_agenda(site, f"http://127.0.0.1:{self.google_port}")
            assert "Dentist" in page
            return
        with requests.Session() as browser:
            browser.headers["Accept"] = "text/html"
            log_in(browser, site)
            answer = browser.get(f"{site}/agenda/", timeout=5, allow_redirects=False)
            answer = browser.get(site + answer.headers["Location"], allow_redirects=False)
        assert answer.headers["Location"].startswith(
            "https://accounts.google.com/o/oauth2/v2/auth?"
        )


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Print how many seconds a step takes."""
    start = time.monotonic()
    yield
    print(f"{time.monotonic() - start:7.1f}  {step[:100]}", flush=True)


if __name__ == "__main__":
    main()
