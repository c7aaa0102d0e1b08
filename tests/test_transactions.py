"""Views that write, and find out then that their user has to act first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path
from django.views import View
from django.views.decorators.cache import never_cache
from pytest_django import Settings
from rest_framework.authentication import SessionAuthentication
from rest_framework.response import Response
from rest_framework.views import APIView

from django_google_link.contrib.rest_framework import GoogleRequired, exception_handler
from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import ConsentRequiredError, GrantLostError
from django_google_link.mixins import GoogleRequiredMixin
from django_google_link.models import GoogleAccount, Status
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.apis import link_account
from tests.support.constants import CALENDAR
from tests.support.databases import new_user
from tests.support.signals import heard
from tests.support.times import in_seconds
from tests.support.urls import authorize_request_of

MIDDLEWARE = "django_google_link.middleware.ConsentRequiredMiddleware"


def write(name: str = "half the work") -> None:
    """Do what has to be taken back."""
    Group.objects.create(name=name)


def work(request: HttpRequest) -> HttpResponse:
    """Write, and ask Google then."""
    write()
    account = GoogleAccount.objects.get(pk=request.GET["account"])
    return HttpResponse(access_token(account, scopes=[CALENDAR]))


def work_in_a_block(request: HttpRequest) -> HttpResponse:
    """Ask in a transaction of the view's own."""
    write("before the block")
    with transaction.atomic():
        return work(request)


def work_without_a_savepoint(request: HttpRequest) -> HttpResponse:
    """Ask in a block that takes the whole transaction with it."""
    with transaction.atomic(savepoint=False):
        return work(request)


def write_elsewhere(request: HttpRequest) -> HttpResponse:
    """Write in other databases, too."""
    for alias in ("ledger", "diary"):
        with connections[alias].cursor() as cursor:
            cursor.execute("INSERT INTO lines VALUES ('written')")
    return work(request)


def catch_and_raise_again(request: HttpRequest) -> HttpResponse:
    """Go on after the error, and give up then."""
    caught: list[ConsentRequiredError] = []
    try:
        with transaction.atomic():
            work(request)
    except ConsentRequiredError as error:
        caught.append(error)
    write("after the error")
    raise caught[0]


def catch(request: HttpRequest) -> HttpResponse:
    """Have an answer of one's own."""
    try:
        return work(request)
    except ConsentRequiredError:
        return HttpResponse("later")


def catch_and_fail(request: HttpRequest) -> HttpResponse:
    """Stumble after the error."""
    catch(request)
    raise ZeroDivisionError


@google_aware
def nested(request: HttpRequest) -> HttpResponse:
    """A decorated view in another one."""
    write("outside")
    return google_required(work)(request)


def writing_first(view: Any) -> Any:
    """Decorate a view with what writes as well."""

    def wrapper(request: HttpRequest) -> Any:
        write("around the view")
        return view(request)

    return wrapper


class ByMixin(GoogleRequiredMixin, View):
    """A class-based view."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Write, and ask."""
        return work(request)


class ByDRF(APIView):
    """A view of Django REST framework's."""

    authentication_classes = [SessionAuthentication]
    work: Callable[[Any], HttpResponse] = staticmethod(work)

    def get(self, request: Any) -> Response:
        """Write, and ask."""
        return Response(self.work(request._request).content.decode())


class WithPermission(ByDRF):
    """One that looks at the account first."""

    permission_classes = [GoogleRequired]


async def work_async(request: HttpRequest) -> HttpResponse:
    """An async view, whose work is not."""
    return await sync_to_async(work_in_a_block)(request)


VIEWS = {
    "decorator": google_required(work),
    "aware": google_aware(work),
    "block": google_required(work_in_a_block),
    "no savepoint": google_required(work_without_a_savepoint),
    "again": google_required(catch_and_raise_again),
    "nested": nested,
    "around": writing_first(never_cache(google_required(work))),
    "mixin": ByMixin.as_view(),
    "middleware": work,
    "drf": ByDRF.as_view(),
    "drf permission": WithPermission.as_view(),
    "drf block": ByDRF.as_view(work=work_in_a_block),
    "drf no savepoint": ByDRF.as_view(work=work_without_a_savepoint),
    "drf again": ByDRF.as_view(work=catch_and_raise_again),
}

