"""``manage.py google_link_generate_key``: a key for ``ENCRYPTION_KEYS``."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand

from django_google_link.encryption.keyring import make_key


class Command(BaseCommand):
    """Print a new key, and nothing else."""

    help = "Print a new key for GOOGLE_LINK['ENCRYPTION_KEYS']. Keep it where you keep secrets."
    # The first key is made before the settings are complete.
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        """Print it."""
        self.stdout.write(make_key())
