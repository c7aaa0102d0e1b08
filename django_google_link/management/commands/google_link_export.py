"""``manage.py google_link_export``: everything stored about a user, as JSON."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_google_link.management.command import LinkCommand
from django_google_link.management.users import subject_named
from django_google_link.operations.export import export_subject


class Command(LinkCommand):
    """Print what is stored about a user."""

    help = "Print everything that is stored about a user as JSON, except tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("user", help="name or primary key of a user, who may have been deleted")
        parser.add_argument("--by", choices=("name", "pk"), help="what USER is, if it is ambiguous")

    def handle(self, *, user: str, by: str | None, **options: Any) -> None:
        """Print the JSON, row by row.

        Raises:
            CommandError: when nothing is stored about the user.
        """
        for part in export_subject(subject_named(user, ways=("name", "pk"), by=by)):
            self.stdout.write(part, ending="")
        self.stdout.write("")
