"""Fifty concurrent API calls in an async view, served by uvicorn in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from threading import Barrier
from typing import Any

import pytest
import requests
from django.conf import settings
from django.test import Client

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.concurrency.workers import database_settings
from tests.support.accounts import linked, token_of
from tests.support.constants import CALENDAR
from tests.support.databases import new_user
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("shared_database")]

CALLS = 50


@pytest.fixture
def site(google: FakeGoogle) -> Iterator[str]:
    """The address of the running site."""
    order = {
        "databases": {"default": database_settings()},
        "google_link": settings.GOOGLE_LINK,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.asgi_site", json.dumps(order)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def account(google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, which has granted the calendar scope."""
    return linked(new_user(), google, alice)


def visit(site: str, user: Any) -> Any:
    """Open the view as this user, and return the status codes of its API calls."""
    browser = Client()
    browser.force_login(user)
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()}
    response = requests.get(f"{site}/calls/", cookies=cookies, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()["statuses"]


def test_calls_are_on_their_way_at_once(
    site: str, google: FakeGoogle, account: GoogleAccount
) -> None:
    """The API responds once all fifty have arrived; another page is served meanwhile."""
    everybody = Barrier(CALLS)
    pages: list[str] = []

    @google.route("/calendar/v3/calendars/<id>/events", scopes=[CALENDAR])
    def events(request: Any, user: FakeUser, id: str) -> dict[str, Any]:
        if everybody.wait(timeout=30) == 0:
            pages.append(requests.get(f"{site}/alive/", timeout=20).text)
        everybody.wait(timeout=30)
        return {"items": []}

    assert visit(site, account.user) == [200] * CALLS
    assert pages == ["alive"]
    assert google.requests_to("token") == []


def test_refresh_does_not_block_the_event_loop(
    site: str, google: FakeGoogle, account: GoogleAccount
) -> None:
    """One token request serves all fifty calls, and another page is served meanwhile."""
    google.answer("/calendar/v3/calendars/primary/events", {"items": []})
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60))
    pages: list[str] = []

    def look() -> None:
        pages.append(requests.get(f"{site}/alive/", timeout=5).text)

    before = token_of(account, "access_token")
    with during_refresh(google, look):
        assert visit(site, account.user) == [200] * CALLS

    assert pages == ["alive"]
    assert token_of(account, "access_token") != before
    assert len(google.requests_to("token")) == 1


def test_refused_calls_ask_for_one_token(
    site: str, google: FakeGoogle, account: GoogleAccount
) -> None:
    """Fifty calls that get 401, each with an object of its own, cause one token request."""
    google.answer("/calendar/v3/calendars/primary/events", {"items": []})
    google.expire_access_tokens()

    assert visit(site, account.user) == [200] * CALLS

    assert len(google.requests_to("token")) == 1
