"""Browsers look ahead: what nobody has asked for changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.web.pending import MAX_PENDING, SESSION_KEY
from tests.support.urls import local

pytestmark = pytest.mark.django_db

GUESSES = [
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Sec-Purpose": "prefetch;anonymous-client-ip"},
    {"Purpose": "prefetch"},
    {"X-Moz": "prefetch"},
    {"X-Purpose": "preview"},
]


@pytest.mark.matrix
@pytest.mark.parametrize("headers", GUESSES, ids=str)
def test_prefetched_callback_uses_nothing(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, headers: dict[str, str]
) -> None:
    """The user comes a moment later, with the same state and code."""
    to_google = browser.get("/google/authorize/")
    back = local(google.consent(to_google["Location"], user=alice))

    guess = browser.get(back, headers=headers)
    visit = browser.get(back)

    assert (guess.status_code, guess["Cache-Control"]) == (503, visit["Cache-Control"])
    assert visit["Location"] == "/google/"
    assert user.google_accounts.get().email == alice.email
    assert len(google.requests_to("token")) == 1


@pytest.mark.matrix
@pytest.mark.parametrize("headers", GUESSES, ids=str)
def test_prefetched_start_evicts_nothing(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, headers: dict[str, str]
) -> None:
    """However many links a browser looks at ahead, the attempt under way stays."""
    to_google = browser.get("/google/authorize/")

    for _ in range(MAX_PENDING):
        assert browser.get("/google/authorize/", headers=headers).status_code == 503

    assert len(browser.session[SESSION_KEY]) == 1
    browser.get(local(google.consent(to_google["Location"], user=alice)))
    assert user.google_accounts.exists()


def test_other_purposes_are_visits(browser: Client) -> None:
    """Only what looks ahead is kept out."""
    assert browser.get("/google/authorize/", headers={"Sec-Purpose": "x"}).status_code == 302
