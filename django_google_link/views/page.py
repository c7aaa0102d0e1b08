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

#: What browsers, and the extensions that look ahead, say of a visit that nobody has made yet.
_PREFETCH_HEADERS = {
    "Sec-Purpose": "prefetch",
    "Purpose": "prefetch",
    "X-Moz": "prefetch",
    "X-Purpose": "preview",
}


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


def refuse_prefetch(view: View) -> View:
    """Do nothing for a browser that only guesses where its user may go next.

    A state would be used, and others make room for one that nobody has asked for. A browser throws
    an answer like this away, and asks once more when the user goes there:
    https://wicg.github.io/nav-speculation/prefetch.html#sec-purpose-header
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if any(
            word in request.headers.get(name, "").lower()
            for name, word in _PREFETCH_HEADERS.items()
        ):
            return HttpResponse(status=503)
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
