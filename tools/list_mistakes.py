"""Make each mistake that people make with settings, files, views and calls, and print what is said.

    python tools/list_mistakes.py > mistakes.md

The mistakes are those that were met. What is said is what the checks, the import of a view or the
call says now.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.checks import run_checks  # noqa: E402
from django.core.management import CommandError, call_command  # noqa: E402
from django.test import override_settings  # noqa: E402

from django_google_link.testing.accounts import make_google_account  # noqa: E402

ID = "123456789012-abc.apps.googleusercontent.com"
SECRET = "GOCSPX-abcdefghijklmnopqrstuvwxyz12"
KEY = "kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="
AUTH = "https://www.googleapis.com/auth/"
FILE = f'"client_id": "{ID}", "client_secret": "{SECRET}"'
URIS = '"redirect_uris": ["http://localhost"]'
USER_TOKEN = '{"token": "ya29.x", "refresh_token": "1//x", "client_id": "x"}'

#: Keys of a client.
CLIENTS: list[dict[str, Any]] = [
    {"CLIENT_ID": f"{ID[:9]}\n{ID[9:]}"},
    {"CLIENT_SECRET": f"{SECRET[:9]}\u00a0{SECRET[9:]}"},
    {"CLIENT_SECRET": ""},
    {"CLIENT_SECRET": b"GOCSPX"},
    {"CLIENT_ID": SECRET},
    {"CLIENT_SECRET": ID},
    {"CLIENT_ID": "YOUR_CLIENT_ID"},
    {"CLIENT_ID": "123456789012-abc"},
    {"CLIENT_ID": f"https://{ID}"},
    {"SCOPES": ["calender.readonly"]},
    {"SCOPES": ["drive,calendar"]},
    {"SCOPES": "not a scope"},
    {"HOSTED_DOMAIN": "@example.com"},
    {"HOSTED_DOMAIN": "gmail.com"},
    {"AUTHORIZATION_PARAMS": {"approval_prompt": "force"}},
    {"AUTHORIZATION_PARAMS": {"access_type": "online"}},
    {"AUTHORIZATION_PARAMS": {"hd": "example.com"}},
    {"AUTHORIZATION_PARAMS": {"scope": "openid"}},
    {"REDIRECT_URI": "http://192.168.1.7:8000/google/callback/"},
    {"REDIRECT_URI": "https://www.example.com/google/callback"},
    {"ENCRYPTION_KEYS": [KEY]},
    {"scope": ["openid"]},
    {"TOKEN_ENDPOINT": "https://idp.example/token"},
]
#: What stands in CLIENT_SECRETS_FILE.
FILES: list[tuple[str, bytes | None]] = [
    ("no file", None),
    ("an empty file", b""),
    ("a file that is cut off", b'{"web": {"client_id": '),
    ("the key of a service account", b'{"type": "service_account"}'),
    ("a user's token.json", USER_TOKEN.encode()),
    ("no redirect URI", f'{{"web": {{{FILE}}}}}'.encode()),
    ("a Desktop client", f'{{"installed": {{{FILE}, {URIS}}}}}'.encode()),
    ("placeholders", b'{"web": {"client_id": "YOUR_ID", "client_secret": "..."}}'),
]
#: What stands in ENCRYPTION_KEYS.
KEYS: dict[str, Any] = {
    "text in place of a list": KEY,
    "none": [],
    "an environment variable that is not set": [None],
    "in quotes": [f'"{KEY}"'],
    "bytes": [KEY.encode()],
    "in hex": ["0123456789abcdef" * 4],
    "cut off": [KEY[:20]],
    "with a comment": [f"{KEY} # of 2026"],
    "with its name": [f"KEY={KEY}"],
    "written by PowerShell's >": [KEY.encode("utf-16").decode("latin-1")],
    "the SECRET_KEY": ["not a secret: the tests' own"],
    "twice": [KEY, KEY],
}
#: Other settings of a site.
SITES: list[dict[str, Any]] = [
    {"GOOGLE_LINKS": {}, "GOOGLE_LINK": None},
    {"GOOGLE_LINK_CLIENT_ID": ID},
    {"LOGIN_URL": ""},
    {"ROOT_URLCONF": "django.contrib.auth.urls"},
    {"ROOT_URLCONF": "tests.support.translated_urls"},
    {"SESSION_COOKIE_SAMESITE": "Strict"},
    {"SESSION_ENGINE": "django.contrib.sessions.backends.cache"},
    {"MIDDLEWARE": []},
]
#: Code of a view, or a call. ``user`` has linked an account.
CODE = [
    'google_required(scopes="drive")',
    'google_required(scopes="drive,calendar")',
    f'google_required(scope=["{AUTH}drive"])',
    'google_required(client=["default"])',
    'google_required(return_url="agenda")',
    "google_required(View)",
    "class Agenda(APIView):\n    @google_required\n    def get(self, request): ...",
    "class Agenda(View, GoogleRequiredMixin): ...",
    f'class Agenda(GoogleRequiredMixin, View): google_scope = ["{AUTH}drive"]',
    "class Agenda(GoogleRequiredMixin, View):\n    def get_google_account(self): ...",
    'build_service(user, "calender", "v3")',
    'build_service(user, "calendar", "3")',
    'build_service(user, "daybook", "v1")',
    'build_service(user, "calendar", "v3", cache_discovry=False)',
    'build_service(user, "calendar", "v3", http=None)',
    'build_service(user, "calendar", "v3", credentials=None)',
    'build_service(user, "calendar", "v3", scopes=["calendar.readonly"])',
    'access_token("anna", scopes=[])',
]
#: What google_link_import is given.
TOKENS: list[tuple[str, bytes]] = [
    ("token.pickle", b"\x80\x04."),
    ("client_secret.json", f'{{"web": {{{FILE}}}}}'.encode()),
    ("key.json", b'{"type": "service_account"}'),
    ("without a refresh token", b'{"token": "ya29.x", "client_id": "x"}'),
    ("of a client that is not configured", USER_TOKEN.encode()),
    ("credentials.db", b"SQLite format 3\0"),
    ("in UTF-16 and cut off", '{"token":'.encode("utf-16")),
]


def main() -> None:
    """Print a table for each kind of mistake."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "file.json"
        _print_table("In a client", ((_write(keys), check(client=keys)) for keys in CLIENTS))
        _print_table("In CLIENT_SECRETS_FILE", _try_files(path))
        keys = ((what, check(ENCRYPTION_KEYS=value)) for what, value in KEYS.items())
        _print_table("In ENCRYPTION_KEYS", keys)
        _print_table("In other settings", ((_write(names), check(site=names)) for names in SITES))
        call_command("migrate", verbosity=0)
        user = get_user_model().objects.create_user("anna")
        make_google_account(user)
        _print_table("In code", ((code, run_code(code, user=user)) for code in CODE))
        _print_table("Given to google_link_import", _try_tokens(path))


