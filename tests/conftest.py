"""What most tests start from: a FakeGoogle on a socket, a user, and a browser's cookie jar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings

from django_google_link.accounts.process_breaker import forget_failures
from django_google_link.accounts.usage import forget_uses
from django_google_link.oauth.metadata import forget_metadata
from django_google_link.oauth.published import forget_published
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.constants import CALENDAR, CALLBACK
from tests.support.databases import file_database
from tests.support.front_ends import PAGE
from tests.support.key_services import Safe

# What is asserted there is explained like in a test.
pytest.register_assert_rewrite("tests.support.flow", "tests.support.statuses")

# The same examples each time, of any speed, in tests that have their database from a fixture.
hypothesis_settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hypothesis_settings.load_profile("same")

pytest_plugins = ["django_google_link.testing.pytest_plugin", "tests.support.interrupt"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave all of a matrix but its first set of parameters to CI."""
    for item in items:
        if item.get_closest_marker("matrix") and any(item.callspec.indices.values()):  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def known_features(django_db_setup: None, django_db_blocker: Any) -> None:
    """Know what the database can, before a check asks in a test that must not ask a database."""
    with django_db_blocker.unblock():
        assert connection.features.supports_json_field


@pytest.fixture(autouse=True)
def no_uses() -> None:
    """No use of a link is still to be written: it would be a query of the next test's request."""
    forget_uses()


@pytest.fixture
def unknown_provider() -> None:
    """Nothing is known of any issuer: the next one may have the port of the last."""
    forget_published()
    forget_metadata()
    forget_failures()


@pytest.fixture
def google(settings: Settings, unknown_provider: None) -> Iterator[FakeGoogle]:
    """A Google of this test's own, which the settings point to."""
    with FakeGoogle() as google:
        google.client.redirect_uris.append(CALLBACK)
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {"default": {**google.client_settings(), "SCOPES": [CALENDAR]}},
        }
        yield google


@pytest.fixture
def configure(settings: Settings) -> Callable[..., None]:
    """Change keys of the default client."""

    def configure(**keys: Any) -> None:
        clients = settings.GOOGLE_LINK["CLIENTS"]
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {**clients, "default": {**clients["default"], **keys}},
        }

    return configure


@pytest.fixture
def receiver(google: FakeGoogle, settings: Settings) -> None:
    """This site takes security events."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "SECURITY_EVENTS_URL": "https://testserver/google/security-events/",
    }


@pytest.fixture
def key_service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A key service that is there, and has not been asked."""
    for name, value in (("failure", None), ("answer", None), ("is_open", Event())):
        monkeypatch.setattr(Safe, name, value)
    Safe.is_open.set()
    Safe.asked.clear()
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "KEY_SERVICES": {"safe": "tests.support.key_services.Safe"},
        "ENCRYPTION_SITE": "here",
    }
    yield
    Safe.is_open.set()


@pytest.fixture
def alice(google: FakeGoogle) -> FakeUser:
    """Alice's account at Google."""
    return google.add_user("alice@gmail.com", name="Alice Example")


@pytest.fixture
def user(db: None) -> Any:
    """A user of this site."""
    return get_user_model().objects.create_user("anna", "anna@example.com", "pw")


@pytest.fixture
def other_user(db: None) -> Any:
    """Another user of this site."""
    return get_user_model().objects.create_user("ben", "ben@example.com", "pw")


@pytest.fixture
def browser(client: Client, user: Any) -> Client:
    """A browser in which the user is logged in."""
    client.force_login(user)
    return client


@pytest.fixture
def allow_front_end(google: FakeGoogle, configure: Callable[..., None]) -> None:
    """The settings allow a page of the app's, and Google knows it."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE])
    google.client.redirect_uris.append(PAGE)


@pytest.fixture
def api_site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site with APIs of its own, whose users have tokens."""
    from django_google_link.contrib.rest_framework.views import FrontEndView
    from tests.support.api_site import TokenAuthentication

    settings.ROOT_URLCONF = "tests.support.api_site"
    # As the settings of Django REST framework would have had it when the views were made.
    monkeypatch.setattr(FrontEndView, "authentication_classes", [TokenAuthentication])


if os.environ.get("TEST_DATABASE"):

    @pytest.fixture
    def shared_database(transactional_db: None) -> None:
        """A database that threads and processes share, in which all is committed."""

else:

    @pytest.fixture
    def shared_database(db: None, tmp_path: Path) -> Iterator[None]:
        """A database that threads and processes share, in which all is committed."""
        with file_database(tmp_path / "db.sqlite3"):
            yield
