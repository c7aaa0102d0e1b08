"""The cookbook's code does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from django.urls import include, path
from django.utils.module_loading import import_string
from pytest_django import Settings

from django_google_link.testing import FakeGoogle, FakeUser

from .constants import CALENDAR
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
