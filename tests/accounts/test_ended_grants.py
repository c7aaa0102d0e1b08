"""A grant that is revoked in the moment in which somebody links the same account once more."""

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

# The threads of the command leave a database in memory open, which Django closes for nobody.
pytestmark = pytest.mark.usefixtures("shared_database", "google")

HELD = 'INSERT INTO "google_link_pendingrevocation"'
ANNOUNCED = 'INSERT INTO "google_link_endedgrant"'
FINISHED = ("UPDATE", "google_link_endedgrant")


@pytest.fixture
def account(google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """The only link to Alice's account, which another user has."""
    return linked(new_user(), google, alice)


def unlink(account: GoogleAccount) -> Callable[[], None]:
    """Return what the other user does; Google is told at once."""
    return lambda: GoogleAccount.objects.get(pk=account.pk).unlink()


def announce(sub: str, act: Callable[[], Any] = lambda: None) -> None:
    """End a grant of which nothing is left here."""
    with announced_end(get_client(), sub=sub, using="default"):
        act()


@pytest.mark.slow
def test_grant_that_was_ended_meanwhile_is_asked_for_again(
    google: FakeGoogle, browser: Client, alice: FakeUser, account: GoogleAccount
) -> None:
    """Its answer has come and is not yet written down: no dead grant is called active."""
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
    """It was announced before the link was stored, and reaches Google after that."""
    pauses: list[float] = []

    def reach_google(seconds: float) -> None:
        # The fake's threads sleep as well, and nobody would close their connections.
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
    """Google is asked, and says that it lives."""
    with just_before(HELD, act=lambda: announce(alice.sub)):
        response = link(browser, google, alice)

    assert response["Location"] == "/google/"
    assert GoogleAccount.objects.get().is_active
    assert len(google.requests_to("token")) == 2


def test_grant_that_another_worker_refreshes_is_checked_after_it(
    google: FakeGoogle, browser: Client, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """That refresh may have been answered before the revocation."""

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
    """The next refresh tells it."""

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
    """What was over before, the end of another, and one that died long ago, are no matter."""
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
    """Whoever linked then has not seen it; whoever revokes looks once more."""
    other = new_user("other")

    with just_before(ANNOUNCED, act=lambda: linked(other, google, alice)):
        account.unlink()

    assert google.requests_to("revoke") == []
    assert GoogleAccount.objects.get().user == other
    assert not PendingRevocation.objects.exists()


@pytest.mark.slow
def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has died leaves its announcement open: Google is asked after a while."""
    with refusing(OperationalError("lost"), *FINISHED):
        announce("42")
    started, pauses = note_moment(), skip_pauses(monkeypatch)

    assert has_ended_since(get_client(), sub="42", started=started)

    assert 10 < sum(pauses) < 20


def test_ends_are_forgotten(google: FakeGoogle) -> None:
    """By the command, after an hour, when nobody who links can have met them."""
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
    """It could not be found by whose it is."""
    announce("")

    assert not EndedGrant.objects.exists()


def test_other_providers_end_each_token_by_itself() -> None:
    """What was revoked there says nothing of a new one."""
    elsewhere = GoogleAccount(issuer="https://another.example", client_id="daybook")

    assert not has_ended_since(elsewhere, sub="1", started=note_moment())
