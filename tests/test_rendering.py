"""Google is called, and fails, while Django renders what a view has returned."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_page
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.vary import vary_on_cookie
from django.views.generic import TemplateView
from pytest_django import Settings
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import GrantLostError
from django_google_link.mixins import GoogleAwareMixin, GoogleRequiredMixin
from django_google_link.models import GoogleAccount, Status
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.apis import link_account
from tests.support.callers import FORMS, PROGRAMS, ask
from tests.support.constants import CALENDAR
from tests.support.signals import heard
from tests.support.statuses import assert_is_private
from tests.support.times import in_seconds
from tests.support.urls import authorize_request_of

MIDDLEWARE = "django_google_link.middleware.ConsentRequiredMiddleware"

PAGE = engines["django"].from_string("<p>{{ token }}</p>")


def describe(request: HttpRequest) -> dict[str, Any]:
    """Return a context that calls Google when it is looked at."""
    account = GoogleAccount.objects.get()
    return {"token": lambda: access_token(account)}


def render_later(request: HttpRequest) -> TemplateResponse:
    """Return a page that is not rendered yet."""
    response = TemplateResponse(request, PAGE, describe(request), headers={"X-View": "was here"})
    response.set_cookie("view", "was-here")
    return response.render() if request.GET.get("at-once") == "True" else response


def render_at_once(request: HttpRequest) -> TemplateResponse:
    """Return a page that the view has rendered."""
    return render_later(request).render()


async def render_later_async(request: HttpRequest) -> TemplateResponse:
    """Return one from an async view."""
    return await sync_to_async(render_later)(request)


class AsyncTemplateResponse(SimpleTemplateResponse):
    """A response that is rendered in the event loop."""

    async def render(self) -> HttpResponse:  # type: ignore[override]
        """Call Google on the way."""
        return await sync_to_async(super().render)()


async def render_in_the_loop(request: HttpRequest) -> AsyncTemplateResponse:
    """Return one of those."""
    return AsyncTemplateResponse(PAGE, await sync_to_async(describe)(request))


class Page(TemplateView):
    """A template that calls Google."""

    def render_to_response(self, context: Any, **kwargs: Any) -> TemplateResponse:
        """Return a page that is not rendered yet."""
        return render_later(self.request)

    def post(self, request: HttpRequest) -> TemplateResponse:
        """Answer a form with the same page."""
        return render_later(request)


class ByMixin(GoogleRequiredMixin, Page):
    """For those who have linked an account."""


class ByAwareMixin(GoogleAwareMixin, Page):
    """For everybody."""


@method_decorator(google_required, name="dispatch")
class Dispatched(Page):
    """Decorated as a whole."""


class CallingRenderer(BaseRenderer):
    """A renderer of Django REST framework's that calls Google."""

    media_type = "text/html"
    format = "html"

    def render(self, data: Any, *args: Any) -> str:
        """Return a page with the token."""
        return PAGE.render(data)


class ByDRF(APIView):
    """A view whose renderer calls Google."""

    renderer_classes = [CallingRenderer]

    def get(self, request: Any) -> Response:
        """Leave the work to the renderer."""
        return Response(describe(request))


def nest(request: HttpRequest) -> Any:
    """Call a decorated view."""
    return google_aware(render_later)(request)


