"""The options of decorators, mixins and permissions, judged where a view is written.

A mistake is told at import, with what to write in its place, and not to the first visitor.
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

#: The attributes of a class, by the option of a decorator that each is.
ATTRIBUTES = {
    "scopes": "google_scopes",
    "optional_scopes": "google_optional_scopes",
    "client": "google_client",
    "return_url": "google_return_url",
}
_CHOOSER = "get_google_account"
_KNOWN = frozenset({*ATTRIBUTES.values(), _CHOOSER})
#: What the decorators call them.
_BARE = {"scope": "scopes", "scopes": "scopes", "optional_scopes": "optional_scopes"}


def require_sound_options(
    owner: str, options: Mapping[str, Any], *, names: Mapping[str, str] | None = None
) -> None:
    """Refuse options that cannot be meant.

    Args:
        owner: how the message begins: the decorator, or the class.
        options: by the names that the decorators give them.
        names: what they are called where they were written.

    Raises:
        TypeError: for a value of another type.
        ValueError: for a scope that is none, or an address that is none.
    """
    called = {option: f"{owner}: {(names or {}).get(option, option)}" for option in options}
    client = options.get("client")
    if client is not None and not isinstance(client, str):
        raise TypeError(f'{called["client"]} is {client!r}. Use its name in CLIENTS, "default".')
    for option in ("scopes", "optional_scopes"):
        _require_scopes(called[option], options[option], client=client)
    _require_return_url(called["return_url"], options["return_url"])


def require_chooser(owner: str, chooser: Any) -> None:
    """Refuse an option ``account`` that names no account.

    Raises:
        TypeError: when it is no function of a request.
    """
    if chooser is None or (callable(chooser) and takes_arguments(chooser, 1)):
        return
    raise TypeError(
        f"{owner}: account is {chooser!r}. Use a function that gets the request and names an "
        'account: account=lambda request: request.GET.get("account").'
    )


def require_sound_class(view: type, *, mixins: Iterable[type]) -> None:
    """Refuse a class whose options cannot be meant, or whose mixin would never be called.

    Args:
        view: the class that is being defined.
        mixins: those of ours.

    Raises:
        TypeError, ValueError: as :func:`require_sound_options`.
    """
    ours = [base for base in view.__mro__ if base in mixins]
    if View in view.__mro__ and ours and view.__mro__.index(View) < view.__mro__.index(ours[0]):
        raise TypeError(
            f"{view.__name__}: {ours[0].__name__} stands behind a view, which never calls it. "
            f"Write class {view.__name__}({_order_bases(view, ours)})."
        )
    require_known_attributes(view)
    written = {option: getattr(view, name, None) for option, name in ATTRIBUTES.items()}
    # What is decided at each request cannot be judged here.
    plain = {option: None if hasattr(v, "__get__") else v for option, v in written.items()}
    require_sound_options(view.__name__, plain, names=ATTRIBUTES)
    chooser = vars(view).get(_CHOOSER)
    is_wrong = isfunction(chooser) and not takes_arguments(chooser, 2)
    if is_wrong or (chooser is not None and not hasattr(chooser, "__get__")):
        raise TypeError(f"{view.__name__}: write def {_CHOOSER}(self, request).")


def require_known_attributes(view: type) -> None:
    """Refuse an attribute of a class that is one of our options, misspelt.

    Raises:
        TypeError: naming the one that is meant.
    """
    for name, value in vars(view).items():
        meant = _find_attribute(name, value)
        if meant and meant not in vars(view):
            raise TypeError(f"{view.__name__}.{name} is not read. Did you mean {meant}?")


def _find_attribute(name: str, value: Any) -> str:
    """Return which option is meant by an attribute that is none, if any is."""
    if name in _KNOWN:
        return ""
    if name.lower() in _BARE and PREFIX in str(value):
        return f"google_{_BARE[name.lower()]}"
    # A method of the project's own may well resemble ours, and not take a request.
    is_chooser = isfunction(value) and value.__code__.co_argcount == 2
    known = [_CHOOSER] if is_chooser else ATTRIBUTES.values()
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.92)
    return close[0] if close and is_chooser == isfunction(value) else ""


def require_function(decorator: str, view: Any) -> None:
    """Refuse what a decorator of functions cannot decorate.

    Raises:
        TypeError: naming what to write in its place.
    """
    if isinstance(view, type):
        mixin = "GoogleAwareMixin" if decorator == "google_aware" else "GoogleRequiredMixin"
        raise TypeError(
            f"{view.__name__} is a class: use the mixins of django_google_link, class "
            f"{view.__name__}({mixin}, …), or @method_decorator({decorator}(…), "
            'name="dispatch").'
        )
    if not callable(view):
        raise TypeError(f"{decorator}() decorates a view, and not {view!r}.")
    if isfunction(view) and view.__code__.co_varnames[: view.__code__.co_argcount][:1] == ("self",):
        raise TypeError(
            f"{view.__qualname__}() is a method: use @method_decorator({decorator}(…)), or the "
            "mixins of django_google_link on its class. A view of Django REST framework takes "
            "the permissions of django_google_link.contrib.rest_framework."
        )


def explain_unknown_option(decorator: str, name: str, known: Iterable[str]) -> str:
    """Return what Python says of an unknown keyword argument, and the one that is meant."""
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
            raise ValueError(f"{option} has a mistake. {mistake}")


def _are_googles(client: str | None) -> bool:
    """Return whether scopes are asked of Google, as far as that is known at import."""
    try:
        names = [client] if client else ["default"]
        if client is None and "CLIENT_RESOLVER" in conf.keys:
            names = list(conf.clients)
        return all(get_client(name).is_google for name in names)
    except ImproperlyConfigured:
        return False  # Another check says what is wrong with the client.


def _require_return_url(option: str, value: Any) -> None:
    if value is None or isinstance(value, Promise):
        return
    if not isinstance(value, str):
        raise TypeError(f'{option} is {value!r}. Use a path of this site: "/agenda/".')
    if not value.startswith(("/", "http://", "https://")):
        raise ValueError(
            f'{option} is {value!r}, which is no path of this site. Use "/agenda/", or '
            f"reverse_lazy({value!r}) for the name of a URL."
        )


def _order_bases(view: type, ours: list[type]) -> str:
    first = [base for base in view.__bases__ if not issubclass(base, View) and base not in ours]
    views = [base for base in view.__bases__ if issubclass(base, View)]
    return ", ".join(base.__name__ for base in (*first, ours[0], *views))
