"""Checks of the options of views, as far as they cannot be validated when views are imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage

from ..conf.clients import get_client
from ..conf.django import django_conf
from ..conf.scope_spelling import find_scope_mistake, find_scope_suspicion
from ..conf.settings import conf
from ..conf.validators import read_or_default
from ..exceptions import SettingsError
from .messages import error, warning

if TYPE_CHECKING:
    from ..web.view_scopes import ViewScopes


def check_views(**kwargs: Any) -> list[CheckMessage]:
    """Check the options of decorators, mixins and permissions."""
    # Imported late: a process that only starts does not need it.
    from ..web.view_scopes import list_named_scopes

    if not django_conf.has_urls:
        return []
    return [
        *_check_classes(),
        *(message for view in list_named_scopes() for check in _CHECKS for message in check(view)),
    ]


def _check_classes() -> Iterator[CheckMessage]:
    """Validate the options of classes without a mixin: permissions read them from any class."""
    from ..web.view_options import require_sound_class
    from ..web.view_scopes import list_view_classes

    for view in list_view_classes():
        try:
            require_sound_class(view, mixins=())
        except (TypeError, ValueError) as problem:
            what, _, hint = str(problem).partition(". ")
            yield error("E062", f"{what}.", hint=hint)


def _check_client(view: ViewScopes) -> Iterator[CheckMessage]:
    if view.client is None:
        return
    known = read_or_default(lambda: conf.clients, {})
    if known and view.client not in known:
        yield error(
            "E063",
            f"{view.view} names the client {view.client!r}, which is not in CLIENTS.",
            hint=f"Known clients: {', '.join(sorted(known))}.",
        )


def _check_scopes(view: ViewScopes) -> Iterator[CheckMessage]:
    try:
        client = get_client(view.client or "default")
    except SettingsError:
        return  # Another check reports the invalid client.
    if view.client is None and "CLIENT_RESOLVER" in conf.keys:
        return
    for scope in dict.fromkeys((*view.scopes, *view.optional_scopes)):
        if scope in client.scopes:
            continue  # Reported once, for the client.
        problem = find_scope_mistake(scope, is_google=client.is_google)
        if not problem and client.is_google:
            problem = find_scope_suspicion(scope)
        if problem:
            what, _, hint = problem.partition(". ")
            yield warning("W004", f"{view.view}: {what}.", hint=hint)


_CHECKS = (_check_client, _check_scopes)
