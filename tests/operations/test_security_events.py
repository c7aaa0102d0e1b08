"""``google_link_security_events check``: checking grants after uncertain events."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.grant_checks import list_due_checks
from django_google_link.encryption.keyring import make_key
from django_google_link.models import GoogleAccount, GrantCheck, SecurityEvent, Status
from django_google_link.operations import security_events
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked
from tests.support.chunks import use_small_chunks
from tests.support.databases import at_once, new_user
from tests.support.tables import delete_rows
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("shared_database", "receiver"),
]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """A link that was just made."""
    return linked(new_user(), google, alice)


@pytest.fixture
def tell(google: FakeGoogle, alice: FakeUser) -> Callable[[str], None]:
    """Send a security event about Alice's account."""

    def tell(event: str) -> None:
        assert google.send_security_event(Client(), event, user=alice).status_code == 202

    return tell


def run(**options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_security_events", "check", stdout=out, **options)
    return out.getvalue()


def failed(match: str, **options: Any) -> str:
    """Run the command, and check that it fails with this error; return its output."""
    out = io.StringIO()
    with pytest.raises(CommandError, match=match):
        call_command("google_link_security_events", "check", stdout=out, **options)
    return out.getvalue()


def status_of(account: GoogleAccount) -> tuple[str, str]:
    """Return the status and its reason."""
    row = GoogleAccount.objects.get(pk=account.pk)
    return row.status, row.status_reason


def test_grant_that_lives(
    account: GoogleAccount, google: FakeGoogle, tell: Callable[[str], None]
) -> None:
    """The event concerned an older grant: the link stays active."""
    tell("tokens-revoked")

    assert run() == "       1 still valid\n       0 left\n"
    assert status_of(account) == (Status.ACTIVE, "")
    assert len(google.requests_to("token")) == 1


def test_grant_that_is_dead(
    account: GoogleAccount, google: FakeGoogle, alice: FakeUser, tell: Callable[[str], None]
) -> None:
    """The event concerned this grant."""
    google.revoke(alice)
    tell("tokens-revoked")

    assert run() == "       1 lost: their users have to link again\n       0 left\n"
    assert status_of(account) == (Status.NEEDS_REAUTHORIZATION, "revoked")


@pytest.mark.parametrize("lives", [True, False])
def test_account_that_is_enabled_again(
    account: GoogleAccount,
    google: FakeGoogle,
    alice: FakeUser,
    tell: Callable[[str], None],
    lives: bool,
) -> None:
    """Its links are active again if their grants are still valid."""
    with travel(hours=1):
        tell("account-disabled")
        assert status_of(account) == (Status.NEEDS_REAUTHORIZATION, "account_disabled")
        if not lives:
            google.revoke(alice)

        tell("account-enabled")
        run()

    expected = (Status.ACTIVE, "") if lives else (Status.NEEDS_REAUTHORIZATION, "revoked")
    assert status_of(account) == expected


@pytest.mark.slow
def test_google_is_asked_once_in_a_minute(
    account: GoogleAccount, google: FakeGoogle, tell: Callable[[str], None]
) -> None:
    """However many events arrive, and however often the command runs."""
    for _ in range(3):
        tell("tokens-revoked")
        run()
    assert len(google.requests_to("token")) == 1
    assert run() == "       1 left\n"

    with travel(seconds=61):
        assert run() == "       1 still valid\n       0 left\n"
    assert len(google.requests_to("token")) == 2


def test_what_fails_is_tried_again(
    account: GoogleAccount, google: FakeGoogle, tell: Callable[[str], None]
) -> None:
    """After a minute at the earliest; the link stays active meanwhile."""
    tell("tokens-revoked")
    google.fail_next(status=503)

    assert "1 postponed" in failed("Some could not be checked yet")
    assert status_of(account)[0] == Status.ACTIVE
    assert run() == "       1 left\n"

    with travel(minutes=2):
        assert run() == "       1 still valid\n       0 left\n"


def test_key_that_is_not_configured(
    account: GoogleAccount, tell: Callable[[str], None], settings: Settings
) -> None:
    """The check is made once the key is configured again."""
    tell("tokens-revoked")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [make_key()]}

    assert "1 postponed" in failed("Some could not be checked yet")
    assert GrantCheck.objects.get().requested_at


def test_link_that_is_gone(account: GoogleAccount, tell: Callable[[str], None]) -> None:
    """The check of a deleted link is skipped."""
    tell("tokens-revoked")
    delete_rows()

    assert run() == ("       1 unlinked meanwhile, or handled by another process\n       0 left\n")


def test_event_that_comes_while_google_is_asked(
    account: GoogleAccount, google: FakeGoogle, tell: Callable[[str], None]
) -> None:
    """The response may predate the event, so the grant is checked again in a minute."""
    tell("tokens-revoked")

    with during_refresh(google, lambda: tell("tokens-revoked")):
        assert run() == "       1 still valid\n       1 left\n"


@pytest.mark.slow
def test_several_commands_at_once(
    google: FakeGoogle, monkeypatch: pytest.MonkeyPatch, shared_database: None
) -> None:
    """Each link is checked once."""
    use_small_chunks(monkeypatch, security_events, 2)
    owner = new_user()
    for n in range(6):
        holder = google.add_user(f"user{n}@gmail.com")
        linked(owner, google, holder)
        google.send_security_event(Client(), "tokens-revoked", user=holder)

    at_once(run, run)

    assert len(google.requests_to("token")) == 6
    assert not list_due_checks().exists()


def test_check_that_another_command_has_made(
    account: GoogleAccount,
    google: FakeGoogle,
    tell: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between reading and claiming it."""
    tell("tokens-revoked")

    def claim_first() -> None:
        GrantCheck.objects.update(asked_at=in_seconds(0))

    use_small_chunks(monkeypatch, security_events, 1, after_reading=claim_first)

    assert "1 unlinked meanwhile, or handled by another process" in run()
    assert google.requests_to("token") == []


def test_old_ones_are_forgotten(account: GoogleAccount, tell: Callable[[str], None]) -> None:
    """Events are deleted after half a year, and completed checks after an hour."""
    tell("tokens-revoked")
    run()
    with travel(minutes=30):
        run()
        assert GrantCheck.objects.exists()
    with travel(hours=2):
        run()
        assert not GrantCheck.objects.exists()
        assert SecurityEvent.objects.exists()
    with travel(days=181):
        run()
        assert not SecurityEvent.objects.exists()


def test_number_of_workers(shared_database: None) -> None:
    """At least one is required."""
    failed("--workers must be at least 1", workers=0)


@pytest.mark.slow
def test_nothing_is_due(shared_database: None) -> None:
    """The usual case."""
    assert run() == "       0 left\n"
