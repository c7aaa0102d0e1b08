from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GoogleLinkConfig(AppConfig):
    name = "django_google_link"
    label = "google_link"
    verbose_name = _("Linked Google accounts")

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers itself
