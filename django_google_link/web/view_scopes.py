"""Lists the scopes that a project's views require, by walking its URLconf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from inspect import getattr_static, isfunction, ismethod
from types import FunctionType
from typing import Any

from django.urls import URLPattern, get_resolver

from ..conf.clients import get_client
from ..conf.settings import conf
from .access import REQUIREMENT_ATTRIBUTE, Requirement

_OPTIONS = {
    "scopes": ("google_scopes", None),
    "optional_scopes": ("google_optional_scopes", ()),
    "client": ("google_client", None),
}


@dataclass(frozen=True, kw_only=True)
class ViewScopes:
    """The scopes of a view. ``is_known`` is false if they are determined for each request."""

    route: str
    view: str
    scopes: tuple[str, ...]
    optional_scopes: tuple[str, ...]
    client: str | None
    is_known: bool = True


def list_view_scopes(urlconf: str | None = None) -> list[ViewScopes]:
    """Return the scopes that each decorated view requires, in the order of the URLconf.

    Args:
        urlconf: the dotted path of a module; by default ``ROOT_URLCONF``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) if the client of a view is not valid.
    """
    return [
        _describe(requirement, route, view, scopes=_list_scopes(requirement))
        for route, view, requirement in _walk(urlconf)
    ]


def list_named_scopes(urlconf: str | None = None) -> list[ViewScopes]:
    """Return the scopes that each decorated view names, even if its client is not valid.

    Args:
        urlconf: as for :func:`list_view_scopes`.
    """
    return [
        _describe(requirement, route, view, scopes=requirement.scopes or () if requirement else ())
        for route, view, requirement in _walk(urlconf)
    ]


def list_view_classes(urlconf: str | None = None) -> list[type]:
    """Return the view classes that have options of this app, in the order of the URLconf.

    Args:
        urlconf: the dotted path of a module; by default ``ROOT_URLCONF``.
    """
    classes = (
        getattr(pattern.callback, "cls", None) or getattr(pattern.callback, "view_class", None)
        for _, pattern in _walk_patterns(get_resolver(urlconf).url_patterns, "")
    )
    return [one for one in dict.fromkeys(classes) if one and any(_read_class(one, {}))]


def _walk(urlconf: str | None) -> Iterator[tuple[str, str, Requirement | None]]:
    for route, pattern in _walk_patterns(get_resolver(urlconf).url_patterns, ""):
        for requirement in _find_requirements(pattern.callback):
            yield route, pattern.lookup_str, requirement


def _walk_patterns(patterns: Any, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        # A regular expression is shown without its anchors.
        route = prefix + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if isinstance(pattern, URLPattern):
            yield route, pattern
        else:
            yield from _walk_patterns(pattern.url_patterns, route)


def _describe(
    requirement: Requirement | None, route: str, view: str, *, scopes: tuple[str, ...]
) -> ViewScopes:
    return ViewScopes(
        route=route,
        view=view,
        scopes=scopes,
        optional_scopes=requirement.optional_scopes if requirement else (),
        client=requirement.client if requirement else None,
        is_known=requirement is not None,
    )


def _list_scopes(requirement: Requirement | None) -> tuple[str, ...]:
    """Return the scopes that a view requires; empty if they are determined for each request."""
    if requirement is None:
        return ()
    if requirement.scopes is None:
        return _list_client_scopes(requirement.client)
    return requirement.scopes


def _list_client_scopes(client: str | None) -> tuple[str, ...]:
    """Return the scopes of the client, or of all clients if a resolver chooses one."""
    if client is None and conf.client_resolver is not None:
        return tuple(scope for name in conf.clients for scope in get_client(name).scopes)
    return get_client(client or "default").scopes


def _find_requirements(callback: Any) -> list[Requirement | None]:
    """Return the requirements of a view and of all that it wraps; ``None`` for an unknown one."""
    found: list[Requirement | None] = []
    seen: set[int] = set()
    pending = [callback]
    while pending:
        view = pending.pop()
        if id(view) in seen:
            continue
        seen.add(id(view))
        attributes = getattr(view, "__dict__", {})
        requirement = attributes.get(REQUIREMENT_ATTRIBUTE)
        if requirement is not None and requirement not in found:
            found.append(requirement)
        view_class = attributes.get("cls") or attributes.get("view_class")
        if isinstance(view_class, type):
            options = attributes.get("initkwargs") or attributes.get("view_initkwargs") or {}
            found += [one for one in _read_class(view_class, options) if one not in found]
            pending += _list_methods(view_class)
        pending += _list_wrapped(view)
    return found


def _list_wrapped(view: Any) -> list[Any]:
    """Return the functions that a callable may call, whatever kind of decorator it is."""
    if isinstance(view, partial):
        return [view.func, *filter(callable, view.args)]
    if ismethod(view):
        return [view.__func__]
    if not isfunction(view):
        return [type(view).__call__] if callable(view) and not isinstance(view, type) else []
    inner = [*_read_closure(view), getattr(view, "__wrapped__", None)]
    return [one for one in inner if isfunction(one) or ismethod(one) or isinstance(one, partial)]


def _read_closure(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # The cell is empty.
            yield cell.cell_contents


def _list_methods(view_class: type) -> list[Any]:
    """Return the decorated methods of a class, including inherited ones."""
    methods = (getattr_static(view_class, name, None) for name in dir(view_class))
    return [
        method for method in methods if REQUIREMENT_ATTRIBUTE in getattr(method, "__dict__", {})
    ]


def _read_class(view_class: type, options: Mapping[str, Any]) -> Iterator[Requirement | None]:
    """Yield the requirements of a class's mixins and permissions."""
    if getattr(view_class, "reads_google_options", False):
        yield _read_options(options, view_class)
    permissions = options.get("permission_classes", getattr(view_class, "permission_classes", ()))
    for permission in _list_permissions(permissions):
        yield _read_options(options, view_class, permission)


def _read_options(options: Mapping[str, Any], *owners: type) -> Requirement | None:
    """Read the options of a view from the arguments of ``as_view()``, or else from its classes.

    ``None`` if they are properties, which are evaluated for each request, or invalid.
    """
    found: dict[str, Any] = {}
    for key, (name, default) in _OPTIONS.items():
        values = [options[name]] if name in options else []
        values += [getattr(owner, name) for owner in owners if hasattr(owner, name)]
        found[key] = values[0] if values else default
    try:
        return Requirement.of(**found)
    except TypeError:
        return None


def _list_permissions(permissions: Any) -> Iterator[type]:
    """Yield the app's own permissions, including those combined by operators."""
    for permission in permissions if isinstance(permissions, list | tuple) else ():
        if getattr(permission, "reads_google_options", False):
            yield permission
        operands = (getattr(permission, name, None) for name in ("op1_class", "op2_class"))
        yield from _list_permissions([operand for operand in operands if operand is not None])
