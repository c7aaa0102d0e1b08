"""``manage.py google_link_import``: link accounts whose tokens other packages store."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError

from django_google_link.encryption import keyring
from django_google_link.management.command import LinkCommand
from django_google_link.management.outcomes import count_outcomes, fail_if_retryable
from django_google_link.management.users import user_named
from django_google_link.operations import import_sources
from django_google_link.operations.import_sources import Source
from django_google_link.operations.import_tokens import (
    RETRYABLE,
    TAKEN,
    ImportOutcome,
    import_tokens,
)


class Command(LinkCommand):
    """Import another package's tokens, and print the outcomes."""

    help = (
        "Link the Google accounts whose refresh tokens are stored by another package. "
        "Each token is used once to determine its account and scopes. The command can "
        "be stopped and run again: existing links are not changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add a subcommand for each source."""
        kinds = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
        allauth = kinds.add_parser("allauth", help="SocialToken rows of django-allauth")
        allauth.add_argument("--provider", default="google", help="default: %(default)s")
        social = kinds.add_parser("social-auth", help="UserSocialAuth rows of social-auth")
        social.add_argument("--provider", default="google-oauth2", help="default: %(default)s")
        model = kinds.add_parser("oauth2client", help="values of a CredentialsField")
        model.add_argument("model", help="app_label.Model")
        model.add_argument("--field", default="credential", help="default: %(default)s")
        model.add_argument("--user-field", help="the relation to the user, if there are several")
        files = kinds.add_parser(
            "files", help="token.json of any quickstart, gcloud's files, files of oauth2client"
        )
        files.add_argument("paths", nargs="+", type=Path, metavar="FILE")
        files.add_argument("--user", required=True, help="name of the user they belong to")
        for kind in (allauth, social, model, files):
            _add_common_options(kind)
            kind.add_argument(
                "--client", help="by default the client with the client id of the token"
            )
            kind.add_argument(
                "--dry-run", action="store_true", help="only print what would be done"
            )
            kind.add_argument(
                "--wipe-source",
                action="store_true",
                help="remove the plain text of linked accounts; files are deleted",
            )
            kind.add_argument(
                "--workers",
                type=int,
                default=4,
                help="number of simultaneous requests (default %(default)s)",
            )

    def handle(
        self,
        *,
        client: str | None,
        dry_run: bool,
        wipe_source: bool,
        workers: int,
        **options: Any,
    ) -> None:
        """Run the import; the exit code tells its result.

        Raises:
            CommandError: when it cannot run, or a later run may import more; with the exit code 2
                when candidates were skipped permanently.
        """
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        try:
            keyring.require_key()
            source = _read_source(options)
            importing = import_tokens(
                source, client=client, dry_run=dry_run, wipe=wipe_source, workers=workers
            )
            counts = count_outcomes(
                importing, kinds=ImportOutcome, total=source.total, stdout=self.stdout
            )
        except (ImproperlyConfigured, LookupError, ValueError) as error:
            raise CommandError(str(error)) from None
        if not counts:
            self.stdout.write("Nothing was found: there are no rows, or none for this --provider.")
        fail_if_retryable(counts, RETRYABLE, "{count} were not imported: see the log.")
        # Most rows of a login have no refresh token; files named on the command line should have
        # one.
        taken = TAKEN if options["source"] == "files" else {*TAKEN, ImportOutcome.TOKENLESS}
        left_out = sum(counts[kind] for kind in ImportOutcome if kind not in taken)
        if left_out:
            raise CommandError(f"{left_out:,} were skipped permanently: see the log.", returncode=2)


def _add_common_options(parser: ArgumentParser) -> None:
    """Accept Django's own options after the source as well as before it."""
    hidden: dict[str, Any] = {"default": SUPPRESS, "help": SUPPRESS}
    parser.add_argument("-v", "--verbosity", type=int, **hidden)
    for name in ("--settings", "--pythonpath"):
        parser.add_argument(name, **hidden)
    for name in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
        parser.add_argument(name, action="store_true", **hidden)


def _read_source(options: dict[str, Any]) -> Source:
    match options["source"]:
        case "allauth":
            return import_sources.read_allauth(provider=options["provider"])
        case "social-auth":
            return import_sources.read_social_auth(provider=options["provider"])
        case "oauth2client":
            return import_sources.read_oauth2client(
                model=options["model"], field=options["field"], user_field=options["user_field"]
            )
        case _:
            user = user_named(options["user"])
            for path in options["paths"]:
                if not path.is_file():
                    what = "is a directory" if path.is_dir() else "does not exist"
                    raise CommandError(f"The file {path} cannot be read: it {what}.")
            return import_sources.read_files(options["paths"], user_id=user.pk)
