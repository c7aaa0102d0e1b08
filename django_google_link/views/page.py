"""What every page of the app has: one stack of decorators."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from ..accounts.history import acting_as
from ..models import ActorKind

View = Callable[..., HttpResponse]


def page(*methods: str) -> Callable[[View], View]:
    """Make a page of a view: for these methods, for users who are logged in, kept by no cache.

    It is not shown in a frame, whatever the site says of others, since there a click could be
    stolen; and its forms are protected, though the site had no such middleware.
    """

    def decorate(view: View) -> View:
        view = never_cache(login_required(_as_user(view)))
        return csrf_protect(xframe_options_deny(require_http_methods(list(methods))(view)))

    return decorate


def _as_user(view: View) -> View:
    """Let what a page does be its user's doing, in the history."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with acting_as(ActorKind.USER, request.user.pk):
            return view(request, *args, **kwargs)

    return wrapper


def no_referrer(view: View) -> View:
    """Keep the address of this page, with the code in it, from whatever page comes next."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"
        return response

    return wrapper
