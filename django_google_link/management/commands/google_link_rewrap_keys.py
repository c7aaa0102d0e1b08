"""``manage.py google_link_rewrap_keys``: the same keys, wrapped with another key of a service."""

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
    """Print all keys wrapped anew, and nothing else."""

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
            help="the key that is to wrap them, such as aws-kms:alias/google-link",
        )
        parser.add_argument("--site", help="what ENCRYPTION_SITE is to be; by default what it is")

    def handle(self, *, wrap_with: str, site: str | None, **options: Any) -> None:
        """Print them.

        Raises:
            CommandError: when one cannot be unwrapped or wrapped.
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
                f"The key {key} was in plain text: whoever has read it still has it. A new one "
                "comes from google_link_generate_key --wrap-with."
            )