def write_first(request: HttpRequest) -> TemplateResponse:
    """Write something, and leave the rest to the template."""
    Group.objects.create(name="written")
    return render_later(request)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Send a part, and ask Google then."""

    def parts() -> Iterator[str]:
        yield "first"
        yield access_token(GoogleAccount.objects.get())

    return StreamingHttpResponse(parts())


def adorn(view: Any) -> Any:
    """Decorate a view with what puts something of its own on each response."""

    def wrapper(request: HttpRequest) -> Any:
        response = view(request)
        response["X-Outside"] = "was here"
        response.add_post_render_callback(lambda rendered: rendered.set_cookie("later", "too"))
        response.set_cookie("outside", "was-here")
        return response

    return wrapper


VIEWS = {
    "required": google_required(render_later),
    "aware": google_aware(render_later),
    "at-once": google_required(render_at_once),
    "nested": google_required(nest),
    "mixin": ByMixin.as_view(),
    "aware-mixin": ByAwareMixin.as_view(),
    "dispatched": Dispatched.as_view(),
    "async": google_required(render_later_async),
    "middleware": render_later,
    "drf": ByDRF.as_view(),
}

OTHERS = {
    "cached": cache_page(60)(google_required(render_later)),
    "adorned": vary_on_cookie(
        xframe_options_exempt(ensure_csrf_cookie(adorn(google_aware(render_later))))
    ),
    "async-render": google_aware(render_in_the_loop),
    "writing": google_required(write_first),
    "stream": google_required(stream),
}

urlpatterns = [
    path("google/", include("django_google_link.urls")),
    *(path(f"{name}/", view) for name, view in {**VIEWS, **OTHERS}.items()),
]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__), pytest.mark.slow]


@pytest.fixture
def account(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    settings: Settings,
    request: pytest.FixtureRequest,
) -> GoogleAccount:
    """An account whose next use asks Google; the middleware is there for views that need it."""
    parameters = getattr(request.node, "callspec", None)
    if parameters and parameters.params.get("name") in {"middleware", "drf"}:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]
    return link_account(google, user, alice, CALENDAR, access_token_expires_at=in_seconds(-60))


@pytest.fixture
def lost(account: GoogleAccount, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """An account whose grant Google has ended, which nobody knows yet."""
    google.revoke(alice)
    return account


def assert_is_noted(account: GoogleAccount) -> None:
    """Check that the database says that the grant is lost."""
    account.refresh_from_db()
    assert (account.status, account.status_reason) == (Status.NEEDS_REAUTHORIZATION, "revoked")


@pytest.mark.parametrize("name", VIEWS)
def test_rendered_page_is_sent(browser: Client, account: GoogleAccount, name: str) -> None:
    """As long as the grant lives."""
    response = browser.get(f"/{name}/")

    assert response.status_code == 200
    assert b"<p>ya29." in response.content


@pytest.mark.parametrize("name", VIEWS)
def test_lost_grant_leads_to_consent(browser: Client, lost: GoogleAccount, name: str) -> None:
    """As it does inside the view; and it is noted."""
    response = browser.get(f"/{name}/")

    assert response.status_code == 302
    wanted = authorize_request_of(response["Location"], lost.user)
    assert (wanted.account, wanted.return_url) == (lost.sub, f"/{name}/")
    assert_is_private(response)
    assert_is_noted(lost)


@pytest.mark.parametrize("name", [*VIEWS, "async-render"])
def test_lost_grant_leads_to_consent_under_asgi(lost: GoogleAccount, name: str) -> None:
    """Sync or async, however Django is served."""
    browser = AsyncClient()
    browser.force_login(lost.user)

    response = async_to_sync(browser.get)(f"/{name}/")

    assert authorize_request_of(response["Location"], lost.user).account == lost.sub
    assert_is_noted(lost)


@pytest.mark.parametrize("name", ["required", "mixin", "middleware"])
def test_form_and_program_get_their_own_answers(
    browser: Client, lost: GoogleAccount, name: str
) -> None:
    """A page with a button, and JSON."""
    page = ask(browser, FORMS["form"], f"/{name}/")
    program = ask(browser, PROGRAMS["fetch"], f"/{name}/")

    assert (page.status_code, program.status_code) == (403, 403)
    assert page.context["reason"] == program.json()["reason"] == "needs_reauthorization"


def test_grant_is_told_lost_once(
    browser: Client, lost: GoogleAccount, django_capture_on_commit_callbacks: Any
) -> None:
    """Though the page is visited again."""
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        browser.get("/required/")
        browser.get("/required/")

    assert [signal for signal, _ in news] == ["authorization_lost"]


@pytest.mark.parametrize("name", ["aware", "aware-mixin", "middleware"])
def test_somebody_elses_grant_is_not_the_visitors(
    client: Client, other_user: Any, lost: GoogleAccount, name: str
) -> None:
    """The error passes."""
    client.force_login(other_user)

    with pytest.raises(GrantLostError):
        client.get(f"/{name}/")

    assert_is_noted(lost)


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_answer_has_what_decorators_add(
    browser: Client,
    lost: GoogleAccount,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    atomic_requests: bool,
) -> None:
    """And not what the view has said of its own page."""
    settings.MIDDLEWARE = [
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        *settings.MIDDLEWARE,
    ]
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)

    response = browser.get("/adorned/", {"at-once": atomic_requests})

    assert response.status_code == 302
    assert {"Cookie", "HX-Request"} <= set(response["Vary"].split(", "))
    assert response["X-Outside"] == "was here"
    assert {"csrftoken", "outside", "later"} <= set(response.cookies)
    assert "X-Frame-Options" not in response
    assert "X-View" not in response
    assert "view" not in response.cookies
    assert response["Content-Type"].startswith("text/html")


def test_page_can_be_cached_and_the_answer_is_not(
    browser: Client, account: GoogleAccount, google: FakeGoogle, alice: FakeUser
) -> None:
    """A cache pickles what was rendered, and asks to be called when that has happened."""
    cache.clear()
    google.revoke(alice)
    assert browser.get("/cached/").status_code == 302

    GoogleAccount.objects.all().delete()
    link_account(google, account.user, alice, CALENDAR)
    page = browser.get("/cached/")
    GoogleAccount.objects.all().delete()

    assert browser.get("/cached/").content == page.content
    assert page.status_code == 200
    cache.clear()


def test_rendered_response_is_pickled(
    account: GoogleAccount, user: Any, rf: RequestFactory
) -> None:
    """Nothing of ours is left on it."""
    request = rf.get("/")
    request.user = user
    response: Any = google_required(render_later)(request).render()

    assert pickle.loads(pickle.dumps(response)).content == response.content


def test_what_the_view_has_written_is_kept(browser: Client, lost: GoogleAccount) -> None:
    """Its transaction, if there was one, has been committed before."""
    response = browser.get("/writing/")

    assert response.status_code == 302
    assert Group.objects.exists()


def test_stream_breaks_off(browser: Client, lost: GoogleAccount) -> None:
    """Status and headers are sent before, so that nobody can be sent elsewhere; it is noted."""
    response: Any = browser.get("/stream/")
    parts = iter(response.streaming_content)

    assert (response.status_code, next(parts)) == (200, b"first")
    with pytest.raises(GrantLostError):
        next(parts)
    assert_is_noted(lost)
    assert browser.get("/stream/").status_code == 302
