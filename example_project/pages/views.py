"""The pages of the site."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from django_google_link.decorators import google_aware, google_required

from .failures import explain_google_failures
from .google import CALENDAR, DRIVE, Event, File, drive_query

PAGE_SIZE = 8


def chosen_account(request: HttpRequest) -> str | None:
    """Return which of the user's linked accounts this page is about, if one was chosen."""
    return request.GET.get("account") or None


@google_aware
def home(request: HttpRequest) -> HttpResponse:
    """Show everybody what there is, and offer the link to those who have none."""
    context = {
        "agenda_allowed": request.google.has_scopes(CALENDAR),
        "files_allowed": request.google.has_scopes(DRIVE),
    }
    return render(request, "pages/home.html", context)


@google_required(scopes=[CALENDAR], account=chosen_account)
@explain_google_failures
def agenda(request: HttpRequest) -> HttpResponse:
    """Show the coming events of the user's calendar."""
    calendar = request.google.service("calendar", "v3")
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    answer = (
        calendar.events()
        .list(
            calendarId="primary",
            timeMin=today.isoformat(),
            singleEvents=True,
            orderBy="startTime",
            maxResults=PAGE_SIZE,
            pageToken=request.GET.get("page"),
        )
        .execute()
    )
    context = {
        "events": [Event.of(item) for item in answer["items"]],
        "next_page": answer.get("nextPageToken"),
        "time_zone": answer["timeZone"],
    }
    return render(request, "pages/agenda.html", context)


@google_required(scopes=[DRIVE], account=chosen_account)
@explain_google_failures
def files(request: HttpRequest) -> HttpResponse:
    """Show the user's files in Drive, or those with some words in their name."""
    words = request.GET.get("q", "").strip()
    drive = request.google.service("drive", "v3")
    answer = (
        drive.files()
        .list(
            q=drive_query(words),
            orderBy="modifiedTime desc",
            pageSize=PAGE_SIZE,
            pageToken=request.GET.get("page"),
            fields="nextPageToken, files(name, mimeType, modifiedTime, size, webViewLink)",
        )
        .execute()
    )
    context = {
        "files": [File.of(item) for item in answer["files"]],
        "next_page": answer.get("nextPageToken"),
        "words": words,
    }
    return render(request, "pages/files.html", context)
