"""``manage.py google_link_rotate_keys``: re-encrypt all tokens with the newest key."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from django_google_link.management.command import LinkCommand
from django_google_link.management.outcomes import count_outcomes
from django_google_link.operations.rotate_keys import (
    RotationOutcome,
    estimate_rows_left,
    rotate,
    rows_left,
)


class Command(LinkCommand):
    """Re-encrypt all tokens; only "0 left" is success."""

    help = (
        "Re-encrypt all stored tokens with the first of GOOGLE_LINK['ENCRYPTION_KEYS'] "
        "while the site is running. When 0 are left, the other keys can be removed "
        "from the settings."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the option."""
        parser.add_argument("--dry-run", action="store_true", help="only print how many are left")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        """Run the rotation.

        Raises:
            CommandError: unless 0 rows are left.
        """
        if not dry_run:
            count_outcomes(
                rotate(), kinds=RotationOutcome, total=estimate_rows_left(), stdout=self.stdout
            )
        left = _count_rows_left()
        self.stdout.write(f"{left:>8,} left")
        if left:
            raise CommandError("Keep all keys in the settings until 0 are left.")


def _count_rows_left() -> int:
    """Return the exact number of rows left, which takes a full table scan."""
    return sum(rows.count() for rows in rows_left())
