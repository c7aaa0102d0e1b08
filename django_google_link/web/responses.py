"""The response to a request whose user must act first, for each kind of caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.request import MediaType
from django.utils.cache import add_never_cache_headers, patch_vary_headers

from ..scopes import describe_scope
from .access import default_return_url
from .consent import consent_content, is_declined, program_content
from .pages import render_page

if TYPE_CHECKING:
    from ..exceptions import ConsentRequiredError
    from .access import GoogleAccess

_VARY = [
    "Accept",
    "Authorization",
    "HX-Current-URL",
    "HX-Request",
    "Sec-Fetch-Mode",
    "X-Requested-With",
]

_PROGRAM_ATTRIBUTE = "google_link_is_programmatic"

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def consent_response(
    request: HttpRequest, access: GoogleAccess, error: ConsentRequiredError | None = None
) -> HttpResponse:
    """Return the response that lets this caller send the user to consent.

    Args:
        access: the access of the request.
        error: the error that the view raised, if it was called.
    """
    response: HttpResponse
    if is_programmatic(request):
        response = JsonResponse(program_content(access, error), status=403)
        if request.headers.get("HX-Request") == "true":
            response["HX-Redirect"] = consent_content(access, error)["authorize_url"]
    else:
        response = _answer_browser(request, access, error)
    add_never_cache_headers(response)
    patch_vary_headers(response, _VARY)
    return response


def mark_programmatic(request: HttpRequest) -> None:
    """Record that an API framework has authenticated this request, whatever its headers are."""
    setattr(request, _PROGRAM_ATTRIBUTE, True)


def is_programmatic(request: HttpRequest) -> bool:
    """Return whether the request is from a program, which cannot follow a redirect to Google."""
    headers = request.headers
    return (
        hasattr(request, _PROGRAM_ATTRIBUTE)
        or headers.get("HX-Request") == "true"
        or headers.get("X-Requested-With") == "XMLHttpRequest"
        or headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
        or (request.content_type or "").endswith(("/json", "+json"))
        # Browsers accept HTML when they navigate; Django's test client sends no Accept header.
        or ("Accept" in headers and not any(map(_names_html, request.accepted_types)))
        or request.get_preferred_type(["text/html", "application/json"]) != "text/html"
        # Browsers send no token when they navigate, but Basic behind a password-protected proxy.
        or not headers.get("Authorization", "basic").lower().startswith(("basic", "digest"))
    )


def _names_html(media_type: MediaType) -> bool:
    return media_type.sub_type in {"html", "xhtml+xml"} or str(media_type) == "text/*"


def _answer_browser(
    request: HttpRequest, access: GoogleAccess, error: ConsentRequiredError | None
) -> HttpResponse:
    declined, content = is_declined(access, error), consent_content(access, error)
    if access.status == "anonymous" or (request.method in SAFE_METHODS and not declined):
        return HttpResponseRedirect(content["authorize_url"])
    return _render_page(request, access, {**content, "declined": declined})


def describe(scopes: list[str]) -> list[dict[str, str]]:
    """Return scopes with their descriptions, for a template."""
    return [{"scope": scope, "description": describe_scope(scope)} for scope in scopes]


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
    return render_page(request, "consent_required.html", context, status=403)
