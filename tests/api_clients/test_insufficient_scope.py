"""A 403 for insufficient scope: how it is recognized, and what it causes."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httplib2
import httpx
import pytest
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from rest_framework.views import APIView
from werkzeug.wrappers import Response

from django_google_link.api_clients.insufficient_scope import says_insufficient_scope
from django_google_link.contrib.rest_framework import GoogleRequired
from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import MissingScopesError
from django_google_link.models import GoogleAccount
from django_google_link.request import GoogleRequiredRequest
from django_google_link.services import (
    authorized_session,
    build_service,
    credentials_for,
    httpx_auth,
)
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked
from tests.support.callers import HTML
from tests.support.constants import CALENDAR, OPENID, TASKS
from tests.support.databases import new_user
from tests.support.failing import refusing
from tests.support.flow import visit

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

EVENTS_URL = "https://www.googleapis.com/calendar/v3/calendars/primary/events"
TASK_LISTS = "/tasks/v1/users/@me/lists"
TASKS_URL = f"https://tasks.googleapis.com{TASK_LISTS}"


def list_tasks(service: Any) -> Any:
    """Call an API that requires another scope."""
    return service.tasklists().list().execute()


@google_required(scopes=[CALENDAR], optional_scopes=[TASKS])
def by_service(request: GoogleRequiredRequest) -> HttpResponse:
    """Call it without checking for the optional scope."""
    return HttpResponse(str(list_tasks(request.google.service("tasks", "v1"))))


@google_required(scopes=[CALENDAR], optional_scopes=[TASKS])
def by_session(request: GoogleRequiredRequest) -> HttpResponse:
    """Call it with a session."""
    return HttpResponse(request.google.session().get(TASKS_URL))


@google_required(scopes=[CALENDAR], optional_scopes=[TASKS])
def by_http(request: GoogleRequiredRequest) -> HttpResponse:
    """Call it with httplib2's interface, and a service without credentials."""
    tasks = build("tasks", "v1", http=httplib2.Http(), static_discovery=True)
    return HttpResponse(str(tasks.tasklists().list().execute(http=request.google.http())))


@google_required(scopes=[CALENDAR], optional_scopes=[TASKS])
def by_httpx(request: GoogleRequiredRequest) -> HttpResponse:
    """Call it with httpx."""
    with httpx.Client() as client:
        return HttpResponse(client.get(TASKS_URL, auth=request.google.httpx_auth()).content)


@google_aware(scopes=[CALENDAR, TASKS])
def by_helper(request: HttpRequest) -> HttpResponse:
    """Call it with a helper that is given no scopes."""
    return HttpResponse(str(list_tasks(build_service(request.user, "tasks", "v1"))))


@google_aware(scopes=[TASKS])
async def by_async_view(request: HttpRequest) -> HttpResponse:
    """Call it in an asynchronous view."""
    from asgiref.sync import sync_to_async

    def work() -> Any:
        return authorized_session(request.user).get(TASKS_URL)

    return HttpResponse(await sync_to_async(work)())


@google_aware(scopes=[TASKS])
async def by_async_httpx(request: HttpRequest) -> HttpResponse:
    """Call it with httpx's asynchronous client."""
    async with httpx.AsyncClient() as client:
        return HttpResponse((await client.get(TASKS_URL, auth=httpx_auth(request.user))).content)


@google_required(scopes=[CALENDAR])
def declares_too_little(request: GoogleRequiredRequest) -> HttpResponse:
    """Need a scope that is not declared."""
    return HttpResponse(str(request.google.session().get(TASKS_URL).status_code))


class ByPermission(APIView):
    """Call it in a view of Django REST framework."""

    permission_classes = (GoogleRequired,)
    google_scopes = (CALENDAR,)
    google_optional_scopes = (TASKS,)

    def get(self, request: Any) -> HttpResponse:
        """Ask by a session, or by httpx."""
        if "httpx" not in request.GET:
            return HttpResponse(request.google.session().get(TASKS_URL))
        with httpx.Client() as client:
            return HttpResponse(client.get(TASKS_URL, auth=request.google.httpx_auth()).content)


urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("service/", by_service),
    path("session/", by_session),
    path("helper/", by_helper),
    path("http/", by_http),
    path("httpx/", by_httpx),
    path("async/", by_async_view),
    path("async/httpx/", by_async_httpx),
    path("too-little/", declares_too_little),
    path("drf/", ByPermission.as_view()),
]


@pytest.fixture
def tasks_api(google: FakeGoogle) -> None:
    """An API that requires its scope."""
    google.answer(TASK_LISTS, {"items": []}, scopes=[TASKS])


