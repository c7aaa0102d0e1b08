"""The link history, in a form that is easy to compare."""

from __future__ import annotations

from typing import Any

from django_google_link.models import HistoryEntry


def told(**filters: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Return event, actor and details of each entry, the oldest first."""
    entries = HistoryEntry.objects.filter(**filters).order_by("pk")
    return [
        (entry.event, f"{entry.actor_kind} {entry.actor}".strip(), entry.details)
        for entry in entries
    ]


def events(**filters: Any) -> list[str]:
    """Return the events, the oldest first."""
    return [event for event, _, _ in told(**filters)]
