"""``manage.py google_link_refresh``: refresh tokens before they are needed."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management import CommandError

from django_google_link.accounts.history import delete_old_entries
from django_google_link.accounts.spent_states import delete_old_states
from django_google_link.accounts.stored_tokens import refresh_leeway
from django_google_link.management.command import LinkCommand
from django_google_link.management.outcomes import count_outcomes, fail_if_retryable
from django_google_link.operations.endings import announce_endings
from django_google_link.operations.refresh import (
    RETRYABLE,
    RefreshOutcome,
    list_due_accounts,
    refresh_accounts,
    split_waiting,
)

#: Google's access tokens are valid for an hour: a new one must not be due again at once.
_LONGEST_MINUTES = 50


class Command(LinkCommand):
    """Refresh the accounts that are due, and print the outcomes."""

    help = (
        "Use refresh tokens before Google invalidates them as unused and, on request, "
        "replace access tokens before they expire. Several instances can run at once, "
        "also on several machines. Ctrl-C is safe."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--unused-for",
            type=int,
            default=90,
            metavar="DAYS",
            help="refresh accounts unused for this long; Google invalidates refresh tokens after "
            "six months without use (default %(default)s)",
        )
        parser.add_argument(
            "--expiring-within",
            type=int,
            metavar="MINUTES",
            help="also refresh accounts whose access token expires within this time, at most "
            f"{_LONGEST_MINUTES}",
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=4,
            help="number of simultaneous requests, each with a database connection (default "
            "%(default)s)",
        )

    def handle(
        self, *, unused_for: int, expiring_within: int | None, workers: int, **options: Any
    ) -> None:
        """Run the refreshes; the exit code tells the result.

        Raises:
            CommandError: when an option is invalid, or accounts could not be refreshed.
        """
        if unused_for < 1 or workers < 1:
            raise CommandError("--unused-for and --workers must be at least 1.")
        if expiring_within is not None and not 0 <= expiring_within <= _LONGEST_MINUTES:
            raise CommandError(f"--expiring-within takes 0 to {_LONGEST_MINUTES} minutes.")
        delete_old_states()
        delete_old_entries()
        ending = announce_endings()
        if ending:
            self.stdout.write(f"{ending:>8,} expire within a week: their users can link again")
        window = None if expiring_within is None else timedelta(minutes=expiring_within)
        due = list_due_accounts(expiring_within=window, unused_for=timedelta(days=unused_for))
        accounts, waiting = split_waiting(due)
        total, left = accounts.count(), waiting.count()
        if not total and not left:
            self.stdout.write("Nothing is due.")
            return
        refreshing = refresh_accounts(
            accounts, leeway=max(refresh_leeway(), window or timedelta()), workers=workers
        )
        counts = count_outcomes(
            refreshing,
            kinds=RefreshOutcome,
            total=total,
            stdout=self.stdout,
            known={RefreshOutcome.WAITING: left},
        )
        fail_if_retryable(
            counts, RETRYABLE, "{count} of the accounts were not refreshed: see the log."
        )
