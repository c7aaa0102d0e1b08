"""``manage.py google_link_security_events``: receive Google's security events (RISC)."""

from __future__ import annotations

import secrets
import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, CommandError

from django_google_link.accounts.grant_checks import (
    delete_old_checks,
    list_due_checks,
    list_requested_checks,
)
from django_google_link.accounts.security_events import (
    delete_old_events,
    find_verification,
    list_events,
)
from django_google_link.api_clients.security_event_stream import SecurityEventStream
from django_google_link.conf.settings import conf
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    GoogleLinkError,
    RefreshUnavailableError,
)
from django_google_link.management.outcomes import count_outcomes
from django_google_link.operations.security_events import CheckOutcome, make_checks

_PAUSE = 0.2  # seconds


class Command(BaseCommand):
    """Register for security events, show the registration, and make due checks."""

    help = (
        "Register this site with Google for security events of its users "
        "(Cross-Account Protection), and check the links that such an event may have "
        "ended."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the actions with their options."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        for action, text in (
            ("register", "have Google send its events to SECURITY_EVENTS_URL"),
            ("verify", "have Google send a test event, and wait for it"),
            ("status", "print what is registered and what has been received"),
            ("unregister", "stop Google from sending events"),
        ):
            added = actions.add_parser(action, help=text)
            added.add_argument(
                "--service-account",
                metavar="NAME",
                help="one of SERVICE_ACCOUNTS, with the role roles/riscconfigs.admin in the "
                "client's project; by default the only one",
            )
            if action == "verify":
                added.add_argument(
                    "--timeout",
                    type=int,
                    default=30,
                    help="seconds to wait for the event (default %(default)s)",
                )
        check = actions.add_parser("check", help="check the links that an event may have ended")
        check.add_argument(
            "--workers",
            type=int,
            default=4,
            help="number of simultaneous requests, each with a database connection (default "
            "%(default)s)",
        )

    def handle(self, *, action: str, **options: Any) -> None:
        """Run the action.

        Raises:
            CommandError: when it failed, with what to do about it.
        """
        if action == "check":
            self._check(workers=options["workers"])
            return
        try:
            self._configure(action, options)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        except RefreshUnavailableError as error:
            raise CommandError(f"{error}. Try again.") from None
        except ClientMisconfiguredError as error:
            raise CommandError(f"Google refuses the service account: {error}.") from None
        except GoogleLinkError as error:
            raise CommandError(
                f"Google refuses this: {error}. Check that the RISC API is enabled in the project, "
                "that the service account has the role roles/riscconfigs.admin there, and that the "
                "domain of SECURITY_EVENTS_URL is an authorized domain."
            ) from None

    def _configure(self, action: str, options: Any) -> None:
        stream = SecurityEventStream(_choose_account(options["service_account"]))
        if action == "register":
            url = _require_url()
            stream.register(url)
            self.stdout.write(f"Google sends security events to {url}. Run verify next.")
        elif action == "verify":
            self._verify(stream, timeout=options["timeout"])
        elif action == "status":
            self._show_status(stream)
        else:
            stream.unregister()
            self.stdout.write("Google no longer sends security events.")

    def _verify(self, stream: SecurityEventStream, *, timeout: int) -> None:
        url = _require_url()
        if timeout < 1:
            raise CommandError("--timeout must be at least 1.")
        state = secrets.token_urlsafe(16)
        stream.verify(state)
        until = time.monotonic() + timeout
        while not find_verification(state):
            if time.monotonic() > until:
                raise CommandError(
                    f"No event arrived at {url} within {timeout} s: check that it can be reached "
                    "from the internet, and its log."
                )
            time.sleep(_PAUSE)
        self.stdout.write(f"The event arrived at {url}.")

    def _show_status(self, stream: SecurityEventStream) -> None:
        delivery = stream.read().get("delivery")
        url = delivery.get("url") if isinstance(delivery, dict) else None
        if not url:
            self.stdout.write("No receiver is registered at Google.")
        else:
            state = "sends" if stream.is_enabled() else "would send (it is disabled)"
            self.stdout.write(f"Google {state} security events to {url}")
        if url and url != conf.security_events_url:
            self.stdout.write(f"SECURITY_EVENTS_URL differs: {conf.security_events_url}")
        last = list_events().first()
        when = f", the last at {last.received_at:%Y-%m-%d %H:%M}" if last else ""
        self.stdout.write(f"{list_events().count():>8,} events received{when}")
        self.stdout.write(f"{list_requested_checks().count():>8,} links to be checked")

    def _check(self, *, workers: int) -> None:
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        delete_old_events()
        delete_old_checks()
        counts = count_outcomes(
            make_checks(workers=workers),
            kinds=CheckOutcome,
            total=list_due_checks().count(),
            stdout=self.stdout,
        )
        left = list_requested_checks().count()
        self.stdout.write(f"{left:>8,} left")
        if counts[CheckOutcome.POSTPONED]:
            raise CommandError("Some could not be checked yet: run this command every minute.")


def _choose_account(name: str | None) -> str:
    accounts = list(conf.service_accounts)
    if name:
        return name
    if len(accounts) == 1:
        return str(accounts[0])
    raise CommandError(
        f"Pass --service-account: SERVICE_ACCOUNTS has {', '.join(accounts) or 'none'}."
    )


def _require_url() -> str:
    url = conf.security_events_url
    if url:
        return url
    raise CommandError(
        'Set GOOGLE_LINK["SECURITY_EVENTS_URL"] to the public URL of the receiver first, such '
        'as "https://www.example.com/google/security-events/".'
    )
