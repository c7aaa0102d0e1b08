"""``manage.py google_link_rotate_keys``: everything under the newest key."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from contextlib import closing
from typing import Any

from django.core.management import BaseCommand, CommandError

from django_google_link.operations.rotate_keys import RotationOutcome, rotate, rows_left

from ._progress import with_bar


class Command(BaseCommand):
    """Seal all tokens anew; only "0 left" is success."""

    help = (
        "Seal all stored tokens under the first of GOOGLE_LINK['ENCRYPTION_KEYS'], while the site "
        "runs. When 0 are left the other keys may be taken out of the settings."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the option."""
        parser.add_argument("--dry-run", action="store_true", help="only say how many are left")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        """Run.

        Raises:
            CommandError: unless 0 are left.
        """
        counts = Counter[RotationOutcome]()
        if not dry_run:
            try:
                with closing(rotate()) as outcomes:
                    for outcome in with_bar(outcomes, _count()):
                        counts[outcome] += 1
            except KeyboardInterrupt:
                raise CommandError(
                    "Stopped: what was done is done. Run it again for the rest.", returncode=130
                ) from None
        for outcome in RotationOutcome:
            if counts[outcome]:
                self.stdout.write(f"{counts[outcome]:>8,} {outcome.label}")
        left = _count()
        self.stdout.write(f"{left:>8,} left")
        if left:
            raise CommandError("Keep all the keys in the settings until 0 are left.")


def _count() -> int:
    return sum(rows.count() for rows in rows_left())
