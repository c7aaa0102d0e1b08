"""The APIs of the demo's Google, with the events, tasks and files of three users.

The responses have the format of the real ones, as far as the site needs it:
https://developers.google.com/workspace/calendar/api/v3/reference/events/list and
https://developers.google.com/workspace/drive/api/reference/rest/v3/files/list.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from werkzeug import Request, Response

from django_google_link.testing import FakeGoogle, FakeUser

CALENDAR_SCOPES = [
    "https://www.googleapis.com/auth/calendar.readonly",
    "https://www.googleapis.com/auth/calendar",
]
DRIVE_SCOPES = [
    "https://www.googleapis.com/auth/drive.metadata.readonly",
    "https://www.googleapis.com/auth/drive.readonly",
    "https://www.googleapis.com/auth/drive",
]
TASKS_SCOPES = [
    "https://www.googleapis.com/auth/tasks.readonly",
    "https://www.googleapis.com/auth/tasks",
]
SHEETS_SCOPES = ["https://www.googleapis.com/auth/spreadsheets"]
TIME_ZONE = ZoneInfo("Europe/Berlin")

#: Days from today, time and minutes (no time: all day), summary, location.
Plan = tuple[int, str, int, str, str]

#: Days ago, type, bytes where Drive counts them, name.
Kept = tuple[int, str, int | None, str]

PLANS: dict[str, list[Plan]] = {
    "anna@example.com": [
        (0, "", 0, "Return the library books", ""),
        (1, "08:30", 45, "Dentist", "Linden Street 12"),
        (1, "19:00", 120, "Choir rehearsal", "St. Mary’s, side entrance"),
        (2, "12:30", 60, "Lunch with Ben", "Café Orange"),
        (3, "17:15", 45, "Pick up the bicycle", "Spokes & Co."),
        (5, "", 0, "Grandmother’s birthday", "Leipzig"),
        (5, "09:42", 73, "Train to Leipzig", "Platform 7"),
        (8, "19:00", 120, "Choir rehearsal", "St. Mary’s, side entrance"),
        (10, "18:00", 90, "Parents’ evening", "Room 204"),
        (12, "20:15", 130, "Cinema: the one with the lighthouse", ""),
        (15, "19:00", 120, "Choir rehearsal", "St. Mary’s, side entrance"),
        (22, "19:00", 180, "Choir concert", "Town hall"),
    ],
    "anna.work@example.org": [
        (1, "09:30", 30, "Planning", "Room Curie"),
        (1, "14:00", 60, "Interview: data engineer", ""),
        (2, "11:00", 45, "Design review of the map", "Room Noether"),
        (4, "16:00", 60, "All hands", "Canteen"),
        (7, "", 0, "Release day", ""),
    ],
    "ben@example.com": [
        (2, "12:30", 60, "Lunch with Anna", "Café Orange"),
        (6, "07:30", 600, "Hike", "Trailhead car park"),
    ],
}

FILES: dict[str, list[Kept]] = {
    "anna@example.com": [
        (0, "application/vnd.google-apps.document", None, "Choir: address list"),
        (1, "application/vnd.google-apps.spreadsheet", None, "Household budget"),
        (4, "application/pdf", 284_113, "Train tickets Leipzig.pdf"),
        (9, "image/jpeg", 3_481_022, "Garden in May.jpg"),
        (16, "application/vnd.google-apps.folder", None, "Grandmother’s recipes"),
        (30, "application/pdf", 1_204_400, "Insurance policy.pdf"),
        (44, "application/vnd.google-apps.document", None, "Letter to the landlord"),
        (61, "audio/mpeg", 5_110_208, "Choir: second alto.mp3"),
        (90, "application/vnd.google-apps.document", None, "Books to read"),
        (200, "application/vnd.google-apps.presentation", None, "Slides for Ben’s birthday"),
        (365, "application/pdf", 90_311, "Rental contract.pdf"),
    ],
    "anna.work@example.org": [
        (0, "application/vnd.google-apps.spreadsheet", None, "Roadmap"),
        (2, "application/vnd.google-apps.presentation", None, "All hands, draft"),
        (3, "application/vnd.google-apps.document", None, "Map: design notes"),
    ],
    "ben@example.com": [
        (11, "application/vnd.google-apps.document", None, "Packing list"),
        (75, "image/jpeg", 2_760_441, "Summit.jpg"),
    ],
}


TASKS = {
    "anna@example.com": ["Buy strings for the guitar", "Call the landlord"],
    "anna.work@example.org": ["Write the release notes"],
}


def add_routes(google: FakeGoogle) -> None:
    """Add some methods of some APIs to this Google."""
    google.route("/tasks/v1/lists/<tasklist>/tasks", scopes=TASKS_SCOPES)(tasks)
    google.route(
        "/v4/spreadsheets/<sheet>/values/<range>:append", methods=["POST"], scopes=SHEETS_SCOPES
    )(append)
    google.route("/calendar/v3/calendars/<calendar_id>/events", scopes=CALENDAR_SCOPES)(events)
    google.route("/drive/v3/files", scopes=DRIVE_SCOPES)(files)


def events(request: Request, user: FakeUser, calendar_id: str) -> dict[str, Any] | Response:
    """List the events that have not ended by ``timeMin``, in the order of their start."""
    if calendar_id not in ("primary", user.email):
        return _error(404, "notFound", "Not Found")
    today = datetime.now(TIME_ZONE).date()
    found = [_event(today, plan) for plan in PLANS.get(user.email, [])]
    if earliest := request.args.get("timeMin"):
        found = [event for event in found if _end(event) > datetime.fromisoformat(earliest)]
    answer = {
        "kind": "calendar#events",
        "summary": user.email,
        "timeZone": TIME_ZONE.key,
        "accessRole": "owner",
    }
    return _page(request, answer, items=found, size=request.args.get("maxResults", 250, int))


def files(request: Request, user: FakeUser) -> dict[str, Any] | Response:
    """List the files that ``q`` asks for, the newest first."""
    now = datetime.now(UTC).replace(microsecond=0)
    wanted = _drive_filter(request.args.get("q", ""))
    if wanted is None:
        return _error(400, "invalid", "Invalid Value")
    found = [_file(now, kept) for kept in FILES.get(user.email, [])]
    answer = {"kind": "drive#fileList", "incompleteSearch": False}
    size = request.args.get("pageSize", 100, int)
    return _page(request, answer, files=[file for file in found if wanted(file)], size=size)


def tasks(request: Request, user: FakeUser, tasklist: str) -> dict[str, Any]:
    """List the open tasks."""
    items = [{"title": title, "status": "needsAction"} for title in TASKS.get(user.email, [])]
    return {"kind": "tasks#tasks", "items": items}


def append(request: Request, user: Any, sheet: str, range: str) -> dict[str, Any]:
    """Say that a row was added to a sheet."""
    rows = request.get_json()["values"]
    return {"spreadsheetId": sheet, "updates": {"updatedRows": len(rows)}}


def _event(today: date, plan: Plan) -> dict[str, Any]:
    days, start, minutes, summary, location = plan
    day = today + timedelta(days=days)
    event: dict[str, Any] = {
        "kind": "calendar#event",
        "id": f"{day:%Y%m%d}{start.replace(':', '')}",
        "status": "confirmed",
        "summary": summary,
    }
    if location:
        event["location"] = location
    if not start:
        end = day + timedelta(days=1)
        return {**event, "start": {"date": str(day)}, "end": {"date": str(end)}}
    begins = datetime.combine(day, time.fromisoformat(start), TIME_ZONE)
    return {**event, "start": _moment(begins), "end": _moment(begins + timedelta(minutes=minutes))}


def _moment(moment: datetime) -> dict[str, str]:
    return {"dateTime": moment.isoformat(), "timeZone": TIME_ZONE.key}


def _end(event: dict[str, Any]) -> datetime:
    end = datetime.fromisoformat(event["end"].get("dateTime") or event["end"]["date"])
    return end if end.tzinfo else end.replace(tzinfo=TIME_ZONE)


def _file(now: datetime, kept: Kept) -> dict[str, Any]:
    days, mime_type, size, name = kept
    modified = now - timedelta(days=days, minutes=len(name))
    file: dict[str, Any] = {
        "kind": "drive#file",
        "name": name,
        "mimeType": mime_type,
        "modifiedTime": modified.isoformat().replace("+00:00", "Z"),
    }
    return file if size is None else {**file, "size": str(size)}


def _drive_filter(query: str) -> Callable[[dict[str, Any]], bool] | None:
    """Return what the query means, or ``None`` if this Google does not understand it."""
    text = r"'((?:[^'\\]|\\.)*)'"
    pattern = rf"(?:trashed = false|name contains {text}|mimeType = {text})(?: and |$)"
    matches = list(re.finditer(pattern, query))
    if "".join(match[0] for match in matches) != query:
        return None
    names = [_unquoted(match[1]).casefold() for match in matches if match[1] is not None]
    types = [_unquoted(match[2]) for match in matches if match[2] is not None]
    return lambda file: (
        all(name in file["name"].casefold() for name in names)
        and all(mime_type == file["mimeType"] for mime_type in types)
    )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _page(
    request: Request, answer: dict[str, Any], *, size: int, **listed: Sequence[Any]
) -> dict[str, Any] | Response:
    """Add the part of the list that ``pageToken`` stands for, and the next token."""
    ((name, items),) = listed.items()
    token = re.fullmatch(r"from-(\d{1,6})", request.args.get("pageToken", "from-0"))
    if token is None:
        return _error(400, "invalid", "Invalid Value")
    start = int(token[1])
    end = start + max(size, 1)
    page = {**answer, name: items[start:end]}
    return {**page, "nextPageToken": f"from-{end}"} if end < len(items) else page


def _error(status: int, reason: str, message: str) -> Response:
    error = {"domain": "global", "reason": reason, "message": message}
    body = {"error": {"code": status, "message": message, "errors": [error]}}
    return Response(json.dumps(body), status, content_type="application/json")
