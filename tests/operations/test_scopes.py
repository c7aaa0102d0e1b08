"""``google_link_scopes``: what views require, what is granted, and retiring unused scopes."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from pytest_django import Settings
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.accounts.refreshed_tokens import save_refresh
from django_google_link.contrib.rest_framework import GoogleAware, GoogleRequired
from django_google_link.decorators import google_aware, google_required
from django_google_link.mixins import GoogleAwareMixin, GoogleRequiredMixin
from django_google_link.models import GoogleAccount, PendingRevocation, Status
from django_google_link.operations import scopes as engine
from django_google_link.scopes import PREFIX
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from django_google_link.web.view_scopes import list_view_scopes
from tests.support.accounts import linked, token_response
from tests.support.chunks import use_small_chunks
from tests.support.constants import CALENDAR, DRIVE, OPENID, TASKS
from tests.support.databases import new_user
from tests.support.flow import link, visit
from tests.support.signals import heard
from tests.support.urls import query_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

ALL_CALENDARS = CALENDAR.removesuffix(".readonly")
CONTACTS = "https://www.googleapis.com/auth/contacts"
GMAIL = "https://mail.google.com/"


def careless(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator without ``functools.wraps``."""
    return lambda request: (view, request)


class Careless:
    """A decorator that is a class, and a view that is an instance."""

    def __init__(self, scopes: list[str]) -> None:
        self.scopes = scopes

    @method_decorator(google_required(scopes=[GMAIL]))
    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""


@google_required(scopes=[CALENDAR], optional_scopes=[CONTACTS])
def plain(request: HttpRequest) -> HttpResponse:
    """Require and offer."""
    return HttpResponse("plain")


@google_aware
def bare(request: HttpRequest) -> HttpResponse:
    """Know of what the client asks for."""


@google_required(scopes=[DRIVE])
async def coroutine(request: HttpRequest) -> HttpResponse:
    """Do it in the event loop."""


def undecorated(request: HttpRequest) -> HttpResponse:
    """Need nothing."""


class Mixed(GoogleRequiredMixin, View):
    """Say it in attributes."""

    google_scopes = TASKS
    google_optional_scopes = (CONTACTS,)


class AwareMixed(GoogleAwareMixin, View):
    """Say it in ``as_view()``."""


class Dynamic(GoogleRequiredMixin, View):
    """Say it at each request."""

    @property
    def google_scopes(self) -> list[str]:  # type: ignore[override]
        """Return what this request needs."""


@method_decorator(google_required(scopes=[CALENDAR]), name="dispatch")
class Dispatched(View):
    """Be decorated as a whole."""


class Methods(View):
    """Decorate one method."""

    @method_decorator(never_cache)
    @method_decorator(google_required(scopes=[GMAIL]))
    def post(self, request: HttpRequest) -> HttpResponse:
        """Write."""


class Permitted(APIView):
    """Say it by a permission among others."""

    permission_classes = (IsAuthenticated & GoogleRequired,)
    google_scopes = (TASKS,)


class Actions(ViewSet):
    """Say it for one action, which the router hands to ``as_view()``."""

    google_scopes = (TASKS,)

    def list(self, request: Any) -> None:
        """List."""

    @action(detail=False, permission_classes=[~IsAdminUser & GoogleRequired])
    def special(self, request: Any) -> None:
        """Do something else."""


router = SimpleRouter()
router.register("actions", Actions, basename="actions")


class Own(GoogleAware):
    """Say it in the permission."""

    google_scopes = (DRIVE,)


@api_view(["GET"])
@permission_classes([IsAuthenticated, Own])
def permitted(request: Any) -> HttpResponse:
    """Say it with a function."""


inner = [
    path("careless/", careless(careless(google_required(scopes=[TASKS])(undecorated)))),
    path("exempt/", csrf_exempt(never_cache(plain))),
    path("partial/", partial(careless(plain), day=1)),
    path("instance/", Careless([])),
    path("bound/", Methods().post),
]

