"""Three sites of which a front end links, made by ``startproject`` and by what the guides say.

Each runs beside the fake Google of the kit, and is used over HTTP by ``link.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.documentation.pages import block_with

LINK = Path(__file__).with_name("link.py")

# How to find the blocks that every site has in its settings.
_APP = ("README", '"django_google_link",')
_CLIENT = ("howto/single-page-apps", "FRONT_END_REDIRECT_URIS")
_FAKE = ("howto/developing", "fake_google_settings")

_KEY = "kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is written into a fresh project.

    Args:
        blocks: which blocks of the documentation go into which file: the page, and a text in it.
        lines: what is the project's own: where its view is.
        api: where the endpoints are.
        view: the address of a view that needs an account.
        token_url: where a user gets a token; empty where they log in with a session.
    """

    blocks: dict[str, list[tuple[str, str]]]
    lines: str
    api: str
    view: str
    token_url: str = ""


SITES = {
    "sessions": Site(
        blocks={
            "settings.py": [_APP, _CLIENT, _FAKE],
            "views.py": [("howto/front-ends", "def agenda")],
            "urls.py": [("howto/front-ends", "django_google_link.headless.urls")],
        },
        lines='from mysite.views import agenda\nurlpatterns += [path("agenda/", agenda)]\n',
        api="/google/api/",
        view="/agenda/",
    ),
    "rest_framework": Site(
        blocks={
            "settings.py": [
                _APP,
                _CLIENT,
                _FAKE,
                ("howto/rest-framework", "EXCEPTION_HANDLER"),
                ("howto/rest-framework", "JWTAuthentication"),
            ],
            "views.py": [("howto/rest-framework", "class AgendaView")],
            "urls.py": [
                ("howto/rest-framework", "django_google_link.contrib.rest_framework.urls"),
                ("howto/rest-framework", "TokenObtainPairView"),
            ],
        },
        lines="from mysite.views import AgendaView\n"
        'urlpatterns += [path("agenda/", AgendaView.as_view())]\n',
        api="/google/api/",
        view="/agenda/",
        token_url="/api/token/",
    ),
    "ninja": Site(
        blocks={
            "settings.py": [_APP, _CLIENT, _FAKE],
            "api.py": [("howto/ninja", "NinjaAPI"), ("howto/ninja", "api.add_router")],
            "urls.py": [("howto/ninja", "api.urls")],
        },
        lines="",
        api="/api/google/",
        view="/api/agenda",
    ),
}


def link_from_front_ends(python: str, home: Path) -> list[str]:
    """Make each site, run it, and link from a front end; return what was printed.

    Args:
        python: an interpreter that has the package with ``api``, ``drf``, ``ninja`` and
            ``testing``, and SimpleJWT.
        home: an empty folder.
    """
    return [_link(python, home / name, site) for name, site in SITES.items()]


def _link(python: str, project: Path, site: Site) -> str:
    port, google_port = _pick_port(), _pick_port()
    project.mkdir()
    _run(project, python, "-m", "django", "startproject", "mysite", ".")
    (project / "encryption.key").write_text(_KEY)
    for name, found in site.blocks.items():
        for page, text in found:
            _write(project / "mysite" / name, block_with(page, text))
    _write(project / "mysite" / "urls.py", site.lines)
    _write(project / "mysite" / "settings.py", 'LOGIN_URL = "admin:login"\n')
    settings = project / "mysite" / "settings.py"
    led = settings.read_text().replace("(GOOGLE_LINK)", f"(GOOGLE_LINK, port={google_port})")
    settings.write_text(led)
    _run(project, python, "manage.py", "check", "--fail-level", "WARNING")
    _run(project, python, "manage.py", "migrate", "--verbosity", "0")
    who = ["--username", "anna", "--email", "anna@example.com"]
    _run(project, python, "manage.py", "createsuperuser", "--no-input", *who)
    shutil.copy(LINK, project)
    address = f"127.0.0.1:{port}"
    with ExitStack() as stack:
        for command in (
            ["google_link_fake", f"--port={google_port}"],
            ["runserver", "--noreload", address],
        ):
            stack.enter_context(_running(project, python, "manage.py", *command))
        url = f"http://{address}"
        return _run(project, python, "link.py", url, site.api, site.view, site.token_url)


def _write(file: Path, block: str) -> None:
    """Add a block to a file: what a guide begins a list with is in a fresh project already."""
    added = re.sub(r"^(INSTALLED_APPS|urlpatterns) = \[", r"\1 += [", block, flags=re.MULTILINE)
    with file.open("a") as opened:
        opened.write(f"\n{added}")


@contextmanager
def _running(project: Path, *command: str) -> Iterator[None]:
    with (project / f"{command[2]}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=project, env=_environment(), stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _run(project: Path, *command: str) -> str:
    result = subprocess.run(
        command, cwd=project, env=_environment(), capture_output=True, text=True, check=False
    )
    if result.returncode:
        logs = "\n".join(log.read_text()[-5000:] for log in project.glob("*.log"))
        sys.exit(f"{' '.join(command)}\n{result.stdout}{result.stderr}{logs}")
    return result.stdout


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**kept, "DJANGO_SUPERUSER_PASSWORD": "pw"}


def _pick_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
