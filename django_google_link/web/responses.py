"""The answer to a request whose user has to act first, for each kind of caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers, patch_vary_headers

from ..scopes import describe_scope
from .access import default_return_url
from .consent import consent_content, is_declined

if TYPE_CHECKING:
    from ..exceptions import ConsentRequiredError
    from .access import GoogleAccess

_VARY = ["Accept", "HX-Current-URL", "HX-Request", "Sec-Fetch-Mode", "X-Requested-With"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def consent_response(
    request: HttpRequest, access: GoogleAccess, error: ConsentRequiredError | None = None
) -> HttpResponse:
    """Return what this caller needs to send the user to consent.

    Args:
        access: what was looked up for the request.
        error: what the view raised, when it got as far as that.
    """
    declined, content = is_declined(access, error), consent_content(access, error)
    response: HttpResponse
    if is_programmatic(request):
        response = _render_json(request, content)
    elif access.status == "anonymous" or (request.method in SAFE_METHODS and not declined):
        response = HttpResponseRedirect(content["authorize_url"])
    else:
        response = _render_page(request, access, {**content, "declined": declined})
    add_never_cache_headers(response)
    patch_vary_headers(response, _VARY)
    return response


def is_programmatic(request: HttpRequest) -> bool:
    """Return whether a script sent this request, which cannot follow a redirect to Google."""
    headers = request.headers
    return (
        headers.get("HX-Request") == "true"
        or headers.get("X-Requested-With") == "XMLHttpRequest"
        or headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
        or (request.content_type or "").endswith(("/json", "+json"))
        or request.get_preferred_type(["text/html", "application/json"]) != "text/html"
    )


def describe(scopes: list[str]) -> list[dict[str, str]]:
    """Return scopes for a template: each with its description."""
    return [{"scope": scope, "description": describe_scope(scope)} for scope in scopes]


def _render_json(request: HttpRequest, content: dict[str, Any]) -> JsonResponse:
    response = JsonResponse(content, status=403)
    if request.headers.get("HX-Request") == "true":
        response["HX-Redirect"] = content["authorize_url"]
    return response


def _render_page(
    request: HttpRequest, access: GoogleAccess, content: dict[str, Any]
) -> HttpResponse:
    context = {
        **content,
        "account": access.account,
        "provider": access.provider,
        "back_url": default_return_url(),
        "missing_scopes": describe(content["missing_scopes"]),
    }
    return render(request, "django_google_link/consent_required.html", context, status=403)
