"""``manage.py google_link_revoke_pending``: revoke the grants of unlinked accounts."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from django_google_link.accounts.ended_grants import delete_old_ends
from django_google_link.accounts.outbox import read_outbox
from django_google_link.accounts.revocations import RevocationOutcome
from django_google_link.accounts.spent_states import delete_old_states
from django_google_link.management.command import LinkCommand
from django_google_link.management.outcomes import count_outcomes
from django_google_link.operations.revoke_pending import due_revocations, revoke_pending


class Command(LinkCommand):
    """Attempt the revocations that are due, and print the outcomes."""

    help = (
        "Revoke at Google the grants of unlinked accounts that could not be revoked "
        "immediately. Several instances can run at once, also on several machines. "
        "Ctrl-C is safe."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--workers",
            type=int,
            default=4,
            help="number of simultaneous requests, each with a database connection (default "
            "%(default)s)",
        )

    def handle(self, *, workers: int, **options: Any) -> None:
        """Run the revocations; the exit code tells the result.

        Raises:
            CommandError: when an option is invalid, or revocations remain.
        """
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        delete_old_states()
        delete_old_ends()
        count_outcomes(
            revoke_pending(workers=workers),
            kinds=RevocationOutcome,
            total=due_revocations().count(),
            stdout=self.stdout,
        )
        left = read_outbox().count()
        self.stdout.write(f"{left:>8,} left")
        if left:
            raise CommandError("Some could not be revoked yet: run this command every few minutes.")
