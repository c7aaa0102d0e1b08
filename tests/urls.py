"""The pages of the test project."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("google/", include("django_google_link.urls"))]
