"""``manage.py google_link_scopes``: list the scopes in use, or retire one."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError

from django_google_link.conf.clients import get_client
from django_google_link.conf.scope_classes import classify_scope
from django_google_link.conf.settings import conf
from django_google_link.management.command import LinkCommand
from django_google_link.management.outcomes import count_outcomes
from django_google_link.operations.scopes import (
    RetirementOutcome,
    count_granted_scopes,
    plan_retirement,
    retire_scope,
)
from django_google_link.scopes import IDENTITY_SCOPES, PREFIX, parse_scopes
from django_google_link.web.view_scopes import ViewScopes, list_view_scopes


@dataclass(kw_only=True)
class _Uses:
    """The views and clients that use a scope."""

    views: list[dict[str, Any]] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return them in one line."""
        settings = [f'SCOPES of the client "{name}"' for name in self.clients]
        return ", ".join([*(f"/{view['route']}" for view in self.views), *settings])


class Command(LinkCommand):
    """Print the scopes with their uses, or retire one."""

    help = (
        "List the scopes that views require, how Google classifies them, and how many "
        "links have granted them; or retire a scope that is no longer used."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--urlconf",
            metavar="MODULE",
            help="search the views of this URLconf instead of ROOT_URLCONF",
        )
        parser.add_argument(
            "--retire",
            metavar="SCOPE",
            help="revoke the grants with this scope, and ask their users for consent to the "
            "scopes still used",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="with --retire: only print what would be done"
        )

    def handle(
        self,
        *,
        json: bool,
        urlconf: str | None,
        retire: str | None,
        dry_run: bool,
        **options: Any,
    ) -> None:
        """Print the list, or retire the scope.

        Raises:
            CommandError: when the scope is still used, or revocations are postponed.
        """
        if dry_run and not retire:
            raise CommandError("--dry-run requires --retire.")
        try:
            views = list_view_scopes(urlconf)
            uses = _list_uses(views)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        unknown = [view for view in views if not view.is_known]
        if retire:
            self._retire(retire, uses, unknown, dry_run=dry_run)
            return
        rows = list(_list_rows(uses))
        self.stdout.write(_format_json(rows, unknown) if json else "\n".join(_format_text(rows)))
        if not json:
            self._warn(unknown)

    def _retire(
        self, name: str, uses: dict[str, _Uses], unknown: list[ViewScopes], *, dry_run: bool
    ) -> None:
        scope = _read_scope(name, uses)
        if scope in uses:
            raise CommandError(f"{scope} is still used: {uses[scope].describe()}.")
        self._warn(unknown)
        plan = plan_retirement(scope)
        self.stdout.write(
            f"{plan.links:>8,} links have been granted {scope}\n"
            f"{plan.others:>8,} other links share these grants, and end with them\n"
            f"{plan.users:>8,} users are asked for consent again"
        )
        if dry_run or not plan.links:
            return
        counts = count_outcomes(
            retire_scope(scope, needed=frozenset(uses)),
            kinds=RetirementOutcome,
            total=plan.links,
            stdout=self.stdout,
        )
        if counts[RetirementOutcome.POSTPONED]:
            raise CommandError("Some have not been revoked yet: run google_link_revoke_pending.")

    def _warn(self, unknown: list[ViewScopes]) -> None:
        for view in unknown:
            self.stderr.write(f"The scopes of /{view.route} are decided per request: {view.view}")


def _read_scope(name: str, uses: Collection[str]) -> str:
    """Return the scope that a full or shortened name stands for."""
    scopes = parse_scopes(name)
    if len(scopes) != 1:
        raise CommandError("--retire takes one scope.")
    scope = scopes[0]
    if scope in IDENTITY_SCOPES:
        raise CommandError(f"{scope} identifies the account, and cannot be retired.")
    known = {*uses, *chain(*count_granted_scopes())}
    return PREFIX + scope if scope not in known and PREFIX + scope in known else scope


def _list_uses(views: list[ViewScopes]) -> dict[str, _Uses]:
    """Return the uses of each scope: by views, and by clients that request it with every link."""
    uses: dict[str, _Uses] = defaultdict(_Uses)
    for view in views:
        for scope in dict.fromkeys((*view.scopes, *view.optional_scopes)):
            uses[scope].views.append(
                {
                    "route": view.route,
                    "view": view.view,
                    "client": view.client,
                    "optional": scope not in view.scopes,
                }
            )
    for name in conf.clients:
        for scope in get_client(name).scopes:
            uses[scope].clients.append(name)
    return dict(uses)


def _list_rows(uses: dict[str, _Uses]) -> Iterator[dict[str, Any]]:
    working, lost = count_granted_scopes()
    for scope in sorted({*uses, *working, *lost}.difference(IDENTITY_SCOPES)):
        used = uses.get(scope, _Uses())
        yield {
            "scope": scope,
            "class": classify_scope(scope),
            "links": working[scope],
            "lost_links": lost[scope],
            "views": used.views,
            "clients": used.clients,
        }


def _format_json(rows: list[dict[str, Any]], unknown: list[ViewScopes]) -> str:
    undecided = [{"route": view.route, "view": view.view} for view in unknown]
    return json.dumps({"scopes": rows, "decided_at_each_request": undecided})


def _format_text(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "No scopes are used, and none are granted."
        return
    table = [("scope", "class", "links", "used by")]
    for row in rows:
        used = _Uses(views=row["views"], clients=row["clients"]).describe()
        name = row["scope"].removeprefix(PREFIX)
        table.append((name, row["class"], f"{row['links']:,}", used or "nothing: --retire it"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for scope, kind, links, used in table:
        yield f"{scope:<{widths[0]}}  {kind:<{widths[1]}}  {links:>{widths[2]}}  {used}"
