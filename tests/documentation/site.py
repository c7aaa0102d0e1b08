"""A site with the view at the top of the README."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from tests.documentation.pages import block_with, run

GoogleOutageMiddleware = run("howto/outages", "class GoogleOutage")["GoogleOutageMiddleware"]


def agenda(request: HttpRequest) -> HttpResponse:
    """The view, with a template of one line."""

    def render(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        return HttpResponse(event["summary"] for event in context["events"])

    names: dict[str, Any] = {}
    exec(block_with("README", "def agenda"), names)
    names["render"] = render
    response: HttpResponse = names["agenda"](request)
    return response


urlpatterns = [
    path("agenda/", agenda),
    path("google/api/", include("django_google_link.headless.urls")),
    path("google/", include("django_google_link.urls")),
]
