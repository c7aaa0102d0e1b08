"""The decorators that all pages of the app share."""

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

#: The headers with which browsers and extensions mark prefetch requests.
_PREFETCH_HEADERS = {
    "Sec-Purpose": "prefetch",
    "Purpose": "prefetch",
    "X-Moz": "prefetch",
    "X-Purpose": "preview",
}


def page(*methods: str) -> Callable[[View], View]:
    """Return a decorator for pages: these methods, authenticated users only, never cached.

    A page cannot be framed, whatever the site's settings, to prevent clickjacking. Its forms have
    CSRF protection even if the site does not use that middleware.
    """

    def decorate(view: View) -> View:
        view = never_cache(login_required(_as_user(view)))
        return csrf_protect(xframe_options_deny(require_http_methods(list(methods))(view)))

    return decorate


def _as_user(view: View) -> View:
    """Attribute what a page does to its user, in the history."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with acting_as(ActorKind.USER, request.user.pk):
            return view(request, *args, **kwargs)

    return wrapper


def refuse_prefetch(view: View) -> View:
    """Reject prefetch requests.

    Otherwise they would use a state, and store another one that no user has requested. A browser
    discards this response, and repeats the request when the user follows the link:
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
    """Hide the URL of this page, which contains the code, from the next page."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response["Referrer-Policy"] = "no-referrer"
        return response

    return wrapper
