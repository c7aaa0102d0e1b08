"""The page with the videos."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from django_google_link.decorators import google_required

from . import background
from .forms import VideoForm
from .uploads import YOUTUBE_UPLOAD


@google_required(scopes=[YOUTUBE_UPLOAD])
def videos(request: HttpRequest) -> HttpResponse:
    """Show the progress of each upload, and accept another video."""
    form = VideoForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        background.begin(form.save(request.user))
        return redirect("videos")
    every = list(request.user.videos.all())
    under_way = any(video.is_under_way for video in every)
    context = {"form": form, "videos": every, "under_way": under_way}
    return render(request, "videos/videos.html", context)


@require_POST
@google_required(scopes=[YOUTUBE_UPLOAD])
def carry_on(request: HttpRequest, pk: int) -> HttpResponse:
    """Resume an upload that has stopped."""
    video = get_object_or_404(request.user.videos.filter(youtube_id=""), pk=pk)
    if not video.is_under_way:
        background.begin(video)
    return redirect("videos")
