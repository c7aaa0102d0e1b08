"""``ConsentRequiredMiddleware``: what decorators do, for views that have none."""

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
    """Sends users to consent when a view, or anything that it calls, finds that they must act.

    It answers as ``google_required`` does to a ``ConsentRequiredError`` that its view raises.
    Put it after Django's session and authentication middleware. It costs nothing before an error.
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
        """Answer, or leave it to others when this user cannot help."""
        if not isinstance(exception, ConsentRequiredError):
            return None
        try:
            return answer_error(exception, request, access_for(request, exception))
        except ConsentRequiredError:
            return None
