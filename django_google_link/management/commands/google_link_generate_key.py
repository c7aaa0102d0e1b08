"""``manage.py google_link_generate_key``: generate a key for ``ENCRYPTION_KEYS``."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, CommandError

from django_google_link.conf.settings import conf
from django_google_link.encryption.keyring import make_key
from django_google_link.encryption.wrapped_keys import require_site, wrap_key
from django_google_link.management.wrapping import add_wrap_with, split_wrap_with
from django_google_link.secret import Secret


class Command(BaseCommand):
    """Print a new key, and nothing else."""

    help = "Print a new key for GOOGLE_LINK['ENCRYPTION_KEYS']. Keep it where you keep secrets."
    # The first key is generated before the settings are complete.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the option."""
        add_wrap_with(
            parser,
            required=False,
            help="wrap it with this key of a key service, such as aws-kms:alias/google-link",
        )

    def handle(self, *, wrap_with: str | None, **options: Any) -> None:
        """Print the key.

        Raises:
            CommandError: when it cannot be wrapped.
        """
        if wrap_with is None:
            self.stdout.write(make_key())
            return
        service, name = split_wrap_with(wrap_with)
        try:
            site = require_site(conf.encryption_site)
            text = wrap_key(Secret(make_key()), service=service, name=name, site=site)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        self.stdout.write(text)
