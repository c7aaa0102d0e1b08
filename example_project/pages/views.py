"""The pages of the site."""

from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.generic import TemplateView
from videos.uploads import YOUTUBE_UPLOAD

from django_google_link.decorators import google_aware, google_required
from django_google_link.mixins import GoogleRequiredMixin

from .failures import explain_google_failures
from .google import (
    CALENDAR,
    DRIVE,
    TASKS,
    Event,
    File,
    coming_events,
    find_files,
    open_tasks,
)


def chosen_account(request: HttpRequest) -> str | None:
    """Return the id of the linked account for this page, if the user has chosen one."""
    return request.GET.get("account") or None


@google_aware
def home(request: HttpRequest) -> HttpResponse:
    """Show the pages, and offer the link to users who have none."""
    context = {
        "agenda_allowed": request.google.has_scopes(CALENDAR),
        "files_allowed": request.google.has_scopes(DRIVE),
        "videos_allowed": request.google.has_scopes(YOUTUBE_UPLOAD),
    }
    return render(request, "pages/home.html", context)


@google_required(scopes=[CALENDAR], optional_scopes=[TASKS], account=chosen_account)
@explain_google_failures
def agenda(request: HttpRequest) -> HttpResponse:
    """Show the next events of the user's calendar, and their tasks if they have granted that."""
    answer = coming_events(request.google, page=request.GET.get("page"))
    tasks_allowed = request.google.has_scopes(TASKS)
    context = {
        "events": [Event.of(item) for item in answer["items"]],
        "next_page": answer.get("nextPageToken"),
        "tasks": open_tasks(request.google) if tasks_allowed else [],
        "tasks_url": None if tasks_allowed else request.google.authorize_url(TASKS),
        "time_zone": answer["timeZone"],
    }
    return render(request, "pages/agenda.html", context)


@google_required(scopes=[CALENDAR])
async def agenda_json(request: HttpRequest) -> JsonResponse:
    """Return JSON. If the user has to give consent, the response contains the URL for it."""
    answer = await sync_to_async(coming_events)(request.google)
    return JsonResponse({"events": [item["summary"] for item in answer["items"]]})


@method_decorator(explain_google_failures, name="get")
class Files(GoogleRequiredMixin, TemplateView):
    """The user's files in Drive, or those with some words in their name."""

    template_name = "pages/files.html"
    google_scopes = (DRIVE,)

    def get_google_account(self, request: HttpRequest) -> str | None:
        """Return the chosen account, as on the other pages."""
        return chosen_account(request)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Request the files from Drive."""
        words = self.request.GET.get("q", "").strip()
        answer = find_files(self.request.google, words, page=self.request.GET.get("page"))
        return {
            **super().get_context_data(**kwargs),
            "files": [File.of(item) for item in answer["files"]],
            "next_page": answer.get("nextPageToken"),
            "words": words,
        }
