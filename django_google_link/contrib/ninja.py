"""django-ninja: a router for front ends, decorators and an exception handler.

Needs the extra ``ninja``. The user is the one that the API's ``auth`` has returned, even if there
is a Django session of another user.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables
from ninja import NinjaAPI, Router
from ninja.operation import Operation, PathView

from .. import decorators
from ..conf.settings import conf
from ..exceptions import ConsentRequiredError
from ..headless import (
    FrontEndError,
    change_account,
    complete_link,
    list_accounts,
    read_openapi,
    start_link,
    unlink_account,
)
from ..headless.accounts import require_user
from ..headless.http import (
    error_response,
    is_answer_of_contract,
    json_response,
    outside_transactions,
    read_body,
    require_proof,
)
from ..request import GoogleAccess
from ..web.access import access_for, client_name
from ..web.answers import answer_error_in_view
from ..web.responses import mark_programmatic

__all__ = ["add_exception_handler", "google_aware", "google_required", "make_router", "router"]

GetUser = Callable[[HttpRequest], Any]


def find_user(request: HttpRequest) -> Any:
    """Return the user that the API's ``auth`` has returned, or the ``user`` of that object."""
    principal = getattr(request, "auth", None)
    for candidate in (principal, getattr(principal, "user", None)):
        if getattr(candidate, "is_authenticated", False) is True:
            return candidate
    return AnonymousUser()


def make_router(*, get_user: GetUser = find_user) -> Router:
    """Return a router with the endpoints for front ends: ``api.add_router("/google", …)``.

    Args:
        get_user: returns the user of a request that ``auth`` has accepted, if that returns neither
            a user nor an object with a ``user``.
    """
    router = _Router(tags=["Google accounts"])

    def mount(method: str, path: str, endpoint: Callable[..., dict[str, Any] | None]) -> None:
        described = _describe(path, method)
        operation = _make_operation(endpoint, get_user, takes_id="{id}" in path)
        operation.__name__ = described["operationId"]
        router.add_api_operation(
            path,
            [method.upper()],
            operation,
            operation_id=f"google_{described['operationId']}",
            summary=described["summary"],
            openapi_extra={
                key: described[key] for key in ("requestBody", "responses") if key in described
            },
        )

    mount("get", "/accounts/", lambda request: list_accounts(request.user))
    mount("patch", "/accounts/{id}/", _change)
    mount("delete", "/accounts/{id}/", _unlink)
    mount("post", "/links/", _start)
    mount("post", "/links/complete/", _complete)
    return router


def add_exception_handler(api: NinjaAPI) -> None:
    """Turn a ``ConsentRequiredError`` in any operation of an API into a 403 that says what to do.

    Errors that do not concern the user of the request are not handled.
    """
    api.add_exception_handler(ConsentRequiredError, _answer_consent)


def google_required(
    function: Any = None,
    /,
    *,
    scopes: str | Iterable[str] | None = None,
    optional_scopes: str | Iterable[str] = (),
    client: str | None = None,
    account: Callable[[Any], Any] | None = None,
    return_url: str | None = None,
    get_user: GetUser = find_user,
) -> Any:
    """Run the operation only for users who have granted the scopes; others get a 403 in JSON.

    Put it below ``@api.get(…)``, or in ``decorate_view``. The arguments are those of
    ``decorators.google_required`` and, for ``get_user``, of :func:`make_router`.
    """
    decorate = decorators.google_required(
        scopes=scopes,
        optional_scopes=optional_scopes,
        client=client,
        account=account,
        return_url=return_url,
    )
    wrap = partial(_wrap_function, decorate=decorate, get_user=get_user)
    return wrap if function is None else wrap(function)


def google_aware(
    function: Any = None,
    /,
    *,
    scopes: str | Iterable[str] | None = None,
    optional_scopes: str | Iterable[str] = (),
    client: str | None = None,
    account: Callable[[Any], Any] | None = None,
    return_url: str | None = None,
    get_user: GetUser = find_user,
) -> Any:
    """Run the operation for every user, with ``request.google``. Arguments as above."""
    decorate = decorators.google_aware(
        scopes=scopes,
        optional_scopes=optional_scopes,
        client=client,
        account=account,
        return_url=return_url,
    )
    wrap = partial(_wrap_function, decorate=decorate, get_user=get_user)
    return wrap if function is None else wrap(function)


