"""When a link was last used: recorded once per hour, without delaying anyone."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from django_google_link import services
from django_google_link.accounts import usage
from django_google_link.decorators import google_required
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked, save, stale
from tests.support.databases import new_user, read_only

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database", "google")]


@google_required
def view(request: Any) -> HttpResponse:
    """Use the account twice, and return what is recorded by then."""
    services.access_token(request.user)
    assert request.google.session()
    return HttpResponse(str(last_used()))


@google_required
async def async_view(request: Any) -> HttpResponse:
    """Use the account twice in an event loop."""
    assert request.google.session()
    await services.aaccess_token(request.user)
    return HttpResponse()


def view_without_decorator(request: HttpRequest) -> HttpResponse:
    """Use the account without our decorators."""
    services.authorized_session(request.user)
    return HttpResponse(str(last_used()))


@pytest.fixture(autouse=True)
def no_request() -> None:
    """Mark the end of a request, which Django's async client signals in another thread."""
    usage.finish_request()


urlpatterns = [
    path("view/", view),
    path("async/", async_view),
    path("plain/", view_without_decorator),
]


def last_used() -> datetime | None:
    """Return the stored time."""
    return GoogleAccount.objects.values_list("last_used_at", flat=True).get()


def unused(user: Any = None) -> GoogleAccount:
    """Return an account that was just linked."""
    account = save(user or new_user())
    assert last_used() is None
    return account


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("url", ["/view/", "/plain/"])
def test_view_writes_it_after_the_response(client: Client, url: str) -> None:
    """During the view nothing is written; after the response the time is stored."""
    account = unused()
    client.force_login(account.user)

    response = client.get(url)

    assert response.content == b"None"
    assert abs((last_used() or timezone.now()) - timezone.now()).total_seconds() < 60
    assert last_used() is not None


@pytest.mark.urls(__name__)
def test_async_view_writes_it_after_the_response(async_client: AsyncClient) -> None:
    """The event loop makes no query."""
    account = unused()
    async_to_sync(async_client.aforce_login)(account.user)

    response = async_to_sync(async_client.get)("/async/")

    assert response.status_code == 200
    assert last_used() is not None


def test_written_once_an_hour(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Further uses within the hour do not write it."""
    account = unused()
    for _ in range(1000):
        services.access_token(account)
    first = last_used()
    with django_assert_num_queries(0):
        services.access_token(account)

    with travel(minutes=30):
        services.access_token(GoogleAccount.objects.get())
        assert last_used() == first
    GoogleAccount.objects.update(access_token_expires_at=None)
    account.refresh_from_db()
    with travel(minutes=61):
        services.access_token(account)
        assert last_used() != first


def test_another_process_has_written_it() -> None:
    """An object that was read long ago does not overwrite it."""
    account = unused()
    now = timezone.now()
    GoogleAccount.objects.update(last_used_at=now)

    services.access_token(account)

    assert last_used() == GoogleAccount.objects.get().last_used_at == now


def test_in_a_transaction_it_waits_for_the_commit() -> None:
    """Otherwise the row lock would block others."""
    account = unused()
    with transaction.atomic():
        services.access_token(account)
        assert last_used() is None

    assert last_used() is not None


def test_without_autocommit_nothing_is_written() -> None:
    """The end of the transaction is unknown."""
    account = unused()
    transaction.set_autocommit(False)
    try:
        services.access_token(account)
        assert last_used() is None
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)


def test_database_that_is_read_only_does_no_harm() -> None:
    """The token is returned all the same."""
    account = unused()
    with read_only():
        assert services.access_token(account)

    assert last_used() is None


def test_credentials_that_refresh_themselves(google: FakeGoogle, alice: FakeUser) -> None:
    """Each refresh of a task's credentials counts as a use."""
    account = stale(new_user(), google, alice)
    GoogleAccount.objects.update(last_used_at=None)
    credentials = services.credentials_for(account)
    assert last_used() is None

    credentials.refresh(None)

    assert last_used() is not None


def test_upkeep_is_no_use(google: FakeGoogle, alice: FakeUser) -> None:
    """google_link_refresh does not count as use."""
    linked(new_user(), google, alice)
    GoogleAccount.objects.update(last_used_at=None)

    call_command("google_link_refresh", expiring_within=50, stdout=io.StringIO())
    with travel(hours=1):
        call_command("google_link_refresh", expiring_within=50, stdout=io.StringIO())

    assert google.requests_to("token")
    assert last_used() is None


def test_process_remembers_some_links_and_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is bounded, and the use of every link is still recorded."""
    monkeypatch.setattr(usage, "MOST_REMEMBERED", 2)
    user = new_user()
    accounts = [save(user, str(n)) for n in range(5)]

    for account in accounts:
        services.access_token(account)

    assert not GoogleAccount.objects.filter(last_used_at=None).exists()
    assert connection.vendor


@pytest.mark.slow
def test_users_and_operators_see_it(client: Client, admin_client: Client) -> None:
    """The connections page and the admin show the date."""
    account = unused()
    client.force_login(account.user)
    assert b"Last used" not in client.get("/google/").content
    services.access_token(account)

    assert b"Last used: " in client.get("/google/").content
    page = admin_client.get(f"/admin/google_link/googleaccount/{account.pk}/change/")
    assert b"Last used:" in page.content
