"""``path("google/api/", include("django_google_link.contrib.rest_framework.urls"))``."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "google_link_rest_framework"

urlpatterns = [
    path("accounts/", views.AccountsView.as_view(), name="accounts"),
    path("accounts/<str:id>/", views.AccountView.as_view(), name="account"),
    path("links/", views.LinksView.as_view(), name="links"),
    path("links/complete/", views.CompletionView.as_view(), name="complete"),
    path("openapi.json", views.OpenAPIView.as_view(), name="openapi"),
]