def api_error(code: int = 403, **error: Any) -> bytes:
    """Return an API's error body."""
    return json.dumps({"error": {"code": code, **error}}).encode()


def old_error(reason: str, message: str = "", domain: str = "global") -> bytes:
    """Return an older API's error body."""
    error = {"domain": domain, "reason": reason, "message": message}
    return api_error(errors=[error], message=message)


def error_info(reason: str, kind: str = "type.googleapis.com/google.rpc.ErrorInfo") -> bytes:
    """Return a newer API's error body."""
    details = [
        {"@type": "type.googleapis.com/google.rpc.Help"},
        {"@type": kind, "reason": reason, "domain": "googleapis.com"},
    ]
    return api_error(status="PERMISSION_DENIED", message="No.", details=details)


CHALLENGE = 'Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="a b"'


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")),
        ({}, b"[" + error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT") + b"]"),
        ({}, b'[{"event": 1},' + error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT") + b"]"),
        ({}, api_error(message="Request had insufficient authentication scopes.")),
        ({}, old_error("insufficientPermissions", "Insufficient Permission")),
        (
            {},
            old_error(
                "insufficientPermissions",
                "Insufficient Permission: Request had insufficient authentication scopes.",
            ),
        ),
        (
            {},
            old_error(
                "insufficientPermissions",
                "The OAuth 2.0 token specifies scopes that are insufficient.",
                "youtube.common",
            ),
        ),
        ({}, old_error("insufficientPermissions")),
        ({"WWW-Authenticate": CHALLENGE}, b""),
        ({"www-authenticate": CHALLENGE}, b"<Error/>"),
        ({"Www-Authenticate": "Bearer error=insufficient_scope"}, b"\xff\xfe not text"),
        ({}, b'{"error": "insufficient_scope"}'),
        ({}, b'{"code": 7, "message": "Request had insufficient authentication scopes."}'),
        (
            {},
            b'{"error": {"code": 403, "message": "Insufficient Permission: '
            b'Request had insufficient authentication scopes."}}',
        ),
    ],
)
def test_says_insufficient_scope(headers: dict[str, str], body: bytes) -> None:
    """In the formats of newer APIs, older APIs, and RFC 6750."""
    assert says_insufficient_scope(403, headers, body)
    assert not says_insufficient_scope(401, headers, body)
    assert not says_insufficient_scope(400, headers, body)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, old_error("rateLimitExceeded", "Rate Limit Exceeded", "usageLimits")),
        ({}, old_error("userRateLimitExceeded", "User Rate Limit Exceeded")),
        ({}, old_error("quotaExceeded", "The quota is exceeded.")),
        ({}, old_error("dailyLimitExceeded", "Daily Limit Exceeded")),
        ({}, old_error("accessNotConfigured", "Access Not Configured. The API is not enabled.")),
        ({}, old_error("insufficientFilePermissions", "The user does not have sufficient rights.")),
        ({}, old_error("insufficientParentPermissions", "Insufficient permissions for parent.")),
        ({}, old_error("forbidden", "Forbidden")),
        ({}, old_error("appNotAuthorizedToFile", "The user has not granted the app access.")),
        (
            {},
            old_error(
                "insufficientPermissions",
                "User does not have sufficient permissions for this profile.",
            ),
        ),
        ({}, error_info("SERVICE_DISABLED")),
        ({}, error_info("RATE_LIMIT_EXCEEDED")),
        ({}, error_info("IAM_PERMISSION_DENIED")),
        ({}, error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "example.com/Other")),
        ({}, error_info("access_token_scope_insufficient")),
        ({"WWW-Authenticate": 'Bearer error="invalid_token"'}, b""),
        ({"WWW-Authenticate": 'Bearer scope="insufficient_scope"'}, b""),
        ({"X-Error": CHALLENGE}, b""),
        ({}, b"<html>ACCESS_TOKEN_SCOPE_INSUFFICIENT</html>"),
        ({}, gzip.compress(error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT"))),
        ({}, b""),
        ({}, b"null"),
        ({}, b"[[], 5, null]"),
        ({}, b'{"error": {"errors": 5, "details": {"reason": 1}, "message": null}}'),
        ({}, b'{"error": {"errors": [5], "details": [null, {"@type": 5}]}}'),
        ({}, b'{"error": {"errors": [{"reason": []}]}}'),
        ({}, b'{"error": ["insufficient_scope"]}'),
        ({}, b"[" * 100_000),
    ],
)
def test_other_refusals(headers: dict[str, str], body: bytes) -> None:
    """Quota, sharing, disabled APIs, the user's permissions, and malformed bodies."""
    assert not says_insufficient_scope(403, headers, body)


