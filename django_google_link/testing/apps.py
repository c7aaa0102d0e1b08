"""The testing kit as an installed app: it brings ``manage.py google_link_fake``."""

from __future__ import annotations

from django.apps import AppConfig


class TestingConfig(AppConfig):
    """The app."""

    name = "django_google_link.testing"
    label = "google_link_testing"
