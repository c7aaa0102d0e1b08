"""Requests and responses of the endpoints: JSON, and never cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.cache import add_never_cache_headers
from django.views.decorators.debug import sensitive_variables

from ..web.reauthentication import ask_to_reauthenticate
from .bodies import check_content_type, check_length, parse_object
from .errors import FrontEndError

_MARK = "google_link_contract"

View = TypeVar("View", bound=Callable[..., Any])


@sensitive_variables()
def read_body(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object in the body of a request.

    Raises:
        FrontEndError: if it has a different body.
    """
    check_content_type(request.content_type or "")
    check_length(request.META.get("CONTENT_LENGTH"))
    try:
        body = request.body
    except RequestDataTooBig as error:  # The site's limit may be lower.
        raise FrontEndError(413, "body_too_large", str(error)) from None
    except UnreadablePostError:
        raise FrontEndError(400, "invalid_json", "The body could not be read.") from None
    return parse_object(body)


def json_response(content: dict[str, Any] | None, *, status: int = 200) -> HttpResponse:
    """Return a JSON response, or one with status 204 if there is no content."""
    response = HttpResponse(status=204) if content is None else JsonResponse(content, status=status)
    add_never_cache_headers(response)
    setattr(response, _MARK, True)
    return response


def require_proof(request: HttpRequest) -> None:
    """Check that the user has authenticated recently, if ``REAUTHENTICATION`` requires it.

    Raises:
        FrontEndError: with the address at which the user can authenticate.
    """
    response = ask_to_reauthenticate(request)
    if response is None:
        return
    raise FrontEndError(
        403,
        "reauthentication_required",
        "Authenticate again, and repeat the request.",
        reauthentication_url=response.get("Location"),
    )


def error_response(error: FrontEndError) -> HttpResponse:
    """Return the response for an error."""
    return json_response(error.content, status=error.status)


def is_answer_of_contract(response: HttpResponse) -> bool:
    """Return whether a response was made here, and not by the framework."""
    return hasattr(response, _MARK)


def outside_transactions(view: View) -> View:
    """Exempt a view from ``ATOMIC_REQUESTS``.

    A spent ticket must stay spent if the view fails, and no transaction may be open while Google is
    asked.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view
