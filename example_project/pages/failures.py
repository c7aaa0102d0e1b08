"""Show a page instead of a server error when Google fails."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from google.auth.exceptions import TransportError
from googleapiclient.errors import HttpError
from httplib2 import HttpLib2Error

from django_google_link.exceptions import TokenEndpointError

logger = logging.getLogger(__name__)

UNREACHABLE = (TokenEndpointError, TransportError, HttpLib2Error, ConnectionError, TimeoutError)


def explain_google_failures(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Turn what Google's API and token endpoint may raise into a page.

    A ``ConsentRequiredError`` is not caught: ``@google_required`` handles it.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except HttpError as error:
            logger.warning("Google's API answered: %s", error)
            passes = error.status_code == 429 or error.status_code >= 500
        except UNREACHABLE as error:
            logger.warning("Google cannot be reached: %s", error)
            passes = True
        return render(
            request, "pages/failure.html", {"passes": passes}, status=503 if passes else 502
        )

    return wrapper