@pytest.mark.matrix
@pytest.mark.parametrize("page", ["/service/", "/session/", "/helper/", "/http/", "/httpx/"])
def test_view_asks_for_what_it_declares(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None, page: str
) -> None:
    """Consent is requested once, and then the view runs."""
    linked(user, google, alice)

    response, asked = visit(browser, google, page, user=alice)

    assert (response.status_code, asked) == (200, 1)
    assert TASKS in GoogleAccount.objects.get().granted_scopes


@pytest.mark.parametrize("page", ["/async/", "/async/httpx/"])
def test_async_view_asks_for_what_it_declares(
    async_client: AsyncClient,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    tasks_api: None,
    page: str,
) -> None:
    """The declaration is known in the thread that calls the API."""
    from asgiref.sync import async_to_sync

    linked(user, google, alice)
    async_client.force_login(user)

    response: Any = async_to_sync(async_client.get)(page, headers={"accept": HTML})

    assert response.status_code == 302
    assert response["Location"].startswith("/google/authorize/?request=")


@pytest.mark.parametrize("page", ["/drf/", "/drf/?httpx"])
def test_permission_asks_for_what_it_declares(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    tasks_api: None,
    settings: Any,
    page: str,
) -> None:
    """Django REST framework's response lists the missing scopes."""
    settings.REST_FRAMEWORK = {
        "EXCEPTION_HANDLER": "django_google_link.contrib.rest_framework.exception_handler"
    }
    linked(user, google, alice)

    response: Any = browser.get(page)

    assert response.status_code == 403
    assert response.json()["missing_scopes"] == [TASKS]


