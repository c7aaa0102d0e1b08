from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GoogleLinkConfig(AppConfig):
    name = "django_google_link"
    label = "google_link"
    verbose_name = _("Linked Google accounts")

    def ready(self) -> None:
        from django.db.models.signals import pre_delete

        from . import checks, revocations  # noqa: F401  checks register themselves
        from .models import GoogleAccount

        pre_delete.connect(revocations.keep_tokens, sender=GoogleAccount)
