"""The API of the single-page app: the agenda of a user who authenticates with a JWT."""

from django.utils.dateformat import format as format_date
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_google_link.contrib.rest_framework import GoogleRequired

from .google import CALENDAR, Event, coming_events


class AgendaView(APIView):
    """The next events. A user who has to link first gets a 403 with a ``link_request``."""

    permission_classes = [IsAuthenticated, GoogleRequired]
    google_scopes = (CALENDAR,)

    def get(self, request: Request) -> Response:
        """Return the events."""
        events = [Event.of(item) for item in coming_events(request.google)["items"]]
        return Response({"events": [_describe(event) for event in events]})


def _describe(event: Event) -> dict[str, str]:
    return {
        "summary": event.summary,
        "location": event.location,
        "day": format_date(event.day, "D j M"),
        "time": f"{event.start:%H:%M}" if event.start else "",
    }
