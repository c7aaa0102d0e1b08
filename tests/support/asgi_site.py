"""A site under uvicorn, in a separate process, whose views call Google with httpx.

The first argument is a JSON object with the settings ``databases`` and ``google_link``. The first
line of standard output is the port.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

import django
import httpx
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

CALLS = 50
CALENDAR = "https://www.googleapis.com/auth/calendar.readonly"
EVENTS = "https://www.googleapis.com/calendar/v3/calendars/primary/events"

CLIENT = httpx.AsyncClient(timeout=30)


async def alive(request: HttpRequest) -> HttpResponse:
    """Respond at once."""
    return HttpResponse("alive")


async def call(request: Any) -> HttpResponse:
    """Make all calls concurrently; return the statuses of the responses."""
    auths = [request.google.httpx_auth() for _ in range(CALLS)]
    answers = await asyncio.gather(*[CLIENT.get(EVENTS, auth=auth) for auth in auths])
    return JsonResponse({"statuses": [answer.status_code for answer in answers]})


def main() -> None:
    """Serve until the process is terminated."""
    from tests import settings as base

    order = json.loads(sys.argv[1])
    values = {name: value for name, value in vars(base).items() if name.isupper()}
    values |= {"DATABASES": order["databases"], "GOOGLE_LINK": order["google_link"]}
    settings.configure(**{**values, "ROOT_URLCONF": __name__})
    django.setup()
    from django_google_link.decorators import google_required

    view = google_required(scopes=[CALENDAR])(call)
    globals()["urlpatterns"] = [path("alive/", alive), path("calls/", view)]
    server = uvicorn.Server(
        uvicorn.Config(get_asgi_application(), lifespan="off", log_level="warning")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()
