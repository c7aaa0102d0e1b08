"""Signed requests are valid for one site, even if a process serves several."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.exceptions import StateError
from django_google_link.testing import FakeGoogle
from tests.support.urls import authorize_request_of, local, query_of

pytestmark = pytest.mark.django_db

SAME = [
    ("blue.example", "BLUE.example"),
    ("blue.example", "blue.example:443"),
    ("blue.example", "blue.example:80"),
    ("blue.example", "blue.example."),
    ("Blue.Example:443", "blue.example"),
    ("blue.example:8000", "Blue.example:8000"),
    ("[::1]:8000", "[::1]:8000"),
]
OTHER = [
    ("blue.example", "red.example"),
    ("blue.example", "www.blue.example"),
    ("blue.example", "blue.example.red.example"),
    ("blue.example:8000", "blue.example:8001"),
    ("blue.example:8000", "blue.example"),
    ("blue.example", "blue.example:4430"),
    ("blue.example", "xblue.example"),
    ("", "red.example"),
]


@pytest.fixture(autouse=True)
def any_host(settings: Settings) -> None:
    """Allow any host."""
    settings.ALLOWED_HOSTS = ["*"]


def sign(user: Any, host: str) -> str:
    """Return the URL with a request signed on this host."""
    return AuthorizeRequest(
        user=str(user.pk),
        host=host,
        client="default",
        scopes=("openid",),
        required=(),
        return_url="/",
    ).url()


@pytest.mark.matrix
@pytest.mark.parametrize(("signed", "asked"), SAME)
def test_one_host_has_many_spellings(
    browser: Client, google: FakeGoogle, user: Any, signed: str, asked: str
) -> None:
    """Case, a default port and a trailing dot make no difference to the host."""
    response = browser.get(sign(user, signed), headers={"host": asked})

    assert response.status_code == 302
    assert response["Location"].startswith(google.url)


@pytest.mark.matrix
@pytest.mark.parametrize(("signed", "asked"), OTHER)
def test_request_signed_on_another_host_is_refused(
    browser: Client, google: FakeGoogle, user: Any, signed: str, asked: str
) -> None:
    """A request signed for another host or port is refused with 400."""
    response = browser.get(sign(user, signed), headers={"host": asked})

    assert response.status_code == 400
    assert google.requests_to("authorize") == []


@pytest.mark.parametrize("is_heeded", [True, False])
def test_forwarded_host_counts_where_django_heeds_it(
    browser: Client, google: FakeGoogle, user: Any, settings: Settings, is_heeded: bool
) -> None:
    """X-Forwarded-Host counts only with ``USE_X_FORWARDED_HOST``."""
    settings.USE_X_FORWARDED_HOST = is_heeded
    behind = {"host": "internal", "x-forwarded-host": "blue.example"}
    seen = "blue.example" if is_heeded else "internal"
    link = sign(user, seen)

    assert browser.get(link, headers=behind).status_code == 302
    for host in ("red.example", "internal" if is_heeded else "blue.example"):
        status = browser.get(sign(user, host), headers=behind).status_code
        assert status == 400


def test_pages_sign_for_the_host_that_they_were_asked_on(browser: Client, user: Any) -> None:
    """A view signs the request for the host that it was called on."""
    location = browser.get("/agenda/", headers={"host": "blue.example:8000"})["Location"]

    request = authorize_request_of(location, user, host="blue.example:8000")
    assert request.host == "blue.example:8000"
    with pytest.raises(StateError, match="another host"):
        authorize_request_of(location, user, host="red.example:8000")


def test_trying_again_is_for_the_same_host(browser: Client, google: FakeGoogle, user: Any) -> None:
    """The failure page contains a URL signed for the current host."""
    google.client.any_host = True
    headers = {"host": "blue.example"}
    to_google = browser.get("/google/authorize/", headers=headers)["Location"]
    back = google.consent(to_google, user=google.add_user("a@example.com"), deny=True)

    page: Any = browser.get(local(back), headers=headers)

    assert authorize_request_of(page.context["try_url"], user, host="blue.example")
    assert browser.get(page.context["try_url"], headers={"host": "red.example"}).status_code == 400
    assert query_of(page.context["try_url"])["request"]
