"""travel(): all that ends at the fake ends by the clock that it moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.service_account import Credentials
from pytest_django import Settings

from django_google_link.services import ServiceAccount, access_token
from django_google_link.testing import FakeGoogle, travel
from django_google_link.testing.browser.html_form import parse_page
from django_google_link.testing.cases import running_google
from tests.testing.app import CALENDAR


def submit(app, page):
    """Press Allow."""
    form = [*parse_page(page.text).hidden, ("decision", "allow")]
    url = f"{app.google.url}/o/oauth2/v2/auth/consent"
    return app.http.post(url, data=form, allow_redirects=False)


def test_code_and_page_end(app, alice):
    """After ten minutes, and not before."""
    codes = [app.google.consent(app.authorization_url(prompt="consent")) for _ in range(2)]
    pages = [app.open(prompt="consent") for _ in range(2)]

    with travel(minutes=9, seconds=50):
        in_time = app.exchange(codes[0]), submit(app, pages[0])
    with travel(minutes=10):
        late = app.exchange(codes[1]), submit(app, pages[1])

    assert in_time[0].status_code == 200
    assert "No account was chosen" in in_time[1].text
    assert late[0].json()["error"] == "invalid_grant"
    assert "This page has expired" in late[1].text


def test_tokens_end(app, alice):
    """Each at its time; ID tokens and the request log know it."""
    app.google.refresh_token_lifetime = 86_400
    app.google.answer("/calendar", {})
    tokens = app.link(scope=f"openid {CALENDAR}")

    with travel(minutes=59):
        assert app.call("/calendar", tokens["access_token"]).status_code == 200
    with travel(hours=1):
        assert app.call("/calendar", tokens["access_token"]).status_code == 401
        refreshed = app.refresh(tokens["refresh_token"]).json()
        assert app.call("/calendar", refreshed["access_token"]).status_code == 200
    with travel(days=1):
        assert app.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"

    first, *_, last = app.google.requests_to("token")
    assert 86_000 < last.at - first.at < 87_000
    assert refreshed["refresh_token_expires_in"] < 83_000


def test_refresh_token_that_nobody_uses_ends(app, alice):
    """After half a year of a fake's time."""
    tokens = app.link()

    with travel(days=100):
        assert app.refresh(tokens["refresh_token"]).status_code == 200
        with travel(days=181):
            assert app.refresh(tokens["refresh_token"]).status_code == 200
            with travel(days=183):
                assert app.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_clock_of_its_own(app, alice, clock):
    """A fake whose ``now`` was set keeps to that."""
    app.google.now = clock
    app.google.answer("/calendar", {})
    tokens = app.link()

    with travel(days=365):
        assert app.call("/calendar", tokens["access_token"]).status_code == 200


@pytest.mark.slow
def test_service_accounts_live_on(settings: Settings) -> None:
    """Google's library signs by the real clock, and gets its tokens all the same."""
    settings.GOOGLE_LINK = {"SERVICE_ACCOUNTS": {"robot": {}}}
    with running_google() as google:
        google.answer("/calendar", {})
        tokens = set()
        for days in (0, 1, 7):
            with travel(days=days):
                token = access_token(ServiceAccount("robot"), scopes=[CALENDAR])
                assert call_calendar(google, token) == 200
                assert access_token(ServiceAccount("robot"), scopes=[CALENDAR]) == token
                tokens.add(token)

    assert len(tokens) == 3


def test_service_accounts_of_others_live_on(google: FakeGoogle) -> None:
    """The end of their token is told by the clock of who reads it; it lives for its hour."""
    deputy = google.add_service_account("deputy")
    robot = google.add_service_account(impersonators=[deputy])
    google.answer("/calendar", {})
    path = f"/v1/projects/-/serviceAccounts/{robot.email}:generateAccessToken"

    with travel(days=7):
        credentials = Credentials.from_service_account_info(
            google.service_account_info(deputy),
            scopes=["https://www.googleapis.com/auth/cloud-platform"],
        )
        session = AuthorizedSession(credentials)
        answer = session.post(google.url + path, json={"scope": [CALENDAR]}).json()
        session.close()
        assert call_calendar(google, answer["accessToken"]) == 200
        with travel(hours=1, minutes=1):
            assert call_calendar(google, answer["accessToken"]) == 401

    lifetime = datetime.fromisoformat(answer["expireTime"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < lifetime <= timedelta(hours=1)


def call_calendar(google: FakeGoogle, token: str) -> int:
    """Call an API, and return the status."""
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{google.url}/calendar", headers=headers, timeout=5).status_code
