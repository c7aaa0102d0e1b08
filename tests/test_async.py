"""Async views, under ASGI and with the session in the database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, RequestFactory
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import GrantLostError, MissingScopesError
from django_google_link.models import GoogleAccount, Status
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support import views
from tests.support.apis import link_account
from tests.support.callers import HTML
from tests.support.constants import CALENDAR, DRIVE, EVENTS
from tests.support.statuses import STATUSES, assert_leads_on
from tests.support.tables import queries_of_ours
from tests.support.urls import authorize_request_of, query_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def async_browser(async_client: AsyncClient, user: Any) -> AsyncClient:
    """An async browser in which the user is logged in."""
    async_client.force_login(user)
    return async_client


def get(client: AsyncClient, url: str, **headers: str) -> Any:
    """Visit a page through the ASGI handler."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return async_to_sync(client.get)(url, headers=named)


def post(client: AsyncClient, url: str, **headers: str) -> Any:
    """Send a form through the ASGI handler."""
    return async_to_sync(client.post)(url, headers=headers)


@pytest.mark.matrix
@pytest.mark.parametrize("status", STATUSES)
def test_async_required_answers_as_sync(async_client: AsyncClient, user: Any, status: str) -> None:
    """The same table, under ASGI."""
    arrange, missing = STATUSES[status]
    arrange(user)
    if status != "anonymous":
        async_client.force_login(user)

    navigation = get(async_client, "/async/bare/?day=1", accept=HTML)
    program = get(async_client, "/async/bare/?day=1", sec_fetch_mode="cors")
    form = post(async_client, "/async/bare/?day=1", accept=HTML)

    assert navigation.status_code == 302
    assert_leads_on(navigation["Location"], status, user, back_to="/async/bare/?day=1")
    content = program.json()
    assert_leads_on(content.pop("authorize_url"), status, user, back_to="/async/bare/?day=1")
    assert program.status_code == 403
    for name in ("detail", "link_request", "declined"):
        content.pop(name, None)
    assert content == {
        "error": "google_authorization_required",
        "reason": status,
        "missing_scopes": missing,
    }
    assert form.status_code == (302 if status == "anonymous" else 403)


