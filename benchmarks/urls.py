"""The pages that linking needs, and the admin."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("google/", include("django_google_link.urls")),
]