OTHERS = {
    "several databases": google_required(write_elsewhere),
    "drf several databases": ByDRF.as_view(work=write_elsewhere),
    "own": google_required(catch),
    "stumbling": google_required(catch_and_fail),
    "exempt": transaction.non_atomic_requests(google_required(work_in_a_block)),
    "exempt inside": google_required(transaction.non_atomic_requests(work_in_a_block)),
    "async": transaction.non_atomic_requests(google_required(work_async)),
}

urlpatterns = [
    path("google/", include("django_google_link.urls")),
    *(path(f"{name}/", view) for name, view in {**VIEWS, **OTHERS}.items()),
]

pytestmark = [pytest.mark.urls(__name__), pytest.mark.slow]


@pytest.fixture
def atomic_requests(shared_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django opens a transaction around each view, and nobody else does."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)


@pytest.fixture
def no_atomic_requests(shared_database: None) -> None:
    """Nobody opens a transaction but the view itself."""


@pytest.fixture
def lost(
    google: FakeGoogle, alice: FakeUser, settings: Settings, request: pytest.FixtureRequest
) -> GoogleAccount:
    """A user whose grant Google has ended, which nobody knows yet.

    The middleware is there for the view that needs it, and for what passes by the others.
    """
    parameters = getattr(request.node, "callspec", None)
    is_others = "somebody_else" in request.node.name
    if is_others or (parameters and parameters.params.get("name") == "middleware"):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]
    settings.REST_FRAMEWORK = {
        "EXCEPTION_HANDLER": exception_handler.__module__ + ".exception_handler"
    }
    account = link_account(
        google, new_user(), alice, CALENDAR, access_token_expires_at=in_seconds(-60)
    )
    google.revoke(alice)
    google.clear_requests()
    return account


def get(name: str, account: GoogleAccount, **headers: str) -> Any:
    """Visit a view as the owner of an account."""
    browser = Client()
    browser.force_login(account.user)
    return browser.get(f"/{name}/", {"account": account.pk}, headers=headers)


def assert_asks_for(response: Any, account: GoogleAccount) -> None:
    """Check that an answer leads to consent for this account."""
    if response.status_code == 302:
        url = response["Location"]
    else:
        assert response.status_code == 403
        assert response.json()["reason"] == "needs_reauthorization"
        url = response.json()["authorize_url"]
    assert authorize_request_of(url, account.user).account == account.sub


def assert_is_noted(account: GoogleAccount) -> None:
    """Check that the database says that the grant is lost."""
    account.refresh_from_db()
    assert (account.status, account.status_reason) == (Status.NEEDS_REAUTHORIZATION, "revoked")


@pytest.mark.usefixtures("atomic_requests")
@pytest.mark.parametrize("headers", [{}, {"hx-request": "true"}], ids=["page", "htmx"])
@pytest.mark.parametrize("name", VIEWS)
def test_request_is_rolled_back(lost: GoogleAccount, name: str, headers: dict[str, str]) -> None:
    """All that was written in its transaction; and it is noted, once, that the grant is lost."""
    with heard() as news:
        response = get(name, lost, **headers)

    assert_asks_for(response, lost)
    assert not Group.objects.exists()
    assert_is_noted(lost)
    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.usefixtures("no_atomic_requests")
@pytest.mark.parametrize("name", VIEWS)
def test_without_atomic_requests_only_blocks_are_rolled_back(
    lost: GoogleAccount, name: str
) -> None:
    """What a view has written outside of them is written, and the rest is as above."""
    with heard() as news:
        response = get(name, lost)

    assert_asks_for(response, lost)
    has_block = any(name.endswith(kind) for kind in ("block", "again", "no savepoint"))
    assert Group.objects.filter(name="half the work").exists() is not has_block
    assert_is_noted(lost)
    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.usefixtures("atomic_requests")
@pytest.mark.parametrize("name", ["exempt", "exempt inside"])
def test_exempt_view_keeps_what_it_has_written(lost: GoogleAccount, name: str) -> None:
    """Only its own block is rolled back."""
    with heard() as news:
        response = get(name, lost)

    assert_asks_for(response, lost)
    assert list(Group.objects.values_list("name", flat=True)) == ["before the block"]
    assert_is_noted(lost)
    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.usefixtures("atomic_requests")
def test_async_view_keeps_what_it_has_written(lost: GoogleAccount) -> None:
    """Django opens no transaction around it."""
    browser = AsyncClient()
    browser.force_login(lost.user)

    with heard() as news:
        response = async_to_sync(browser.get)("/async/", {"account": lost.pk})

    assert response.status_code == 302
    assert list(Group.objects.values_list("name", flat=True)) == ["before the block"]
    assert_is_noted(lost)
    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.usefixtures("atomic_requests")
