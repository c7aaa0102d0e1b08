"""Received security events in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from ..models import SecurityEvent
from .base import ShortPaginator


@admin.register(SecurityEvent)
class SecurityEventAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows the received security events, read-only."""

    list_display = ("types", "sub", "reason", "issued_at", "received_at", "ended", "asked")
    list_per_page = 50
    ordering = ("-received_at",)
    paginator = ShortPaginator
    search_fields = ("=sub",)
    search_help_text = gettext_lazy("A full subject")
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ("issued_at", "received_at")
    fields = list_display

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Events only come from Google."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """These rows are not edited by hand."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A deleted event could be delivered and applied again."""
        return False
