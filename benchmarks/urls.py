"""The URLs of the measured site: linking, the admin, and its own pages."""

from django.contrib import admin
from django.urls import include, path

from . import pages

urlpatterns = [
    path("admin/", admin.site.urls),
    path("google/api/", include("django_google_link.headless.urls")),
    path("google/", include("django_google_link.urls")),
    path("needs-token/<uuid:pk>/", pages.needs_token),
    path("needs-nothing/", pages.needs_nothing),
    path("calls/<str:way>/<str:file_id>/", pages.calls),
]
