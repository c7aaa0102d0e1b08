"""All operations at once, in many threads: no user sees an error, and no link is lost."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from django_google_link.models import PendingRevocation
from django_google_link.testing import FakeGoogle, travel
from tests.long.chaos import Chaos
from tests.support.constants import OTHER_KEY
from tests.support.databases import file_database

pytestmark = pytest.mark.processes

#: ``make long`` runs for a minute on each database; CI for a few seconds.
SECONDS = 60 if os.environ.get("LONG") == "whole" else 4
THREADS = 8
SEED = 14

if os.environ.get("TEST_DATABASE"):

    @pytest.fixture
    def busy_database(transactional_db: None) -> None:
        """A database that threads share."""

else:

    @pytest.fixture
    def busy_database(db: None, tmp_path: Path) -> Iterator[None]:
        """A file that threads share, with the options that Django advises for many writers."""
        with file_database(tmp_path / "db.sqlite3", transaction_mode="IMMEDIATE", timeout=30):
            yield


def describe_database() -> str:
    """Return which database this is, and its isolation level."""
    level = os.environ.get("TEST_ISOLATION")
    return f"{connection.display_name}, {level}" if level else connection.display_name


def test_chaos_does_no_harm(
    busy_database: None,
    google: FakeGoogle,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No error reaches a user, no grant is orphaned, and each acknowledged link gets a token."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "ENCRYPTION_KEYS": [*settings.GOOGLE_LINK["ENCRYPTION_KEYS"], OTHER_KEY],
    }
    # Sessions in a table would add rows and errors of Django's own.
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    google.max_refresh_tokens = 10**6
    chaos = Chaos(google, seed=SEED)

    chaos.run(threads=THREADS, seconds=SECONDS)

    useless = chaos.list_useless()
    with travel(days=2):
        call_command("google_link_revoke_pending", stdout=io.StringIO())
    orphans = chaos.list_orphans()
    useless += [fault for fault in chaos.list_useless() if fault not in useless]
    with capsys.disabled():
        print(
            f"\nChaos on {describe_database()}:"
            f" {chaos.done.total()} operations of {THREADS} threads in {SECONDS} s,"
            f" {chaos.errors.total()} errors that reached a user,"
            f" {chaos.callers_own} of the caller's own, {len(orphans)} grants orphaned,"
            f" {len(chaos.list_acknowledged())} acknowledged links still wanted,"
            f" {len(useless)} of all links without a token",
            flush=True,
        )
        print(", ".join(f"{count} {name}" for name, count in sorted(chaos.done.items())))
    assert chaos.errors == {}
    assert orphans == []
    assert useless == []
    assert not PendingRevocation.objects.exists()
