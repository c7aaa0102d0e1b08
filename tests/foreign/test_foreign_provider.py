"""An OpenID provider that is neither Google's nor ours, from the npm registry."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.exceptions import GrantLostError
from django_google_link.models import GoogleAccount, PendingRevocation
from tests.support.accounts import token_of
from tests.support.constants import CALLBACK
from tests.support.databases import new_user
from tests.support.node import install
from tests.support.times import in_seconds
from tests.support.urls import local

pytestmark = [
    pytest.mark.node,
    pytest.mark.django_db,
    pytest.mark.usefixtures("shared_database"),
]

HERE = Path(__file__).parent
SECRET = "not-a-secret-but-long-enough-for-anybody"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The provider with what it needs."""
    folder = install(HERE / "package.json", tmp_path_factory.mktemp("provider"))
    shutil.copy(HERE / "provider.mjs", folder)
    return folder


@pytest.fixture
def provider(installed: Path, settings: Settings, unknown_provider: None) -> Iterator[str]:
    """A running one, which the settings point to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    issuer = f"http://127.0.0.1:{port}"
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {
            "default": {
                "CLIENT_ID": "daybook",
                "CLIENT_SECRET": SECRET,
                "SCOPES": ["offline_access"],
                "AUTHORIZATION_ENDPOINT": f"{issuer}/auth",
                "TOKEN_ENDPOINT": f"{issuer}/token",
                "REVOCATION_ENDPOINT": f"{issuer}/token/revocation",
                "JWKS_URI": f"{issuer}/jwks",
                "ISSUER": issuer,
            }
        },
    }
    process = subprocess.Popen(
        # Each issuer but Google's has a callback of its own.
        ["node", "provider.mjs", str(port), f"{CALLBACK}default/"],
        cwd=installed,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield issuer
    finally:
        process.terminate()
        process.communicate()


def walk(url: str, issuer: str) -> str:
    """Log in and consent as a user would, and return where the browser is sent back to."""
    with requests.Session() as browser:
        response = browser.get(url, allow_redirects=False)
        for _ in range(12):
            if response.is_redirect:
                url = urljoin(response.url, response.headers["Location"])
                if not url.startswith(issuer):
                    return url
                response = browser.get(url, allow_redirects=False)
            else:
                [action] = re.findall(r'<form[^>]* action="([^"]+)"', response.text)
                [prompt] = re.findall(r'name="prompt" value="(\w+)"', response.text)
                form = {"prompt": prompt, "login": "alice", "password": "any"}
                url = urljoin(response.url, action)
                response = browser.post(url, data=form, allow_redirects=False)
    raise AssertionError("It goes on and on.")


@pytest.fixture
def account(provider: str, client: Client) -> GoogleAccount:
    """Alice's account there, linked through the pages."""
    client.force_login(new_user())
    to_provider = client.get("/google/authorize/")["Location"]

    back = client.get(local(walk(to_provider, provider)))

    assert back.status_code == 302, back.content.decode()
    return GoogleAccount.objects.get()


def test_foreign_provider_is_linked(account: GoogleAccount) -> None:
    """PKCE, nonce, ``iss`` and an ID token that somebody else has written."""
    assert (account.sub, account.email) == ("alice", "alice@example.com")
    assert "offline_access" in account.granted_scopes
    assert account.is_active


def test_foreign_provider_refreshes_and_rotates(account: GoogleAccount) -> None:
    """It gives another refresh token each time, and would end the grant if the old one came."""
    before = token_of(account, "refresh_token")

    for _ in range(2):
        GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60))
        token = fresh_access_token(account)
        assert token.is_new

    assert token_of(account, "refresh_token") != before


def test_foreign_provider_revokes(account: GoogleAccount, provider: str) -> None:
    """It wants to know who asks (RFC 7009 section 2.1); afterwards the token is worth nothing."""
    token = token_of(account, "refresh_token")

    account.unlink()

    assert not PendingRevocation.objects.exists()
    form: Any = {"grant_type": "refresh_token", "refresh_token": token}
    client = {"client_id": "daybook", "client_secret": SECRET}
    answer = requests.post(f"{provider}/token", data={**form, **client})
    assert answer.json()["error"] == "invalid_grant"


def test_foreign_provider_that_has_ended_the_grant(account: GoogleAccount, provider: str) -> None:
    """Somebody has revoked it there."""
    form: Any = {"token": token_of(account, "refresh_token")}
    client = {"client_id": "daybook", "client_secret": SECRET}
    requests.post(f"{provider}/token/revocation", data={**form, **client})

    with pytest.raises(GrantLostError):
        check_grant(account)
