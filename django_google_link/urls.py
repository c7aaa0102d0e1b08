"""The pages of the app: ``path("google/", include("django_google_link.urls"))``."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "google_link"

urlpatterns = [
    path("", views.accounts, name="accounts"),
    path("authorize/", views.authorize, name="authorize"),
    path("callback/", views.callback, name="callback"),
    path("callback/<str:client>/", views.callback, name="callback"),
    path("failed/", views.failed, name="failed"),
    path("security-events/", views.security_events, name="security-events"),
    path("<uuid:pk>/label/", views.label, name="label"),
    path("<uuid:pk>/unlink/", views.unlink, name="unlink"),
    path("<uuid:pk>/make-default/", views.make_default, name="make-default"),
]
