"""The kit as projects meet it: fixtures, the mixin, and settings that lead to the fake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.checks import run_checks
from django.http import HttpResponseRedirect
from django.test import Client, TestCase, override_settings
from django.urls import path
from pytest_django import Settings

import django_google_link.testing as kit
from django_google_link.conf.settings import conf
from django_google_link.services import (
    ServiceAccount,
    access_token,
    authorized_session,
    build_service,
)
from django_google_link.testing import (
    FakeGoogle,
    FakeGoogleError,
    FakeGoogleMixin,
)

CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
EVENTS = "/calendar/v3/calendars/primary/events"


@pytest.fixture
def anna(django_user_model: Any) -> Any:
    """A user."""
    return django_user_model.objects.create_user("anna")


def test_linked_account_works(
    anna: Any, fake_google: FakeGoogle, link_google_account: Callable[..., Any]
) -> None:
    """Its tokens are Google's: it can be used, and refreshed."""
    account = link_google_account(anna)
    fake_google.answer(EVENTS, {"items": []}, scopes=[CALENDAR])

    events = build_service(anna, "calendar", "v3").events().list(calendarId="primary").execute()

    assert events == {"items": []}
    fake_google.expire_access_tokens()
    assert authorized_session(account).get(fake_google.url + EVENTS).ok


def test_sessions_go_to_the_fake(
    anna: Any, fake_google: FakeGoogle, link_google_account: Callable[..., Any]
) -> None:
    """Whatever address of Google's a view names; others are left alone."""
    link_google_account(anna)
    fake_google.answer(EVENTS, {"items": []})

    session = authorized_session(anna)

    assert session.get(f"https://www.googleapis.com{EVENTS}").json() == {"items": []}
    assert session.get(f"https://calendar.googleapis.com{EVENTS}").json() == {"items": []}


