"""A fake Google beside ``runserver``: ``manage.py google_link_fake``."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import randint
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from django.apps import AppConfig
from django.core.management import CommandError, call_command, load_command_class
from django.test import override_settings
from pytest_django import Settings

from django_google_link.testing import fake_google_settings
from django_google_link.testing.browser.consent import Answer, give_consent
from tests.support.times import until

EVENTS = "/calendar/v3/calendars/primary/events"
FAKE_CLIENT = {
    "CLIENT_ID": "default.apps.googleusercontent.com",
    "CLIENT_SECRET": "of the fake Google",
    "PROVIDER": "google",
    "AUTHORIZATION_ENDPOINT": "http://127.0.0.1:8765/o/oauth2/v2/auth",
    "TOKEN_ENDPOINT": "http://127.0.0.1:8765/token",
    "REVOCATION_ENDPOINT": "http://127.0.0.1:8765/revoke",
    "JWKS_URI": "http://127.0.0.1:8765/oauth2/v3/certs",
    "ISSUER": "http://127.0.0.1:8765",
    "API_ENDPOINT": "http://127.0.0.1:8765",
}


@pytest.fixture
def port() -> int:
    """A free port, which no connection of another test is given meanwhile."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", randint(20_000, 29_999)))
            return int(probe.getsockname()[1])


@pytest.fixture
def debug(settings: Settings) -> None:
    """As in development."""
    settings.DEBUG = True


def run_fake(visit: Callable[[], None], *, number: int = signal.SIGINT, **options: Any) -> str:
    """Run the command; visit it as soon as it serves, and stop it. Return what it printed."""
    out = io.StringIO()

    def use() -> None:
        until(lambda: "Stop it with Ctrl-C." in out.getvalue())
        try:
            visit()
        finally:
            os.kill(os.getpid(), number)

    command = load_command_class("django_google_link.testing", "google_link_fake")
    # A worker of pytest-xdist has a handler of its own.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(1) as pool:
            used = pool.submit(use)
            call_command(command, stdout=out, **options)
            used.result()
    finally:
        signal.signal(signal.SIGINT, before)
    return out.getvalue()


def refuse(**options: Any) -> str:
    """Run the command in vain; return why."""
    command = load_command_class("django_google_link.testing", "google_link_fake")
    with pytest.raises(CommandError) as caught:
        call_command(command, **options)
    return str(caught.value)


def ask_consent(
    google: str,
    client: dict[str, Any],
    email: str,
    *,
    redirect_uri: str = "http://127.0.0.1:8000/google/callback/",
) -> str:
    """Let somebody allow all; return the address that the browser is sent to."""
    query = {
        "client_id": client["CLIENT_ID"],
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": "openid https://www.googleapis.com/auth/calendar.readonly",
        "state": "s",
        "login_hint": email,
    }
    return give_consent(f"{google}/o/oauth2/v2/auth?{urlencode(query)}", Answer())


def get_token(
    google: str, client: dict[str, Any], email: str = "anna@example.org"
) -> dict[str, Any]:
    """Exchange what consent brings."""
    code = dict(parse_qsl(urlsplit(ask_consent(google, client, email)).query))["code"]
    data = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": client["CLIENT_ID"],
        "client_secret": client["CLIENT_SECRET"],
        "redirect_uri": "http://127.0.0.1:8000/google/callback/",
    }
    answer: dict[str, Any] = requests.post(f"{google}/token", data=data, timeout=5).json()
    return answer