def test_async_required_ready_runs_the_view(
    async_browser: AsyncClient, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """And calls Google off the event loop."""
    link_account(google, user, alice, CALENDAR)

    assert get(async_browser, "/async/agenda/").json() == {"events": EVENTS}


@pytest.mark.matrix
@pytest.mark.parametrize("status", [*STATUSES, "ready"])
def test_async_aware_asks_everything_in_the_event_loop(
    async_client: AsyncClient, user: Any, status: str
) -> None:
    """No SynchronousOnlyOperation, whatever is asked."""
    if status == "ready":
        make_google_account(user, scopes=[CALENDAR])
    else:
        STATUSES[status][0](user)
    if status != "anonymous":
        async_client.force_login(user)

    response = get(async_client, "/async/home/")

    assert response.json()["status"] == status
    assert response.json()["has_credentials"] is (status == "ready")


def test_async_accounts_are_looked_up_once(async_browser: AsyncClient, user: Any) -> None:
    """One query of ours, and Django's two."""
    make_google_account(user, scopes=[CALENDAR])

    for url in ("/async/bare/", "/async/home/", "/async/other/"):
        with CaptureQueriesContext(connection) as captured:
            get(async_browser, url)
        assert len(queries_of_ours(captured)) == 1
        assert len(captured) == 3


def test_async_nobody_costs_nothing(async_client: AsyncClient) -> None:
    """An anonymous visitor is not looked up."""
    for url in ("/async/bare/", "/async/home/", "/async/chosen/"):
        with CaptureQueriesContext(connection) as captured:
            get(async_client, url)
        assert len(captured) == 0


def test_async_grant_lost_inside_the_view(
    async_browser: AsyncClient, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The same as in a sync view."""
    account = link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    response = get(async_browser, "/async/agenda/?q=1")
    posted = post(async_browser, "/async/agenda/", accept=HTML)

    account.refresh_from_db()
    wanted = authorize_request_of(response["Location"], user)
    assert (wanted.return_url, wanted.account) == ("/async/agenda/?q=1", alice.sub)
    assert account.status == Status.NEEDS_REAUTHORIZATION
    assert posted.status_code == 403


def test_async_grant_lost_of_an_account_that_a_coroutine_chose(
    async_browser: AsyncClient, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The chooser is not needed a second time."""
    account = link_account(google, user, alice, CALENDAR)
    url = f"/async/chosen/?account={account.pk}"
    ready = get(async_browser, url)
    google.revoke(alice)

    response = get(async_browser, url)

    assert ready.content == b"alice@gmail.com"
    assert authorize_request_of(response["Location"], user).account == alice.sub


def test_async_error_without_an_account_keeps_to_the_chosen_one(
    user: Any, async_rf: AsyncRequestFactory
) -> None:
    """Also where the error does not say which account it is about."""
    make_google_account(user, scopes=[CALENDAR, DRIVE])
    two = make_google_account(user, scopes=[CALENDAR], sub="2")

    async def choose(request: Any) -> Any:
        return two.pk

    @google_required(account=choose)
    async def view(request: Any) -> HttpResponse:
        raise MissingScopesError(missing_scopes=[DRIVE])

    request = async_rf.get("/here/")
    request.user = user
    response = async_to_sync(view)(request)

    assert authorize_request_of(response["Location"], user).account == "2"


def test_async_error_of_somebody_elses_account_is_not_this_users(
    async_browser: AsyncClient, google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """It is raised, not answered."""
    link_account(google, user, alice, CALENDAR)
    theirs = link_account(google, other_user, google.add_user("bob@gmail.com"))
    GoogleAccount.objects.filter(pk=theirs.pk).update(status=Status.NEEDS_REAUTHORIZATION)

    with pytest.raises(GrantLostError):
        get(async_browser, f"/async/agenda-of/{theirs.pk}/")


def test_async_error_of_ones_own_account_is_answered(
    async_browser: AsyncClient, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """For the account in trouble."""
    link_account(google, user, alice, CALENDAR)
    bob = google.add_user("bob@gmail.com")
    second = link_account(google, user, bob, CALENDAR)

    ready = get(async_browser, f"/async/agenda-of/{second.pk}/")
    google.revoke(bob)
    lost = get(async_browser, f"/async/agenda-of/{second.pk}/")

    assert ready.json() == {"events": EVENTS}
    assert authorize_request_of(lost["Location"], user).account == bob.sub


def test_async_other_errors_pass(async_browser: AsyncClient, user: Any) -> None:
    """They are not ours."""
    make_google_account(user, scopes=[CALENDAR])

    with pytest.raises(ZeroDivisionError):
        get(async_browser, "/async/broken/")


def test_async_chooser(async_browser: AsyncClient, user: Any, other_user: Any) -> None:
    """A coroutine function or a plain one, in an async view."""
    make_google_account(user, scopes=[CALENDAR], email="one@gmail.com")
    two = make_google_account(user, scopes=[CALENDAR], email="two@gmail.com")
    theirs = make_google_account(other_user, scopes=[CALENDAR])
    ready = get(async_browser, "/async/other/")
    GoogleAccount.objects.filter(pk=two.pk).update(granted_scopes=[])

    plain = get(async_browser, "/async/other/")
    coroutine = get(async_browser, f"/async/chosen/?account={two.pk}")
    foreign = get(async_browser, f"/async/chosen/?account={theirs.pk}")
    garbage = get(async_browser, "/async/chosen/?account=x")

    assert ready.content == b"two@gmail.com"
    assert authorize_request_of(plain["Location"], user).account == two.sub
    assert authorize_request_of(coroutine["Location"], user).account == two.sub
    assert (foreign.status_code, garbage.status_code) == (404, 404)


def test_async_chooser_is_not_asked_for_nobody(async_client: AsyncClient) -> None:
    """A chooser sees users only, as in a sync view."""
    for url in ("/async/other/", "/async/chosen/"):
        assert get(async_client, url)["Location"].startswith("/login/")


def test_async_user_is_the_one_of_the_request(
    user: Any, other_user: Any, async_rf: AsyncRequestFactory
) -> None:
    """Whoever sets request.user, to impersonate or by a token, is believed."""
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")
    make_google_account(other_user, scopes=[CALENDAR], email="b@gmail.com")

    request = async_rf.get("/")
    request.user, request.auser = user, lambda: pytest.fail("not the user of this request")
    response = async_to_sync(views.async_bare)(request)

    assert response.content == b"a@gmail.com"


def resolve_in_database(request: Any) -> str:
    """Tell the client by asking the database, as a multi-tenant site does."""
    GoogleAccount.objects.exists()
    return "default"


def test_async_client_resolver_may_ask_the_database(
    async_browser: AsyncClient, user: Any, settings: Settings
) -> None:
    """It is not called in the event loop."""
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENT_RESOLVER": "tests.test_async.resolve_in_database",
    }

    assert get(async_browser, "/async/bare/").content == b"a@gmail.com"
    assert get(async_browser, "/async/home/").json()["status"] == "ready"


def test_async_client_resolver_may_ask_the_database_for_nobody(
    async_client: AsyncClient, settings: Settings
) -> None:
    """Nor for a visitor whose accounts are not looked up."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENT_RESOLVER": "tests.test_async.resolve_in_database",
    }

    assert get(async_client, "/async/home/").json()["status"] == "anonymous"


@pytest.mark.matrix
@pytest.mark.parametrize("path", ["/async/dispatched/", "/async/gotten/", "/async/in-urls/"])
def test_async_class_based_view(async_browser: AsyncClient, user: Any, path: str) -> None:
    """Decorated as a whole, in part, or in the URLconf."""
    before = get(async_browser, path)
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")
    after = get(async_browser, path)
    wrong_method = async_to_sync(async_browser.put)(path)

    assert authorize_request_of(before["Location"], user).return_url == path
    assert after.content == b"a@gmail.com"
    assert wrong_method.status_code == 405


def test_sync_views_under_asgi(async_browser: AsyncClient, user: Any) -> None:
    """Django runs them in a thread, and they work as ever."""
    before = get(async_browser, "/bare/")
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")

    assert authorize_request_of(before["Location"], user).return_url == "/bare/"
    assert get(async_browser, "/bare/").content == b"a@gmail.com"
    assert get(async_browser, "/dispatched/").content == b"a@gmail.com"


@pytest.mark.slow
def test_async_requests_at_the_same_time_do_not_mix(async_client: AsyncClient) -> None:
    """Each has its own."""
    urls = [f"/async/bare/?n={number}" for number in range(20)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(AsyncClient().get(url) for url in urls))

    responses = asyncio.run(all_at_once())

    assert [query_of(response["Location"])["next"] for response in responses] == urls


def test_async_request_without_a_user_is_anonymous(rf: RequestFactory) -> None:
    """Where no middleware has set one."""
    response = asyncio.run(views.async_bare(rf.get("/here/")))

    assert query_of(response["Location"]) == {"next": "/here/"}


@pytest.mark.parametrize("decorator", [google_required, google_aware])
@pytest.mark.parametrize("called", [False, True])
def test_async_name_docstring_and_kind_stay(decorator: Any, called: bool) -> None:
    """The view stays a coroutine function, with its name and docstring."""

    async def page(request: Any) -> None:
        """The page."""

    view = (decorator(scopes=[CALENDAR]) if called else decorator)(page)

    assert (view.__name__, view.__doc__) == ("page", "The page.")
    assert view.__wrapped__ is page
    assert iscoroutinefunction(view)
