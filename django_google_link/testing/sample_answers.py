"""Sample responses of Google's APIs, for a fake Google during development.

Their format is that of
https://developers.google.com/workspace/calendar/api/v3/reference/events/list and
https://developers.google.com/workspace/drive/api/reference/rest/v3/files/list.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

_EVENTS = ["Team meeting", "Dentist", "Train to Leipzig"]
_FILES = {
    "Household budget": "application/vnd.google-apps.spreadsheet",
    "Train tickets.pdf": "application/pdf",
}


def make_sample_answers(today: date) -> dict[str, dict[str, Any]]:
    """Return the responses by path: some events from today on, and some files."""
    events = [
        {
            "kind": "calendar#event",
            "id": f"sample{number}",
            "status": "confirmed",
            "summary": summary,
            "start": {"date": str(today + timedelta(days=number))},
            "end": {"date": str(today + timedelta(days=number + 1))},
        }
        for number, summary in enumerate(_EVENTS)
    ]
    files = [
        {"kind": "drive#file", "id": f"sample{number}", "name": name, "mimeType": mime_type}
        for number, (name, mime_type) in enumerate(_FILES.items())
    ]
    return {
        "/calendar/v3/calendars/primary/events": {"kind": "calendar#events", "items": events},
        "/drive/v3/files": {"kind": "drive#fileList", "files": files},
    }
