"""The providers that are not ours: how each is run, set up here, and used by its users."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import requests

from django_google_link.models import GoogleAccount
from tests.providers.browser import ProviderBrowser
from tests.support.accounts import token_of
from tests.support.constants import CALLBACK

SERVERS = Path(__file__).parent / "servers"
CLIENT_ID, SECRET = "daybook", "not-a-secret-but-long-enough-for-anybody"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One provider, in one of its configurations.

    Args:
        command: starts it; ``{port}``, ``{redirect_uri}`` and ``{folder}`` are filled in.
        settings: of the client here, with ``{url}`` for its address.
        resource: the path at which an access token is used.
        member: of its answer, which says whose the token is.
        authorize: the path of the authorization endpoint.
        token: the path of the token endpoint.
        allow: the name and value of the button that gives consent.
        deny: the value of the button, or a part of the link, that refuses.
        replaces_refresh_tokens: whether a refresh brings another refresh token.
        password: what its users type.
        end: how a user ends a grant on its pages; by default the client revokes it.
        pause: seconds that have to pass until it can give the same user another token.
        needs_node: whether it comes from the npm registry.
        revoke: the path of the revocation endpoint, where users cannot end a grant.
    """

    command: list[str]
    settings: dict[str, Any]
    resource: str
    member: str
    authorize: str
    token: str
    allow: tuple[str, str]
    deny: str
    replaces_refresh_tokens: bool = True
    password: str = "pw"
    end: Callable[[ProviderBrowser], None] | None = None
    pause: float = 0
    needs_node: bool = False
    revoke: str = "/token/revocation"


def _toolkit(kind: str, **client: Any) -> Kind:
    return Kind(
        command=[sys.executable, "toolkit_site.py", kind, "{port}", "{redirect_uri}", "{folder}"],
        settings={"REVOCATION_ENDPOINT": "{url}/o/revoke_token/", **client},
        resource="/me/",
        member="email",
        authorize="/o/authorize/",
        token="/o/token/",
        allow=("allow", "Authorize"),
        deny="Cancel",
        replaces_refresh_tokens=kind not in {"fixed", "tokenless"},
        end=_end_at_toolkit,
    )


def _end_at_toolkit(browser: ProviderBrowser) -> None:
    """Remove the application from the list of those with access."""
    page = browser.visit("/o/authorized_tokens/")
    paths = [part.split('"')[0] for part in page.text.split('href="')[1:]]
    for path in paths:
        if path.startswith("/o/authorized_tokens/") and path.endswith("/delete/"):
            browser.submit(path)


def _end_at_canaille(browser: ProviderBrowser) -> None:
    """Remove the application from the consents."""
    page = browser.visit("/consent/")
    [path] = {
        part.split('"')[0]
        for part in page.text.split('href="')[1:]
        if "/consent/revoke/" in part[:60]
    }
    browser.visit(path)


#: What is not said by an issuer's metadata, or where it has none.
_TOOLKIT_ENDPOINTS = {
    "AUTHORIZATION_ENDPOINT": "{url}/o/authorize/",
    "TOKEN_ENDPOINT": "{url}/o/token/",
}

KINDS: dict[str, Kind] = {
    "django-oauth-toolkit, OpenID": _toolkit(
        "openid",
        ISSUER="{url}/o",
        IDENTITY_SCOPES=["openid"],
        SCOPES=["read"],
    ),
    "django-oauth-toolkit, userinfo": _toolkit(
        "oauth",
        **_TOOLKIT_ENDPOINTS,
        IDENTITY="userinfo",
        USERINFO_ENDPOINT="{url}/me/",
        SUBJECT_MEMBER="id",
        TOKEN_ENDPOINT_AUTH_METHOD="client_secret_basic",
        SCOPES=["read"],
    ),
    "django-oauth-toolkit, no identity": _toolkit(
        "fixed", **_TOOLKIT_ENDPOINTS, IDENTITY="none", SCOPES=["read"]
    ),
    "django-oauth-toolkit, no refresh tokens": _toolkit(
        "tokenless",
        **_TOOLKIT_ENDPOINTS,
        IDENTITY="userinfo",
        USERINFO_ENDPOINT="{url}/me/",
        SUBJECT_MEMBER="id",
        REFRESH_TOKENS=False,
        SCOPES=["read"],
    ),
    "Canaille": Kind(
        command=[sys.executable, "canaille_site.py", "{port}", "{redirect_uri}", "{folder}"],
        settings={"ISSUER": "{url}", "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic"},
        resource="/oauth/userinfo",
        member="email",
        authorize="/oauth/authorize",
        token="/oauth/token",
        allow=("answer", "accept"),
        deny="deny",
        password="a long enough password",
        end=_end_at_canaille,
        # Two tokens of the same second are the same, which its database does not take.
        pause=1,
    ),
    "oidc-provider": Kind(
        command=["node", "provider.mjs", "{port}", "{redirect_uri}"],
        settings={
            "ISSUER": "{url}",
            "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic",
            "SCOPES": ["offline_access"],
        },
        resource="/me",
        member="sub",
        authorize="/auth",
        token="/token",
        allow=("", ""),
        deny="/abort",
        needs_node=True,
    ),
    "oauth2-mock-server": Kind(
        command=["node", "mock_server.mjs", "{port}", "{redirect_uri}"],
        settings={
            "ISSUER": "{url}",
            "IDENTITY_SCOPES": ["openid"],
            "TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_basic",
        },
        resource="/userinfo",
        member="sub",
        authorize="/authorize",
        token="/token",
        revoke="/revoke",
        allow=("", ""),
        deny="deny",
        needs_node=True,
    ),
}


