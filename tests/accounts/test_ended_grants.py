"""A grant that is revoked while the same Google account is being linked again."""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client

from django_google_link.accounts.ended_grants import (
    announced_end,
    delete_old_ends,
    has_ended_since,
    note_moment,
)
from django_google_link.conf.clients import get_client
from django_google_link.models import EndedGrant, GoogleAccount, PendingRevocation, Status
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked
from tests.support.databases import new_user
from tests.support.failing import refusing
from tests.support.flow import link
from tests.support.times import in_seconds, skip_pauses
from tests.support.urls import local
from tests.support.workers import just_before

# Django never closes an in-memory database, and the command's threads would leave it open.
pytestmark = pytest.mark.usefixtures("shared_database", "google")

HELD = 'INSERT INTO "google_link_pendingrevocation"'
ANNOUNCED = 'INSERT INTO "google_link_endedgrant"'
FINISHED = ("UPDATE", "google_link_endedgrant")


@pytest.fixture
def account(google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """The only link to Alice's account; it belongs to another user."""
    return linked(new_user(), google, alice)


def unlink(account: GoogleAccount) -> Callable[[], None]:
    """Return a function that unlinks the account, which revokes the grant at once."""
    return lambda: GoogleAccount.objects.get(pk=account.pk).unlink()


def announce(sub: str, act: Callable[[], Any] = lambda: None) -> None:
    """Announce the revocation of a grant without a link, and act during it."""
    with announced_end(get_client(), sub=sub, using="default"):
        act()


@pytest.mark.slow
def test_grant_that_was_ended_meanwhile_is_asked_for_again(
    google: FakeGoogle, browser: Client, alice: FakeUser, account: GoogleAccount
) -> None:
    """If the grant is revoked before it is stored, the user is asked for consent again."""
    with just_before(HELD, act=unlink(account)):
        response = link(browser, google, alice)

    assert GoogleAccount.objects.get().status == Status.NEEDS_REAUTHORIZATION
    assert response["Location"].startswith(google.url)
    assert "prompt=consent" in response["Location"]
    response = browser.get(local(google.consent(response["Location"], user=alice)))
    assert response["Location"] == "/google/"
    row = GoogleAccount.objects.get()
    google.expire_access_tokens()
    assert row.status == Status.ACTIVE
    assert access_token(row)
    assert not PendingRevocation.objects.exists()


def test_whoever_links_waits_for_a_revocation_under_way(
    google: FakeGoogle,
    browser: Client,
    alice: FakeUser,
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Linking waits for a revocation that is in progress, and then finds the grant lost."""
    pauses: list[float] = []

    def reach_google(seconds: float) -> None:
        # Not the fake's threads, which sleep as well: their connections would stay open.
        if seconds and threading.current_thread() is threading.main_thread():
            pauses.append(seconds)
            google.revoke(alice)
            EndedGrant.objects.update(finished_at=EndedGrant.objects.get().begun_at)

    def begin() -> None:
        with refusing(OperationalError("lost"), *FINISHED):
            announce(alice.sub)
        monkeypatch.setattr(time, "sleep", reach_google)

    GoogleAccount.objects.all().delete()
    with just_before(HELD, act=begin):
        response = link(browser, google, alice)

    assert len(pauses) == 1
    assert response["Location"].startswith(google.url)
    assert GoogleAccount.objects.get().status == Status.NEEDS_REAUTHORIZATION


def test_grant_that_outlives_a_revocation_is_linked(
    google: FakeGoogle, browser: Client, alice: FakeUser
) -> None:
    """If Google still honours the grant after a revocation, the account is linked."""
    with just_before(HELD, act=lambda: announce(alice.sub)):
        response = link(browser, google, alice)

    assert response["Location"] == "/google/"
    assert GoogleAccount.objects.get().is_active
    assert len(google.requests_to("token")) == 2


def test_grant_that_another_worker_refreshes_is_checked_after_it(
    google: FakeGoogle, browser: Client, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """If another worker has the lease, the grant is checked when that has ended."""

    def take_lease() -> None:
        GoogleAccount.objects.update(
            refresh_lease=uuid.uuid4(), refresh_lease_expires_at=in_seconds(0.3)
        )

    with (
        just_before('FROM "google_link_endedgrant"', act=take_lease),
        just_before(HELD, act=lambda: announce(alice.sub)),
    ):
        response = link(browser, google, alice)

    assert response["Location"] == "/google/"
    assert len(google.requests_to("token")) == 2
    assert "is unknown" not in caplog.text


def test_link_stays_where_google_does_not_tell(
    google: FakeGoogle, browser: Client, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """If Google does not respond to the check, the link stays and a warning is logged."""

    def act() -> None:
        announce(alice.sub)
        google.fail_next()

    with just_before(HELD, act=act):
        response = link(browser, google, alice)

    assert response["Location"] == "/google/"
    assert GoogleAccount.objects.get().is_active
    assert "revoked meanwhile is unknown: RefreshUnavailableError" in caplog.text


@pytest.mark.slow
def test_link_after_a_revocation_costs_no_request(
    google: FakeGoogle, browser: Client, alice: FakeUser, account: GoogleAccount
) -> None:
    """Earlier, abandoned and other accounts' revocations cost no request."""
    account.unlink()
    EndedGrant.objects.update(finished_at=EndedGrant.objects.get().begun_at - timedelta(seconds=1))
    announce("another")
    with refusing(OperationalError("lost"), *FINISHED), travel(minutes=-10):
        announce(alice.sub)

    response = link(browser, google, alice)

    assert response["Location"] == "/google/"
    assert len(google.requests_to("token")) == 1


def test_link_that_is_made_before_the_announcement_calls_the_revocation_off(
    google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """An account that is linked just before the announcement cancels the revocation."""
    other = new_user("other")

    with just_before(ANNOUNCED, act=lambda: linked(other, google, alice)):
        account.unlink()

    assert google.requests_to("revoke") == []
    assert GoogleAccount.objects.get().user == other
    assert not PendingRevocation.objects.exists()


@pytest.mark.slow
def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a worker dies during a revocation, linking waits for 10 to 20 seconds only."""
    with refusing(OperationalError("lost"), *FINISHED):
        announce("42")
    started, pauses = note_moment(), skip_pauses(monkeypatch)

    assert has_ended_since(get_client(), sub="42", started=started)

    assert 10 < sum(pauses) < 20


def test_ends_are_forgotten(google: FakeGoogle) -> None:
    """google_link_revoke_pending deletes announcements that are over an hour old."""
    announce("42")
    call_command("google_link_revoke_pending", stdout=io.StringIO())
    row = EndedGrant.objects.get()
    assert str(row) == row.digest

    with travel(hours=2):
        announce("43")
        call_command("google_link_revoke_pending", stdout=io.StringIO())

    assert EndedGrant.objects.get() != row
    assert delete_old_ends() == 0


def test_nothing_is_announced_of_a_grant_that_nobody_knows() -> None:
    """A revocation of an unknown account is not announced, since it could not be found."""
    announce("")

    assert not EndedGrant.objects.exists()


def test_other_providers_end_each_token_by_itself() -> None:
    """At other providers than Google, a revocation does not affect new grants."""
    elsewhere = GoogleAccount(issuer="https://another.example", client_id="daybook")

    assert not has_ended_since(elsewhere, sub="1", started=note_moment())
