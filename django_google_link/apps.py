from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GoogleLinkConfig(AppConfig):
    name = "django_google_link"
    label = "google_link"
    verbose_name = _("Linked Google accounts")

    def ready(self) -> None:
        from django.apps import apps
        from django.db.models.signals import pre_delete

        from .accounts import deletions, usage
        from .checks import register_checks
        from .models import GoogleAccount

        register_checks()
        usage.connect_signals()
        # Deleting through a proxy model sends the signal with the proxy as its sender.
        for model in apps.get_models():
            if model._meta.concrete_model is GoogleAccount:
                pre_delete.connect(deletions.enqueue_deleted, sender=model)
