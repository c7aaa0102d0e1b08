"""Filters whose choices come from the settings: to ask the database would read every row."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..encryption.format import sealed_prefix
from ..models import Reason
from ..operations.status import list_configured_clients, list_configured_keys

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
            return queryset.exclude(client__in=list_configured_clients())
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
        return queryset.filter(status_reason=self.value()) if _is_offered(self) else queryset.none()


class FailingFilter(admin.SimpleListFilter):
    """By whether the last refresh has failed."""

    title = gettext_lazy("refresh")
    parameter_name = "refresh"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("failing", _("fails at present"))]

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
            return queryset.exclude(sealed_by__in=["", *map(_get_prefix, list_configured_keys())])
        sealed_by = _get_prefix(str(self.value()))
        return queryset.filter(sealed_by=sealed_by) if _is_offered(self) else queryset.none()


def _is_offered(chosen: admin.SimpleListFilter) -> bool:
    """Say whether a value comes from the page, and not from somebody who plays with addresses."""
    return chosen.value() in dict(chosen.lookup_choices)


def _get_prefix(key_id: str) -> str:
    return sealed_prefix(key_id).rstrip(".")
