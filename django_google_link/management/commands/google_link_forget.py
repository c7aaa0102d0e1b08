"""``manage.py google_link_forget``: delete what is stored about former links."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from django_google_link.management.command import LinkCommand
from django_google_link.management.users import subject_named
from django_google_link.operations.forget import count_remains, end_links, remove_remains
from django_google_link.operations.subjects import WAYS

_QUESTION = "Remove all of this permanently? Type 'yes' to continue, or 'no' to cancel: "


class Command(LinkCommand):
    """Delete the history as well, after a confirmation."""

    help = (
        "Remove what is stored about former links of a user or a Google account: their "
        "history, and the entries about them in the log of Django's admin."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "subject",
            metavar="SUB_OR_USER",
            help="subject of a Google account, or name or primary key of a user, who may have been "
            "deleted",
        )
        parser.add_argument("--by", choices=WAYS, help="what SUB_OR_USER is, if it is ambiguous")
        parser.add_argument(
            "--unlink", action="store_true", help="also unlink accounts that are still linked"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only print what would be removed"
        )
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="do not ask for confirmation",
        )

    def handle(
        self,
        *,
        subject: str,
        by: str | None,
        unlink: bool,
        dry_run: bool,
        interactive: bool,
        **options: Any,
    ) -> None:
        """Count, ask for confirmation, and delete.

        Raises:
            CommandError: when nothing is stored about the subject, an account is still linked,
                grants have not been revoked yet, or the answer is no.
        """
        found = subject_named(subject, ways=WAYS, by=by)
        remains = count_remains(found)
        self.stdout.write(
            f"{remains.links:>8,} links{', which will be unlinked first' if unlink else ''}\n"
            f"{remains.pending_revocations:>8,} grants whose revocation Google has not confirmed\n"
            f"{remains.history:>8,} entries in the history of links\n"
            f"{remains.admin_log:>8,} entries about links in the log of Django's admin"
        )
        if dry_run:
            return
        if remains.links and not unlink:
            raise CommandError(
                "Nothing was removed: there are linked accounts. Delete the user, or run this "
                "with --unlink, which revokes the grants at Google."
            )
        if interactive and input(_QUESTION) != "yes":
            raise CommandError("Nothing was removed.")
        left = end_links(found)
        if left:
            raise CommandError(
                f"Nothing was removed: Google has not confirmed the revocation of {left:,} grants. "
                "When google_link_revoke_pending reports 0 left, run this again."
            )
        remove_remains(found)
        self.stdout.write(self.style.SUCCESS("Removed."))
