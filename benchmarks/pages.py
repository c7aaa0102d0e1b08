"""Pages of the measured site, with and without a token or an API call."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token

from .calls import WAYS


def needs_token(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Handle outages as the guide says."""
    try:
        access_token(GoogleAccount.objects.get(pk=pk))
    except RefreshUnavailableError as error:
        return HttpResponse(error.error, status=503)
    return HttpResponse("token")


def needs_nothing(request: HttpRequest) -> HttpResponse:
    """Make a database query."""
    return HttpResponse(str(get_user_model().objects.count()))


def calls(request: HttpRequest, way: str, file_id: str) -> HttpResponse:
    """Make one API call, in one of the compared ways."""
    return HttpResponse(WAYS[way](request, file_id))
