"""A site whose front end has one page for what Google sends back, however it is mounted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from django_google_link.contrib.rest_framework.views import FrontEndView
from django_google_link.testing import FakeGoogle
from tests.support.api_site import TokenAuthentication
from tests.support.front_ends import PAGE, FrontEnd

MOUNTS = {"django": "/google/api/", "drf": "/drf/google/", "ninja": "/ninja/google/"}


@pytest.fixture
def allow_front_end(google: FakeGoogle, configure: Callable[..., None]) -> None:
    """The settings allow a page of the app's, and Google knows it."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE])
    google.client.redirect_uris.append(PAGE)


@pytest.fixture
def front_end(allow_front_end: None, browser: Client) -> FrontEnd:
    """The front end of the user's, with a Django session."""
    return FrontEnd(browser)


@pytest.fixture
def others_front_end(front_end: FrontEnd, other_user: Any) -> FrontEnd:
    """The same front end, in another user's hands."""
    client = Client()
    client.force_login(other_user)
    return FrontEnd(client)


@pytest.fixture
def api_site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site with APIs of its own, whose users have tokens."""
    settings.ROOT_URLCONF = "tests.support.api_site"
    # As the settings of Django REST framework would have had it when the views were made.
    monkeypatch.setattr(FrontEndView, "authentication_classes", [TokenAuthentication])


@pytest.fixture(params=MOUNTS)
def mounted(
    request: pytest.FixtureRequest, allow_front_end: None, api_site: None, user: Any
) -> FrontEnd:
    """The front end of the user's, at each mount in turn."""
    api = MOUNTS[request.param]
    if request.param == "django":
        client = Client()
        client.force_login(user)
        return FrontEnd(client, api=api)
    return FrontEnd(Client(), api=api, authorization="Bearer token-anna")
