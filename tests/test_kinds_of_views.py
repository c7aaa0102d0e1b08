"""Each answer in each kind of view: class-based, async, undecorated, or of DRF."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import uvicorn
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path
from django.views import View
from django.views.generic import TemplateView
from pytest_django import Settings
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_google_link.contrib.rest_framework import (
    GoogleAware,
    GoogleRequired,
    exception_handler,
)
from django_google_link.decorators import google_aware
from django_google_link.exceptions import NotLinkedError
from django_google_link.mixins import GoogleAwareMixin, GoogleRequiredMixin
from django_google_link.models import GoogleAccount, Status
from django_google_link.services import build_service, credentials_for
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.apis import link_account
from tests.support.callers import HTML
from tests.support.constants import CALENDAR, DRIVE, EVENTS, OPENID, TASKS
from tests.support.databases import new_user
from tests.support.statuses import STATUSES, assert_leads_on
from tests.support.urls import authorize_request_of
from tests.support.views import events_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

MIDDLEWARE = "django_google_link.middleware.ConsentRequiredMiddleware"


class ByMixin(GoogleRequiredMixin, View):
    """A class-based view."""

    google_scopes = [CALENDAR]

    def get(self, request: Any) -> HttpResponse:
        """Say what is on."""
        return HttpResponse(events_of(request.google.service("calendar", "v3"))[0]["summary"])

    post = get


class ByAsyncMixin(GoogleRequiredMixin, View):
    """An async class-based view."""

    google_scopes = [CALENDAR]

    async def get(self, request: Any) -> HttpResponse:
        """Say what is on."""
        service = await sync_to_async(request.google.service)("calendar", "v3")
        return HttpResponse((await sync_to_async(events_of)(service))[0]["summary"])

    post = get


def undecorated(request: Any) -> HttpResponse:
    """A view that knows nothing of decorators."""
    service = build_service(request.user, "calendar", "v3", scopes=[CALENDAR])
    return HttpResponse(events_of(service)[0]["summary"])


async def async_undecorated(request: Any) -> HttpResponse:
    """An async one."""
    return HttpResponse((await sync_to_async(undecorated)(request)).content)


class ByPermission(APIView):
    """A view of Django REST framework's."""

    permission_classes = [GoogleRequired]
    google_scopes = [CALENDAR]

    def get(self, request: Any) -> Response:
        """Say what is on."""
        return Response(events_of(request.google.service("calendar", "v3"))[0]["summary"])

    post = get


class Raising(APIView):
    """A view of Django REST framework's that finds out in the middle."""

    def get(self, request: Any) -> Response:
        """Say what is on."""
        return Response(undecorated(request).content.decode())

    post = get