def call(google: str, client: dict[str, Any], path: str, method: str = "GET") -> requests.Response:
    """Call an API with a token."""
    token = get_token(google, client)["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return requests.request(method, f"{google}{path}", headers=headers, timeout=5)


@pytest.mark.usefixtures("debug")
def test_fake_serves_what_the_settings_lead_to(settings: Settings, port: int) -> None:
    """Consent, tokens, and events to show."""
    settings.GOOGLE_LINK = fake_google_settings({"CLIENTS": {"default": {}}}, port=port)
    answers = []

    printed = run_fake(
        lambda: answers.append(
            call(f"http://127.0.0.1:{port}", settings.GOOGLE_LINK["CLIENTS"]["default"], EVENTS)
        ),
        port=port,
    )

    assert answers[0].json()["items"][0]["summary"] == "Team meeting"
    assert printed == (
        f"A fake Google is running at http://127.0.0.1:{port} for anna@gmail.com, "
        "anna@example.org.\nStop it with Ctrl-C.\nStopped.\n"
    )


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("before", [{}, {"CLIENTS": {"default": {"CLIENT_ID": "x"}}}])
def test_what_to_paste(settings: Settings, port: int, before: dict[str, Any]) -> None:
    """The settings of the project do not lead here yet; once pasted, they do at once."""
    settings.GOOGLE_LINK = before
    tokens = []

    def follow_advice() -> None:
        led = fake_google_settings(before, port=port)
        tokens.append(get_token(f"http://127.0.0.1:{port}", led["CLIENTS"]["default"]))

    printed = run_fake(follow_advice, port=port)

    assert "Your settings do not lead here yet" in printed
    assert f"GOOGLE_LINK = fake_google_settings(GOOGLE_LINK, port={port})" in printed
    assert tokens[0]["token_type"] == "Bearer"


@pytest.mark.usefixtures("debug")
def test_answers_of_ones_own(settings: Settings, port: int, tmp_path: Path) -> None:
    """A file says what APIs answer; what nobody has an answer for is named on the terminal."""
    settings.GOOGLE_LINK = fake_google_settings({}, port=port)
    client = settings.GOOGLE_LINK["CLIENTS"]["default"]
    google = f"http://127.0.0.1:{port}"
    file = tmp_path / "answers.json"
    file.write_text(
        '\ufeff{"/drive/v3/files": {"files": [1]}, "POST /tasks/v1/lists": {"id": "2"}}',
        encoding="utf-8",
    )
    answers = []

    def visit() -> None:
        answers.append(call(google, client, "/drive/v3/files").json())
        answers.append(call(google, client, "/tasks/v1/lists", "POST").json())
        answers.append(call(google, client, "/tasks/v1/lists").status_code)

    printed = run_fake(visit, port=port, answers=str(file), user=["anna@example.org"])

    assert answers == [{"files": [1]}, {"id": "2"}, 404]
    assert (
        "There is no response for GET /tasks/v1/lists: write one into a file, "
        '"GET /tasks/v1/lists": {...}, and pass the file with --answers.\n' in printed
    )


@pytest.mark.usefixtures("debug")
def test_subjects_stay(settings: Settings, port: int) -> None:
    """A second start knows the same people, so that links are linked again, not doubled."""
    settings.GOOGLE_LINK = fake_google_settings({}, port=port)
    client = settings.GOOGLE_LINK["CLIENTS"]["default"]
    subjects = []

    def visit() -> None:
        google = f"http://127.0.0.1:{port}"
        subjects.append(call(google, client, "/v1/userinfo").json()["sub"])

    for _ in range(2):
        run_fake(visit, port=port, number=signal.SIGTERM)

    assert len(set(subjects)) == 1


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("broken", [[], "https://app.example.com/linked/"])
def test_pages_of_front_ends(settings: Settings, port: int, broken: Any) -> None:
    """They are registered as the settings have them; what is broken there is the check's to say."""
    page = "https://app.example.com/linked/"
    front_end = {"FRONT_END_REDIRECT_URIS": [page]}
    clients = {"default": front_end, "broken": {"FRONT_END_REDIRECT_URIS": broken}}
    settings.GOOGLE_LINK = fake_google_settings({"CLIENTS": clients}, port=port)
    client = settings.GOOGLE_LINK["CLIENTS"]["default"]
    arrived = []

    def visit() -> None:
        google = f"http://127.0.0.1:{port}"
        arrived.append(ask_consent(google, client, "anna@gmail.com", redirect_uri=page))

    run_fake(visit, port=port)

    assert arrived[0].startswith(f"{page}?")


def test_nothing_outside_development() -> None:
    """It lets anybody in as anybody."""
    assert refuse() == (
        "A fake Google logs in anybody as anybody, so it only runs if DEBUG is True."
    )


@pytest.mark.usefixtures("debug")
@override_settings(ROOT_URLCONF="tests.support.no_urls")
def test_urls_that_are_missing(port: int) -> None:
    """Google has to know where to send people back to."""
    assert refuse(port=port) == (
        'Add path("google/", include("django_google_link.urls")) to your URLconf first.'
    )


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes"),
        ("[]", "is not a JSON object, which has to map paths to responses."),
        ('{"drive": {}}', "'drive' is neither a path, such as"),
        ('{"FETCH /drive": {}}', "'FETCH /drive' is neither a path, such as"),
        ('{"/drive": 1}', "the response for '/drive' is not an object or a list."),
        (None, "No such file or directory."),
    ],
)
def test_answers_that_cannot_be_used(tmp_path: Path, content: str | None, said: str) -> None:
    """It says what is wrong with the file."""
    file = tmp_path / "answers.json"
    if content is not None:
        file.write_text(content)

    assert said in refuse(answers=str(file))


