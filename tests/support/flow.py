"""The authorization flow, through Google and back."""

from __future__ import annotations

from typing import Any

from django.test import Client

from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.urls import local


def arrive(browser: Client, back: str) -> Any:
    """Bring back Google's response; return where that leads on this site."""
    response: Any = browser.get(local(back))
    if response.headers.get("Location") == "/google/failed/":
        return browser.get("/google/failed/")
    return response


def link(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    start: str = "/google/authorize/",
    **how: Any,
) -> Any:
    """Complete the flow; return the callback's response."""
    to_google = browser.get(start)
    assert to_google.status_code == 302, to_google.content
    return browser.get(local(google.consent(to_google["Location"], user=alice, **how)))


def visit(browser: Client, google: FakeGoogle, url: str, **how: Any) -> tuple[Any, int]:
    """Follow the redirects, through Google as well; count the visits to Google."""
    response: Any = browser.get(url)
    hops = visits = 0
    while response.status_code == 302:
        location = response["Location"]
        if location.startswith(google.url):
            visits += 1
            location = local(google.consent(location, **how))
        response = browser.get(location)
        hops += 1
        assert hops < 12, "The redirects go in a circle."
    return response, visits
