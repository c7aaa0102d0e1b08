"""A site during an outage of Google: it sends few requests, and recovers soon after it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.db import connection

from benchmarks.outage import FAULTS, Site, make_accounts
from benchmarks.page_beside import measure
from django_google_link.testing import FakeGoogle

on_postgresql = pytest.mark.skipif(
    os.environ.get("TEST_DATABASE") != "postgresql", reason="is measured on PostgreSQL"
)
pytestmark = [pytest.mark.processes, on_postgresql, pytest.mark.usefixtures("shared_database")]

#: ``make long`` simulates an hour with 10,000 accounts.
WHOLE = os.environ.get("LONG") == "whole"
ACCOUNTS, VIEWS, MINUTES = (10_000, 3, 60) if WHOLE else (200, 0.5, 12)
#: Seconds. Waiting for Google has to take longer than a page on a slow machine.
TURNS, HTTP_TIMEOUT = (90, 10.0) if WHOLE else (25, 2.0)


@pytest.mark.parametrize("name", FAULTS)
def test_outage_costs_two_requests_a_minute(
    google: FakeGoogle, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """For any number of accounts; within 45 seconds of its end all of them work again."""
    site = Site(google, accounts=ACCOUNTS, views=VIEWS)
    report = site.live_through(FAULTS[name], minutes=MINUTES)

    with capsys.disabled():
        print(
            f"\nGoogle {name} for {MINUTES} minutes, {ACCOUNTS:,} accounts:"
            f" {report.requests} token requests, {report.requests_until_open} until the breaker"
            f" was open; {report.views:,} views, without a token {report.refused};"
            f" the command said {report.commands};"
            f" all work {report.recovered_after} s after the end, and then it said"
            f" {report.refreshed!r}; the busiest minute of the next two hours has"
            f" {report.busiest_minute:.0%} of the accounts, with one leeway"
            f" {report.busiest_minute_with_one_leeway:.0%}; by minute {report.by_minute}"
        )
    assert report.requests_until_open == 5
    assert MINUTES <= report.requests <= 10 + 3 * MINUTES
    assert set(report.refused) <= {"no_answer", "timeout", "provider_unavailable"}
    assert all(
        "no usable response from the provider (exit code 1)" in said for said in report.commands
    )
    assert report.recovered_after <= 45
    assert report.waiting == 0
    assert report.refreshed.endswith(" refreshed")
    assert report.busiest_minute < report.busiest_minute_with_one_leeway


def test_page_beside_is_served_meanwhile(
    google: FakeGoogle, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four workers keep serving it while Google hangs and a user a second needs a token."""
    tokens = google.grant(google.add_user("alice@gmail.com"), ["openid"])
    keys = make_accounts(tokens.refresh_token, tokens.access_token, [-60] * TURNS)
    google.delay = 6 * HTTP_TIMEOUT

    report = measure(
        keys,
        google=google.client_settings(),
        database=str(connection.settings_dict["NAME"]),
        http_timeout=HTTP_TIMEOUT,
    )

    first: Any = report.first
    with capsys.disabled():
        print(
            f"\nGoogle hangs, four workers, HTTP_TIMEOUT {HTTP_TIMEOUT:.0f} s: the breaker opened"
            f" after {report.opened_after:.1f} s; the page beside took, in the first half minute,"
            f" {first}; afterwards {report.afterwards};"
            f" users {report.users}, {len(google.requests_to('token'))} token requests"
        )
    assert report.failed == 0
    # Two slow requests are enough, long before they time out.
    assert report.opened_after < 8
    assert first.median < HTTP_TIMEOUT / 10
    assert first.p95 < HTTP_TIMEOUT / 2
    assert set(report.users) <= {"timeout", "provider_unavailable"}