def test_view_that_answers_itself_keeps_what_it_has_written(lost: GoogleAccount) -> None:
    """Its transaction ends well, and with it what was noted there."""
    with heard() as news:
        response = get("own", lost)

    assert response.content == b"later"
    assert Group.objects.exists()
    assert_is_noted(lost)
    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.usefixtures("atomic_requests")
def test_view_that_fails_afterwards_loses_the_note_and_the_next_one_makes_it(
    lost: GoogleAccount,
) -> None:
    """The error of the grant is nobody's concern any more; Google is asked again."""
    with heard() as news:
        with pytest.raises(ZeroDivisionError):
            get("stumbling", lost)
        assert news == []
        get("decorator", lost)

    assert not Group.objects.exists()
    assert_is_noted(lost)
    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.usefixtures("atomic_requests")
@pytest.mark.parametrize("name", ["aware", "middleware", "drf"])
def test_somebody_elses_grant_is_noted_too(lost: GoogleAccount, name: str) -> None:
    """The error passes, all is rolled back, and the middleware notes it afterwards."""
    browser = Client()
    browser.force_login(new_user("visitor"))

    with heard() as news, pytest.raises(GrantLostError):
        browser.get(f"/{name}/", {"account": lost.pk})

    assert not Group.objects.exists()
    assert_is_noted(lost)
    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.usefixtures("atomic_requests")
def test_no_statement_waits_for_another_connection(lost: GoogleAccount) -> None:
    """What is noted is noted when the transaction has ended, and before the answer is sent."""
    statements: list[tuple[str, bool]] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and "status_reason" in sql:
            depth = len(context["connection"].savepoint_ids)
            statements.append((context["connection"].alias, depth > 0))
        return execute(sql, params, many, context)

    with connections["default"].execute_wrapper(watch):
        get("block", lost)

    assert statements == [("default", True), ("default", False)]


@pytest.fixture
def ledgers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two more databases with a table each; Django opens a transaction on the first of them."""
    aliases = ["ledger", "diary"]
    for alias in aliases:
        settings = {
            **connections.settings["default"],
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": tmp_path / alias,
            "OPTIONS": {},
            "ATOMIC_REQUESTS": alias == "ledger",
        }
        database = DatabaseWrapper(settings, alias)
        # Before it has a name: Django's tests let nobody open what was not there when they began.
        database.ensure_connection()
        monkeypatch.setitem(connections.settings, alias, settings)
        connections[alias] = database
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE lines (text varchar(9))")
    yield aliases
    for alias in aliases:
        connections[alias].close()
        del connections[alias]


@pytest.mark.usefixtures("atomic_requests", "ledgers")
@pytest.mark.parametrize("name", ["several databases", "drf several databases"])
def test_every_database_of_the_request_is_rolled_back(lost: GoogleAccount, name: str) -> None:
    """And none in which the view has written for good."""
    response = get(name, lost)

    assert_asks_for(response, lost)
    assert not Group.objects.exists()
    assert (count_lines("ledger"), count_lines("diary")) == (0, 1)
    assert_is_noted(lost)


def count_lines(alias: str) -> int:
    """Return how many lines a database has."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM lines")
        [count] = cursor.fetchone()
    return int(count)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["exempt", "async"])
def test_exempt_view_leaves_the_transaction_of_a_test(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Which is open around it, and not its own: the test goes on to ask the database."""
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    account = link_account(google, user, alice, CALENDAR, access_token_expires_at=in_seconds(-60))
    google.revoke(alice)

    assert get(name, account).status_code == 302

    assert list(Group.objects.values_list("name", flat=True)) == ["before the block"]
    assert_is_noted(account)


@pytest.mark.django_db
def test_view_of_a_test_leaves_the_tests_own_transaction(
    google: FakeGoogle, alice: FakeUser, user: Any, rf: RequestFactory, settings: Settings
) -> None:
    """Django has not called this view, and has opened no transaction around it."""
    account = link_account(google, user, alice, CALENDAR, access_token_expires_at=in_seconds(-60))
    google.revoke(alice)
    request = rf.get("/", {"account": account.pk})
    request.user = user
    before = connections["default"].settings_dict["ATOMIC_REQUESTS"]
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    try:
        response = google_required(work)(request)
    finally:
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = before

    assert response.status_code == 302
    assert_is_noted(account)
