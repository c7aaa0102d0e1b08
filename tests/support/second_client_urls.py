"""The tests' URLconf, with a view for a client that the test has to configure."""

from __future__ import annotations

from django.urls import path

from tests.support import views
from tests.urls import urlpatterns as usual

urlpatterns = [*usual, path("second/", views.second)]