class Aware(GoogleAwareMixin, TemplateView):
    """A class-based view for everybody, with a template."""

    def get(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say how it stands."""
        return HttpResponse(request.google.status)


class AwareOfDRF(APIView):
    """One of Django REST framework's for everybody."""

    permission_classes = [GoogleAware]

    def get(self, request: Any) -> Response:
        """Say how it stands."""
        return Response(request.google.status)


class NeedsMore(GoogleRequired):
    """A permission with options of its own."""

    google_scopes = [DRIVE]
    google_optional_scopes = [TASKS]


class ByPermissionWithOptions(ByPermission):
    """A view that says otherwise than its permission, in a part."""

    permission_classes = [NeedsMore]


class RaisingWithOptions(APIView):
    """A view of Django REST framework's with options, that finds out in the middle."""

    permission_classes = [GoogleAware]
    google_scopes = [CALENDAR]
    google_optional_scopes = [TASKS]
    google_client = "second"
    google_return_url = "/aware/"

    def get(self, request: Any) -> Response:
        """Say who it is."""
        return Response(request.google.credentials.token)


class OfOneAccount(GoogleRequiredMixin, View):
    """A view of the account that the address names."""

    google_client = "second"
    google_return_url = "/aware/"

    def get_google_account(self, request: HttpRequest) -> Any:
        """Choose it."""
        return request.GET.get("account")

    def get(self, request: Any) -> HttpResponse:
        """Say which it is."""
        return HttpResponse(request.google.account.email)


class ByToken(BaseAuthentication):
    """Knows the user by a header, without any session."""

    def authenticate(self, request: Request) -> Any:
        """Look the user up."""
        name = request.headers.get("X-Name")
        return (get_user_model().objects.get_by_natural_key(name), None) if name else None

    def authenticate_header(self, request: Request) -> str:
        """Make it a 401 for the others."""
        return "Name"


class ByTokenOnly(ByPermission):
    """For programs, not for browsers."""

    authentication_classes = [ByToken]
    permission_classes = [IsAuthenticated, GoogleRequired]


class AuthenticatingLate(ByPermission):
    """Knows no user before one is asked for, as DRF lets a view choose."""

    authentication_classes = [ByToken]

    def perform_authentication(self, request: Request) -> None:
        """Leave it for later."""


def of_somebody_else(request: HttpRequest) -> HttpResponse:
    """Needs what this visitor cannot give."""
    return HttpResponse(credentials_for(GoogleAccount.objects.get()).token)


def of_somebody_without(request: HttpRequest) -> HttpResponse:
    """Needs what another user, who has linked nothing, would have to give."""
    other = get_user_model().objects.exclude(pk=request.user.pk).get()
    return HttpResponse(credentials_for(other).token)


class OfSomebodyElse(APIView):
    """The same, of Django REST framework's."""

    def get(self, request: Any) -> Response:
        """Fail."""
        raise NotLinkedError(account=GoogleAccount.objects.get())


def through_another_client(request: Any) -> HttpResponse:
    """Uses two clients."""
    credentials_for(request.user)
    return HttpResponse(credentials_for(request.user, client="second").token)


def broken(request: HttpRequest) -> HttpResponse:
    """Has a fault of its own."""
    raise ZeroDivisionError


urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("by-mixin/", ByMixin.as_view()),
    path("by-async-mixin/", ByAsyncMixin.as_view()),
    path("undecorated/", undecorated),
    path("async-undecorated/", async_undecorated),
    path("by-permission/", ByPermission.as_view()),
    path("raising/", Raising.as_view()),
    path("by-permission-with-options/", ByPermissionWithOptions.as_view()),
    path("raising-with-options/", RaisingWithOptions.as_view()),
    path("authenticating-late/", AuthenticatingLate.as_view()),
    path("aware/", Aware.as_view()),
    path("aware-of-drf/", AwareOfDRF.as_view()),
    path("of-one-account/", OfOneAccount.as_view()),
    path("by-token-only/", ByTokenOnly.as_view()),
    path("of-somebody-else/", of_somebody_else),
    path("of-somebody-without/", of_somebody_without),
    path("of-somebody-without-required/", google_aware(of_somebody_without)),
    path("of-somebody-else-by-drf/", OfSomebodyElse.as_view()),
    path("through-another-client/", through_another_client),
    path("broken/", broken),
]

OF_DJANGO = ["/by-mixin/", "/by-async-mixin/", "/undecorated/", "/async-undecorated/"]
OF_DRF = ["/by-permission/", "/raising/"]