urlpatterns = [
    path("google/", include("django_google_link.urls")),
    path("plain/", plain),
    path("bare/", bare),
    path("coroutine/", coroutine),
    path("undecorated/", undecorated),
    path("mixed/", Mixed.as_view()),
    path("as-view/", AwareMixed.as_view(google_scopes=[GMAIL])),
    path("dynamic/", Dynamic.as_view()),
    path("dispatched/", Dispatched.as_view()),
    path("methods/", Methods.as_view()),
    path("both/", google_required(scopes=[DRIVE])(Mixed.as_view())),
    path("permitted/", Permitted.as_view()),
    path("permitted/function/", permitted),
    path("plain-api/", APIView.as_view()),
    *router.urls,
    path("inner/<str:tenant>/", include((inner, "inner"), namespace="inner")),
]


class Few:
    """A URLconf without views that decide per request."""

    urlpatterns = [path("google/", include("django_google_link.urls")), path("plain/", plain)]


def run(**options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_scopes", stdout=out, stderr=out, **options)
    return out.getvalue()


def requirements() -> dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]]:
    """Return the scopes found, by route."""
    found: dict[str, Any] = {}
    for view in list_view_scopes():
        found.setdefault(view.route, []).append((view.scopes, view.optional_scopes))
    return found


def test_finds_every_kind_of_view(google: FakeGoogle) -> None:
    """Functions, classes, coroutines and permissions, with or without other decorators."""
    required = ((CALENDAR,), (CONTACTS,))

    assert requirements() == {
        "plain/": [required],
        "bare/": [((CALENDAR,), ())],
        "coroutine/": [((DRIVE,), ())],
        "mixed/": [((TASKS,), (CONTACTS,))],
        "as-view/": [((GMAIL,), ())],
        "dynamic/": [((), ())],
        "dispatched/": [((CALENDAR,), ())],
        "methods/": [((GMAIL,), ())],
        "both/": [((DRIVE,), ()), ((TASKS,), (CONTACTS,))],
        "permitted/": [((TASKS,), ())],
        "permitted/function/": [((DRIVE,), ())],
        "actions/special/": [((TASKS,), ())],
        "inner/<str:tenant>/careless/": [((TASKS,), ())],
        "inner/<str:tenant>/exempt/": [required],
        "inner/<str:tenant>/partial/": [required],
        "inner/<str:tenant>/instance/": [((GMAIL,), ())],
        "inner/<str:tenant>/bound/": [((GMAIL,), ())],
    }


def test_view_whose_client_is_resolved(google: FakeGoogle, settings: Settings) -> None:
    """The scopes of every possible client count as used."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENT_RESOLVER": "tests.support.views.client_of",
        "CLIENTS": {
            **settings.GOOGLE_LINK["CLIENTS"],
            "second": {**google.client_settings(), "SCOPES": [DRIVE]},
        },
    }

    assert requirements()["bare/"] == [((CALENDAR, DRIVE), ())]


def test_table(google: FakeGoogle, user: Any) -> None:
    """Scopes with Google's class, the number of links, and their uses."""
    for scopes in ([CALENDAR, DRIVE], [CALENDAR], [CALENDAR, "https://id.example.com/books"]):
        make_google_account(user, scopes=scopes)
    make_google_account(user, scopes=[DRIVE], status=Status.NEEDS_REAUTHORIZATION)

    said = run(urlconf=Few)

    assert said == (
        "scope                         class          links  used by\n"
        "https://id.example.com/books  unknown            1  nothing: --retire it\n"
        "calendar.readonly             sensitive          3  /plain/, "
        'SCOPES of the client "default"\n'
        "contacts                      sensitive          0  /plain/\n"
        "drive.file                    non-sensitive      1  nothing: --retire it\n"
    )


