"""Who granted a wide scope is not asked for a narrow one, and nobody for both at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.decorators import google_required
from django_google_link.request import GoogleRequiredRequest
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, OPENID, TASKS
from tests.support.flow import visit
from tests.support.urls import query_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

ALL_CALENDARS = CALENDAR.removesuffix(".readonly")


@google_required(scopes=[CALENDAR], optional_scopes=[ALL_CALENDARS])
def agenda(request: GoogleRequiredRequest) -> HttpResponse:
    """Show whether it may be written, too."""
    return HttpResponse(str(request.google.has_scopes(ALL_CALENDARS)))


@google_required(scopes=[CALENDAR, ALL_CALENDARS])
def edit(request: HttpRequest) -> HttpResponse:
    """Need both."""
    return HttpResponse("edited")


urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("agenda/", agenda),
    path("edit/", edit),
]


def asked_by(browser: Client, url: str) -> set[str]:
    """Return which scopes Google is asked for on the way to a page."""
    response: Any = browser.get(url)
    if response["Location"].startswith("/google/authorize/"):
        response = browser.get(response["Location"])
    return set(query_of(response["Location"])["scope"].split()) - set(OPENID)


def test_wide_scope_is_enough(browser: Client, google: FakeGoogle, user: Any) -> None:
    """In a view, in a task, and for the row."""
    account = make_google_account(user, scopes=[ALL_CALENDARS])

    assert browser.get("/agenda/").content == b"True"
    assert access_token(user, scopes=[CALENDAR])
    assert account.is_ready(CALENDAR)


def test_optional_wide_scope_makes_room(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Who declined it would have neither."""
    assert asked_by(browser, "/agenda/") == {CALENDAR}

    response, asked = visit(browser, google, "/agenda/", user=alice)

    assert (response.content, asked) == (b"False", 1)


def test_required_wide_scope_is_asked_alone(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """It stands for both."""
    assert asked_by(browser, "/edit/") == {ALL_CALENDARS}

    response, asked = visit(browser, google, "/edit/", user=alice)

    assert (response.content, asked) == (b"edited", 1)
    assert visit(browser, google, "/agenda/")[1] == 0


def test_declined_wide_scope_leaves_what_was_granted(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """The narrow one stays, and the user is not sent in circles."""
    visit(browser, google, "/agenda/", user=alice)

    response, asked = visit(browser, google, "/edit/", user=alice, grant=list(OPENID))

    assert (response.status_code, asked) == (403, 1)
    assert visit(browser, google, "/agenda/")[1] == 0


def test_wide_scope_of_the_settings_makes_room(
    browser: Client, google: FakeGoogle, user: Any, configure: Callable[..., None]
) -> None:
    """What all links are asked for is optional where a view requires less."""
    configure(SCOPES=[ALL_CALENDARS])

    assert asked_by(browser, "/agenda/") == {CALENDAR}
    assert asked_by(browser, "/google/authorize/") == {ALL_CALENDARS}


@pytest.mark.parametrize("combines", [True, False])
def test_what_is_granted_is_not_asked_in_other_words(
    browser: Client,
    google: FakeGoogle,
    user: Any,
    configure: Callable[..., None],
    combines: bool,
) -> None:
    """Where earlier scopes come along by themselves, and where they are asked by name."""
    configure(INCLUDE_GRANTED_SCOPES=combines)
    make_google_account(user, scopes=[ALL_CALENDARS])
    request = AuthorizeRequest(
        user=str(user.pk),
        host="testserver",
        client="default",
        scopes=(*OPENID, CALENDAR, TASKS),
        required=(TASKS,),
        return_url="/agenda/",
    )

    expected = {TASKS} if combines else {TASKS, ALL_CALENDARS}
    assert asked_by(browser, request.url()) == expected
    query = query_of(browser.get(request.url())["Location"])
    assert query.get("include_granted_scopes", "") == ("true" if combines else "")


def test_lost_wide_scope_is_not_asked_by_a_page_that_needs_less(
    browser: Client, google: FakeGoogle, user: Any
) -> None:
    """A grant that is gone implies nothing."""
    make_google_account(user, scopes=[ALL_CALENDARS], status="needs_reauthorization")

    assert asked_by(browser, "/agenda/") == {CALENDAR}
