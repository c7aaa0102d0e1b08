"""The history of links in the admin, read-only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import GoogleAccount, HistoryEntry
from .base import ReadOnlyAdmin
from .columns import let_break, shorten_scope, with_provider
from .filters import ActorFilter, ClientFilter, EventFilter
from .users import find_users

#: The most entries on the page of an account; the list has all of them.
_MOST_ON_PAGE = 20


@admin.register(HistoryEntry)
class HistoryEntryAdmin(ReadOnlyAdmin):
    """Shows the history of current and former links; entries cannot be changed or deleted."""

    actions = None
    list_display = ("when", "what", "account", "owner", "who", "notes")
    list_display_links = None
    list_filter = (EventFilter, ActorFilter, "created_at", ClientFilter)
    lookup_fields = ("event", "actor_kind", "created_at", "client", "account_id", "owner", "sub")
    ordering = ("-id",)
    sortable_by = ("when",)
    search_fields = ("=sub",)  # Shows the search box; see get_search_results.
    search_help_text = gettext_lazy(
        "A full account id, a full subject, or a user's name or primary key"
    )
    fieldsets = (
        (None, {"fields": ("created_at", "what", "who", "notes")}),
        (
            gettext_lazy("Link"),
            {"fields": ("account", "owner", "client", "issuer", "sub")},
        ),
    )

    class Media:
        css = {"all": ["django_google_link/google_link_admin.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        """Show the client if there are several."""
        return with_provider(super().get_list_display(request), column="client")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Entries are deleted by age, or all of a subject's together."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search only columns that have an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        owners = [term, *map(str, find_users(term))]
        found = Q(sub=term) | Q(owner__in=owners)
        with suppress(ValueError):
            found |= Q(account_id=uuid.UUID(term))
        return queryset.filter(found), False

    @admin.display(description=gettext_lazy("when"), ordering="created_at")
    def when(self, entry: HistoryEntry) -> str:
        """Return the date and time, which may wrap to leave room for the details."""
        return str(display_for_value(entry.created_at, ""))

    @admin.display(description=gettext_lazy("event"))
    def what(self, entry: HistoryEntry) -> str:
        """Return the event."""
        return entry.event_label

    @admin.display(description=gettext_lazy("by"))
    def who(self, entry: HistoryEntry) -> str:
        """Return the actor."""
        return entry.actor_label

    @admin.display(description=gettext_lazy("account"))
    def account(self, entry: HistoryEntry) -> str:
        """Return the id of the link, with a link to its history."""
        return format_html(
            '<a href="?account_id={}" title="{}">{}…</a>',
            entry.account_id,
            entry.account_id,
            str(entry.account_id)[:8],
        )

    @admin.display(description=gettext_lazy("details"))
    def notes(self, entry: HistoryEntry) -> str:
        """Return the details."""
        return let_break(describe_details(entry))


def render_history(account: GoogleAccount, site_name: str) -> str:
    """Return the latest history entries of an account, with a link to all of them.

    Args:
        account: the linked account.
        site_name: the name of the admin site.
    """
    rows = HistoryEntry.objects.using(account._state.db).filter(account_id=account.pk)
    entries = list(rows.order_by("-id")[:_MOST_ON_PAGE])
    if not entries:
        return _("No entries.")
    lines = (
        (
            display_for_value(entry.created_at, ""),
            ", ".join(filter(None, [entry.event_label, entry.actor_label])),
            describe_details(entry),
        )
        for entry in entries
    )
    items = format_html_join("", "<div>{}: {}<br>{}</div>", lines)
    try:
        url = reverse(f"{site_name}:google_link_historyentry_changelist")
    except NoReverseMatch:  # An admin site without that list.
        return items
    return format_html(
        '{}<a href="{}?account_id={}">{}</a>', items, url, account.pk, _("Full history")
    )


def describe_details(entry: HistoryEntry) -> str:
    """Return the details of an entry in one line."""
    details = entry.details if isinstance(entry.details, dict) else {}
    return "; ".join(f"{key}: {value}" for key, value in _list_details(details))


def _list_details(details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in details.items():
        if value is False:  # Adds nothing to the list.
            continue
        values = [str(item) for item in value] if isinstance(value, list) else [str(value)]
        yield key, " ".join(map(shorten_scope, values))