@dataclass
class Provider:
    """A provider that runs.

    Args:
        name: of its kind.
        kind: how it differs.
        url: its address.
    """

    name: str
    kind: Kind
    url: str
    browsers: dict[str, ProviderBrowser] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def client_settings(self) -> dict[str, Any]:
        """The settings of a client of it, here."""

        def fill(value: Any) -> Any:
            return value.format(url=self.url) if isinstance(value, str) else value

        filled = {key: fill(value) for key, value in self.kind.settings.items()}
        known = {"CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": SECRET, "DISPLAY_NAME": "Diary"}
        return {**known, **filled}

    def new_user(self) -> str:
        """Return the name of a user there for whom nothing has been done yet."""
        return f"user{next(self.numbers)}"

    def consent(self, url: str, user: str, *, deny: bool = False) -> str:
        """Log in and consent, or refuse, in a browser of this user's; return what leads back."""
        browser = self._browse_as(user)
        return browser.consent(url, allow=self.kind.allow, deny=self.kind.deny if deny else "")

    def use(self, token: str) -> requests.Response:
        """Call what an access token is for."""
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{self.url}{self.kind.resource}", headers=headers, timeout=10)

    def refuses(self, refresh_token: str) -> bool:
        """Return whether a refresh token is dead there."""
        answer = requests.post(
            f"{self.url}{self.kind.token}",
            data={"grant_type": "refresh_token", "refresh_token": refresh_token},
            auth=(CLIENT_ID, SECRET),
            timeout=10,
        )
        return bool(answer.json().get("error") == "invalid_grant")

    def end_grant(self, account: GoogleAccount, user: str) -> None:
        """End a grant there, as the user would; or as the client, where users cannot."""
        if self.kind.end:
            self.kind.end(self._browse_as(user))
        else:
            answer = requests.post(
                f"{self.url}{self.kind.revoke}",
                data={"token": token_of(account, "refresh_token")},
                auth=(CLIENT_ID, SECRET),
                timeout=10,
            )
            assert answer.status_code == 200

    def _browse_as(self, user: str) -> ProviderBrowser:
        if user not in self.browsers:
            names = dict.fromkeys(("username", "login"), user)
            answers = {**names, "password": self.kind.password}
            self.browsers[user] = ProviderBrowser(self.url, answers, user=user)
        return self.browsers[user]

    def close(self) -> None:
        """Close all browsers."""
        for browser in self.browsers.values():
            browser.close()


@contextmanager
def running(name: str, *, folder: Path, node_modules: Path | None) -> Iterator[Provider]:
    """Run a provider as a process of its own.

    Args:
        folder: of its own.
        node_modules: in which a provider of the npm registry is installed.
    """
    kind = KINDS[name]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for file in SERVERS.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    if node_modules:
        (folder / "node_modules").symlink_to(node_modules)
    values = {"port": port, "redirect_uri": f"{CALLBACK}default/", "folder": folder}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [part.format(**values) for part in kind.command],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        provider = Provider(name, kind, f"http://127.0.0.1:{port}")
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n", (folder / "log.txt").read_text()
            yield provider
        finally:
            provider.close()
            process.terminate()
            process.communicate()
