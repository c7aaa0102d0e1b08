"""Addresses."""

from django.urls import include, path

from . import views

urlpatterns = [
    path("agenda/", views.agenda),
    path("files/", views.files),
    path("google/", include("django_google_link.urls")),
]
