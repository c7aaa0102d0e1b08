"""Addresses."""

from django.contrib.auth.views import LoginView
from django.urls import include, path

from . import views

urlpatterns = [
    path("agenda/", views.agenda),
    path("files/", views.files),
    path("login/", LoginView.as_view()),
    path("google/", include("django_google_link.urls")),
]
