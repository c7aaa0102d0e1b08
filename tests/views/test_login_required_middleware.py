"""Our views and the decorated ones under ``LoginRequiredMiddleware``."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.apis import serve_apis
from tests.support.callers import PROGRAMS, ask
from tests.support.constants import CALENDAR, EVENTS
from tests.support.flow import visit
from tests.support.urls import authorize_request_of, query_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def login_required(settings: Settings) -> None:
    """Every view needs a login, unless it says otherwise."""
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "/bare/?x=1",
        "/home/?x=1",
        "/dispatched/?x=1",
        "/async/bare/?x=1",
        "/google/?x=1",
        "/google/authorize/?request=x",
    ],
)
def test_pages_need_a_login_first(client: Client, url: str) -> None:
    """Django's redirect, with the full path."""
    response = client.get(url)

    assert response.status_code == 302
    assert response["Location"].startswith("/login/?")
    assert query_of(response["Location"]) == {"next": url}


def test_callback_keeps_the_code_out_of_the_login_page(client: Client) -> None:
    """Whoever was logged out meanwhile logs in, and the code goes nowhere."""
    response = client.get("/google/callback/?code=4/secret&state=unguessable")

    assert response.status_code == 302
    assert query_of(response["Location"]) == {"next": "/google/"}
    assert "secret" not in str(response.headers)
    assert "unguessable" not in str(response.headers)


def test_whole_way(client: Client, google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """Log in, link, and use it."""
    serve_apis(google)

    to_login = client.get("/agenda/today/")["Location"]
    back = client.post(to_login, {"username": "anna", "password": "pw"})["Location"]
    response, visits = visit(client, google, back, user=alice)

    assert (response.json(), visits) == ({"day": "today", "events": EVENTS}, 1)
    assert client.get("/google/").status_code == 200
    assert GoogleAccount.objects.get().user == user


@pytest.mark.parametrize("url", ["/welcome/", "/greeting/"])
def test_aware_view_may_be_open_to_all(client: Client, user: Any, url: str) -> None:
    """login_not_required holds on either side of the decorator."""
    anonymous = client.get(url).json()
    client.force_login(user)
    make_google_account(user, scopes=[CALENDAR])

    assert anonymous["status"] == "anonymous"
    assert query_of(anonymous["authorize_url"]) == {"next": url}
    assert client.get(url).json()["status"] == "ready"


def test_required_view_may_see_to_the_login_itself(client: Client, user: Any) -> None:
    """A script then gets its JSON also when nobody is logged in."""
    navigation = client.get("/guarded/?x=1")
    program = ask(client, PROGRAMS["fetch"], "/guarded/")
    client.force_login(user)

    assert query_of(navigation["Location"]) == {"next": "/guarded/?x=1"}
    assert program.json()["reason"] == "anonymous"
    assert authorize_request_of(client.get("/guarded/")["Location"], user).return_url == "/guarded/"
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")
    assert client.get("/guarded/").content == b"a@gmail.com"
