"""Pages of a site: one that needs a token, and one that has nothing to do with Google."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token


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