def _wrap_function(function: Any, *, decorate: Any, get_user: GetUser) -> Any:
    """Wrap an operation's function, which runs after ninja has authenticated the request."""
    operation = getattr(function, "__self__", None)
    if isinstance(operation, Operation):
        # decorate_view passes a function that runs before authentication: wrap the one within.
        if not hasattr(operation.view_func, _WRAPPED):
            operation.view_func = _wrap_function(
                operation.view_func, decorate=decorate, get_user=get_user
            )
        return function
    inner = decorate(function)

    def prepare(request: HttpRequest) -> None:
        request.user = get_user(request) or AnonymousUser()
        mark_programmatic(request)

    if iscoroutinefunction(function):

        @wraps(function)
        async def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            prepare(request)
            return await inner(request, *args, **kwargs)

    else:

        @wraps(function)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            prepare(request)
            return inner(request, *args, **kwargs)

    setattr(wrapper, _WRAPPED, True)
    return wrapper


_WRAPPED = "google_link_wrapped"


def _answer_consent(request: HttpRequest, error: Any) -> HttpResponse:
    user = find_user(request)
    if user.is_authenticated:
        request.user = user
    mark_programmatic(request)
    attached = getattr(request, conf.request_attribute, None)
    access = attached if isinstance(attached, GoogleAccess) else access_for(request, error)
    return answer_error_in_view(error, request, access)


def _make_operation(
    endpoint: Callable[..., dict[str, Any] | None], get_user: GetUser, *, takes_id: bool
) -> Any:
    """Return the function of an operation. Ninja reads its parameters from the signature."""

    @sensitive_variables()
    def answer(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            request.user = get_user(request) or AnonymousUser()
            require_user(request.user)
            return json_response(endpoint(request, **kwargs))
        except FrontEndError as error:
            return error_response(error)

    if takes_id:

        def operate(request: HttpRequest, id: str) -> HttpResponse:
            return answer(request, id=id)

        return operate

    def operate_all(request: HttpRequest) -> HttpResponse:
        return answer(request)

    return operate_all


def _change(request: HttpRequest, id: str) -> dict[str, Any]:
    return change_account(request.user, id, read_body(request))


def _unlink(request: HttpRequest, id: str) -> None:
    require_proof(request)
    unlink_account(request.user, id)


@sensitive_variables()
def _start(request: HttpRequest) -> dict[str, Any]:
    require_proof(request)
    data, host = read_body(request), request.get_host()
    return start_link(request.user, data, host=host, client=client_name(request))


@sensitive_variables()
def _complete(request: HttpRequest) -> dict[str, Any]:
    data, host = read_body(request), request.get_host()
    return complete_link(request.user, data, host=host, request=request)


class _Router(Router):
    """A router whose views are exempt from ``ATOMIC_REQUESTS``, with errors as documented."""

    def add_api_operation(self, path: str, *args: Any, **kwargs: Any) -> None:
        """Add an operation, with a path view of this module."""
        self.path_operations.setdefault(path, _PathView())
        super().add_api_operation(path, *args, **kwargs)


class _PathView(PathView):
    def clone(self) -> PathView:
        """Return a copy for one API, as ninja makes of each router."""
        cloned = _PathView()
        vars(cloned).update(vars(super().clone()))
        return cloned

    def get_view(self) -> Callable[..., Any]:
        """Return the view, exempt from transactions and Django's login requirement."""
        view = super().get_view()

        @outside_transactions
        @login_not_required  # LoginRequiredMiddleware would redirect instead of a JSON response.
        def contractual(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            return _keep_shape(view(request, *args, **kwargs))

        vars(contractual)["csrf_exempt"] = True  # As ninja does: cookie authentication checks it.
        return contractual


_WORDS = {
    401: "login_required",
    404: "not_found",
    405: "method_not_allowed",
    429: "throttled",
}


def _keep_shape(response: HttpResponse) -> HttpResponse:
    """Return ninja's own error responses in the documented format, with their headers."""
    is_mistake = response.status_code >= 500  # A traceback, in development.
    if response.status_code < 400 or is_mistake or is_answer_of_contract(response):
        return response
    detail, status = _read_detail(response.content), response.status_code
    word = "csrf_failed" if "CSRF" in detail else _WORDS.get(status, "permission_denied")
    answer = error_response(FrontEndError(status, word, detail))
    for name in ("Allow", "Retry-After", "WWW-Authenticate"):
        if name in response:
            answer[name] = response[name]
    return answer


def _read_detail(content: bytes) -> str:
    try:
        data = json.loads(content)
    except ValueError:
        data = content.decode(errors="replace")
    detail = data.get("detail", "") if isinstance(data, Mapping) else data
    return str(detail) or "The site's own API rejected this request."


def _describe(path: str, method: str) -> dict[str, Any]:
    """Return an operation of the OpenAPI document, with all references resolved."""
    document = read_openapi()
    schemas = document["components"]["schemas"]

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inline(schemas[node["$ref"].rpartition("/")[2]])
        return {key: inline(value) for key, value in node.items()}

    described: dict[str, Any] = inline(document["paths"][path][method])
    return described


#: A router for APIs whose ``auth`` returns users; see :func:`make_router`.
router = make_router()
