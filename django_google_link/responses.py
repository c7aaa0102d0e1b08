"""The answer to a request whose user has to act first, for each kind of caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers, patch_vary_headers

from .access import default_return_url
from .scopes import describe_scope

if TYPE_CHECKING:
    from .access import GoogleAccess
    from .exceptions import ConsentRequiredError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def consent_response(
    request: HttpRequest, access: GoogleAccess, error: ConsentRequiredError | None = None
) -> HttpResponse:
    """Return what this caller needs to send the user to consent.

    Args:
        access: what was looked up for the request.
        error: what the view raised, when it got as far as that.
    """
    scopes = error.missing_scopes if error else frozenset()
    url = access.authorize_url(*sorted(scopes))
    missing = sorted(access.missing_scopes | scopes)
    reason = error.reason if error else access.status
    response: HttpResponse
    if is_programmatic(request):
        response = _json(request, reason=reason, missing_scopes=missing, authorize_url=url)
    elif access.status == "anonymous" or _may_redirect(request, access):
        response = HttpResponseRedirect(url)
    else:
        response = _page(request, access, reason=reason, missing=missing, url=url)
    add_never_cache_headers(response)
    patch_vary_headers(response, ["Accept", "HX-Request", "X-Requested-With"])
    return response


def is_programmatic(request: HttpRequest) -> bool:
    """Return whether a script sent this request, which cannot follow a redirect to Google."""
    headers = request.headers
    return (
        headers.get("HX-Request") == "true"
        or headers.get("X-Requested-With") == "XMLHttpRequest"
        or headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
        or request.content_type == "application/json"
        or not request.accepts("text/html")
    )


def _may_redirect(request: HttpRequest, access: GoogleAccess) -> bool:
    """Return whether the page can be visited again with GET, and Google was not just refused."""
    return request.method in SAFE_METHODS and not access.was_declined()


def describe(scopes: list[str]) -> list[dict[str, str]]:
    """Return scopes for a template: each with its description."""
    return [{"scope": scope, "description": describe_scope(scope)} for scope in scopes]


def _json(request: HttpRequest, **content: Any) -> JsonResponse:
    response = JsonResponse({"error": "google_authorization_required", **content}, status=403)
    if request.headers.get("HX-Request") == "true":
        response["HX-Redirect"] = content["authorize_url"]
    return response


def _page(
    request: HttpRequest, access: GoogleAccess, *, reason: str, missing: list[str], url: str
) -> HttpResponse:
    context = {
        "account": access.account,
        "authorize_url": url,
        "back_url": default_return_url(),
        "declined": access.was_declined(),
        "missing_scopes": describe(missing),
        "reason": reason,
    }
    return render(request, "django_google_link/consent_required.html", context, status=403)
