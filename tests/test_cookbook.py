"""The cookbook's code does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.urls import include, path
from django.utils.module_loading import import_string
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account

from .constants import CALENDAR
from .test_linking import query_of
from .test_responses import EVENTS, HTML, link_account

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

PAGE = (Path(__file__).parent.parent / "docs" / "cookbook.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def run(text: str, *, apis: str = "https://www.googleapis.com") -> dict[str, Any]:
    """Run the code block in which this text stands, and return its names.

    Args:
        apis: where Google's APIs are, for code that names them.
    """
    [block] = [block for block in BLOCKS if text in block]
    names: dict[str, Any] = {"__name__": __name__}
    exec(block.replace("https://www.googleapis.com/calendar", f"{apis}/calendar"), names)
    return names


urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("class/", run("class Agenda(")["Agenda"].as_view()),
    path("profile/", run("def from_address")["profile"]),
    path("drf/", run("class AgendaView")["AgendaView"].as_view()),
]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_blocks_are_python(block: str) -> None:
    """Every block compiles."""
    compile(block, "cookbook.md", "exec")


def test_class_based_view(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """Off to consent, and then the events in the template's context."""
    loaders = [("django.template.loaders.locmem.Loader", {"agenda.html": "{{ events.0.summary }}"})]
    [engine] = settings.TEMPLATES
    options = {**engine["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**engine, "APP_DIRS": False, "OPTIONS": options}]
    assert browser.get("/class/", headers={"accept": HTML}).status_code == 302

    link_account(google, user, alice, CALENDAR)

    assert browser.get("/class/").content.decode() == EVENTS[0]["summary"]


def test_async_view(
    async_client: AsyncClient, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The token that it gets is one that Google honours."""
    link_account(google, user, alice, CALENDAR)
    urlpatterns.append(path("async/", run("import httpx", apis=google.url)["agenda"]))
    async_client.force_login(user)

    response = async_to_sync(async_client.get)("/async/")

    assert response.json() == {"items": EVENTS}


def test_names_in_settings_can_be_imported() -> None:
    """They are where the page says."""
    [middleware] = run("MIDDLEWARE")["MIDDLEWARE"]

    assert import_string(middleware)
    assert import_string(run("REST_FR")["REST_FRAMEWORK"]["EXCEPTION_HANDLER"])


def test_drf_view(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """A 403 that says where to go, and then the events."""
    settings.REST_FRAMEWORK = run("REST_FR")["REST_FRAMEWORK"]
    refused = browser.get("/drf/", headers={"accept": "application/json"})
    assert set(refused.json()) == {"error", "reason", "missing_scopes", "authorize_url"}

    link_account(google, user, alice, CALENDAR)

    assert browser.get("/drf/").json() == EVENTS


def test_background_task(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """It tells the user, waits for Google, and works."""
    sync_calendar = run("def sync_calendar")["sync_calendar"]
    said: list[Any] = []

    def sync() -> Any:
        return sync_calendar(user, tell=lambda _, reason: said.append(reason), retry=said.append)

    assert sync() is None
    account = link_account(google, user, alice, CALENDAR)
    assert sync() == EVENTS

    GoogleAccount.objects.update(access_token_expires_at=account.linked_at)
    google.fail_next(status=503)
    assert sync() is None
    assert said[0] == "not_linked"
    assert len(said) == 2


def test_account_of_the_address(browser: Client, user: Any, other_user: Any) -> None:
    """One's own, and nobody else's."""
    first = make_google_account(user, email="a@example.com", scopes=[CALENDAR])
    second = make_google_account(user, email="b@example.com", scopes=[CALENDAR])
    foreign = make_google_account(other_user)

    assert browser.get("/profile/").content.decode() == f"{first.email} of 2"
    assert browser.get(f"/profile/?account={second.pk}").content.decode() == f"{second.email} of 2"
    assert browser.get(f"/profile/?account={foreign.pk}").status_code == 404


def client_of_tenant(request: HttpRequest) -> str:
    """The resolver of the page."""
    name: str = run("def client_of_tenant")["client_of_tenant"](request)
    return name


def test_client_of_a_tenant(browser: Client, user: Any, settings: Settings) -> None:
    """Each host links through its own."""
    settings.ALLOWED_HOSTS = ["*"]
    [client] = settings.GOOGLE_LINK["CLIENTS"].values()
    names = {name: {**client, "CLIENT_ID": name} for name in ("default", "blue", "red")}
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": names,
        "CLIENT_RESOLVER": f"{__name__}.client_of_tenant",
    }

    for host, name in (("blue.example", "blue"), ("red.example", "red"), ("x.example", "default")):
        location = browser.get("/google/authorize/", headers={"host": host})["Location"]
        assert query_of(location)["client_id"] == name
