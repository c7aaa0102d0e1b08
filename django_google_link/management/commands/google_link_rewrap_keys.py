"""``manage.py google_link_rewrap_keys``: wrap the same keys with another key of a service."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError

from django_google_link.conf.settings import conf
from django_google_link.encryption.keyring import key_ids, list_wrapped_keys, rewrap_keys
from django_google_link.encryption.wrapped_keys import require_site
from django_google_link.management.command import LinkCommand
from django_google_link.management.wrapping import add_wrap_with, split_wrap_with


class Command(LinkCommand):
    """Print all keys, wrapped again, and nothing else."""

    help = (
        "Print all of GOOGLE_LINK['ENCRYPTION_KEYS'], in their order, wrapped with another key of "
        "a key service or for another ENCRYPTION_SITE. They stay the same keys: nothing has to be "
        "re-encrypted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        add_wrap_with(
            parser,
            required=True,
            help="the key to wrap them with, such as aws-kms:alias/google-link",
        )
        parser.add_argument("--site", help="the new value of ENCRYPTION_SITE; by default unchanged")

    def handle(self, *, wrap_with: str, site: str | None, **options: Any) -> None:
        """Print the wrapped keys.

        Raises:
            CommandError: when a key cannot be unwrapped or wrapped.
        """
        service, name = split_wrap_with(wrap_with)
        try:
            site = require_site(site or conf.encryption_site)
            texts = rewrap_keys(service=service, name=name, site=site)
            plain = set(key_ids()).difference(key.id for key in list_wrapped_keys())
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        for text in texts:
            self.stdout.write(text)
        for key in sorted(plain):
            self.stderr.write(
                f"The key {key} was in plain text: anyone who has read it still has it. Generate "
                "a new one with google_link_generate_key --wrap-with."
            )
