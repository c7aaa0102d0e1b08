"""The testing kit as an installed app, which adds ``manage.py google_link_fake``."""

from __future__ import annotations

from django.apps import AppConfig


class TestingConfig(AppConfig):
    """The app configuration of the testing kit."""

    name = "django_google_link.testing"
    label = "google_link_testing"
