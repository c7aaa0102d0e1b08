"""Values that were copied wrong, mixed up or misspelt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings

from django_google_link.checks.mistakes import check_mistakes
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import SettingsError
from tests.support.urls import query_of

ID = "123456789012-abc.apps.googleusercontent.com"
SECRET = "GOCSPX-abcdefghijklmnopqrstuvwxyz12"
AUTH = "https://www.googleapis.com/auth/"


@pytest.fixture
def google_client(settings: Settings) -> Callable[..., None]:
    """Configure one client, of Google itself."""

    def google_client(**keys: Any) -> None:
        client = {"CLIENT_ID": ID, "CLIENT_SECRET": SECRET, **keys}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": client}}

    return google_client


def found() -> list[tuple[str, str]]:
    """Return what the check says, by the number of each message."""
    return [
        ((message.id or "")[-4:], f"{message.msg} {message.hint}") for message in check_mistakes()
    ]


@pytest.mark.matrix
@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "\ufeff{}", "{}\u00a0", "\u200b{}"])
@pytest.mark.parametrize("is_in_file", [True, False])
def test_what_stands_around_is_left_out(
    google_client: Callable[..., None], tmp_path: Path, around: str, is_in_file: bool
) -> None:
    """Consoles, mails and editors add it, and nobody sees it."""
    values = {"client_id": around.format(ID), "client_secret": around.format(SECRET)}
    if is_in_file:
        path = tmp_path / "client_secret.json"
        uris = ["https://testserver/google/callback/"]
        content = {"web": {**values, "redirect_uris": uris}}
        path.write_text(json.dumps(content), encoding="utf-8")
        google_client(CLIENT_SECRETS_FILE=path, CLIENT_ID="", CLIENT_SECRET="")
    else:
        google_client(CLIENT_ID=values["client_id"], CLIENT_SECRET=values["client_secret"])

    client = get_client()

    assert (client.client_id, client.client_secret.reveal()) == (ID, SECRET)
    assert found() == []


@pytest.mark.matrix
@pytest.mark.parametrize("key", ["CLIENT_ID", "CLIENT_SECRET"])
@pytest.mark.parametrize(
    "character", ["\n", "\r", "\t", "\u00a0", "\u200b", "\ufeff", "\u2028", "\0"]
)
def test_what_stands_within_is_refused(
    google_client: Callable[..., None], key: str, character: str
) -> None:
    """Google would refuse it, and nobody would see why. The secret is not repeated."""
    google_client(**{key: f"GOC{character}SPX"})

    with pytest.raises(SettingsError) as caught:
        get_client()

    assert f"{key} of the client 'default' has the character U+" in str(caught.value)
    assert "at position 4." in str(caught.value)
    assert "SPX" not in str(caught.value)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"CLIENT_ID": SECRET}, "CLIENT_ID of the client 'default' is a client secret."),
        ({"CLIENT_SECRET": ID}, "CLIENT_SECRET of the client 'default' is a client id."),
        ({"CLIENT_SECRET": "AIzaSyA123"}, "is an API key."),
        ({"CLIENT_ID": "AIzaSyA123"}, "is an API key."),
        ({"CLIENT_ID": f"https://{ID}"}, "is an address."),
        ({"CLIENT_ID": "anna@gmail.com"}, "is an e-mail address."),
        ({"CLIENT_ID": "YOUR_CLIENT_ID"}, "is a placeholder."),
        ({"CLIENT_ID": "<client id>"}, "is a placeholder."),
        ({"CLIENT_ID": "xxxxx.apps.googleusercontent.com"}, "is a placeholder."),
        ({"CLIENT_SECRET": "..."}, "is a placeholder."),
        ({"CLIENT_SECRET": "change-me"}, "is a placeholder."),
        ({"CLIENT_ID": "my-project-123"}, "does not end with .apps.googleusercontent.com."),
        ({"CLIENT_ID": "123456789012-abc"}, "does not end with .apps.googleusercontent.com."),
    ],
)
def test_values_that_were_mixed_up(
    google_client: Callable[..., None], keys: dict[str, str], said: str
) -> None:
    """It is a warning: Google has the last word."""
    google_client(**keys)

    [(id, text)] = found()

    assert id == "W017"
    assert said in text
    assert "Google console" in text


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("scope", "meant"),
    [
        (f"{AUTH}calender.readonly", f"{AUTH}calendar.readonly"),
        (f"{AUTH}calendar.readonyl", f"{AUTH}calendar.readonly"),
        (f"{AUTH}Calendar", f"{AUTH}calendar"),
        (f"{AUTH}gmail.reedonly", f"{AUTH}gmail.readonly"),
        (f"{AUTH}spreadsheet", f"{AUTH}spreadsheets"),
        ("http://www.googleapis.com/auth/calendar", f"{AUTH}calendar"),
        (f"{AUTH}drive/", f"{AUTH}drive"),
        ("https://mail.google.com", "https://mail.google.com/"),
        ("calendar.readonly", f"{AUTH}calendar.readonly"),
        ("drive.file", f"{AUTH}drive.file"),
    ],
)
def test_misspelt_scope(google_client: Callable[..., None], scope: str, meant: str) -> None:
    """The one that is meant is named."""
    google_client(SCOPES=[scope])

    [(id, text)] = found()

    assert id == "W004"
    assert text.endswith(f" Did you mean {meant}?")


@pytest.mark.matrix
@pytest.mark.parametrize(
    "scope",
    [
        "openid",
        "email",
        f"{AUTH}calendar.readonly",
        f"{AUTH}calendar.events.owned.readonly",
        f"{AUTH}calendar.freebusy",
        f"{AUTH}drive.appfolder",
        f"{AUTH}photoslibrary.readonly",
        f"{AUTH}classroom.courses",
        f"{AUTH}cloud-platform",
        "https://mail.google.com/",
        "https://www.google.com/m8/feeds",
    ],
)
def test_scopes_that_are_not_known_are_left_alone(
    google_client: Callable[..., None], scope: str
) -> None:
    """Google has hundreds of them."""
    google_client(SCOPES=[scope])

    assert found() == []


@pytest.mark.matrix
@pytest.mark.parametrize(
    "scope", ["zzz", f"{AUTH}calendar,{AUTH}drive", f"{AUTH}calendar{AUTH}drive"]
)
def test_what_is_no_scope(google_client: Callable[..., None], scope: str) -> None:
    """And is like none."""
    google_client(SCOPES=[scope])

    [(id, text)] = found()

    assert id == "W004"
    assert f"{scope!r} is not " in text


def test_clients_that_cannot_work_are_anothers_business(settings: Settings) -> None:
    """And so are other providers, whose ids and scopes may be anything."""
    settings.GOOGLE_LINK = {
        "CLIENTS": {
            "default": {},
            "other": {
                "CLIENT_ID": "YOUR_ID",
                "CLIENT_SECRET": "secret",
                "TOKEN_ENDPOINT": "https://idp.example/token",
                "AUTHORIZATION_ENDPOINT": "https://idp.example/auth",
                "SCOPES": ["read"],
            },
        }
    }

    assert found() == []


@pytest.mark.matrix
@pytest.mark.parametrize("params", [{"approval_prompt": "force"}, {"access_type": "online"}])
def test_params_of_the_forerunner(google_client: Callable[..., None], params: Any) -> None:
    """They would bring no refresh token."""
    google_client(AUTHORIZATION_PARAMS=params)

    [(id, text)] = found()

    assert id == "W018"
    assert "prevents Google from issuing a refresh token" in text


def test_file_of_gcloud_is_told(google_client: Callable[..., None], tmp_path: Path) -> None:
    """It is one user's token, and no client."""
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps({"type": "authorized_user", "refresh_token": "1//x"}))
    google_client(CLIENT_SECRETS_FILE=path)

    with pytest.raises(SettingsError, match="it is the token of one user"):
        get_client()


@pytest.fixture
def desktop_client(google_client: Callable[..., None], tmp_path: Path) -> None:
    """The file of a client of the type "Desktop app"."""
    values = {"client_id": ID, "client_secret": SECRET, "redirect_uris": ["http://localhost"]}
    path = tmp_path / "client_secret.json"
    path.write_text(json.dumps({"installed": values}))
    google_client(CLIENT_SECRETS_FILE=path)


@pytest.mark.usefixtures("desktop_client")
def test_desktop_client_on_a_site(browser: Client) -> None:
    """The message names the type of client that a site needs."""
    with pytest.raises(ImproperlyConfigured, match=r'create a client of type "Web application"'):
        browser.get("/google/authorize/")


@pytest.mark.usefixtures("desktop_client")
def test_desktop_client_on_this_machine(browser: Client) -> None:
    """Any port and path will do (RFC 8252 section 7.3)."""
    response = browser.get("/google/authorize/", headers={"host": "127.0.0.1:8001"})

    assert query_of(response["Location"])["redirect_uri"] == (
        "http://127.0.0.1:8001/google/callback/"
    )
