"""The pages that linking needs."""

from django.urls import include, path

urlpatterns = [path("google/", include("django_google_link.urls"))]
