"""The pages on providers that are not Google: settings and view of each, as they stand there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

from django_google_link.checks.settings import check_settings
from django_google_link.exceptions import GrantLostError
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, running_google, travel
from tests.documentation.pages import block_with, run
from tests.support.callers import HTML
from tests.support.databases import new_user

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("shared_database", "unknown_provider"),
]

API = "https://api.example.com"
PAGES = {
    "howto/provider-openid": ("office", "def agenda", "events"),
    "howto/provider-userinfo": ("videos", "def videos", "videos"),
    "howto/provider-without-identity": ("sensors", "def readings", "readings"),
    "howto/provider-without-refresh-tokens": ("photos", "def photos", "photos"),
}

_view: dict[str, Callable[[HttpRequest], HttpResponse]] = {}


def show(request: HttpRequest) -> HttpResponse:
    """Call the view of the page under test."""
    return _view["page"](request)


urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("page/", show),
]


@pytest.fixture
def google(page: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGoogle]:
    """The provider of a page, played by the kit as the page's settings describe it."""
    monkeypatch.setenv(f"{PAGES[page][0].upper()}_CLIENT_SECRET", "not-a-secret")
    clients = run(page, "CLIENTS = ")["CLIENTS"]
    known = settings.GOOGLE_LINK["CLIENTS"]
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**known, **clients}}
    assert not check_settings()
    with running_google() as google:
        client, view, what = PAGES[page]
        google.route(f"/{what}", scopes=list(clients[client]["SCOPES"][-1:]))(
            lambda request, user: [user.email]
        )
        names: dict[str, Any] = {"__name__": __name__}
        exec(block_with(page, view).replace(API, google.url), names)
        monkeypatch.setitem(_view, "page", names[view.removeprefix("def ")])
        yield google


@pytest.mark.matrix
@pytest.mark.parametrize("page", PAGES)
def test_page_of_a_provider(page: str, google: FakeGoogle, client: Client) -> None:
    """Off to consent, back to the page, and the API knows the account; an hour later as well."""
    name, _, what = PAGES[page]
    google.add_user("alice@example.com")
    user = new_user()
    client.force_login(user)

    first = google.browse(client, "/page/", headers={"accept": HTML})

    assert first.json()[what] == ["alice@example.com"]
    account = GoogleAccount.objects.get()
    assert (account.client, account.user) == (name, user)
    with travel(hours=2):
        if page == "howto/provider-without-refresh-tokens":
            with pytest.raises(GrantLostError):
                access_token(user, client=name)
        else:
            assert access_token(user, client=name)
        again = google.browse(client, "/page/", headers={"accept": HTML})
    assert again.json()[what] == ["alice@example.com"]
    assert GoogleAccount.objects.get() == account
