"""The one address that is registered at Google, whatever language and host a user has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import translation
from pytest_django import Settings

from django_google_link.checks.installation import check_installation
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.urls import local, query_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def translated(settings: Settings) -> Iterator[None]:
    """A site in German and English, each under a prefix."""
    settings.ROOT_URLCONF = "tests.support.translated_urls"
    settings.LANGUAGES = [("en", "English"), ("de", "German")]
    settings.LANGUAGE_CODE = "en"
    settings.LOGIN_URL = "login"
    position = 1 + settings.MIDDLEWARE.index("django.contrib.sessions.middleware.SessionMiddleware")
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE[:position],
        "django.middleware.locale.LocaleMiddleware",
        *settings.MIDDLEWARE[position:],
    ]
    yield
    # The middleware leaves the language of the last request to the thread.
    translation.deactivate()


def redirect_uri_of(response: Any) -> str:
    """Return where Google is to send the user back to."""
    return query_of(response["Location"])["redirect_uri"]


@pytest.fixture
def list_redirect_uris(
    google: FakeGoogle, configure: Callable[..., None], tmp_path: Path
) -> Callable[..., None]:
    """Configure a secrets file; Google knows these addresses, and no other."""

    def list_redirect_uris(*uris: str) -> None:
        google.client.redirect_uris[:] = uris
        google.client.any_host = False
        path = tmp_path / "client_secret.json"
        path.write_text(json.dumps(google.client_secrets()))
        configure(CLIENT_SECRETS_FILE=path)

    return list_redirect_uris


@pytest.mark.usefixtures("translated")
@pytest.mark.matrix
@pytest.mark.parametrize("language", ["de", "en"])
def test_every_language_comes_back_to_one_address(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    list_redirect_uris: Callable[..., None],
    language: str,
) -> None:
    """And then to the page in the language in which it was left."""
    list_redirect_uris("http://testserver/en/google/callback/")

    to_google = browser.get(f"/{language}/google/authorize/")
    back = google.consent(to_google["Location"], user=alice)
    linked = browser.get(local(back))

    assert redirect_uri_of(to_google) == "http://testserver/en/google/callback/"
    assert linked["Location"] == f"/{language}/google/"
    assert user.google_accounts.exists()


@pytest.mark.usefixtures("translated")
def test_check_names_the_one_address(configure: Callable[..., None]) -> None:
    """A warning: only the operator knows what is registered. A REDIRECT_URI answers it."""
    [found] = check_installation()

    assert found.id == "django_google_link.W016"
    assert "If /en/google/callback/ is the redirect URI registered" in str(found.hint)

    configure(REDIRECT_URI="http://testserver/en/google/callback/")
    assert check_installation() == []


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("host", "scheme", "redirect_uri"),
    [
        ("TestServer", "http", "http://testserver/google/callback/"),
        ("testserver:80", "http", "http://testserver/google/callback/"),
        ("testserver:443", "https", "https://testserver/google/callback/"),
        ("TESTSERVER:443", "https", "https://testserver/google/callback/"),
        ("testserver.", "https", "https://testserver/google/callback/"),
        ("testserver.:443", "https", "https://testserver/google/callback/"),
        ("testserver.:8000", "http", "http://testserver:8000/google/callback/"),
        ("testserver:80", "https", "https://testserver:80/google/callback/"),
        ("testserver:443", "http", "http://testserver:443/google/callback/"),
        ("[::1]", "http", "http://[::1]/google/callback/"),
        ("[::1]:80", "http", "http://[::1]/google/callback/"),
    ],
)
def test_host_has_one_form(
    browser: Client, settings: Settings, host: str, scheme: str, redirect_uri: str
) -> None:
    """Proxies add the port that goes without saying, and people write capitals."""
    settings.ALLOWED_HOSTS = ["*"]
    response = browser.get("/google/authorize/", headers={"host": host}, secure=scheme == "https")

    assert redirect_uri_of(response) == redirect_uri


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("host", "registered", "domain"),
    [
        ("www.example.com", "https://example.com/google/callback/", None),
        ("example.com", "https://www.example.com/google/callback/", None),
        ("WWW.example.com", "https://example.com/google/callback/", "www.example.com"),
        ("localhost:8000", "http://127.0.0.1:8000/google/callback/", None),
        ("127.0.0.1:8000", "http://localhost:8000/google/callback/", None),
    ],
)
@pytest.mark.parametrize("is_in_file", [True, False])
def test_other_name_of_the_site_is_told(
    browser: Client,
    settings: Settings,
    configure: Callable[..., None],
    list_redirect_uris: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    host: str,
    registered: str,
    domain: str | None,
    is_in_file: bool,
) -> None:
    """The user would come back without a session: the page and the log name both hosts."""
    settings.ALLOWED_HOSTS = ["*"]
    settings.SESSION_COOKIE_DOMAIN = domain
    if is_in_file:
        list_redirect_uris(registered)
    else:
        configure(REDIRECT_URI=registered)
    browser.cookies[settings.SESSION_COOKIE_NAME]["domain"] = ""

    page = browser.get("/google/authorize/", headers={"host": host})

    there = urlsplit(registered).netloc
    assert page.status_code == 400
    assert f"Open this site at {there}" in page.content.decode()
    assert f'href="{registered.removesuffix("callback/")}"' in page.content.decode()
    assert (
        f"A user at {host} was not sent to Google, because the redirect URI is at {there}"
        in caplog.text
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("host", "registered", "domain"),
    [
        ("www.example.com", "https://example.com/google/callback/", ".example.com"),
        ("www.example.com", "https://example.com/google/callback/", "example.com"),
        ("internal:8000", "https://example.com/google/callback/", None),
        ("www.example.com:443", "https://www.example.com/google/callback/", None),
    ],
)
def test_names_that_share_a_session_are_one_site(
    browser: Client,
    settings: Settings,
    configure: Callable[..., None],
    host: str,
    registered: str,
    domain: str | None,
) -> None:
    """And the name that a proxy has for this site is none that users have."""
    settings.ALLOWED_HOSTS = ["*"]
    settings.SESSION_COOKIE_DOMAIN = domain
    configure(REDIRECT_URI=registered)

    response = browser.get("/google/authorize/", headers={"host": host})

    assert redirect_uri_of(response) == registered


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("path", "back"),
    [
        ("/agenda/?" + "q" * 900, "/agenda/?" + "q" * 900),
        ("/agenda/?" + "q" * 5000, "/agenda/"),
        ("/agenda/" + "d" * 2000 + "/", "/google/"),
    ],
)
def test_long_addresses_are_shortened(
    browser: Client, google: FakeGoogle, alice: FakeUser, path: str, back: str
) -> None:
    """Servers refuse links that are too long, and browsers cookies."""
    start = browser.get(path)
    assert len(start["Location"]) < 4000

    to_google = browser.get(start["Location"])
    linked = browser.get(local(google.consent(to_google["Location"], user=alice)))

    assert linked["Location"] == back
