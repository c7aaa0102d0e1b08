"""The receiver of Google's security events: one token per request (RFC 8935)."""

from __future__ import annotations

import logging

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from ..accounts.security_events import receive_token
from ..conf.clients import get_client, list_google_clients
from ..conf.settings import conf
from ..exceptions import RefreshUnavailableError
from ..oauth.security_event_token import (
    RejectedTokenError,
    SecurityEventToken,
    verify_security_event_token,
)

logger = logging.getLogger("django_google_link")

_CONTENT_TYPE = "application/secevent+jwt"
#: The maximum length of a request. Google's tokens have a few hundred bytes.
_MAX_BYTES = 65_536
#: Seconds after which Google may retry, if the error was on our side.
_RETRY_AFTER = 60


@login_not_required
@csrf_exempt
@transaction.non_atomic_requests
@require_POST
def security_events(request: HttpRequest) -> HttpResponse:
    """Receive a security event token, and respond whether it was accepted.

    There is neither a session nor a user: only the signature identifies the sender. If processing
    fails on our side, the response is 503, so that Google delivers the token again.
    """
    try:
        if conf.security_events_url is None:
            raise Http404
        receive_token(_verify_token(_read_body(request)))
    except RejectedTokenError as error:
        logger.warning("A security event was not accepted: %s (%s)", error, error.code)
        return JsonResponse(
            {"err": error.code, "description": str(error)},
            status=400,
            headers={"Content-Language": "en"},
        )
    except (
        RefreshUnavailableError,
        ImproperlyConfigured,
        DatabaseError,
        InterfaceError,
    ) as error:
        # Only the class of a database error: its message may contain the values to store.
        is_databases = isinstance(error, DatabaseError | InterfaceError)
        problem = type(error).__name__ if is_databases else error
        logger.error("A security event could not be processed: %s", problem)
        return HttpResponse(status=503, headers={"Retry-After": str(_RETRY_AFTER)})
    return HttpResponse(status=202)


def _read_body(request: HttpRequest) -> str:
    if request.content_type != _CONTENT_TYPE:
        raise RejectedTokenError("invalid_request", f"Its content type is not {_CONTENT_TYPE}.")
    try:
        # At most this much, since a request may have no Content-Length.
        body = request.read(_MAX_BYTES + 1)
    except OSError:  # The sender has closed the connection.
        raise RejectedTokenError("invalid_request", "It was not received completely.") from None
    if len(body) > _MAX_BYTES:
        raise RejectedTokenError("invalid_request", "It is too long.")
    try:
        return body.decode("ascii").strip()
    except UnicodeDecodeError:
        raise RejectedTokenError("invalid_request", "It is not a JSON Web Token.") from None


def _verify_token(text: str) -> SecurityEventToken:
    try:
        return verify_security_event_token(text, list_google_clients())
    except RejectedTokenError as error:
        if error.code == "invalid_audience":
            # It may be for a client whose settings are invalid: report those instead.
            for name in conf.clients:
                get_client(name)
        raise
