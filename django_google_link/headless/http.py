"""Requests and answers of the mounts: JSON in, JSON out, kept by no cache."""

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
    """Return the JSON object that a request has for a body.

    Raises:
        FrontEndError: when it has something else.
    """
    check_content_type(request.content_type or "")
    check_length(request.META.get("CONTENT_LENGTH"))
    try:
        body = request.body
    except RequestDataTooBig as error:  # A site may allow less than we do.
        raise FrontEndError(413, "body_too_large", str(error)) from None
    except UnreadablePostError:
        raise FrontEndError(400, "invalid_json", "The body did not arrive.") from None
    return parse_object(body)


def json_response(content: dict[str, Any] | None, *, status: int = 200) -> HttpResponse:
    """Return an answer; one without content has no body."""
    response = HttpResponse(status=204) if content is None else JsonResponse(content, status=status)
    add_never_cache_headers(response)
    setattr(response, _MARK, True)
    return response


def require_proof(request: HttpRequest) -> None:
    """Let only those go on who have proved who they are, where ``REAUTHENTICATION`` asks for that.

    Raises:
        FrontEndError: with the address where they can.
    """
    response = ask_to_reauthenticate(request)
    if response is None:
        return
    raise FrontEndError(
        403,
        "reauthentication_required",
        "Confirm your identity again, then retry.",
        reauthentication_url=response.get("Location"),
    )


def error_response(error: FrontEndError) -> HttpResponse:
    """Return the answer that says what went wrong."""
    return json_response(error.content, status=error.status)


def is_answer_of_contract(response: HttpResponse) -> bool:
    """Return whether an answer is ours, and not the framework's."""
    return hasattr(response, _MARK)


def outside_transactions(view: View) -> View:
    """Let Django open no transaction around a view, whatever ``ATOMIC_REQUESTS`` says.

    A ticket that is spent stays spent, and none is open while Google is asked.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view
