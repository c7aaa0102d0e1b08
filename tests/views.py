"""Views as a project would write them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import View
from django.utils.decorators import method_decorator

from django_google_link.decorators import google_aware, google_required

from .conftest import CALENDAR, DRIVE


@google_required
def bare(request: HttpRequest) -> HttpResponse:
    """A bare view."""
    return HttpResponse(request.google.account.email)


@google_required(scopes=[CALENDAR])
def agenda(request: HttpRequest, day: str = "") -> HttpResponse:
    events = request.google.service("calendar", "v3").events().list(calendarId="primary").execute()
    return JsonResponse({"day": day, "events": events["items"]})


@google_required(scopes=[DRIVE], optional_scopes=[CALENDAR])
def files(request: HttpRequest) -> HttpResponse:
    return HttpResponse("files")


@google_aware
def home(request: HttpRequest) -> HttpResponse:
    google = request.google
    return JsonResponse(
        {
            "has_credentials": google.has_credentials(),
            "status": google.status,
            "authorize_url": google.authorize_url(),
        }
    )
