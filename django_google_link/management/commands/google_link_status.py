"""``manage.py google_link_status``: the status of all links."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder

from django_google_link.operations.status import Backlog, Endings, Overview, read_overview


class Command(BaseCommand):
    """Print the numbers and the problems."""

    help = "Count the links by client, status, reason and key, and report what is pending."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--check",
            action="store_true",
            help="for monitoring: exit with status 1 if there are problems",
        )

    def handle(self, *, json: bool, check: bool, **options: Any) -> None:
        """Print the status.

        Raises:
            CommandError: with ``--check``, when an operator has to act.
        """
        found = read_overview()
        problems = list(found.problems())
        self.stdout.write(_format_json(found, problems) if json else "\n".join(_format_text(found)))
        if check and problems:
            raise CommandError("\n".join(problems))
        if not json:
            self.stdout.write("\n".join(problems) or "No problems.")


def _format_json(found: Overview, problems: list[str]) -> str:
    content = {
        "accounts": [asdict(group) for group in found.groups],
        "outages": [asdict(outage) for outage in found.outages],
        "failing_refreshes": {
            **asdict(found.failing_refreshes),
            "problems": found.failing_by_problem,
        },
        "pending_revocations": asdict(found.pending_revocations),
        "ending_within_a_week": asdict(found.endings),
        "problems": problems,
    }
    return json.dumps(content, cls=DjangoJSONEncoder)


def _format_text(found: Overview) -> list[str]:
    titles = ("client", "status", "reason", "key", "accounts")
    rows = [titles, *(tuple(map(str, asdict(group).values())) for group in found.groups)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [
        *(table if found.groups else ["No accounts are linked."]),
        "",
        *(
            f"No response from {outage.issuer} since {outage.since:%Y-%m-%d %H:%M}, tried again at "
            f"{outage.retry_at:%H:%M}"
            for outage in found.outages
        ),
        f"Failing refreshes: {_format_backlog(found.failing_refreshes)}"
        f"{_format_problems(found.failing_by_problem)}",
        f"Pending revocations: {_format_backlog(found.pending_revocations)}",
        f"Grants that expire within a week: {_format_endings(found.endings)}",
    ]


def _format_problems(problems: dict[str, int]) -> str:
    counts = ", ".join(f"{count:,} {problem}" for problem, count in problems.items())
    return f" ({counts})" if counts else ""


def _format_endings(endings: Endings) -> str:
    first = f", the first on {endings.first:%Y-%m-%d %H:%M}" if endings.first else ""
    return f"{endings.count:,}{first}"


def _format_backlog(backlog: Backlog) -> str:
    since = f", the oldest since {backlog.since:%Y-%m-%d %H:%M}" if backlog.since else ""
    return f"{backlog.count:,}{since}"
