"""``authorize_url``: signed links made without a request, for e-mails and tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from freezegun import freeze_time

from django_google_link.models import GoogleAccount
from django_google_link.services import authorize_url
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.support.constants import CALENDAR, DRIVE
from tests.support.flow import link
from tests.support.urls import authorize_request_of, query_of

pytestmark = pytest.mark.django_db

SITE = "http://testserver"


def test_link_in_a_mail(google: FakeGoogle, alice: FakeUser, browser: Client, user: Any) -> None:
    """The user follows it, gives consent, and is redirected to ``return_url``."""
    url = authorize_url(user, site=SITE, scopes=[DRIVE], return_url="/home/")
    assert url.startswith(f"{SITE}/google/authorize/?")

    response = link(browser, google, alice, start=url.removeprefix(SITE))

    assert response["Location"] == "/home/"
    assert {CALENDAR, DRIVE} <= set(GoogleAccount.objects.get().granted_scopes)


def test_account_that_is_to_be_linked_again(google: FakeGoogle, user: Any) -> None:
    """It names the account and its client, and requires the configured and granted scopes."""
    account = make_google_account(user, scopes=[DRIVE], sub="42", status="needs_reauthorization")

    wanted = authorize_request_of(authorize_url(user, site=f"{SITE}/", account=account), user)

    assert (wanted.account, wanted.client) == ("42", "default")
    assert set(wanted.required) >= {CALENDAR, DRIVE}


@pytest.mark.parametrize(
    "host", ["other.example", "testserver:8000", "testserver.", "127.0.0.1", "localhost"]
)
def test_other_site(
    google: FakeGoogle, browser: Client, user: Any, settings: Any, host: str
) -> None:
    """The link works only on the host that it was made for."""
    settings.ALLOWED_HOSTS = ["*"]
    signed = query_of(authorize_url(user, site=SITE))

    response = browser.get("/google/authorize/", signed, headers={"host": host})

    assert response.status_code == (302 if host == "testserver." else 400)


def test_other_user(google: FakeGoogle, user: Any, other_user: Any) -> None:
    """A forwarded link is refused for another user."""
    client = Client()
    client.force_login(other_user)

    response = client.get(authorize_url(user, site=SITE).removeprefix(SITE))

    assert response.status_code == 400


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("max_age", "days", "works"),
    [(None, 0.9, True), (None, 1.1, False), (7, 6.9, True), (7, 7.1, False), (30, 29.9, True)],
)
def test_lifetime(
    google: FakeGoogle, browser: Client, user: Any, max_age: int | None, days: float, works: bool
) -> None:
    """A link is valid for a day, or for ``max_age``."""
    lifetime = {} if max_age is None else {"max_age": timedelta(days=max_age)}
    with freeze_time("2026-11-26") as clock:
        url = authorize_url(user, site=SITE, **lifetime)
        clock.tick(timedelta(days=days))
        client = Client()
        client.force_login(user)

        response = client.get(url.removeprefix(SITE))

    assert response.status_code == (302 if works else 400)


@pytest.mark.parametrize(
    "site", ["", "testserver", "//testserver", f"{SITE}/x", "ftp://testserver"]
)
def test_site_that_is_none(google: FakeGoogle, user: Any, site: str) -> None:
    """The error says that ``site`` is a scheme and a host."""
    with pytest.raises(ValueError, match="scheme and host"):
        authorize_url(user, site=site)


@pytest.mark.parametrize("days", [0, -1, 31])
def test_lifetime_that_cannot_be(google: FakeGoogle, user: Any, days: int) -> None:
    """``max_age`` has to be positive, and at most 30 days."""
    with pytest.raises(ValueError, match="at most 30 days"):
        authorize_url(user, site=SITE, max_age=timedelta(days=days))
