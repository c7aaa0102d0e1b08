"""Pages of a site: those that need a token or an API, and one that has nothing to do with them."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token

from .calls import WAYS


def needs_token(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Do what the guide to outages says."""
    try:
        access_token(GoogleAccount.objects.get(pk=pk))
    except RefreshUnavailableError as error:
        return HttpResponse(error.error, status=503)
    return HttpResponse("token")


def needs_nothing(request: HttpRequest) -> HttpResponse:
    """Ask the database something."""
    return HttpResponse(str(get_user_model().objects.count()))


def calls(request: HttpRequest, way: str, file_id: str) -> HttpResponse:
    """Call an API once, in one way or another."""
    return HttpResponse(WAYS[way](request, file_id))
