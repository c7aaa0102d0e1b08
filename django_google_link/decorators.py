"""``@google_required`` and ``@google_aware``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .conf.settings import conf
from .exceptions import ConsentRequiredError
from .web.access import AccountChooser, GoogleAccess, Requirement
from .web.responses import consent_response, response_to

_OPTIONS = ("scopes", "optional_scopes", "client", "account", "return_url")

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
    is a :class:`~django_google_link.web.access.GoogleAccess`.

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
    unknown = sorted(set(options).difference(_OPTIONS))
    if unknown:
        raise TypeError(f"There is no option {unknown[0]!r}: there are {', '.join(_OPTIONS)}.")
    if view is not None and not callable(view):
        raise TypeError(f"Name the option: scopes={view!r}, and so on.")
    if not callable(options.get("account") or print):
        raise TypeError("account is a function that gets the request and names an account.")
    requirement = Requirement.of(**options)

    def decorate(view: Any) -> Any:
        if isinstance(view, type):
            raise TypeError(f"{view.__name__} is a class: use the mixins of django_google_link.")
        if _is_async(view):
            return _async_view(view, requirement, required=required)
        return _sync_view(view, requirement, required=required)

    return decorate(view) if view else decorate


def _is_async(view: Any) -> bool:
    # A mixin hands over a method and method_decorator(…, name="dispatch") a partial of one, which
    # is no coroutine function and yet returns a coroutine where the handlers of its class do.
    instance = getattr(getattr(view, "func", view), "__self__", None)
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
            return response_to(error, request, access)
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
            return await sync_to_async(response_to)(error, request, access)
        return response

    return wrapper


def _attach(request: HttpRequest, requirement: Requirement) -> GoogleAccess:
    if not hasattr(request, "META"):
        raise TypeError(
            f"{type(request).__name__} is no request. On a method use method_decorator, or the "
            "mixins of django_google_link on its class."
        )
    access = GoogleAccess(request, requirement)
    setattr(request, conf.request_attribute, access)
    return access