def test_table_for_programs(google: FakeGoogle, user: Any) -> None:
    """The JSON contains the evidence needed for Google's verification."""
    make_google_account(user, scopes=[GMAIL], status=Status.NEEDS_REAUTHORIZATION)

    content = json.loads(run(json=True))

    rows = {row["scope"]: row for row in content["scopes"]}
    assert rows[GMAIL]["class"] == "restricted"
    assert (rows[GMAIL]["links"], rows[GMAIL]["lost_links"]) == (0, 1)
    assert rows[CONTACTS]["views"][0] == {
        "route": "plain/",
        "view": f"{__name__}.plain",
        "client": None,
        "optional": True,
    }
    assert rows[CALENDAR]["clients"] == ["default"]
    assert [view["route"] for view in content["decided_at_each_request"]] == ["dynamic/"]
    assert "openid" not in rows


def test_view_that_cannot_be_known_is_told(google: FakeGoogle) -> None:
    """A warning is printed, also before a retirement."""
    assert "The scopes of /dynamic/ are decided per request" in run()
    assert "The scopes of /dynamic/ are decided per request" in run(retire="https://a.example/x")


def test_empty_site(google: FakeGoogle, configure: Callable[..., None]) -> None:
    """No scopes are used or granted."""
    configure(SCOPES=[])

    class Nothing:
        urlpatterns: list[Any] = []

    assert run(urlconf=Nothing) == "No scopes are used, and none are granted.\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retire": CALENDAR}, r"is still used: /plain/, .*SCOPES of the client \"default\"\."),
        ({"retire": CONTACTS}, "is still used: /plain/"),
        ({"retire": CONTACTS.removeprefix(PREFIX)}, "is still used: /plain/"),
        ({"retire": "https://www.googleapis.com/auth/userinfo.email"}, "cannot be retired"),
        ({"retire": f"{DRIVE} {TASKS}"}, "one scope"),
        ({"retire": " "}, "one scope"),
        ({"dry_run": True}, "requires --retire"),
    ],
)
def test_refusals(google: FakeGoogle, options: dict[str, Any], message: str) -> None:
    """Used scopes and identity scopes cannot be retired."""
    with pytest.raises(CommandError, match=message):
        run(urlconf=Few, **options)


