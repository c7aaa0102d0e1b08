"""Validates the options of decorators, mixins and permissions.

Errors are raised at import, not when the first user visits the view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from inspect import isfunction
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise
from django.views import View

from ..conf.clients import get_client
from ..conf.scope_spelling import find_scope_mistake
from ..conf.settings import conf
from ..conf.validators import takes_arguments
from ..scopes import PREFIX, parse_scopes

#: The attribute of a class for each option of the decorators.
ATTRIBUTES = {
    "scopes": "google_scopes",
    "optional_scopes": "google_optional_scopes",
    "client": "google_client",
    "return_url": "google_return_url",
}
_CHOOSER = "get_google_account"
_KNOWN = frozenset({*ATTRIBUTES.values(), _CHOOSER})
#: Options of the decorators that may have been written as attributes of a class.
_BARE = {"scope": "scopes", "scopes": "scopes", "optional_scopes": "optional_scopes"}


def require_sound_options(
    owner: str, options: Mapping[str, Any], *, names: Mapping[str, str] | None = None
) -> None:
    """Raise for invalid options.

    Args:
        owner: the beginning of the error message: the decorator, or the class.
        options: the values, by the names of the decorators' options.
        names: the names under which they were written, if different.

    Raises:
        TypeError: if a value has the wrong type.
        ValueError: if a value is not a scope, or not a URL.
    """
    called = {option: f"{owner}: {(names or {}).get(option, option)}" for option in options}
    client = options.get("client")
    if client is not None and not isinstance(client, str):
        raise TypeError(f'{called["client"]} is {client!r}. Use a name in CLIENTS: "default".')
    for option in ("scopes", "optional_scopes"):
        _require_scopes(called[option], options[option], client=client)
    _require_return_url(called["return_url"], options["return_url"])


def require_chooser(owner: str, chooser: Any) -> None:
    """Raise if an option ``account`` is not a function that takes a request.

    Raises:
        TypeError: if it is not.
    """
    if chooser is None or (callable(chooser) and takes_arguments(chooser, 1)):
        return
    raise TypeError(
        f"{owner}: account is {chooser!r}. Use a function that takes the request and returns an "
        'account or its id: account=lambda request: request.GET.get("account").'
    )


def require_sound_class(view: type, *, mixins: Iterable[type]) -> None:
    """Raise for a class with invalid options, or whose mixin would never be called.

    Args:
        view: the class that is being defined.
        mixins: the app's mixins.

    Raises:
        TypeError, ValueError: as :func:`require_sound_options`.
    """
    ours = [base for base in view.__mro__ if base in mixins]
    if View in view.__mro__ and ours and view.__mro__.index(View) < view.__mro__.index(ours[0]):
        raise TypeError(
            f"{view.__name__}: {ours[0].__name__} comes after a view class, which never calls it. "
            f"Write class {view.__name__}({_order_bases(view, ours)})."
        )
    require_known_attributes(view)
    written = {option: getattr(view, name, None) for option, name in ATTRIBUTES.items()}
    # Properties are evaluated for each request, and cannot be validated here.
    plain = {option: None if hasattr(v, "__get__") else v for option, v in written.items()}
    require_sound_options(view.__name__, plain, names=ATTRIBUTES)
    chooser = vars(view).get(_CHOOSER)
    is_wrong = isfunction(chooser) and not takes_arguments(chooser, 2)
    if is_wrong or (chooser is not None and not hasattr(chooser, "__get__")):
        raise TypeError(f"{view.__name__}: write def {_CHOOSER}(self, request).")


def require_known_attributes(view: type) -> None:
    """Raise if an attribute of a class is a misspelt option.

    Raises:
        TypeError: suggesting the option that may be meant.
    """
    for name, value in vars(view).items():
        meant = _find_attribute(name, value)
        if meant and meant not in vars(view):
            raise TypeError(f"{view.__name__}.{name} is not read. Did you mean {meant}?")


def _find_attribute(name: str, value: Any) -> str:
    """Return the option that an unknown attribute may be a misspelling of, or an empty string."""
    if name in _KNOWN:
        return ""
    if name.lower() in _BARE and PREFIX in str(value):
        return f"google_{_BARE[name.lower()]}"
        # A project's own method may have a similar name, but then it takes no request.
    is_chooser = isfunction(value) and value.__code__.co_argcount == 2
    known = [_CHOOSER] if is_chooser else ATTRIBUTES.values()
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.92)
    return close[0] if close and is_chooser == isfunction(value) else ""


def require_function(decorator: str, view: Any) -> None:
    """Raise for anything but a function, saying what to write instead.

    Raises:
        TypeError: if it is a class, a method, or not callable.
    """
    if isinstance(view, type):
        mixin = "GoogleAwareMixin" if decorator == "google_aware" else "GoogleRequiredMixin"
        raise TypeError(
            f"{view.__name__} is a class: use the mixins of django_google_link, class "
            f"{view.__name__}({mixin}, …), or @method_decorator({decorator}(…), "
            'name="dispatch").'
        )
    if not callable(view):
        raise TypeError(f"{decorator}() decorates views, not {view!r}.")
    if isfunction(view) and view.__code__.co_varnames[: view.__code__.co_argcount][:1] == ("self",):
        raise TypeError(
            f"{view.__qualname__}() is a method: use @method_decorator({decorator}(…)), or the "
            "mixins of django_google_link in its class. For a view of Django REST framework, use "
            "the permissions of django_google_link.contrib.rest_framework."
        )


def explain_unknown_option(decorator: str, name: str, known: Iterable[str]) -> str:
    """Return Python's message for an unexpected keyword argument, with a suggestion."""
    close = get_close_matches(name.removeprefix("google_"), known, n=1)
    question = f"Did you mean {close[0]!r}?" if close else f"It takes {', '.join(known)}."
    return f"{decorator}() got an unexpected keyword argument {name!r}. {question}"


def _require_scopes(option: str, value: Any, *, client: str | None) -> None:
    if value is None:
        return
    try:
        scopes = parse_scopes(value)
    except TypeError as error:
        raise TypeError(f"{option} is {value!r}. {error}") from None
    is_google = bool(scopes) and _are_googles(client)
    for scope in scopes:
        if mistake := find_scope_mistake(scope, is_google=is_google):
            raise ValueError(f"{option} is not valid. {mistake}")


def _are_googles(client: str | None) -> bool:
    """Return whether the scopes are for Google, as far as that is known at import."""
    try:
        names = [client] if client else ["default"]
        if client is None and "CLIENT_RESOLVER" in conf.keys:
            names = list(conf.clients)
        return all(get_client(name).is_google for name in names)
    except ImproperlyConfigured:
        return False  # A system check reports the invalid client.


def _require_return_url(option: str, value: Any) -> None:
    if value is None or isinstance(value, Promise):
        return
    if not isinstance(value, str):
        raise TypeError(f'{option} is {value!r}. Use a path on this site: "/agenda/".')
    if not value.startswith(("/", "http://", "https://")):
        raise ValueError(
            f'{option} is {value!r}, which is not a path on this site. Use "/agenda/", or '
            f"reverse_lazy({value!r}) for the name of a URL."
        )


def _order_bases(view: type, ours: list[type]) -> str:
    first = [base for base in view.__bases__ if not issubclass(base, View) and base not in ours]
    views = [base for base in view.__bases__ if issubclass(base, View)]
    return ", ".join(base.__name__ for base in (*first, ours[0], *views))
