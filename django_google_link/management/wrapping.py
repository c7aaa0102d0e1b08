"""What the commands that wrap keys share."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management import CommandError


def add_wrap_with(parser: ArgumentParser, *, required: bool, help: str) -> None:
    """Add the option ``--wrap-with``."""
    parser.add_argument("--wrap-with", required=required, metavar="SERVICE:KEY", help=help)


def split_wrap_with(text: str) -> tuple[str, str]:
    """Return the name of a key service, and the name of its key.

    Raises:
        CommandError: when either is missing.
    """
    service, _, name = text.partition(":")
    if service and name:
        return service, name
    raise CommandError(
        f"--wrap-with is {text!r}, which does not name a key service and its key. Use "
        "aws-kms:alias/… or google-kms:projects/…/locations/…/keyRings/…/cryptoKeys/…."
    )
