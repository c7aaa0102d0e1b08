"""The pages that linking needs, the admin, and those of a site's own."""

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