@pytest.fixture(autouse=True)
def installed(settings: Settings) -> None:
    """Install the middleware and the exception handler."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]
    settings.REST_FRAMEWORK = {
        "EXCEPTION_HANDLER": f"{exception_handler.__module__}.exception_handler",
        "DEFAULT_AUTHENTICATION_CLASSES": [
            f"{SessionAuthentication.__module__}.{SessionAuthentication.__name__}"
        ],
    }


def wsgi(method: str, url: str, user: Any, **headers: str) -> Any:
    """Send a request through the WSGI handler."""
    return _send(Client(), method, user)(url, headers=_named(headers))


def asgi(method: str, url: str, user: Any, **headers: str) -> Any:
    """Send a request through the ASGI handler."""
    return async_to_sync(_send(AsyncClient(), method, user))(url, headers=_named(headers))


def _send(client: Any, method: str, user: Any) -> Any:
    if user:
        client.force_login(user)
    return getattr(client, method)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


HANDLERS = [wsgi, asgi]


@pytest.mark.matrix
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("url", [*OF_DJANGO, *OF_DRF])
def test_ready_runs_the_view(
    google: FakeGoogle, alice: FakeUser, user: Any, handler: Callable[..., Any], url: str
) -> None:
    """Every kind of view gets to Google."""
    link_account(google, user, alice, CALENDAR)

    assert EVENTS[0]["summary"] in handler("get", url, user).content.decode()


@pytest.mark.matrix
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("url", OF_DJANGO)
@pytest.mark.parametrize("status", STATUSES)
def test_views_of_django_answer_alike(
    user: Any, handler: Callable[..., Any], url: str, status: str
) -> None:
    """A browser, a form, a script and HTMX: the table, whichever kind of view it is."""
    arrange, missing = STATUSES[status]
    arrange(user)
    visitor = None if status == "anonymous" else user

    navigation = handler("get", f"{url}?day=1", visitor, accept=HTML)
    form = handler("post", url, visitor, accept=HTML)
    program = handler("get", f"{url}?day=1", visitor, sec_fetch_mode="cors")
    htmx = handler("get", f"{url}?day=1", visitor, hx_request="true")

    assert_leads_on(navigation["Location"], status, user, back_to=f"{url}?day=1")
    assert form.status_code == (302 if status == "anonymous" else 403)
    assert program.status_code == htmx.status_code == 403
    assert program.json()["error"] == "google_authorization_required"
    assert program.json()["reason"] == status
    assert program.json()["missing_scopes"] in (missing, [])
    assert_leads_on(htmx["HX-Redirect"], status, user, back_to=f"{url}?day=1")


@pytest.mark.parametrize("url", OF_DRF)
@pytest.mark.parametrize("status", [status for status in STATUSES if status != "anonymous"])
def test_views_of_drf_answer_in_json(user: Any, url: str, status: str) -> None:
    """Browser or not: 403, why, what is missing, and where to go."""
    arrange, missing = STATUSES[status]
    arrange(user)

    response = wsgi("get", f"{url}?day=1", user, accept="application/json")

    content = response.json()
    assert response.status_code == 403
    assert (content["error"], content["reason"]) == ("google_authorization_required", status)
    assert content["missing_scopes"] in (missing, [])
    assert_leads_on(content["authorize_url"], status, user, back_to=f"{url}?day=1")


def test_anonymous_drf_callers_have_to_log_in() -> None:
    """That is DRF's own answer."""
    assert "credentials were not provided" in wsgi("get", "/by-permission/", None).json()["detail"]
    assert wsgi("get", "/by-token-only/", None).status_code == 401


def test_drf_user_is_the_one_that_drf_knows(
    google: FakeGoogle, alice: FakeUser, other_user: Any, user: Any
) -> None:
    """Who comes with a token of theirs has no session."""
    link_account(google, user, alice, CALENDAR)

    assert wsgi("get", "/by-token-only/", other_user, x_name=user.get_username()).json()
    refused = wsgi("get", "/by-token-only/", user, x_name=other_user.get_username())
    assert refused.json()["reason"] == "not_linked"


def test_drf_user_is_known_to_a_view_that_authenticates_late(
    google: FakeGoogle, alice: FakeUser, other_user: Any, user: Any
) -> None:
    """Also where nobody has asked DRF before: it is not the user of the session."""
    link_account(google, user, alice, CALENDAR)

    response = wsgi("get", "/authenticating-late/", other_user, x_name=user.get_username())

    assert response.json() == EVENTS[0]["summary"]


def test_drf_options_of_the_view_come_before_those_of_the_permission(user: Any) -> None:
    """What the view does not say, the permission says."""
    content = wsgi("get", "/by-permission-with-options/", user).json()

    wanted = authorize_request_of(content["authorize_url"], user)
    assert list(wanted.required) == content["missing_scopes"] == [CALENDAR]
    assert TASKS in wanted.scopes
    assert DRIVE not in wanted.scopes


