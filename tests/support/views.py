"""Views as a project would write them."""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views import View

from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import ConsentRequiredError
from django_google_link.models import GoogleAccount
from django_google_link.services import authorized_session, build_service, credentials_for
from tests.support.constants import CALENDAR, DRIVE


def events_of(service: Any) -> list[Any]:
    """Ask Google for what is in the calendar."""
    events: list[Any] = service.events().list(calendarId="primary").execute()["items"]
    return events


def described(google: Any) -> JsonResponse:
    """Return all that a template might ask."""
    return JsonResponse(
        {
            "has_credentials": google.has_credentials(),
            "status": google.status,
            "email": google.account.email if google.account else None,
            "sub": google.account.sub if google.account else None,
            "emails": [account.email for account in google.accounts],
            "granted_scopes": sorted(google.granted_scopes),
            "missing_scopes": sorted(google.missing_scopes),
            "has_drive": google.has_scopes(DRIVE),
            "authorize_url": google.authorize_url(),
        }
    )


@google_required
def bare(request: HttpRequest) -> HttpResponse:
    """A bare view."""
    return HttpResponse(request.google.account.email)


@google_required(scopes=[CALENDAR])
def agenda(request: HttpRequest, day: str = "") -> HttpResponse:
    """What is on, from Google."""
    return JsonResponse({"day": day, "events": events_of(request.google.service("calendar", "v3"))})


@google_required(scopes=[DRIVE], optional_scopes=["https://www.googleapis.com/auth/tasks"])
def files(request: HttpRequest) -> HttpResponse:
    """Needs more than the client's scopes."""
    return HttpResponse("files")


@google_required(scopes=f"{CALENDAR}\n {DRIVE}")
def words(request: HttpRequest) -> HttpResponse:
    """Scopes in their wire form."""
    return HttpResponse("words")


@google_required(scopes=["https://www.googleapis.com/auth/userinfo.email"])
def aliased(request: HttpRequest) -> HttpResponse:
    """Needs what is always granted, by its other name."""
    return HttpResponse("aliased")


@google_required(scopes=[])
def any_account(request: HttpRequest) -> HttpResponse:
    """Needs an account, and nothing from it."""
    return HttpResponse(request.google.account.email)


@google_required(return_url="/bare/?from=elsewhere")
def elsewhere(request: HttpRequest) -> HttpResponse:
    """Comes back to another page."""
    return HttpResponse("elsewhere")


@google_required(return_url=reverse_lazy("agenda", args=["today"]))
def lazily(request: HttpRequest) -> HttpResponse:
    """Comes back to a page that has a name."""
    return HttpResponse("lazily")


@google_required(return_url="https://evil.example/")
def astray(request: HttpRequest) -> HttpResponse:
    """Would come back to another site."""
    return HttpResponse("astray")


@google_required(client="second")
def second(request: HttpRequest) -> HttpResponse:
    """Links through another OAuth client."""
    return HttpResponse(request.google.account.email)


def named_account(request: HttpRequest) -> Any:
    """Choose the account that the address names, in its path or its query."""
    assert request.resolver_match
    return request.resolver_match.kwargs.get("pk") or request.GET.get("account")


@google_required(account=named_account)
def chosen(request: HttpRequest, pk: Any = None) -> HttpResponse:
    """The account stands in the address."""
    return HttpResponse(request.google.account.email)


@google_required(account=lambda request: GoogleAccount.objects.get(pk=request.GET["account"]))
def fetched(request: HttpRequest) -> HttpResponse:
    """The account is looked up without regard to whose it is."""
    return HttpResponse(request.google.account.email)


def other_account(request: Any) -> GoogleAccount | None:
    """Choose the account that is not the default one."""
    return next((account for account in request.google.accounts if not account.is_default), None)


@google_required(account=other_account)
def other(request: HttpRequest) -> HttpResponse:
    """The account is chosen as a row."""
    return HttpResponse(request.google.account.email)


async def achoose(request: Any) -> str | None:
    """Choose the account asynchronously."""
    await request.auser()
    account: str | None = request.GET.get("account")
    return account


@google_required(account=achoose)
def chosen_by_coroutine(request: HttpRequest) -> HttpResponse:
    """A sync view with an async chooser."""
    return HttpResponse(request.google.account.email)


@google_aware
def home(request: HttpRequest) -> HttpResponse:
    """Works for everybody."""
    return described(request.google)


@google_aware(scopes=[CALENDAR, DRIVE], return_url="/bare/")
def dashboard(request: HttpRequest, name: str) -> HttpResponse:
    """Works for everybody, and better with more."""
    response = described(request.google)
    response["X-Name"] = name
    return response


@google_aware
def offering(request: HttpRequest) -> HttpResponse:
    """Offers a link for what the visitor names: only code of the project may do so."""
    url = request.google.authorize_url(
        *request.GET.getlist("scope"), return_url=request.GET.get("return_url")
    )
    return HttpResponse(url)


@google_aware
def renamed(request: Any) -> HttpResponse:
    """The attribute has another name."""
    assert not hasattr(request, "google")
    return HttpResponse(request.linked.status)


def client_of(request: HttpRequest) -> str:
    """Tell the client by the address."""
    return request.GET.get("client", "default")


@google_aware
def silent(request: HttpRequest) -> HttpResponse:
    """Asks nothing."""
    return HttpResponse("silent")


@google_aware
def insisting(request: HttpRequest) -> HttpResponse:
    """Asks the same again and again."""
    google = request.google
    for _ in range(5):
        assert google == request.google
        assert isinstance(google.has_credentials(), bool)
        assert bool(google) is google.has_credentials()
        described(google)
    return HttpResponse("insisting")


