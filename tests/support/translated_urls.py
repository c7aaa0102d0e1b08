"""A site whose URLs, including this app's, depend on the language."""

from __future__ import annotations

from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.views import LoginView
from django.urls import include, path

from tests.support import views

urlpatterns = i18n_patterns(
    path("google/", include("django_google_link.urls")),
    path("login/", LoginView.as_view(), name="login"),
    path("agenda/", views.agenda, name="agenda"),
)
