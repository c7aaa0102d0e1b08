"""Simulates a site during an outage of Google, with its views and its command running as usual.

The clock is moved, so an hour takes minutes. The tests use this too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from io import StringIO
from typing import Any

_COMMAND_EVERY = 600  # seconds
_WINDOW = 15  # minutes
_LIFETIME = 3599  # seconds
_BATCH = 5000
#: During the outage. The default would make the simulation of a hanging Google too slow.
_TIMEOUT = 0.3

#: For ``FakeGoogle.failing``.
FAULTS: dict[str, dict[str, Any]] = {
    "answers 503": {"status": 503},
    "hangs": {"delay": 3 * _TIMEOUT},
}


@dataclass(kw_only=True)
class Report:
    """The results. Times are in seconds, by the site's clock.

    Attributes:
        requests: at the token endpoint, during the outage.
        requests_until_open: of these, those before the circuit breaker opened.
        views: the number of views during the outage.
        refused: the number of views without a token, by error.
        commands: the output of each run of the command during the outage.
        recovered_after: when the last view without a token was, after the end of the outage.
        waiting: the number of accounts that still had to wait then.
        refreshed: the output of the first run after the end.
        busiest_minute: the share of the accounts that are refreshed in the busiest minute of the
            two hours afterwards, if all are in use.
        busiest_minute_with_one_leeway: the same, with the same leeway for all accounts.
        by_minute: that histogram, as minutes after the first refresh.
    """

    requests: int = 0
    requests_until_open: int = 0
    views: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    recovered_after: int = 0
    waiting: int = 0
    refreshed: str = ""
    busiest_minute: float = 0
    busiest_minute_with_one_leeway: float = 0
    by_minute: dict[int, int] = field(default_factory=dict)


class Site:
    """A site with accounts whose access tokens expire during the next hour.

    Args:
        google: a ``FakeGoogle`` that the settings point to.
        accounts: the number of accounts.
        views: per second, each for a random account.
        seed: of the random numbers.
    """

    def __init__(self, google: Any, *, accounts: int, views: float, seed: int = 17) -> None:
        self._google = google
        self._views = views
        self._random = random.Random(seed)
        google.refresh_sends_id_token = False
        tokens = google.grant(google.user_with("owner@gmail.com"), ["openid", "email", "profile"])
        expiring = [self._random.random() * _LIFETIME for _ in range(accounts)]
        self._keys = make_accounts(tokens.refresh_token, tokens.access_token, expiring)
        self._second = 0
        self._travels = ExitStack()
        self._requests = 0
        self._refused: Counter[str] = Counter()
        self._last_refusal = 0
        self._seen = 0
        self._said: list[str] = []
        self._opened_with = 0

    def live_through(self, fault: dict[str, Any], *, minutes: int) -> Report:
        """Simulate an outage, and some time after it.

        Args:
            fault: for ``FakeGoogle.failing``.
            minutes: of the outage.
        """
        from django.conf import settings
        from django.test import override_settings
        from django.utils import timezone

        from django_google_link.models import GoogleAccount
        from django_google_link.operations.refresh import list_due_accounts, split_waiting

        impatient = {**settings.GOOGLE_LINK, "HTTP_TIMEOUT": _TIMEOUT}
        with self._travels:
            with self._google.failing(**fault), override_settings(GOOGLE_LINK=impatient):
                self._live(60 * minutes)
            self._count_requests()
            report = Report(
                requests=self._requests,
                requests_until_open=self._opened_with,
                views=self._seen,
                refused=dict(self._refused),
                commands=self._said,
            )
            self._said = []
            end, ended_at = self._second, timezone.now() + timedelta(seconds=self._second)
            while not self._said:
                self._live(10)
            report.recovered_after = max(self._last_refusal - end, 0)
            due = list_due_accounts(expiring_within=timedelta(), unused_for=timedelta(days=90))
            report.waiting = split_waiting(due)[1].count()
            [report.refreshed] = self._said
            rows = list(GoogleAccount.objects.filter(refreshed_at__gte=ended_at))
            report.by_minute = _count_by_minute(rows, has_spread=True)
            report.busiest_minute = max(report.by_minute.values()) / len(rows)
            beside = _count_by_minute(rows, has_spread=False)
            report.busiest_minute_with_one_leeway = max(beside.values()) / len(rows)
        return report

    def _live(self, seconds: int) -> None:
        from django_google_link.testing import travel

        for _ in range(seconds):
            self._travels.enter_context(travel(seconds=1))
            self._second += 1
            for _ in range(int(self._views + self._random.random())):
                self._visit(self._random.choice(self._keys))
            if self._second % _COMMAND_EVERY == _COMMAND_EVERY // 2:
                self._said.append(_run_command())
            if self._second % 60 == 0:
                self._count_requests()

    def _visit(self, key: Any) -> None:
        """Request a page that needs a token."""
        from django_google_link.exceptions import TokenEndpointError
        from django_google_link.models import CircuitBreaker, GoogleAccount
        from django_google_link.services import access_token

        self._seen += 1
        try:
            access_token(GoogleAccount.objects.get(pk=key))
        except TokenEndpointError as error:
            self._refused[error.error] += 1
            self._last_refusal = self._second
        is_open = not self._opened_with and CircuitBreaker.objects.exclude(opened_at=None).exists()
        if is_open:
            self._count_requests()
            self._opened_with = self._requests

    def _count_requests(self) -> None:
        """Count the requests before the fake Google discards their records."""
        self._requests += len(self._google.requests_to("token"))
        self._google.clear_requests()


def outage_of_an_hour() -> dict[str, Any]:
    """Row 11, first half: an outage of an hour with 10,000 accounts."""
    from django.conf import settings

    from django_google_link.models import CircuitBreaker, GoogleAccount
    from django_google_link.testing import FakeGoogle

    google_link: dict[str, Any] = settings.GOOGLE_LINK
    figures = {}
    for name, fault in FAULTS.items():
        GoogleAccount.objects.all()._raw_delete("default")
        CircuitBreaker.objects.all().delete()
        with FakeGoogle() as google:
            google_link["CLIENTS"]["default"].update(google.client_settings())
            site = Site(google, accounts=10_000, views=3)
            figures[name] = asdict(site.live_through(fault, minutes=60))
    return figures


def make_accounts(refresh_token: str, access_token: str, expiring: list[float]) -> list[Any]:
    """Create accounts of one user, whose access tokens expire at different times.

    Args:
        refresh_token: of all of them.
        access_token: of all of them.
        expiring: the seconds until the access token of each account expires.

    Returns:
        Their primary keys.
    """
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from django_google_link.conf.clients import get_client
    from django_google_link.models import GoogleAccount
    from django_google_link.secret import Secret

    client, now = get_client(), timezone.now()
    owner, _ = get_user_model().objects.get_or_create(username="owner")
    rows = []
    for n, seconds in enumerate(expiring):
        row = GoogleAccount(
            user=owner,
            client="default",
            issuer=client.issuer,
            client_id=client.client_id,
            sub=str(n),
            access_token_expires_at=now + timedelta(seconds=seconds),
            refreshed_at=now + timedelta(seconds=seconds - _LIFETIME),
        )
        row.seal_token("refresh_token", Secret(refresh_token))
        row.seal_token("access_token", Secret(access_token))
        rows.append(row)
    GoogleAccount.objects.bulk_create(rows, batch_size=_BATCH)
    return [row.pk for row in rows]


def _run_command() -> str:
    from django.core.management import CommandError, call_command

    out = StringIO()
    try:
        call_command("google_link_refresh", expiring_within=_WINDOW, stdout=out)
    except CommandError:
        return " ".join(f"{out.getvalue()} (exit code 1)".split())
    return " ".join(out.getvalue().split())


def _count_by_minute(rows: list[Any], *, has_spread: bool) -> dict[int, int]:
    """Return how many accounts are refreshed in each minute, if they are always in use."""
    from django_google_link.accounts.stored_tokens import choose_leeway, refresh_leeway

    moments: list[timedelta] = []
    start = min(row.refreshed_at for row in rows)
    for row in rows:
        leeway = choose_leeway(row) if has_spread else refresh_leeway()
        period = timedelta(seconds=_LIFETIME) - leeway
        moments += _refresh_times(row.refreshed_at - start, period)
    counts = Counter(int(moment.total_seconds() // 60) for moment in moments)
    return dict(sorted(counts.items()))


def _refresh_times(first: timedelta, period: timedelta) -> Iterator[timedelta]:
    moment = first + period
    while moment < timedelta(hours=2):
        yield moment
        moment += period