@google_aware
def careless(request: HttpRequest) -> HttpResponse:
    """Uses Google without asking first."""
    return JsonResponse({"events": events_of(request.google.service("calendar", "v3"))})


@google_aware
def sessions(request: HttpRequest) -> HttpResponse:
    """Speaks HTTP itself."""
    google = request.google
    session = google.session()
    url = f"{google.client.api_endpoint}/calendar/v3/calendars/primary/events"
    assert session.credentials.token == google.credentials.token
    _, content = google.http().request(url)
    assert json.loads(content) == session.get(url).json()
    return JsonResponse(session.get(url, timeout=10).json())


@google_required
def greedy(request: HttpRequest) -> HttpResponse:
    """Needs more than its decorator says."""
    service = request.google.service("drive", "v3", scopes=[DRIVE])
    return JsonResponse(service.about().get(fields="user").execute())


@google_required(optional_scopes=["https://www.googleapis.com/auth/tasks"])
def agenda_of(request: HttpRequest, pk: Any) -> HttpResponse:
    """Works with an account that the decorator knows nothing of."""
    account = GoogleAccount.objects.get(pk=pk)
    scopes = request.GET.getlist("scope")
    return JsonResponse(
        {"events": events_of(build_service(account, "calendar", "v3", scopes=scopes))}
    )


@google_aware
def shared_agenda(request: HttpRequest, pk: Any) -> HttpResponse:
    """What is on, in an account that anybody may have linked."""
    session = authorized_session(GoogleAccount.objects.get(pk=pk))
    endpoint = request.google.client.api_endpoint
    url = f"{endpoint}/calendar/v3/calendars/primary/events"
    return JsonResponse(session.get(url, timeout=10).json())


@google_aware
def drive_of_mine(request: HttpRequest) -> HttpResponse:
    """Needs more than its decorator says, of whichever account has it."""
    credentials = credentials_for(request.user, scopes=[DRIVE])
    return HttpResponse(str(credentials.account_id))


@google_required
def mine(request: HttpRequest) -> HttpResponse:
    """Leaves the choice of the account to the service helpers."""
    return HttpResponse(credentials_for(request.user).token)


@google_required
def ledger(request: HttpRequest) -> HttpResponse:
    """Calls Google in the middle of a transaction."""
    with transaction.atomic():
        Group.objects.create(name="written before Google was asked")
        return JsonResponse({"events": events_of(request.google.service("calendar", "v3"))})


@google_required
def stubborn(request: HttpRequest) -> HttpResponse:
    """Raises for want of consent whatever the user does."""
    raise ConsentRequiredError("No consent is ever enough.")


@google_required
def broken(request: HttpRequest) -> HttpResponse:
    """Fails for reasons of its own."""
    raise ZeroDivisionError("not Google's fault")


@google_required
def twice(request: HttpRequest) -> HttpResponse:
    """Another decorated view is called inside."""
    first = request.google
    response = files(request)
    assert request.google is not first
    return response


@method_decorator(google_required(scopes=[CALENDAR]), name="dispatch")
class Dispatched(View):
    """Decorated as a whole."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.google.account.email)


class Gotten(View):
    """Decorated in part."""

    @method_decorator(google_required)
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.google.account.email)

    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("posted")


@google_required
async def async_bare(request: HttpRequest) -> HttpResponse:
    """An async view."""
    return HttpResponse(request.google.account.email)


@google_required
async def async_agenda(request: HttpRequest) -> HttpResponse:
    """What is on, from Google, off the event loop."""
    service = request.google.service("calendar", "v3")
    return JsonResponse({"events": await sync_to_async(events_of)(service)})


@google_aware
async def async_home(request: HttpRequest) -> HttpResponse:
    """Works for everybody, and asks everything in the event loop."""
    return described(request.google)


@google_required(account=achoose)
async def async_chosen(request: HttpRequest) -> HttpResponse:
    """An async view with an async chooser, which calls Google."""
    service = request.google.service("calendar", "v3")
    await sync_to_async(events_of)(service)
    return HttpResponse(request.google.account.email)


@google_required(account=other_account)
async def async_other(request: HttpRequest) -> HttpResponse:
    """An async view with a sync chooser."""
    return HttpResponse(request.google.account.email)


@google_required
async def async_agenda_of(request: HttpRequest, pk: Any) -> HttpResponse:
    """Works with an account that the decorator knows nothing of."""
    account = await GoogleAccount.objects.aget(pk=pk)
    service = build_service(account, "calendar", "v3")
    return JsonResponse({"events": await sync_to_async(events_of)(service)})


@google_required
async def async_broken(request: HttpRequest) -> HttpResponse:
    """Fails for reasons of its own."""
    raise ZeroDivisionError("not Google's fault")


@method_decorator(google_required, name="dispatch")
class AsyncDispatched(View):
    """Decorated as a whole."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.google.account.email)


class AsyncGotten(View):
    """Decorated in part."""

    @method_decorator(google_required)
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.google.account.email)


class AsyncPlain(View):
    """Decorated in the URLconf."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.google.account.email)


@login_not_required
@google_aware
def welcome(request: HttpRequest) -> HttpResponse:
    """Open to all under LoginRequiredMiddleware."""
    return described(request.google)


@google_aware
@login_not_required
def greeting(request: HttpRequest) -> HttpResponse:
    """The same, decorated the other way round."""
    return described(request.google)


@login_not_required
@google_required
def guarded(request: HttpRequest) -> HttpResponse:
    """Looks after anonymous visitors itself."""
    return HttpResponse(request.google.account.email)
