"""Views for the functions of this package, for users with a Django session."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables

from ..web.access import client_name
from .accounts import change_account, list_accounts, require_user, unlink_account
from .errors import FrontEndError
from .http import error_response, json_response, outside_transactions, read_body, require_proof
from .links import complete_link, start_link
from .openapi import read_openapi

Endpoint = Callable[..., dict[str, Any] | None]


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        """Raise an error in JSON, instead of returning Django's page."""
        raise FrontEndError(403, "csrf_failed", f"{reason} Send the header X-CSRFToken.")


def _mount(**endpoints: Endpoint) -> Callable[..., HttpResponse]:
    """Return the view for a path.

    Args:
        endpoints: for each method, in lowercase, a function that takes the request and returns the
            content of the response.
    """
    allowed = {name.upper(): endpoint for name, endpoint in endpoints.items()}

    # _CsrfCheck does the same with a JSON response; the middleware would return a page.
    @csrf_exempt
    # require_user() does the same with a JSON response; the middleware would redirect.
    @login_not_required
    @outside_transactions
    @sensitive_variables()
    def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            method = "GET" if request.method == "HEAD" else str(request.method)
            endpoint = allowed.get(method)
            if endpoint is None:
                raise FrontEndError(405, "method_not_allowed", f"Use {' or '.join(allowed)}.")
            return json_response(endpoint(request, **kwargs))
        except FrontEndError as error:
            response = error_response(error)
            if error.status == 405:
                response["Allow"] = ", ".join(allowed)
            return response

    return view


def _for_user(endpoint: Endpoint) -> Endpoint:
    """Require a user who is logged in and, for unsafe methods, a CSRF token."""

    @wraps(endpoint)
    def guarded(request: HttpRequest, **kwargs: Any) -> dict[str, Any] | None:
        require_user(request.user)
        check = _CsrfCheck(lambda request: HttpResponse())
        check.process_request(request)
        callback: Any = endpoint
        check.process_view(request, callback, (), {})
        return endpoint(request, **kwargs)

    return guarded


@_for_user
def _list(request: HttpRequest) -> dict[str, Any]:
    return list_accounts(request.user)


@_for_user
def _change(request: HttpRequest, id: str) -> dict[str, Any]:
    return change_account(request.user, id, read_body(request))


@_for_user
def _unlink(request: HttpRequest, id: str) -> None:
    require_proof(request)
    unlink_account(request.user, id)


@_for_user
@sensitive_variables()
def _start(request: HttpRequest) -> dict[str, Any]:
    require_proof(request)
    data, host = read_body(request), request.get_host()
    return start_link(request.user, data, host=host, client=client_name(request))


@_for_user
@sensitive_variables()
def _complete(request: HttpRequest) -> dict[str, Any]:
    data, host = read_body(request), request.get_host()
    return complete_link(request.user, data, host=host, request=request)


def _describe(request: HttpRequest) -> dict[str, Any]:
    return read_openapi()


accounts = _mount(get=_list)
account = _mount(patch=_change, delete=_unlink)
links = _mount(post=_start)
complete = _mount(post=_complete)
openapi = _mount(get=_describe)