def test_broken_settings(google: FakeGoogle, settings: Settings) -> None:
    """The error is printed without a traceback."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {}}

    with pytest.raises(CommandError, match="CLIENTS"):
        run()


def link_two(google: FakeGoogle, alice: FakeUser) -> tuple[GoogleAccount, GoogleAccount]:
    """Link one Google account to two users, to the second one without Drive."""
    first = linked(new_user(), google, alice, scopes=[ALL_CALENDARS, DRIVE])
    second = linked(new_user("ben"), google, alice, scopes=[CALENDAR])
    return first, second


@pytest.mark.usefixtures("shared_database")
def test_dry_run_counts(google: FakeGoogle, alice: FakeUser) -> None:
    """It changes nothing."""
    link_two(google, alice)

    said = run(urlconf=Few, retire=DRIVE, dry_run=True)
    assert run(urlconf=Few, retire=DRIVE.removeprefix(PREFIX), dry_run=True) == said

    assert said == (
        f"       1 links have been granted {DRIVE}\n"
        "       1 other links share these grants, and end with them\n"
        "       2 users are asked for consent again\n"
    )
    assert GoogleAccount.objects.filter(status=Status.ACTIVE).count() == 2
    assert google.granted_scopes(alice)


@pytest.mark.usefixtures("shared_database")
def test_retire(google: FakeGoogle, alice: FakeUser) -> None:
    """The grant is revoked with all its links, each of which remembers the scopes still used."""
    first, second = link_two(google, alice)
    ben = google.add_user("ben@gmail.com")
    third = linked(new_user("cleo"), google, ben, scopes=[CALENDAR])

    with heard() as news:
        said = run(urlconf=Few, retire=DRIVE)

    assert said.endswith("       1 retired, and revoked at the provider\n")
    assert google.granted_scopes(alice) is None
    assert google.granted_scopes(ben)
    assert not PendingRevocation.objects.exists()
    for account in (first, second):
        account.refresh_from_db()
        assert (account.status, account.status_reason) == (Status.NEEDS_REAUTHORIZATION, "retired")
        # The calendar that is still used was implied by what the first one had.
        assert account.granted_scopes == sorted([*OPENID, CALENDAR])
        assert not account.sealed_refresh_token
        assert not account.sealed_access_token
    third.refresh_from_db()
    assert third.is_active
    assert (
        sorted((name, arguments["reason"]) for name, arguments in news)
        == [("authorization_lost", "retired")] * 2
    )
    assert run(urlconf=Few, retire=DRIVE).startswith("       0 links")


@pytest.mark.usefixtures("shared_database")
def test_links_of_one_grant_are_retired_together(google: FakeGoogle, alice: FakeUser) -> None:
    """If both have the scope, the second one is covered by the first."""
    for name in ("anna", "ben"):
        linked(new_user(name), google, alice, scopes=[DRIVE])

    said = run(urlconf=Few, retire=DRIVE)

    assert said.endswith(
        "       1 retired, and revoked at the provider\n"
        "       1 covered by another link with the same grant\n"
    )
    assert len(google.requests_to("revoke")) == 1


@pytest.mark.usefixtures("shared_database")
def test_other_providers_revoke_one_by_one(
    google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """There each token has its own grant: the other link stays active."""
    configure(PROVIDER=None, ISSUER="https://id.example.com")
    _, second = link_two(google, alice)

    run(urlconf=Few, retire=DRIVE)

    second.refresh_from_db()
    assert second.is_active


@pytest.mark.slow
@pytest.mark.usefixtures("shared_database")
def test_next_consent_asks_for_what_is_used(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """It is requested without incremental authorization; afterwards all is as usual."""
    link(browser, google, alice)
    google.grant(alice, [*OPENID, CALENDAR, DRIVE])
    GoogleAccount.objects.update(granted_scopes=sorted([*OPENID, CALENDAR, DRIVE]))
    run(urlconf=Few, retire=DRIVE)

    page = browser.get("/google/").content.decode()
    start = browser.get("/plain/")["Location"]
    query = query_of(browser.get(start)["Location"])
    response, asked = visit(browser, google, "/plain/", user=alice)

    assert "Link again" in page
    assert "include_granted_scopes" not in query
    assert set(query["scope"].split()) == {*OPENID, CALENDAR, CONTACTS}
    assert (response.content, asked) == (b"plain", 1)
    granted = GoogleAccount.objects.get().granted_scopes
    assert DRIVE not in granted
    again = AuthorizeRequest(
        user=str(GoogleAccount.objects.get().user_id),
        host="testserver",
        client="default",
        scopes=(*OPENID, TASKS),
        required=(TASKS,),
        return_url="/",
    )
    assert query_of(browser.get(again.url())["Location"])["include_granted_scopes"] == "true"


@pytest.mark.slow
@pytest.mark.usefixtures("shared_database")
def test_google_is_down(browser: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """The revocation stays pending, and a consent has to wait for it."""
    link(browser, google, alice)
    GoogleAccount.objects.update(granted_scopes=sorted([*OPENID, DRIVE]))
    google.fail_next(2, status=503, endpoint="revoke")

    with pytest.raises(CommandError, match="google_link_revoke_pending"):
        run(urlconf=Few, retire=DRIVE)
    refused: Any = browser.get(browser.get("/plain/")["Location"])

    assert refused.status_code == 503
    assert google.granted_scopes(alice)
    assert PendingRevocation.objects.count() == 1

    response, asked = visit(browser, google, "/plain/", user=alice)

    assert (response.status_code, asked) == (200, 1)
    assert not PendingRevocation.objects.exists()
    assert GoogleAccount.objects.get().is_active


@pytest.mark.slow
@pytest.mark.usefixtures("shared_database")
def test_provider_that_does_not_respond_is_not_asked_for_each(google: FakeGoogle) -> None:
    """All links are retired; after three failures, the other revocations are left pending."""
    for number in range(5):
        user = google.add_user(f"user{number}@gmail.com")
        linked(new_user(user.email), google, user, scopes=[DRIVE])

    with (
        google.failing(endpoint="revoke"),
        pytest.raises(CommandError, match="google_link_revoke_pending"),
    ):
        run(urlconf=Few, retire=DRIVE)

    assert len(google.requests_to("revoke")) == 3
    assert GoogleAccount.objects.filter(status_reason="retired").count() == 5
    call_command("google_link_revoke_pending", stdout=io.StringIO())
    assert not PendingRevocation.objects.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("shared_database")
def test_lost_links_need_no_provider(google: FakeGoogle) -> None:
    """They are retired while it does not respond, which their number does not hide."""
    users = [google.add_user(f"user{number}@gmail.com") for number in range(9)]
    for user in users:
        linked(new_user(user.email), google, user, scopes=[DRIVE])
    lost = list(GoogleAccount.objects.order_by("pk").values_list("pk", flat=True)[::2])
    values = {"status": Status.NEEDS_REAUTHORIZATION, "sealed_refresh_token": ""}
    GoogleAccount.objects.filter(pk__in=lost).update(sealed_access_token="", **values)

    with google.failing(endpoint="revoke"):
        outcomes = Counter(engine.retire_scope(DRIVE, needed=[]))

    assert outcomes == {"retired": 5, "postponed": 4}
    assert len(google.requests_to("revoke")) == 3


@pytest.mark.usefixtures("shared_database")
def test_stopped_and_run_again(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C, the next run retires the rest."""
    ben = google.add_user("ben@gmail.com")
    for who in (alice, ben):
        linked(new_user(who.email), google, who, scopes=[DRIVE])
    use_small_chunks(monkeypatch, engine, 1)
    retiring = engine.retire_scope(DRIVE, needed=[])
    assert next(retiring) == engine.RetirementOutcome.RETIRED
    retiring.close()

    said = run(urlconf=Few, retire=DRIVE)

    assert "       1 links have been granted" in said
    assert google.granted_scopes(alice) is google.granted_scopes(ben) is None


