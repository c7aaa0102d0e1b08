"""``SESSION_COOKIE_SAMESITE = "Strict"``: users come back from Google without their session."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.checks import run_checks
from django.test import Client
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.flow import link
from tests.support.urls import local, query_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def strict(settings: Settings) -> None:
    """Keep the cookie at home."""
    settings.SESSION_COOKIE_SAMESITE = "Strict"


@pytest.fixture
def stranger() -> Client:
    """The same browser, as the site sees it on the way from Google."""
    return Client()


def test_callback_without_the_cookie_comes_again_from_a_page_of_ours(
    browser: Client, stranger: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Then the cookie comes along. Nothing has been used up before."""
    start = browser.get("/google/authorize/")["Location"]
    back = local(google.consent(start, user=alice))

    bounced = stranger.get(back)
    assert bounced.status_code == 200
    seconds, _, url = bounced["Refresh"].partition(";url=")
    assert seconds == "0"
    assert f'href="{url.replace("&", "&amp;")}"' in bounced.content.decode()
    assert (bounced["Referrer-Policy"], bounced["Cache-Control"].count("no-store")) == (
        "no-referrer",
        1,
    )

    assert browser.get(url).status_code == 302
    assert GoogleAccount.objects.get().email == alice.email


def test_bounce_happens_once(stranger: Client, google: FakeGoogle) -> None:
    """Who has no session at all is asked to log in."""
    bounced = stranger.get("/google/callback/?state=x&code=y")

    response = stranger.get(bounced["Refresh"].partition("url=")[2])

    assert response["Location"] == "/login/?next=/google/"


def test_bounce_keeps_what_google_said_and_nothing_else(
    stranger: Client, google: FakeGoogle
) -> None:
    """The address is our own, whatever a visitor writes behind it."""
    response = stranger.get(
        "/google/callback/",
        {
            "state": '"><script>',
            "error": "access_denied\r\nSet-Cookie: a=b",
            "iss": "https://accounts.google.com",
            "next": "https://evil.example/",
        },
    )

    url = response["Refresh"].partition("url=")[2]
    assert urlsplit(url)[:3] == ("", "", "/google/callback/")
    assert query_of(url) == {
        "state": '"><script>',
        "error": "access_denied\r\nSet-Cookie: a=b",
        "iss": "https://accounts.google.com",
        "bounced": "1",
    }
    assert "<script>" not in response.content.decode()
    assert "evil" not in response.content.decode()
    assert not response.cookies


def test_cookie_that_comes_along_needs_no_bounce(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Some browsers send it."""
    assert link(browser, google, alice).status_code == 302


def test_logged_out_with_a_cookie_is_no_reason(client: Client, google: FakeGoogle) -> None:
    """The session has ended: to come again would not help."""
    client.cookies["sessionid"] = "ended"

    assert client.get("/google/callback/?state=x")["Location"].startswith("/login/")


@pytest.mark.parametrize("value", ["Lax", "None", False, None])
def test_other_cookies_need_no_bounce(
    stranger: Client, google: FakeGoogle, settings: Settings, value: Any
) -> None:
    """They come along."""
    settings.SESSION_COOKIE_SAMESITE = value

    assert stranger.get("/google/callback/?state=x")["Location"].startswith("/login/")


def test_head_never_bounces(stranger: Client, google: FakeGoogle) -> None:
    """As everywhere in the flow."""
    assert stranger.head("/google/callback/?state=x&code=y").status_code == 405


def test_code_that_bounces_is_in_no_log(
    stranger: Client, google: FakeGoogle, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor in what is left of the request."""
    caplog.set_level(logging.DEBUG)

    response = stranger.get("/google/callback/?state=x&code=4/the-code")

    assert "the-code" in response["Refresh"]
    assert "the-code" not in caplog.text
    assert "the-code" not in repr(response.wsgi_request.META)


def test_strict_cookie_is_warned_of(settings: Settings) -> None:
    """It works, but "Lax" works better."""
    assert "django_google_link.W006" in {message.id for message in run_checks()}

    settings.SESSION_COOKIE_SAMESITE = "lax"
    assert "django_google_link.W006" not in {message.id for message in run_checks()}