@pytest.mark.usefixtures("debug")
def test_address_of_an_account(port: int) -> None:
    """People have addresses."""
    assert refuse(port=port, user=["anna"]) == "--user 'anna' is not an e-mail address."


@pytest.mark.usefixtures("debug")
def test_port_that_is_taken(port: int) -> None:
    """Another one is named, for the settings too."""
    with socket.create_server(("127.0.0.1", port)):
        said = refuse(port=port)

    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use." in said
    assert f"--port {port + 1}, and fake_google_settings(GOOGLE_LINK, port={port + 1})." in said


@pytest.mark.usefixtures("debug")
def test_port_that_does_not_exist() -> None:
    """There are 65,535 of them."""
    assert refuse(port=70000) == "70000 is not a valid port: choose one up to 65535."


@pytest.mark.usefixtures("debug")
def test_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what to install."""
    monkeypatch.setitem(sys.modules, "django_google_link.testing.fake", None)

    assert 'pip install "django-google-link[testing]"' in refuse()


def test_settings_of_a_client() -> None:
    """All of a client is at the fake, but what the project says about scopes."""
    secrets = {"CLIENT_SECRETS_FILE": "client_secret.json", "SCOPES": ["openid"]}

    led = fake_google_settings({"CLIENTS": {"default": secrets}, "STATE_MAX_AGE": 60})

    assert led == {
        "CLIENTS": {"default": {"SCOPES": ["openid"], **FAKE_CLIENT}},
        "STATE_MAX_AGE": 60,
    }
    assert fake_google_settings(led) == led


def test_clients_of_a_project_share_it_at_the_fake() -> None:
    """As their ids say."""
    real = {"CLIENT_ID": "123-abc.apps.googleusercontent.com"}

    led = fake_google_settings({"CLIENTS": {"web": real, "My back office": real}})

    assert [client["CLIENT_ID"] for client in led["CLIENTS"].values()] == [
        "123-web.apps.googleusercontent.com",
        "123-my-back-office.apps.googleusercontent.com",
    ]


@pytest.mark.usefixtures("debug")
def test_other_providers_are_left_alone(settings: Settings, port: int) -> None:
    """They are not Google."""
    other = {"ISSUER": "https://idp.example", "CLIENT_ID": "x"}
    settings.GOOGLE_LINK = fake_google_settings({"CLIENTS": {"other": other}}, port=port)

    assert settings.GOOGLE_LINK["CLIENTS"] == {"other": other}
    assert "do not lead here" not in run_fake(lambda: None, port=port)


def test_kit_is_an_app_of_its_own() -> None:
    """It stands beside the app, whose label is another one."""
    assert AppConfig.create("django_google_link.testing").label == "google_link_testing"
