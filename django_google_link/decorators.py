"""``@google_required`` and ``@google_aware``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper, wraps
from inspect import iscoroutine, signature
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .accounts.declared_scopes import declaring
from .conf.settings import conf
from .exceptions import ConsentRequiredError
from .request import GoogleAccess
from .web.access import REQUIREMENT_ATTRIBUTE, Requirement
from .web.answers import answer_error_in_view, guard_rendering
from .web.responses import consent_response
from .web.view_options import (
    explain_unknown_option,
    require_chooser,
    require_function,
    require_sound_options,
)

__all__ = ["google_aware", "google_required"]

Request = TypeVar("Request", bound=HttpRequest)
Arguments = ParamSpec("Arguments")
Response = TypeVar("Response")
Chooser = TypeVar("Chooser", bound=HttpRequest)


class _GoogleDecorator(Protocol):
    """The type of both decorators, which are used bare or called with options.

    The view may annotate its request with ``HttpRequest`` or a class of
    ``django_google_link.request``. The decorated view accepts any ``HttpRequest``.
    """

    @overload
    def __call__(
        self, view: Callable[Concatenate[Request, Arguments], Response], /
    ) -> Callable[Concatenate[HttpRequest, Arguments], Response]: ...
    @overload
    def __call__(
        self,
        *,
        scopes: str | Iterable[str] | None = None,
        optional_scopes: str | Iterable[str] = (),
        client: str | None = None,
        account: Callable[[Chooser], Any] | None = None,
        return_url: str | None = None,
    ) -> Callable[
        [Callable[Concatenate[Request, Arguments], Response]],
        Callable[Concatenate[HttpRequest, Arguments], Response],
    ]: ...


def _make_decorator(wrap_view: Callable[[Any, Requirement], Any]) -> _GoogleDecorator:
    """Return a decorator that takes the options of both, and can be used bare too."""

    name = wrap_view.__name__

    def decorator(
        view: Any = None,
        /,
        *,
        scopes: str | Iterable[str] | None = None,
        optional_scopes: str | Iterable[str] = (),
        client: str | None = None,
        account: Callable[[Any], Any] | None = None,
        return_url: str | None = None,
        **unknown: Any,
    ) -> Any:
        if view is not None and not callable(view):
            raise TypeError(f"Pass options by name: scopes={view!r}.")
        options = {
            "scopes": scopes,
            "optional_scopes": optional_scopes,
            "client": client,
            "account": account,
            "return_url": return_url,
        }
        for option in unknown:
            raise TypeError(explain_unknown_option(name, option, options))
        require_sound_options(f"{name}()", options)
        require_chooser(f"{name}()", account)
        requirement = Requirement.of(**options)  # type: ignore[arg-type]

        def decorate(view: Any) -> Any:
            require_function(name, view)
            return wrap_view(view, requirement)

        return decorate if view is None else decorate(view)

    # **unknown is there for a better error message, and is not part of the signature.
    own = signature(decorator)
    plain = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    decorator.__signature__ = own.replace(parameters=plain)  # type: ignore[attr-defined]
    update_wrapper(decorator, wrap_view, ("__module__", "__name__", "__qualname__", "__doc__"))
    del vars(decorator)["__wrapped__"]  # Its signature is not this one's.
    return decorator


@_make_decorator
def google_required(view: Any, requirement: Requirement) -> Any:
    """Run the view only for users who have linked a Google account with these scopes.

    Other users are redirected to Google's consent page; where a redirect cannot work, the response
    says where to go. ``request.google`` is a :class:`~django_google_link.request.GoogleAccess`;
    annotate the request as :class:`~django_google_link.request.GoogleRequiredRequest`.

    Args:
        scopes: the required scopes; by default the client's ``SCOPES``.
        optional_scopes: scopes that are requested too, but not required.
        client: the name of the OAuth client; by default the one that ``CLIENT_RESOLVER`` returns,
            or ``"default"``.
        account: a callable that takes the request and returns the account to use, its id, or
            ``None`` for the default choice. The id of another user's account results in a 404.
        return_url: a path on this site to which the user returns; by default this page.
    """
    return wrap_view(view, requirement, required=True)


@_make_decorator
def google_aware(view: Any, requirement: Requirement) -> Any:
    """Run the view for every user, with ``request.google`` telling whether an account is linked.

    The arguments are those of :func:`google_required`. Annotate the request as
    :class:`~django_google_link.request.GoogleAwareRequest`.
    """
    return wrap_view(view, requirement, required=False)


def wrap_view(view: Any, requirement: Requirement, *, required: bool) -> Any:
    """Return a view that sets ``request.google``.

    Args:
        required: whether the view runs only if the requirement is met.
    """
    wrap = _wrap_async_view if _is_async(view) else _wrap_sync_view
    wrapper = wrap(view, requirement, required=required)
    setattr(wrapper, REQUIREMENT_ATTRIBUTE, requirement)
    return wrapper


def _is_async(view: Any) -> bool:
    # A mixin passes a bound dispatch(), and method_decorator(…, name="dispatch") a partial of one.
    # Neither is a coroutine function, but it returns a coroutine if the handlers are asynchronous.
    instance = getattr(getattr(view, "func", view), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(instance, "view_is_async", False))


def _wrap_sync_view(view: Any, requirement: Requirement, *, required: bool) -> Any:
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        access = _attach_access(request, requirement)
        if required and not access:
            return consent_response(request, access)
        try:
            with declaring(access.declares):
                response: HttpResponseBase = view(request, *args, **kwargs)
        except ConsentRequiredError as error:
            return answer_error_in_view(error, request, access)
        if iscoroutine(response):
            response.close()
            raise TypeError(_explain_coroutine(view))
        return guard_rendering(response, request, access)

    return wrapper


def _explain_coroutine(view: Any) -> str:
    name = getattr(view, "__qualname__", repr(view))
    return (
        f"{name}() returned a coroutine but is not a coroutine function: another decorator hides "
        "that the view is asynchronous. Put the decorator of django_google_link below that one, "
        "next to the view, or mark that one's wrapper with asgiref.sync.markcoroutinefunction()."
    )


def _wrap_async_view(view: Any, requirement: Requirement, *, required: bool) -> Any:
    @wraps(view)
    async def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        access = _attach_access(request, requirement)
        await access.alook_up()
        if required and not access:
            return await sync_to_async(consent_response)(request, access)
        try:
            with declaring(access.declares):
                response: HttpResponseBase = await view(request, *args, **kwargs)
        except ConsentRequiredError as error:
            return await sync_to_async(answer_error_in_view)(error, request, access)
        return guard_rendering(response, request, access)

    return wrapper


def _attach_access(request: HttpRequest, requirement: Requirement) -> GoogleAccess:
    if not hasattr(request, "META"):
        raise TypeError(
            f"The view was called with {type(request).__name__} instead of a request. Decorate a "
            "method with method_decorator, or use the mixins of django_google_link in its class."
        )
    access = GoogleAccess(request, requirement)
    setattr(request, conf.request_attribute, access)
    return access
