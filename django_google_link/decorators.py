"""``@google_required`` and ``@google_aware``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .access import AccountChooser, GoogleAccess, Requirement
from .conf import conf
from .exceptions import ConsentRequiredError, GrantLostError, TokenUndecryptableError
from .grants import mark_lost
from .responses import consent_response
from .scopes import parse_scopes

View = TypeVar("View", bound=Callable[..., Any])


@overload
def google_required(view: View, /) -> View: ...
@overload
def google_required(
    *,
    scopes: str | Iterable[str] | None = None,
    optional_scopes: str | Iterable[str] = (),
    client: str | None = None,
    account: AccountChooser | None = None,
    return_url: str | None = None,
) -> Callable[[View], View]: ...
def google_required(view: Any = None, /, **options: Any) -> Any:
    """Run the view only for a user who has linked a Google account with these scopes.

    Others are sent to consent, or told how to get there, as befits the caller. ``request.google``
    is a :class:`~django_google_link.access.GoogleAccess`.

    Args:
        scopes: all of which are required; by default the client's ``SCOPES``.
        optional_scopes: asked for at the same time, but not required.
        client: the name of the OAuth client; by default ``CLIENT_RESOLVER``'s, or ``"default"``.
        account: a callable that gets the request and returns the account to use, its id, or
            ``None`` for the usual choice. An id that is not this user's is a 404.
        return_url: a path on this site to come back to, in place of the page itself.
    """
    return _decorate(view, options, required=True)


@overload
def google_aware(view: View, /) -> View: ...
@overload
def google_aware(
    *,
    scopes: str | Iterable[str] | None = None,
    optional_scopes: str | Iterable[str] = (),
    client: str | None = None,
    account: AccountChooser | None = None,
    return_url: str | None = None,
) -> Callable[[View], View]: ...
def google_aware(view: Any = None, /, **options: Any) -> Any:
    """Run the view for everybody, with ``request.google`` to ask and to offer the link.

    Arguments as :func:`google_required`.
    """
    return _decorate(view, options, required=False)


def _decorate(view: Any, options: dict[str, Any], *, required: bool) -> Any:
    requirement = _requirement(**options)

    def decorate(view: Any) -> Any:
        if _is_async(view):
            return _async_view(view, requirement, required=required)
        return _sync_view(view, requirement, required=required)

    return decorate(view) if view else decorate


def _requirement(
    *,
    scopes: str | Iterable[str] | None = None,
    optional_scopes: str | Iterable[str] = (),
    client: str | None = None,
    account: AccountChooser | None = None,
    return_url: str | None = None,
) -> Requirement:
    return Requirement(
        scopes=None if scopes is None else parse_scopes(scopes),
        optional_scopes=parse_scopes(optional_scopes),
        client=client,
        account=account,
        return_url=return_url,
    )


def _is_async(view: Any) -> bool:
    # method_decorator(…, name="dispatch") hands over a partial of a method that is no coroutine
    # function itself, and yet returns a coroutine where the handlers of its class do.
    instance = getattr(getattr(view, "func", None), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(instance, "view_is_async", False))


def _sync_view(view: Any, requirement: Requirement, *, required: bool) -> Any:
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        access = _attach(request, requirement)
        if required and not access:
            return consent_response(request, access)
        try:
            response: HttpResponseBase = view(request, *args, **kwargs)
        except ConsentRequiredError as error:
            return _response_to(error, request, access)
        return response

    return wrapper


def _async_view(view: Any, requirement: Requirement, *, required: bool) -> Any:
    @wraps(view)
    async def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        access = _attach(request, requirement)
        await access.alook_up()
        if required and not access:
            return await sync_to_async(consent_response)(request, access)
        try:
            response: HttpResponseBase = await view(request, *args, **kwargs)
        except ConsentRequiredError as error:
            return await sync_to_async(_response_to)(error, request, access)
        return response

    return wrapper


def _attach(request: HttpRequest, requirement: Requirement) -> GoogleAccess:
    access = GoogleAccess(request, requirement)
    setattr(request, conf.request_attribute, access)
    return access


def _response_to(
    error: ConsentRequiredError, request: HttpRequest, access: GoogleAccess
) -> HttpResponseBase:
    if error.account:
        if not access.owns(error.account):
            raise error
        if isinstance(error, GrantLostError | TokenUndecryptableError) and error.account.is_active:
            # A transaction of the view's has taken back what was noted when the grant was lost.
            mark_lost(error.account, error.reason)
    access = access.looked_up_again(error)
    if access and access.has_scopes(*error.missing_scopes):
        # It is not this user who can help: to send them to consent would send them in a circle.
        raise error
    return consent_response(request, access, error)
