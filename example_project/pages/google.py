"""Requests to Google's APIs, and their responses in a form that templates can show."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.utils import timezone

from django_google_link.request import GoogleAccess

CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
DRIVE = "https://www.googleapis.com/auth/drive.metadata.readonly"
TASKS = "https://www.googleapis.com/auth/tasks.readonly"

PAGE_SIZE = 8

KINDS = {
    "application/vnd.google-apps.document": "Document",
    "application/vnd.google-apps.folder": "Folder",
    "application/vnd.google-apps.presentation": "Slides",
    "application/vnd.google-apps.spreadsheet": "Spreadsheet",
    "application/pdf": "PDF",
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """A calendar event. An all-day event starts on a date, and has no time."""

    summary: str
    location: str
    day: date
    start: datetime | None
    end: datetime | None

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Event":
        """Read https://developers.google.com/workspace/calendar/api/v3/reference/events."""
        start = _moment(item["start"])
        return cls(
            summary=item.get("summary") or "Busy",
            location=item.get("location", ""),
            day=start.date() if start else date.fromisoformat(item["start"]["date"]),
            start=start,
            end=_moment(item["end"]),
        )


@dataclass(frozen=True, kw_only=True)
class File:
    """A file in Drive."""

    name: str
    kind: str
    modified: datetime
    size: int | None
    url: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "File":
        """Read https://developers.google.com/workspace/drive/api/reference/rest/v3/files."""
        return cls(
            name=item["name"],
            kind=KINDS.get(item["mimeType"]) or _subtype(item["mimeType"]),
            modified=datetime.fromisoformat(item["modifiedTime"]),
            size=int(item["size"]) if "size" in item else None,
            url=item.get("webViewLink", ""),
        )


def coming_events(google: GoogleAccess, *, page: str | None = None) -> dict[str, Any]:
    """Request the events from today on."""
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    events = google.service("calendar", "v3").events()
    answer: dict[str, Any] = events.list(
        calendarId="primary",
        timeMin=today.isoformat(),
        singleEvents=True,
        orderBy="startTime",
        maxResults=PAGE_SIZE,
        pageToken=page,
    ).execute()
    return answer


def open_tasks(google: GoogleAccess) -> list[str]:
    """Request the titles of open tasks."""
    tasks = google.service("tasks", "v1").tasks()
    answer = tasks.list(tasklist="@default", showCompleted=False, maxResults=PAGE_SIZE).execute()
    return [task["title"] for task in answer.get("items", [])]


def find_files(google: GoogleAccess, words: str, *, page: str | None = None) -> dict[str, Any]:
    """Request the files with these words in their name, the newest first."""
    files = google.service("drive", "v3").files()
    answer: dict[str, Any] = files.list(
        q=drive_query(words),
        orderBy="modifiedTime desc",
        pageSize=PAGE_SIZE,
        pageToken=page,
        fields="nextPageToken, files(name, mimeType, modifiedTime, size, webViewLink)",
    ).execute()
    return answer


def drive_query(words: str) -> str:
    """Return Drive's query for files with these words in their name.

    See https://developers.google.com/workspace/drive/api/guides/search-files.
    """
    if not words:
        return "trashed = false"
    quoted = words.replace("\\", "\\\\").replace("'", "\\'")
    return f"trashed = false and name contains '{quoted}'"


def _moment(value: Mapping[str, str]) -> datetime | None:
    return datetime.fromisoformat(value["dateTime"]) if "dateTime" in value else None


def _subtype(mime_type: str) -> str:
    return mime_type.rpartition("/")[2].rpartition(".")[2].upper()