@pytest.mark.slow
@pytest.mark.django_db
def test_settings_of_any_project_are_led_to_the_fake(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    """Files that tests do not have, several clients, service accounts: all else stays."""
    settings.GOOGLE_LINK = {
        "CLIENTS": {
            "default": {"CLIENT_SECRETS_FILE": "nowhere.json", "SCOPES": [CALENDAR]},
            "red": {"CLIENT_ID": "x", "CLIENT_SECRET": "y", "REDIRECT_URI": "https://a.example/"},
        },
        "SERVICE_ACCOUNTS": {"reports": {"FILE": "nowhere.json", "SUBJECTS": ["@example.com"]}},
        "REFRESH_LEEWAY": 400,
    }

    google = request.getfixturevalue("fake_google")

    assert run_checks(tags=["security"]) == []
    assert conf.refresh_leeway == 400
    assert conf.clients["default"]["SCOPES"] == [CALENDAR]
    assert conf.clients["red"]["CLIENT_ID"] != conf.clients["default"]["CLIENT_ID"]
    assert access_token(ServiceAccount("reports"), scopes=[CALENDAR])
    assert google.requests_to("token")


def test_clients_of_one_project_stay_of_one_project(settings: Settings) -> None:
    """So that what ends one's grants at Google ends them in tests too."""
    ids = {
        "default": "123456789012-a.apps.googleusercontent.com",
        "mobile": "123456789012-b.apps.googleusercontent.com",
        "other": "210987654321-c.apps.googleusercontent.com",
        "elsewhere": "daybook",
    }
    secret = {"CLIENT_SECRET": "s"}
    clients = {name: {"CLIENT_ID": client_id, **secret} for name, client_id in ids.items()}
    files = {name: {"CLIENT_SECRETS_FILE": "nowhere.json"} for name in ("file", "another_file")}
    settings.GOOGLE_LINK = {"CLIENTS": {**clients, **files}}

    with kit.running_google() as google:
        projects = [
            google.client_with(client["CLIENT_ID"]).project for client in conf.clients.values()
        ]

    assert projects[0] == projects[1]
    assert len(set(projects)) == 5


@pytest.mark.urls("tests.testing.test_kit")
def test_settings_that_are_not_there_are_made(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    """Nor do the URLs have to be included."""
    del settings.GOOGLE_LINK

    request.getfixturevalue("fake_google")

    assert list(conf.clients) == ["default"]


def test_browse_goes_through_consent(client: Client, anna: Any, fake_google: FakeGoogle) -> None:
    """As a browser does."""
    client.force_login(anna)
    fake_google.add_user("anna@gmail.com")

    page = fake_google.browse(client, "/google/authorize/")

    assert page.status_code == 200
    assert anna.google_accounts.get().email == "anna@gmail.com"


@pytest.mark.matrix
@pytest.mark.parametrize(
    "extra",
    [
        {"secure": True},
        {"headers": {"host": "blue.example"}},
        {"SERVER_NAME": "red.example", "secure": True},
    ],
)
def test_browse_works_for_any_host(
    client: Client, anna: Any, fake_google: FakeGoogle, settings: Settings, extra: Any
) -> None:
    """The site's own redirects are followed, to https as well."""
    settings.ALLOWED_HOSTS = ["*"]
    settings.SECURE_SSL_REDIRECT = bool(extra.get("secure"))
    client.force_login(anna)
    fake_google.add_user("anna@gmail.com")

    page = fake_google.browse(client, "/google/authorize/", **extra)

    assert page.status_code == 200
    assert anna.google_accounts.exists()


def test_browse_comes_to_https(
    client: Client, anna: Any, fake_google: FakeGoogle, settings: Settings
) -> None:
    """As with SECURE_SSL_REDIRECT."""
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", *settings.MIDDLEWARE]
    settings.SECURE_SSL_REDIRECT = True
    client.force_login(anna)
    fake_google.add_user("anna@gmail.com")

    assert fake_google.browse(client, "/google/authorize/").status_code == 200


def test_browse_chooses_an_account(client: Client, anna: Any, fake_google: FakeGoogle) -> None:
    """If there are several; if there is none it says what to do."""
    client.force_login(anna)
    with pytest.raises(FakeGoogleError, match="add_user"):
        fake_google.browse(client, "/google/authorize/")
    fake_google.add_user("anna@gmail.com")
    work = fake_google.add_user("anna@work.example")
    with pytest.raises(FakeGoogleError, match="pass user="):
        fake_google.browse(client, "/google/authorize/")

    fake_google.browse(client, "/google/authorize/", user=work)

    assert anna.google_accounts.get().email == "anna@work.example"


urlpatterns = [
    path("circle/", lambda request: HttpResponseRedirect("/circle/")),
    path("elsewhere/", lambda request: HttpResponseRedirect("https://elsewhere.example/x")),
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("path", "problem"), [("/circle/", "endlessly"), ("/elsewhere/", "another site")]
)
def test_browse_ends(client: Client, fake_google: FakeGoogle, path: str, problem: str) -> None:
    """A page that never comes is an error."""
    with pytest.raises(FakeGoogleError, match=problem):
        fake_google.browse(client, path)


def test_delegation_works(fake_google: FakeGoogle, settings: Settings) -> None:
    """For whom ``SUBJECTS`` names, if they are in a Workspace."""
    directory = {"IMPERSONATE": "x@y.iam.gserviceaccount.com", "SUBJECTS": ["@example.com"]}
    with (
        override_settings(
            GOOGLE_LINK={
                **settings.GOOGLE_LINK,
                "SERVICE_ACCOUNTS": {"directory": directory, "x": {}},
            }
        ),
        kit.running_google() as google,
    ):
        google.add_user("anna@example.com", hosted_domain="example.com")
        owner = ServiceAccount("directory", "anna@example.com")

        assert access_token(owner, scopes=[CALENDAR])


def test_names_of_users_and_clients(fake_google: FakeGoogle) -> None:
    """A user is opened when first named; a client has to be there."""
    assert fake_google.user_with("a@gmail.com") is fake_google.user_with("a@gmail.com")
    with pytest.raises(FakeGoogleError, match="There is no client"):
        fake_google.client_with("x")


def test_recorded_json(fake_google: FakeGoogle, anna: Any, link_google_account: Any) -> None:
    """What was sent is kept."""
    link_google_account(anna)
    fake_google.answer(EVENTS, {}, method="POST")

    build_service(anna, "calendar", "v3").events().insert(
        calendarId="primary", body={"summary": "Dentist"}
    ).execute()

    [call] = fake_google.requests_to(EVENTS)
    assert call.json == {"summary": "Dentist"}


@pytest.mark.parametrize("name", ["FakeGoogle", "running_google", "link_google_account"])
def test_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With the command that installs it."""
    for module in ("accounts", "cases", "fake"):
        monkeypatch.setitem(sys.modules, f"django_google_link.testing.{module}", None)

    with pytest.raises(ImportError, match=r"pip install .django-google-link\[testing\]"):
        getattr(kit, name)


def test_mixin_in_the_wrong_place_says_so() -> None:
    """Or a ``setUp`` of one's own that forgets the others."""

    class Tests(TestCase, FakeGoogleMixin):
        """Django's setUp comes first, and calls nobody."""

    with pytest.raises(FakeGoogleError, match="before TestCase"):
        Tests().fake_google  # noqa: B018


class MixinTests(FakeGoogleMixin, TestCase):
    """For Django's own test runner."""

    def test_link(self) -> None:
        """Each test has a Google, and may link."""
        user = get_user_model().objects.create_user("anna")
        self.link_google_account(user)
        self.fake_google.answer(EVENTS, {"items": []})

        assert authorized_session(user).get(self.fake_google.url + EVENTS).ok
