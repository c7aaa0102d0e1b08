"""The answer to a request whose user has to act first, for each kind of caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers, patch_vary_headers

from ..accounts.grants import mark_lost
from ..exceptions import GrantLostError, TokenUndecryptableError
from ..scopes import describe_scope
from .access import default_return_url

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
    declined = access.was_declined(*(error.missing_scopes if error else ()))
    content = consent_content(access, error)
    response: HttpResponse
    if is_programmatic(request):
        response = _json(request, content)
    elif access.status == "anonymous" or (request.method in SAFE_METHODS and not declined):
        response = HttpResponseRedirect(content["authorize_url"])
    else:
        response = _page(request, access, {**content, "declined": declined})
    add_never_cache_headers(response)
    patch_vary_headers(response, _VARY)
    return response


def consent_content(
    access: GoogleAccess, error: ConsentRequiredError | None = None
) -> dict[str, Any]:
    """Return what a program needs to know, in JSON's own types."""
    further = sorted(error.missing_scopes) if error else []
    return {
        "error": "google_authorization_required",
        "reason": error.reason if error and access else access.status,
        "missing_scopes": sorted({*access.missing_scopes, *further}),
        "authorize_url": access.authorize_url(*further),
    }


def response_to(
    error: ConsentRequiredError, request: HttpRequest, access: GoogleAccess
) -> HttpResponse:
    """Return the answer to an error that a view has raised.

    Raises:
        ConsentRequiredError: the same, when it is not the user of this request who can help.
    """
    return consent_response(request, looked_into(error, access), error)


def looked_into(error: ConsentRequiredError, access: GoogleAccess) -> GoogleAccess:
    """Return how things are now, with the account that a view had trouble with.

    Raises:
        ConsentRequiredError: the same, when it is not the user of this request who can help.
    """
    if error.user_id is not None and not access.is_for(error.user_id):
        raise error
    is_lost = isinstance(error, GrantLostError | TokenUndecryptableError)
    if is_lost and error.account and error.account.is_active:
        # A transaction of the view's has taken back what was noted when the grant was lost.
        mark_lost(error.account, error.reason)
    access = access.looked_up_again(error)
    if access and access.has_scopes(*error.missing_scopes):
        # To send this user to consent would send them in a circle.
        raise error
    return access


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


def _json(request: HttpRequest, content: dict[str, Any]) -> JsonResponse:
    response = JsonResponse(content, status=403)
    if request.headers.get("HX-Request") == "true":
        response["HX-Redirect"] = content["authorize_url"]
    return response


def _page(request: HttpRequest, access: GoogleAccess, content: dict[str, Any]) -> HttpResponse:
    context = {
        **content,
        "account": access.account,
        "back_url": default_return_url(),
        "missing_scopes": describe(content["missing_scopes"]),
    }
    return render(request, "django_google_link/consent_required.html", context, status=403)