def test_user_who_declines_is_not_asked_in_circles(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """A page says what is missing."""
    linked(user, google, alice)

    response, asked = visit(browser, google, "/service/", user=alice, grant=[*OPENID, CALENDAR])

    assert (response.status_code, asked) == (403, 1)
    assert visit(browser, google, "/service/")[1] == 0


def test_view_that_declares_too_little(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    tasks_api: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The API's error is raised, and the log says what to do."""
    account = linked(user, google, alice)

    with caplog.at_level(logging.WARNING, "django_google_link"):
        response = browser.get("/too-little/")

    assert response.content == b"403"
    assert str(account.pk) in caplog.text
    assert "add it to the scopes" in caplog.text


def test_task_without_the_scope(
    google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """The declared scopes are granted, so the API's error is raised."""
    linked(user, google, alice)

    with pytest.raises(HttpError, match="insufficient authentication scopes"):
        list_tasks(build_service(user, "tasks", "v1", scopes=[CALENDAR]))
    response = authorized_session(user).get(TASKS_URL, stream=True)
    assert response.status_code == 403
    assert response.json()["error"]["status"] == "PERMISSION_DENIED"


def test_task_whose_scope_was_taken_away(
    google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """The scope was granted when the helper was called, but no longer is."""
    account = linked(user, google, alice, scopes=[CALENDAR, TASKS])
    service = build_service(user, "tasks", "v1", scopes=[TASKS])
    session = authorized_session(account, scopes=[TASKS])
    GoogleAccount.objects.update(granted_scopes=[*OPENID, CALENDAR])

    for ask in (lambda: list_tasks(service), lambda: session.get(TASKS_URL)):
        with pytest.raises(MissingScopesError) as caught:
            ask()
        assert caught.value.account == account
        assert caught.value.missing_scopes == {TASKS}
        assert caught.value.user_id == user.pk


def test_httpx_auth_remembers_what_its_view_declared(
    rf: RequestFactory, google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """It may be used after the view has ended, such as by a streaming response."""
    linked(user, google, alice)
    auths: list[Any] = []

    @google_required(scopes=[CALENDAR], optional_scopes=[TASKS])
    def view(request: GoogleRequiredRequest) -> HttpResponse:
        auths.append(request.google.httpx_auth())
        return HttpResponse()

    request = rf.get("/")
    request.user = user
    view(request)

    with httpx.Client() as client, pytest.raises(MissingScopesError):
        client.get(TASKS_URL, auth=auths[0])


def test_view_declares_nothing_for_others(
    browser: Client, google: FakeGoogle, alice: FakeUser, other_user: Any, tasks_api: None
) -> None:
    """A view's declaration does not apply to another user's account."""
    colleague = linked(other_user, google, alice)

    @google_aware(scopes=[TASKS])
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(authorized_session(colleague).get(TASKS_URL).status_code))

    request = HttpRequest()
    request.user = new_user("somebody")

    assert view(request).content == b"403"


def test_batch_tells_its_callbacks(
    google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """The callbacks of the request and of the batch get the error."""
    linked(user, google, alice, scopes=[CALENDAR, TASKS])
    service = build_service(user, "tasks", "v1", scopes=[TASKS])
    GoogleAccount.objects.update(granted_scopes=[*OPENID, CALENDAR])
    body = error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT").decode()
    google.route("/batch", methods=["POST"])(lambda request, user: answer_batch(body))
    told: list[tuple[str, Any]] = []

    def tell(name: str) -> Callable[..., None]:
        return lambda id, response, exception: told.append((name, exception))

    batch = service.new_batch_http_request(callback=tell("all"))
    batch.add(service.tasklists().list(), callback=tell("one"))
    batch.execute()

    assert sorted((name, type(error).__name__) for name, error in told) == [
        ("all", "MissingScopesError"),
        ("one", "MissingScopesError"),
    ]


def answer_batch(body: str) -> Response:
    """Respond to a batch of one request."""
    text = (
        "--part\r\nContent-Type: application/http\r\nContent-ID: <response-x + 1>\r\n\r\n"
        f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n{body}\r\n--part--"
    )
    return Response(text, content_type="multipart/mixed; boundary=part")


def test_deleted_account(google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None) -> None:
    """The API's error is raised."""
    account = linked(user, google, alice)
    session = authorized_session(account)
    GoogleAccount.objects.all().delete()

    assert session.get(TASKS_URL).status_code == 403


def test_copied_credentials_declare_nothing(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """Nor do pickled ones."""
    account = linked(user, google, alice)
    credentials = credentials_for(account, scopes=[CALENDAR])

    assert credentials.declared_scopes(account) == (CALENDAR,)
    assert pickle.loads(pickle.dumps(credentials)).declared_scopes(account) == ()


def test_batch_of_foreign_requests_tells_its_callbacks(
    google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """For a request of another service, the API's error is raised."""
    linked(user, google, alice, scopes=[CALENDAR, TASKS])
    service = build_service(user, "tasks", "v1", scopes=[TASKS])
    body = error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT").decode()
    google.route("/batch", methods=["POST"])(lambda request, user: answer_batch(body))
    told: list[Any] = []
    request = service.tasklists().list()
    http, request.http = request.http, None

    batch = service.new_batch_http_request()
    batch.add(request, callback=lambda id, response, exception: told.append(exception))
    batch.execute(http)

    assert [type(error) for error in told] == [HttpError]


def test_database_that_does_not_answer(
    google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """The API's error is raised."""
    session = authorized_session(linked(user, google, alice), scopes=[CALENDAR])

    with refusing(OperationalError("gone away"), "SELECT", "googleaccount"):
        assert session.get(TASKS_URL).status_code == 403


def test_other_refusals_stay_as_they_are(
    google: FakeGoogle, alice: FakeUser, user: Any, tasks_api: None
) -> None:
    """Even if a declared scope is missing by now."""
    account = linked(user, google, alice, scopes=[CALENDAR, TASKS])
    service = build_service(account, "tasks", "v1", scopes=[TASKS])
    session = authorized_session(account, scopes=[TASKS])
    GoogleAccount.objects.update(granted_scopes=[*OPENID, CALENDAR])
    body = old_error("quotaExceeded", "The quota is exceeded.").decode()
    google.fail_next(2, endpoint=TASK_LISTS, status=403, body=body)

    with pytest.raises(HttpError, match="quota is exceeded"):
        list_tasks(service)
    assert session.get(TASKS_URL).status_code == 403


@pytest.mark.usefixtures("shared_database")
def test_thread_of_its_own_keeps_no_connection(
    google: FakeGoogle, alice: FakeUser, tasks_api: None
) -> None:
    """The connection is closed, since nothing else would."""
    session = authorized_session(linked(new_user(), google, alice), scopes=[CALENDAR])

    def work() -> tuple[int, bool]:
        status = session.get(TASKS_URL).status_code
        return status, connection.connection is None

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == (403, True)


@pytest.mark.usefixtures("shared_database")
def test_event_loop_is_told_as_well(google: FakeGoogle, alice: FakeUser, tasks_api: None) -> None:
    """Other people's clients call from there, where Django's database may not be asked."""
    account = linked(new_user(), google, alice, scopes=[CALENDAR, TASKS])
    session = authorized_session(account, scopes=[TASKS])
    GoogleAccount.objects.update(granted_scopes=[*OPENID, CALENDAR])

    async def call() -> None:
        session.get(TASKS_URL)

    with pytest.raises(MissingScopesError):
        asyncio.run(call())
