"""``ConsentRequiredMiddleware``: asks for consent when a view without a decorator needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

from .exceptions import ConsentRequiredError
from .web.access import access_for
from .web.answers import answer_error

__all__ = ["ConsentRequiredMiddleware"]


class ConsentRequiredMiddleware:
    """Turns a ``ConsentRequiredError`` raised in a view into a request for consent.

    The response is the same as that of ``google_required``. Put it after Django's session and
    authentication middleware. It does nothing unless the view raises the error.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the response, or ``None`` if the error does not concern the current user."""
        if not isinstance(exception, ConsentRequiredError):
            return None
        try:
            return answer_error(exception, request, access_for(request, exception))
        except ConsentRequiredError:
            return None
