"""htmx and fetch in a real browser: a part of a page needs Google, and the page goes there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from django_google_link.decorators import google_required
from django_google_link.testing import FakeGoogle
from tests.browser.steps import expect
from tests.documentation.pages import blocks, text_of
from tests.support.constants import CALENDAR

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.node,
    pytest.mark.urls(__name__),
    pytest.mark.django_db(transaction=True),
]

EVENTS = "/calendar/v3/calendars/primary/events"
PAGE = """<!doctype html><html lang="en"><title>Diary</title>
<link rel="icon" href="data:,"><script src="/htmx.js"></script>
<h1>Diary</h1><button hx-get="/agenda/" hx-target="#part">Show</button><div id="part"></div>"""

script = Path()


@pytest.fixture(scope="module", autouse=True)
def unsafe() -> Iterator[None]:
    """The browser's event loop runs in this thread, and Django would notice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@google_required(scopes=[CALENDAR])
def part(request: HttpRequest) -> HttpResponse:
    """A part of the page."""
    calendar = request.google.service("calendar", "v3")
    events = calendar.events().list(calendarId="primary").execute()["items"]
    return HttpResponse(f"<p>{events[0]['summary']}</p>")


urlpatterns = [
    path("", lambda request: HttpResponse(PAGE)),
    path("htmx.js", lambda request: HttpResponse(script.read_text(), "text/javascript")),
    path("agenda/", part),
    path("google/", include("django_google_link.urls")),
]


@pytest.fixture
def page(
    live_server: LiveServer,
    open_browser: Callable[..., BrowserContext],
    google: FakeGoogle,
    django_user_model: Any,
    settings: Settings,
) -> Page:
    """A tab in which Anna is logged in; she has an account at Google and something to do."""
    google.client.redirect_uris.append(f"{live_server.url}/google/callback/")
    google.add_user("anna@gmail.com")
    google.answer(EVENTS, {"items": [{"summary": "Dentist"}]})
    client = Client()
    client.force_login(django_user_model.objects.create_user("anna"))
    name = settings.SESSION_COOKIE_NAME
    context = open_browser(base_url=live_server.url)
    context.add_cookies(
        [{"name": name, "value": client.cookies[name].value, "url": live_server.url}]
    )
    return context.new_page()


@pytest.mark.parametrize("version", ["htmx2", "htmx4"])
def test_htmx_leads_to_consent_and_back(
    page: Page,
    live_server: LiveServer,
    node_modules: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
) -> None:
    """To the page from which the button was pressed, where it now shows the events."""
    monkeypatch.setattr(f"{__name__}.script", node_modules / version / "dist" / "htmx.min.js")
    page.goto("/?day=1")

    page.get_by_role("button", name="Show").click()
    page.get_by_role("button", name="Allow").click()

    expect(page.get_by_role("heading", name="Diary")).to_be_visible()
    assert page.url == f"{live_server.url}/?day=1"
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Dentist")).to_be_visible()


def test_script_of_the_guide_leads_to_consent(page: Page, google: FakeGoogle) -> None:
    """It is told where to go."""
    [code] = blocks(text_of("howto/htmx"), "js")
    page.goto("/google/")

    page.evaluate(f"async () => {{ {code} }}")

    page.wait_for_url(f"{google.url}/**")