def check(
    *, client: dict[str, Any] | None = None, site: dict[str, Any] | None = None, **keys: Any
) -> list[str]:
    """Return what the checks of the app say of settings with these keys."""
    clients = {"default": {"CLIENT_ID": ID, "CLIENT_SECRET": SECRET, **(client or {})}}
    link = {"CLIENTS": clients, "ENCRYPTION_KEYS": [KEY], **keys}
    with override_settings(**{"GOOGLE_LINK": link, **(site or {})}):
        found = run_checks(include_deployment_checks=True)
    return [
        f"{one.id.rpartition('.')[2]}: {one.msg} {one.hint}"
        for one in found
        # What W010 says of a proxy is right here.
        if one.id and "google_link" in one.id and not one.id.endswith("W010")
    ]


def run_code(code: str, *, user: object) -> list[str]:
    """Return what is said to somebody who writes this."""
    lines = (
        "from django.views import View",
        "from rest_framework.views import APIView",
        "from django_google_link.decorators import google_required",
        "from django_google_link.mixins import GoogleRequiredMixin",
        "from django_google_link.services import access_token, build_service",
    )
    names = {"user": user, "__name__": "views"}
    try:
        exec("\n".join([*lines, code]), names)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def _try_files(path: Path) -> Iterator[tuple[str, list[str]]]:
    for what, content in FILES:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        yield (
            what,
            check(client={"CLIENT_SECRETS_FILE": path, "CLIENT_ID": "", "CLIENT_SECRET": ""}),
        )


def _try_tokens(path: Path) -> Iterator[tuple[str, list[str]]]:
    for what, content in TOKENS:
        path.write_bytes(content)
        with heard_log() as lines:
            try:
                call_command("google_link_import", "files", path, user="anna", stdout=StringIO())
            except CommandError as error:
                lines.append(f"{error} (exit code {error.returncode})")
        yield what, lines


@contextmanager
def heard_log() -> Iterator[list[str]]:
    """Collect what the app logs."""
    lines: list[str] = []
    logger, handler = logging.getLogger("django_google_link"), logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def _write(keys: dict[str, Any]) -> str:
    return ", ".join(f'"{key}": {value!r}' for key, value in keys.items())


def _print_table(title: str, rows: Iterable[tuple[str, list[str]]]) -> None:
    print(f"## {title}\n\n| mistake | what is said |\n|---|---|")
    for mistake, said in rows:
        text = "<br>".join(said).replace(f"{gettempdir()}/", "/…/")
        cells = [cell.replace("|", "\\|") for cell in (mistake, text or "nothing")]
        print("| {} | {} |".format(*(re.sub(r"\s*\n\s*", "⏎ ", cell) for cell in cells)))
    print()


if __name__ == "__main__":
    main()
