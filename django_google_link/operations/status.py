"""The status of all links in numbers, for operators, monitoring and system checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from django.db.models import Count, Min
from django.db.models.functions import Left

from ..accounts.shared_breaker import list_open_circuits
from ..conf import clock
from ..conf.settings import list_configured_clients
from ..encryption.format import FORMAT, PREFIX_LENGTH
from ..encryption.keyring import list_configured_keys
from ..models import GoogleAccount, PendingRevocation, Status
from .endings import list_endings

#: Until then, an outage of Google's is not reported as a problem.
_PATIENCE_WITH_REFRESHES = timedelta(hours=1)
_PATIENCE_WITH_REVOCATIONS = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The number of accounts that have all of these in common.

    Attributes:
        key: the id of the key that sealed their refresh tokens.
    """

    client: str
    status: str
    reason: str
    key: str
    accounts: int


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What is pending at Google, and since when (``None`` if nothing is)."""

    count: int
    since: datetime | None

    def is_older_than(self, age: timedelta) -> bool:
        """Return whether the oldest item is older than this."""
        return self.since is not None and clock.now() - self.since > age


@dataclass(frozen=True, kw_only=True)
class Endings:
    """The number of grants that expire within a week, and the first expiry, if any."""

    count: int
    first: datetime | None


@dataclass(frozen=True, kw_only=True)
class Outage:
    """An issuer that is unavailable: since when, and when it is tried again."""

    issuer: str
    since: datetime
    retry_at: datetime


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The complete status, read with a few indexed queries."""

    groups: tuple[Group, ...]
    outages: tuple[Outage, ...]
    failing_refreshes: Backlog
    failing_by_problem: dict[str, int]
    pending_revocations: Backlog
    endings: Endings
    unknown_keys: dict[str, int]

    def problems(self) -> Iterator[str]:
        """Yield the problems that an operator has to act on; users who revoke access are none."""
        for key, count in self.unknown_keys.items():
            yield (
                f"The key {key}, which is not configured, is needed for {count:,} of the stored "
                "tokens: add it back to ENCRYPTION_KEYS."
            )
        for client in sorted(
            {group.client for group in self.groups}.difference(list_configured_clients())
        ):
            yield f"There are accounts of the client {client!r}, which is not configured."
        for outage in self.outages:
            if clock.now() - outage.since > _PATIENCE_WITH_REFRESHES:
                yield (
                    f"The issuer {outage.issuer} has not responded since "
                    f"{outage.since:%Y-%m-%d %H:%M}: see the log."
                )
        if self.failing_refreshes.is_older_than(_PATIENCE_WITH_REFRESHES):
            yield (
                f"Failing refreshes: {self.failing_refreshes.count:,}, the oldest since "
                f"{self.failing_refreshes.since:%Y-%m-%d %H:%M}: see the log."
            )
        if self.pending_revocations.is_older_than(_PATIENCE_WITH_REVOCATIONS):
            yield (
                f"Pending revocations: {self.pending_revocations.count:,}, the oldest since "
                f"{self.pending_revocations.since:%Y-%m-%d %H:%M}: check that "
                "google_link_revoke_pending runs, and see its output."
            )


def read_overview(*, using: str | None = None) -> Overview:
    """Count the accounts and what is pending at Google."""
    accounts = GoogleAccount.objects.using(using)
    outbox = PendingRevocation.objects.using(using)
    parts = ("client", "status", "status_reason", "sealed_by")
    rows = accounts.order_by(*parts).values_list(*parts).annotate(total=Count("*"))
    groups = tuple(
        Group(
            client=client, status=status, reason=reason, key=_read_key_id(sealed_by), accounts=count
        )
        for client, status, reason, sealed_by, count in rows
    )
    failing = accounts.filter(status=Status.ACTIVE).exclude(refresh_failing_since=None)
    by_problem = _group_by_problem(failing)
    keys = [(group.key, group.accounts) for group in groups]
    return Overview(
        groups=groups,
        outages=tuple(
            Outage(
                issuer=circuit.issuer,
                since=cast("datetime", circuit.opened_at),
                retry_at=cast("datetime", circuit.retry_at),
            )
            for circuit in list_open_circuits(using=using)
        ),
        failing_refreshes=Backlog(
            count=sum(backlog.count for backlog in by_problem.values()),
            since=min(
                (backlog.since for backlog in by_problem.values() if backlog.since), default=None
            ),
        ),
        failing_by_problem={problem: backlog.count for problem, backlog in by_problem.items()},
        pending_revocations=_count_backlog(outbox, "created_at"),
        endings=_count_endings(using),
        unknown_keys=_count_unknown_keys([*keys, *_count_by_key(outbox)]),
    )


def _count_by_key(outbox: Any) -> Iterator[tuple[str, int]]:
    rows = outbox.annotate(sealed_by=Left("sealed_refresh_token", PREFIX_LENGTH))
    counts = rows.order_by().values_list("sealed_by").annotate(total=Count("*"))
    return ((_read_key_id(sealed_by), count) for sealed_by, count in counts)


def _count_backlog(rows: Any, column: str) -> Backlog:
    return Backlog(**rows.aggregate(count=Count("*"), since=Min(column)))


def _count_endings(using: str | None) -> Endings:
    rows = list_endings(using=using)
    return Endings(**rows.aggregate(count=Count("*"), first=Min("refresh_token_expires_at")))


def _group_by_problem(failing: Any) -> dict[str, Backlog]:
    """Return the failing refreshes by problem; "client" if the account has none."""
    rows = failing.order_by("refresh_problem").values_list("refresh_problem")
    counted = rows.annotate(total=Count("*"), since=Min("refresh_failing_since"))
    return {
        problem or "client": Backlog(count=count, since=since) for problem, count, since in counted
    }


def _count_unknown_keys(keys: list[tuple[str, int]]) -> dict[str, int]:
    known = {"none", "damaged", *list_configured_keys()}
    counts: dict[str, int] = {}
    for key, count in keys:
        if key not in known:
            counts[key] = counts.get(key, 0) + count
    return counts


def _read_key_id(sealed_by: str) -> str:
    if not sealed_by:
        return "none"
    format, _, key = sealed_by.partition(".")
    return key if format == FORMAT else "damaged"