@pytest.mark.usefixtures("shared_database")
def test_scope_that_was_given_up_meanwhile(google: FakeGoogle, alice: FakeUser) -> None:
    """A user who linked again without the scope meanwhile is skipped."""
    account = linked(new_user(), google, alice, scopes=[DRIVE])
    GoogleAccount.objects.update(granted_scopes=[*OPENID])

    assert engine.retire_grant(account, DRIVE, needed=[]) is None
    assert google.granted_scopes(alice)


@pytest.mark.usefixtures("shared_database")
def test_lost_links_are_retired_too(google: FakeGoogle, alice: FakeUser) -> None:
    """No second signal is sent, and the scope is not requested again."""
    account = linked(new_user(), google, alice, scopes=[DRIVE], status="needs_reauthorization")

    with heard() as news:
        run(urlconf=Few, retire=DRIVE)

    account.refresh_from_db()
    assert news == []
    assert DRIVE not in account.granted_scopes
    assert google.granted_scopes(alice) is None


@pytest.mark.usefixtures("shared_database")
def test_terminal_waits_for_the_revocation(google: FakeGoogle, alice: FakeUser) -> None:
    """Linking from a terminal has to wait as well."""
    linked(new_user("anna"), google, alice, scopes=[DRIVE])
    google.fail_next(2, status=503, endpoint="revoke")
    with pytest.raises(CommandError, match="google_link_revoke_pending"):
        run(urlconf=Few, retire=DRIVE)

    with pytest.raises(CommandError, match="must be revoked at Google first"):
        call_command("google_link_authorize", "anna", no_browser=True, port=0)


@pytest.mark.usefixtures("shared_database")
def test_refresh_under_way_does_not_bring_tokens_back(google: FakeGoogle, alice: FakeUser) -> None:
    """A response that arrives after the retirement is discarded."""
    account = linked(new_user(), google, alice, scopes=[DRIVE])
    guard = GoogleAccount.objects.filter(pk=account.pk, grant_version=account.grant_version)
    run(urlconf=Few, retire=DRIVE)

    assert not save_refresh(account, token_response(), guard=guard, is_forced=False)
    assert not GoogleAccount.objects.get().sealed_access_token
