"""Operations of django-ninja that need an account: behind its own authentication, in JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient, Client
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.support.constants import CALENDAR
from tests.support.front_ends import FrontEnd, refusal

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("api_site")]

TOKEN = {"authorization": "Bearer token-anna"}


@pytest.mark.parametrize("path", ["agenda", "async-agenda", "decorated"])
def test_operation_that_requires_an_account(
    allow_front_end: None, google: FakeGoogle, alice: FakeUser, user: Any, path: str
) -> None:
    """Who has none gets what is needed to link one; who has one passes."""
    client = Client()
    refused = client.get(f"/ninja/{path}", headers=TOKEN)
    assert refused.status_code == 403
    content = refused.json()
    assert content["error"] == "google_authorization_required"
    assert content["reason"] == "not_linked"
    assert content["authorize_url"].startswith("http://testserver/google/authorize/?")

    front_end = FrontEnd(client, api="/ninja/google/", **TOKEN)
    started = front_end.start(link_request=content["link_request"])
    back = google.consent(started["authorization_url"], user=alice)
    assert front_end.complete(started["ticket"], back).status_code == 200

    assert client.get(f"/ninja/{path}", headers=TOKEN).json() == {"email": "alice@gmail.com"}


@pytest.mark.parametrize("path", ["agenda", "async-agenda", "decorated"])
def test_session_of_another_user_counts_for_nothing(
    google: FakeGoogle, user: Any, other_user: Any, path: str
) -> None:
    """The token says who it is, though a cookie came along."""
    make_google_account(other_user, scopes=[CALENDAR], email="ben@gmail.com")
    client = Client()
    client.force_login(other_user)

    assert client.get(f"/ninja/{path}", headers=TOKEN).json()["reason"] == "not_linked"
    assert client.get(f"/ninja/{path}").status_code == 401


def test_operation_for_everybody(google: FakeGoogle, user: Any) -> None:
    """It is told how things are."""
    assert Client().get("/ninja/home", headers=TOKEN).json() == {"status": "not_linked"}


def test_user_has_to_act_inside_an_operation(google: FakeGoogle, user: Any) -> None:
    """A 403 that says what to do, and no error of the server's."""
    response = Client().get("/ninja/task", headers=TOKEN)

    assert response.status_code == 403
    assert response.json()["reason"] == "not_linked"
    assert response.json()["link_request"]


def test_user_has_to_act_inside_a_transaction(google: FakeGoogle, user: Any) -> None:
    """What was done there is taken back."""
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        response = Client().get("/ninja/task", headers=TOKEN)
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False

    assert response.status_code == 403
    assert response.json()["reason"] == "not_linked"


def test_another_user_has_to_act(google: FakeGoogle, user: Any, other_user: Any) -> None:
    """Whom the user of this request cannot help: that stays an error."""
    theirs = make_google_account(other_user, status="needs_reauthorization")
    client = Client(raise_request_exception=False)

    assert client.get(f"/ninja/shared/{theirs.pk}", headers=TOKEN).status_code == 500
    assert GoogleAccount.objects.get() == theirs


def test_operation_for_nobody(google: FakeGoogle) -> None:
    """Without authentication there is nobody to ask, but for the login page."""
    response = Client().get("/ninja/plain")

    assert response.status_code == 403
    assert response.json()["reason"] == "anonymous"
    assert "link_request" not in response.json()


def test_key_that_belongs_to_nobody(allow_front_end: None, user: Any) -> None:
    """The site's own function finds no user: nobody is logged in."""
    client = Client()
    response = client.get("/nobodys/agenda", headers=TOKEN)
    assert response.status_code == 403
    assert response.json()["reason"] == "anonymous"

    front_end = FrontEnd(client, api="/nobodys/google/", **TOKEN)
    assert refusal(front_end.send("GET", "accounts/")) == (401, "login_required")


def test_mistake_of_an_operator_while_developing(
    allow_front_end: None, user: Any, settings: Settings, configure: Callable[..., None]
) -> None:
    """ninja shows the traceback as it always does: it is no refusal, and no JSON."""
    settings.DEBUG = True
    configure(CLIENT_ID="", CLIENT_SECRET="")

    response = Client().post("/ninja/google/links/", "{}", "application/json", headers=TOKEN)

    assert response.status_code == 500
    assert response["Content-Type"] == "text/plain"
    assert b"ImproperlyConfigured" in response.content or b"SettingsError" in response.content


def test_api_under_asgi(allow_front_end: None, user: Any, async_client: AsyncClient) -> None:
    """The endpoints are there as well."""
    response = async_to_sync(async_client.get)("/ninja/google/accounts/", headers=TOKEN)

    assert response.json() == {"accounts": []}
