"""Several providers on one site: each under its own name, wherever it is spoken of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from django.utils import translation
from pytest_django import Settings

from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import GoogleLinkError
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token
from django_google_link.testing import FakeClient, FakeGoogle, FakeUser, travel
from tests.support.constants import CALENDAR, CALLBACK
from tests.support.flow import arrive, link, visit
from tests.support.providers import START, play_provider
from tests.support.urls import local

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

NAME = "Example & Co"
SHOWN = "Example &amp; Co"
LANGUAGES = ["en", "de", "es", "fr", "ja", "ru"]


@google_required(scopes=[CALENDAR])
def agenda(request: HttpRequest) -> HttpResponse:
    """What is at Google."""
    return HttpResponse(f"{request.google.provider}: {request.google.account.email}")


@google_required(scopes=["read"], client="video")
def videos(request: HttpRequest) -> HttpResponse:
    """What is at another provider."""
    return HttpResponse(f"{request.google.provider}: {request.google.account.email}")


@google_aware(client="notes")
def notes(request: HttpRequest) -> HttpResponse:
    """What may be at a third."""
    return HttpResponse(f"{request.google.provider}: {request.google.status}")


urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("agenda/", agenda),
    path("videos/", videos),
    path("notes/", notes),
]


@pytest.fixture
def providers(google: FakeGoogle, settings: Settings) -> FakeGoogle:
    """Google, one that speaks OAuth 2.0 alone, and one of which nothing more is known."""
    play_provider(google, settings, name="video", speaks_openid=False, DISPLAY_NAME=NAME)
    play_provider(google, settings, name="notes", gives_refresh_tokens=False)
    return google


@pytest.fixture
def alone(google: FakeGoogle, settings: Settings) -> FakeClient:
    """A site whose only provider is not Google."""
    return play_provider(google, settings, speaks_openid=False, DISPLAY_NAME=NAME)


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Any:
    """Each language that there is."""
    with translation.override(request.param):
        yield request.param


def assert_named(response: Any) -> None:
    """A page says who it is about, and does not speak of Google."""
    text = response.content.decode()
    assert SHOWN in text
    assert "Google" not in text


def test_each_view_has_its_provider(
    browser: Client, providers: FakeGoogle, alice: FakeUser
) -> None:
    """In one module, and none of them is in the way of another."""
    agenda, visits = visit(browser, providers, "/agenda/", user=alice)
    assert (agenda.content.decode(), visits) == ("Google: alice@gmail.com", 1)
    videos, visits = visit(browser, providers, "/videos/", user=alice)
    assert (videos.content.decode(), visits) == (f"{NAME}: alice@gmail.com", 1)
    assert browser.get("/notes/").content == b"127.0.0.1: not_linked"

    assert browser.get("/agenda/").content.decode() == "Google: alice@gmail.com"
    clients = {row.client: row.provider for row in GoogleAccount.objects.all()}
    assert clients == {"default": "Google", "video": NAME}


def test_page_of_accounts_shows_all_under_their_names(
    browser: Client, providers: FakeGoogle, alice: FakeUser
) -> None:
    """And is called after none of them."""
    visit(browser, providers, "/agenda/", user=alice)
    page = browser.get("/google/").content.decode()
    assert "<h1>Linked Google accounts</h1>" in page
    assert ">Google</p>" not in page

    visit(browser, providers, "/videos/", user=alice)

    page = browser.get("/google/").content.decode()
    assert "<h1>Linked accounts</h1>" in page
    assert ">Google</p>" in page
    assert f">{SHOWN}</p>" in page
    assert "Link another Google account" in page
    assert ">default<" not in page, "Each is the only one of its client."


@pytest.mark.slow
def test_pages_before_a_link_name_the_provider(
    browser: Client, google: FakeGoogle, alice: FakeUser, alone: FakeClient, language: str
) -> None:
    """The page of accounts, a refusal, and what a view then answers."""
    assert_named(browser.get("/google/"))
    google.fail_next_authorization("server_error")
    assert_named(link(browser, google, alice))
    for fault in ({"status": 500}, {"status": 400, "body": {"error": "invalid_client"}}, {}):
        google.fail_next(**{"status": 200, "body": {"error": "nonsense"}, **fault})
        assert_named(link(browser, google, alice))
    link(browser, google, alice, deny=True)
    refused = browser.get("/videos-of-mine/")
    assert refused.status_code == 404


@pytest.mark.slow
def test_pages_of_a_link_name_the_provider(
    browser: Client, google: FakeGoogle, alice: FakeUser, alone: FakeClient, language: str
) -> None:
    """Where it is labelled and unlinked, too, and when another account was chosen."""
    link(browser, google, alice)
    pk = GoogleAccount.objects.get().pk
    for url in ("/google/", f"/google/{pk}/label/", f"/google/{pk}/unlink/"):
        assert_named(browser.get(url))
    GoogleAccount.objects.update(email="", name="", sub="somebody", status="needs_reauthorization")
    other = google.add_user("somebody@gmail.com")

    response = link(browser, google, other)

    assert response.status_code == 409
    assert "Google" not in response.content.decode()


@pytest.mark.slow
def test_page_of_a_view_names_its_provider(
    browser: Client, providers: FakeGoogle, alice: FakeUser, language: str
) -> None:
    """Where it has to ask, and where it asks again."""
    to_provider = browser.get(browser.get("/videos/")["Location"])["Location"]
    browser.get(local(providers.consent(to_provider, user=alice, deny=True)))
    assert_named(browser.get("/videos/"))
    asked = browser.get("/google/").content.decode()
    assert asked

    visit(browser, providers, START, user=alice)
    form = browser.post("/videos/")
    assert_named(form)


def test_page_in_between_names_the_provider(
    client: Client, settings: Settings, alone: FakeClient
) -> None:
    """For browsers that keep a strict cookie to themselves."""
    settings.SESSION_COOKIE_SAMESITE = "Strict"

    assert_named(client.get(f"{local(CALLBACK)[:-1]}default/?state=x&code=y"))


@pytest.mark.slow
def test_time_that_is_over_is_told(
    browser: Client, google: FakeGoogle, alice: FakeUser, settings: Settings, language: str
) -> None:
    """In the words of the provider, where a view has to ask again."""
    client = play_provider(
        google,
        settings,
        name="video",
        speaks_openid=False,
        gives_refresh_tokens=False,
        DISPLAY_NAME=NAME,
    )
    assert client
    visit(browser, google, "/videos/", user=alice)

    with travel(hours=2):
        page = browser.post("/videos/")

    assert page.status_code == 403
    assert_named(page)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_log_names_the_provider(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    alone: FakeClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And so do the errors that go into it."""
    caplog.set_level(logging.INFO, "django_google_link")
    google.error_next("invalid_client", status=401)
    link(browser, google, alice)
    google.fail_next_authorization("server_error")
    link(browser, google, alice)
    link(browser, google, alice)
    user = GoogleAccount.objects.get().user
    with travel(hours=2):
        google.fail_next(status=500)
        fails(lambda: access_token(user))
    with travel(hours=9):
        google.error_next("access_denied")
        fails(lambda: access_token(user))
    google.fail_next(endpoint="revoke", status=500)
    GoogleAccount.objects.get().unlink()

    ours = [record for record in caplog.records if record.name == "django_google_link"]
    said = [record.getMessage() for record in ours]
    assert not [message for message in said if "Google" in message]
    assert sum(NAME in message for message in said) >= 5


def fails(call: Callable[[], Any]) -> None:
    """The call fails, and does not speak of Google."""
    with pytest.raises(GoogleLinkError) as caught:
        call()
    assert "Google" not in str(caught.value)


def test_name_outlives_its_client(
    browser: Client, google: FakeGoogle, alice: FakeUser, alone: FakeClient, settings: Settings
) -> None:
    """A row of a client that is gone, or that is another's by now, is named after its issuer."""
    link(browser, google, alice)
    row = GoogleAccount.objects.get()
    assert row.provider == NAME

    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {"other": settings.GOOGLE_LINK["CLIENTS"]["default"]},
    }
    assert row.provider == "127.0.0.1"
    row.issuer = "https://accounts.google.com"
    assert row.provider == "Google"
    row.issuer = "not an address"
    assert row.provider == "not an address"
    assert arrive(browser, f"{CALLBACK}?state=x").status_code == 400
