"""Filters with choices from the settings: reading them from the database would scan every row."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..conf.settings import list_configured_clients
from ..encryption.format import sealed_prefix
from ..encryption.keyring import list_configured_keys
from ..models import ActorKind, HistoryEvent, Reason, Status

_OTHER = "other"


class ClientFilter(admin.SimpleListFilter):
    """Filter by OAuth client."""

    title = gettext_lazy("client")
    parameter_name = "client"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the configured clients."""
        return [
            *((name, name) for name in list_configured_clients()),
            (_OTHER, _("not configured")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the chosen client."""
        if self.value() is None:
            return queryset
        if self.value() == _OTHER:
            return _leave_out(queryset, "client", list_configured_clients())
        return queryset.filter(client=self.value()) if _is_offered(self) else queryset.none()


class ReasonFilter(admin.SimpleListFilter):
    """Filter by the reason why an account needs to be linked again."""

    title = gettext_lazy("reason")
    parameter_name = "status_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return all reasons."""
        return list(Reason.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the accounts with the chosen reason."""
        if self.value() is None:
            return queryset
        # With the status, to use the index: active links have no reason.
        found = queryset.filter(status=Status.NEEDS_REAUTHORIZATION, status_reason=self.value())
        return found if _is_offered(self) else queryset.none()


class FailingFilter(admin.SimpleListFilter):
    """Filter by whether the last refresh failed."""

    title = gettext_lazy("refresh")
    parameter_name = "refresh"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("failing", _("currently failing"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the accounts whose last refresh failed."""
        if self.value() is None:
            return queryset
        failing = queryset.exclude(refresh_failing_since=None)
        return failing if _is_offered(self) else queryset.none()


class KeyFilter(admin.SimpleListFilter):
    """Filter by the key that sealed the refresh token."""

    title = gettext_lazy("key")
    parameter_name = "key"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the configured keys, the newest first."""
        return [*((key, key) for key in list_configured_keys()), (_OTHER, _("not configured"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the accounts whose refresh token was sealed with the chosen key."""
        if self.value() is None:
            return queryset
        if self.value() == _OTHER:
            known = ["", *map(_get_prefix, list_configured_keys())]
            return _leave_out(queryset, "sealed_by", known)
        sealed_by = _get_prefix(str(self.value()))
        return queryset.filter(sealed_by=sealed_by) if _is_offered(self) else queryset.none()


class EventFilter(admin.SimpleListFilter):
    """Filter by event."""

    title = gettext_lazy("event")
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return all events."""
        return list(HistoryEvent.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the entries of the chosen event."""
        if self.value() is None:
            return queryset
        return queryset.filter(event=self.value()) if _is_offered(self) else queryset.none()


class ActorFilter(admin.SimpleListFilter):
    """Filter by kind of actor."""

    title = gettext_lazy("actor")
    parameter_name = "actor_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return all kinds of actors."""
        return list(ActorKind.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the entries of the chosen kind of actor."""
        if self.value() is None:
            return queryset
        return queryset.filter(actor_kind=self.value()) if _is_offered(self) else queryset.none()


def _is_offered(chosen: admin.SimpleListFilter) -> bool:
    """Return whether a value is one of the choices, rather than typed into the query string."""
    return chosen.value() in dict(chosen.lookup_choices)


def _leave_out(queryset: QuerySet[Any], column: str, values: list[str]) -> QuerySet[Any]:
    """Return the rows with none of these values in an indexed column.

    The ranges between the values are queried as well, since an index cannot answer "not in".
    Whatever the collation, they cover everything but the values.
    """
    if not values:
        return queryset
    between = Q(**{f"{column}__lt": values[0]}) | Q(**{f"{column}__gt": values[-1]})
    for lower, upper in pairwise(values):
        between |= Q(**{f"{column}__gt": lower, f"{column}__lt": upper})
    return queryset.filter(between).exclude(**{f"{column}__in": values})


def _get_prefix(key_id: str) -> str:
    return sealed_prefix(key_id).rstrip(".")