def test_drf_error_inside_a_view_is_answered_with_its_options(
    user: Any, settings: Settings
) -> None:
    """A client, a return address and scopes of its own, as if the permission had refused."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    clients = {**clients, "second": clients["default"]}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}

    content = wsgi("get", "/raising-with-options/", user).json()

    wanted = authorize_request_of(content["authorize_url"], user)
    assert (wanted.client, wanted.return_url) == ("second", "/aware/")
    assert (list(wanted.required), TASKS in wanted.scopes) == ([CALENDAR], True)


@pytest.mark.parametrize("url", ["/undecorated/", "/raising/"])
def test_lost_grant_is_asked_for_again_as_it_was(user: Any, url: str) -> None:
    """With all that the account had, which no view has to know, and nothing twice."""
    make_google_account(
        user,
        sub="42",
        scopes=[CALENDAR, DRIVE],
        status=Status.NEEDS_REAUTHORIZATION,
        status_reason="revoked",
    )

    content = wsgi("get", url, user, accept="application/json").json()

    wanted = authorize_request_of(content["authorize_url"], user)
    assert sorted(wanted.required) == sorted([CALENDAR, DRIVE])
    assert sorted(wanted.scopes) == sorted([*OPENID, CALENDAR, DRIVE])
    assert wanted.account == "42"


@pytest.mark.parametrize("url", ["/undecorated/", "/raising/"])
def test_scopes_that_a_call_misses_are_asked_for_alone(user: Any, url: str) -> None:
    """Of an account that works nothing is asked again that it has."""
    make_google_account(user, sub="42", scopes=[DRIVE])

    content = wsgi("get", url, user, accept="application/json").json()

    wanted = authorize_request_of(content["authorize_url"], user)
    assert content["missing_scopes"] == list(wanted.required) == [CALENDAR]
    assert DRIVE not in wanted.scopes
    assert wanted.account == "42"


@pytest.mark.parametrize("url", ["/aware/", "/aware-of-drf/"])
def test_aware_views_run_for_everybody(user: Any, url: str) -> None:
    """Also for those who are not known."""
    assert "anonymous" in wsgi("get", url, None).content.decode()
    assert "not_linked" in wsgi("get", url, user).content.decode()


def test_mixin_has_the_options_of_the_decorator(user: Any, settings: Settings) -> None:
    """A client, an account and a return address of its own."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    clients = {**clients, "second": clients["default"]}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    assert_leads_on(
        wsgi("get", "/of-one-account/", user)["Location"], "not_linked", user, back_to="/aware/"
    )

    make_google_account(user, client="second", scopes=[CALENDAR])
    chosen = make_google_account(user, client="second", email="b@example.com", scopes=[CALENDAR])

    response = wsgi("get", f"/of-one-account/?account={chosen.pk}", user)
    assert response.content.decode() == "b@example.com"


@pytest.mark.parametrize("url", ["/of-somebody-without/", "/of-somebody-without-required/"])
def test_link_that_another_user_lacks_is_an_error(user: Any, other_user: Any, url: str) -> None:
    """To send this one to consent would not help the other."""
    client = Client(raise_request_exception=False)
    client.force_login(user)

    assert client.get(url).status_code == 500


@pytest.mark.parametrize("url", ["/of-somebody-else/", "/of-somebody-else-by-drf/"])
def test_error_that_this_user_cannot_help_is_an_error(user: Any, other_user: Any, url: str) -> None:
    """To send them to consent would not help, and would send them in a circle."""
    make_google_account(other_user, status=Status.NEEDS_REAUTHORIZATION)

    with pytest.raises(Exception, match="link"):
        wsgi("get", url, user)


def test_error_of_another_client_leads_to_that_client(user: Any, settings: Settings) -> None:
    """The default client is linked: it is the other one that is missing."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    clients = {**clients, "second": clients["default"]}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    make_google_account(user, scopes=[CALENDAR])

    response = wsgi("get", "/through-another-client/", user)

    assert authorize_request_of(response["Location"], user).client == "second"


@pytest.mark.parametrize("url", ["/broken/"])
def test_other_errors_pass(user: Any, url: str) -> None:
    """The middleware has no business with them."""
    with pytest.raises(ZeroDivisionError):
        wsgi("get", url, user)


def test_drf_view_whose_grant_dies_this_minute(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The permission was given, and Google does not honour it any more."""
    account = link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    content = wsgi("get", "/by-permission/", user).json()

    assert content["reason"] == "needs_reauthorization"
    assert authorize_request_of(content["authorize_url"], user).account == account.sub


@pytest.fixture
def server(shared_database: None) -> Iterator[str]:
    """The site under uvicorn, on a socket."""
    config = uvicorn.Config(get_asgi_application(), port=0, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("url", [*OF_DJANGO, *OF_DRF])
def test_every_kind_under_uvicorn(
    server: str, google: FakeGoogle, alice: FakeUser, url: str
) -> None:
    """A real server and a real event loop: in which nothing asks the database."""
    user = new_user()
    client = Client()
    client.force_login(user)
    cookies = {"sessionid": client.cookies["sessionid"].value}

    refused = requests.get(server + url, cookies=cookies, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json()["reason"]) == (403, "not_linked")

    link_account(google, user, alice, CALENDAR)
    assert EVENTS[0]["summary"] in requests.get(server + url, cookies=cookies).text
