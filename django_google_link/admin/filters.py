"""Filters whose choices come from the settings: to ask the database would read every row."""

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
    """By OAuth client."""

    title = gettext_lazy("client")
    parameter_name = "client"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the configured clients."""
        return [
            *((name, name) for name in list_configured_clients()),
            (_OTHER, _("not configured")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the accounts of one."""
        if self.value() is None:
            return queryset
        if self.value() == _OTHER:
            return _leave_out(queryset, "client", list_configured_clients())
        return queryset.filter(client=self.value()) if _is_offered(self) else queryset.none()


class ReasonFilter(admin.SimpleListFilter):
    """By the reason why an account needs to be linked again."""

    title = gettext_lazy("reason")
    parameter_name = "status_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the reasons that we write."""
        return list(Reason.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the accounts with one."""
        if self.value() is None:
            return queryset
        # With the status, as the index has it: a link that works has no reason.
        found = queryset.filter(status=Status.NEEDS_REAUTHORIZATION, status_reason=self.value())
        return found if _is_offered(self) else queryset.none()


class FailingFilter(admin.SimpleListFilter):
    """By whether the last refresh has failed."""

    title = gettext_lazy("refresh")
    parameter_name = "refresh"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("failing", _("currently failing"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return those that Google gave no token the last time."""
        if self.value() is None:
            return queryset
        failing = queryset.exclude(refresh_failing_since=None)
        return failing if _is_offered(self) else queryset.none()


class KeyFilter(admin.SimpleListFilter):
    """By the key with which the refresh token is sealed."""

    title = gettext_lazy("key")
    parameter_name = "key"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the configured keys, the newest first."""
        return [*((key, key) for key in list_configured_keys()), (_OTHER, _("not configured"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the accounts whose refresh token this key has sealed."""
        if self.value() is None:
            return queryset
        if self.value() == _OTHER:
            known = ["", *map(_get_prefix, list_configured_keys())]
            return _leave_out(queryset, "sealed_by", known)
        sealed_by = _get_prefix(str(self.value()))
        return queryset.filter(sealed_by=sealed_by) if _is_offered(self) else queryset.none()


class EventFilter(admin.SimpleListFilter):
    """By what has happened."""

    title = gettext_lazy("event")
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the events that we write."""
        return list(HistoryEvent.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the entries of one."""
        if self.value() is None:
            return queryset
        return queryset.filter(event=self.value()) if _is_offered(self) else queryset.none()


class ActorFilter(admin.SimpleListFilter):
    """By the kind of whoever has done it."""

    title = gettext_lazy("actor")
    parameter_name = "actor_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the kinds that there are."""
        return list(ActorKind.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the entries of one."""
        if self.value() is None:
            return queryset
        return queryset.filter(actor_kind=self.value()) if _is_offered(self) else queryset.none()


def _is_offered(chosen: admin.SimpleListFilter) -> bool:
    """Say whether a value comes from the page, and not from somebody who plays with addresses."""
    return chosen.value() in dict(chosen.lookup_choices)


def _leave_out(queryset: QuerySet[Any], column: str, values: list[str]) -> QuerySet[Any]:
    """Return the rows with none of these values in a column that has an index.

    What lies between them is asked for as well, since no index answers "not". Whatever order the
    database has for texts, together that is all but the values.
    """
    if not values:
        return queryset
    between = Q(**{f"{column}__lt": values[0]}) | Q(**{f"{column}__gt": values[-1]})
    for lower, upper in pairwise(values):
        between |= Q(**{f"{column}__gt": lower, f"{column}__lt": upper})
    return queryset.filter(between).exclude(**{f"{column}__in": values})


def _get_prefix(key_id: str) -> str:
    return sealed_prefix(key_id).rstrip(".")
