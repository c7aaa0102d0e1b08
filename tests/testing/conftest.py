"""A running fake with one user, and an application that uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from django_google_link.testing import FakeGoogle, FakeUser
from tests.testing.app import REDIRECT_URI, App


class Clock:
    """A clock that stands still until it is moved. Seconds since the epoch."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    with FakeGoogle() as google:
        google.client.redirect_uris.append(REDIRECT_URI)
        yield google


@pytest.fixture
def alice(google: FakeGoogle) -> FakeUser:
    return google.add_user("alice@example.com", name="Alice Doe")


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def app(google: FakeGoogle, http: requests.Session) -> App:
    return App(google, google.client, http)


@pytest.fixture
def other_app(google: FakeGoogle, http: requests.Session) -> App:
    return App(google, google.add_client(redirect_uris=[REDIRECT_URI]), http)
