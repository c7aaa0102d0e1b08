"""The pages of the test project."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path, re_path

from django_google_link.decorators import google_required
from tests.support import views

urlpatterns = [
    path("google/api/", include("django_google_link.headless.urls")),
    path("google/", include("django_google_link.urls")),
    path("admin/", admin.site.urls),
    path("login/", LoginView.as_view(), name="login"),
    path("bare/", views.bare, name="bare"),
    path("agenda/", views.agenda, name="agenda"),
    path("agenda/<str:day>/", views.agenda, name="agenda"),
    path("agenda-of/<uuid:pk>/", views.agenda_of),
    path("files/", views.files),
    path("words/", views.words),
    path("aliased/", views.aliased),
    path("any-account/", views.any_account),
    path("elsewhere/", views.elsewhere),
    path("lazily/", views.lazily),
    path("astray/", views.astray),
    path("chosen/", views.chosen),
    path("chosen/<uuid:pk>/", views.chosen),
    path("fetched/", views.fetched),
    path("chosen-by-coroutine/", views.chosen_by_coroutine),
    path("other/", views.other),
    path("home/", views.home),
    path("dashboard/<str:name>/", views.dashboard),
    path("offering/", views.offering),
    path("renamed/", views.renamed),
    path("silent/", views.silent),
    path("insisting/", views.insisting),
    path("careless/", views.careless),
    path("sessions/", views.sessions),
    path("greedy/", views.greedy),
    path("shared-agenda/<uuid:pk>/", views.shared_agenda),
    path("drive-of-mine/", views.drive_of_mine),
    path("mine/", views.mine),
    path("ledger/", views.ledger),
    path("stubborn/", views.stubborn),
    path("broken/", views.broken),
    path("twice/", views.twice),
    path("dispatched/", views.Dispatched.as_view()),
    path("gotten/", views.Gotten.as_view()),
    path("async/bare/", views.async_bare),
    path("async/agenda/", views.async_agenda),
    path("async/home/", views.async_home),
    path("async/chosen/", views.async_chosen),
    path("async/other/", views.async_other),
    path("async/agenda-of/<uuid:pk>/", views.async_agenda_of),
    path("async/broken/", views.async_broken),
    path("async/dispatched/", views.AsyncDispatched.as_view()),
    path("async/gotten/", views.AsyncGotten.as_view()),
    path("async/in-urls/", google_required(views.AsyncPlain.as_view())),
    path("welcome/", views.welcome),
    path("greeting/", views.greeting),
    path("guarded/", views.guarded),
    # Catches what no other page does, such as "//evil.example/".
    re_path(r"^(?:/.*)$", views.bare),
]
