"""``path("google/api/", include("django_google_link.headless.urls"))``, with Django's sessions."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "google_link_headless"

urlpatterns = [
    path("accounts/", views.accounts, name="accounts"),
    path("accounts/<str:id>/", views.account, name="account"),
    path("links/", views.links, name="links"),
    path("links/complete/", views.complete, name="complete"),
    path("openapi.json", views.openapi, name="openapi"),
]
