"""The views under test."""

from django.http import HttpRequest, HttpResponse

from django_google_link.decorators import google_required
from django_google_link.exceptions import TokenEndpointError
from django_google_link.services import ServiceAccount, build_service

DRIVE = "https://www.googleapis.com/auth/drive.readonly"
SHEETS = "https://www.googleapis.com/auth/spreadsheets"


@google_required
def agenda(request: HttpRequest) -> HttpResponse:
    """List what is on, by googleapiclient."""
    try:
        calendar = request.google.service("calendar", "v3")
        events = calendar.events().list(calendarId="primary").execute()
    except TokenEndpointError:
        return HttpResponse("Google cannot be reached.", status=503)
    return HttpResponse(", ".join(event["summary"] for event in events["items"]))


@google_required(scopes=[DRIVE])
def files(request: HttpRequest) -> HttpResponse:
    """List the files, by a session."""
    answer = request.google.session().get("https://www.googleapis.com/drive/v3/files")
    answer.raise_for_status()
    return HttpResponse(", ".join(file["name"] for file in answer.json()["files"]))


def nightly_report(sheet: str, number: int) -> None:
    """Write a number into a sheet, as the site itself."""
    sheets = build_service(ServiceAccount("reports"), "sheets", "v4", scopes=[SHEETS])
    values = sheets.spreadsheets().values()
    body = {"values": [[number]]}
    values.update(spreadsheetId=sheet, range="A1", valueInputOption="RAW", body=body).execute()
