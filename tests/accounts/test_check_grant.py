"""Checking at Google whether a grant is valid, whatever is stored."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    NotLinkedError,
    RefreshUnavailableError,
)
from django_google_link.models import GoogleAccount, Reason, Status
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, save, token_of
from tests.support.databases import new_user
from tests.support.signals import heard
from tests.support.times import in_seconds
from tests.support.workers import during_refresh, just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, with a valid access token."""
    return linked(new_user(), google, alice)


def row() -> GoogleAccount:
    """Return the account as stored."""
    return GoogleAccount.objects.get()


def test_check_brings_a_new_token_though_the_old_one_lives(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """A check refreshes even if the stored access token is valid."""
    before = token_of(account, "access_token")

    check_grant(account)

    assert token_of(account, "access_token") != before
    assert row().refresh_lease is None
    assert len(google.requests_to("token")) == 1


def test_check_brings_a_token_that_is_served_though_it_is_rejected(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """A token that a check has just obtained is returned even if an API rejects it."""
    check_grant(account)
    token = Secret(str(token_of(account, "access_token")))

    assert fresh_access_token(account, rejected=token).value == token
    assert len(google.requests_to("token")) == 1


def test_check_recovers_what_was_lost(google: FakeGoogle, account: GoogleAccount) -> None:
    """A check makes a lost account active again if Google still honours its grant."""
    mark_lost(account, "session_policy")

    with heard() as news:
        check_grant(account)

    assert row().is_active
    assert [name for name, _ in news] == ["token_refreshed", "authorization_recovered"]


@pytest.mark.parametrize("was_lost", [False, True])
def test_check_of_what_google_does_not_honour(
    google: FakeGoogle, alice: FakeUser, account: GoogleAccount, was_lost: bool
) -> None:
    """A revoked grant is signalled as lost once, and the lease is released."""
    if was_lost:
        mark_lost(account, "revoked")
    google.revoke(alice)

    with heard() as news, pytest.raises(GrantLostError) as lost:
        check_grant(account)

    assert lost.value.reason == "revoked"
    assert len(news) == (0 if was_lost else 1)
    assert (row().status, row().refresh_lease) == (Status.NEEDS_REAUTHORIZATION, None)


def test_check_does_not_wait_for_the_backoff(google: FakeGoogle, account: GoogleAccount) -> None:
    """A check does not wait for the account's waiting time, and its success ends it."""
    GoogleAccount.objects.update(
        refresh_failures=8, refresh_failing_since=in_seconds(-9), refresh_retry_at=in_seconds(3000)
    )

    check_grant(account)

    assert (row().refresh_failures, row().refresh_failing_since) == (0, None)
    assert row().refresh_retry_at is None


def test_check_while_google_is_down(google: FakeGoogle, account: GoogleAccount) -> None:
    """If Google is unavailable, the status is kept and the first failure's time stored."""
    google.fail_next(status=503, count=2)

    with pytest.raises(RefreshUnavailableError):
        check_grant(account)
    since = row().refresh_failing_since
    with pytest.raises(RefreshUnavailableError):
        check_grant(account)

    assert row().is_active
    assert since is not None
    assert (row().refresh_failures, row().refresh_failing_since) == (2, since)


def test_check_while_another_worker_asks(google: FakeGoogle, account: GoogleAccount) -> None:
    """While another worker has the lease, a check fails without a request."""
    stale_copy = row()
    GoogleAccount.objects.update(refresh_lease_expires_at=in_seconds(10))

    with pytest.raises(RefreshUnavailableError, match="refresh_under_way"):
        check_grant(stale_copy)

    assert google.requests == []


def test_check_when_another_worker_is_faster(google: FakeGoogle, account: GoogleAccount) -> None:
    """If another worker takes the lease first, a check fails without a request."""

    def take() -> None:
        GoogleAccount.objects.update(refresh_lease_expires_at=in_seconds(10))

    with (
        just_before('SET "refresh_lease"', act=take),
        pytest.raises(RefreshUnavailableError, match="refresh_under_way"),
    ):
        check_grant(account)

    assert google.requests == []


def test_check_of_a_refused_client_changes_nothing(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """If Google refuses the client, the account stays active and the lease is released."""
    google.fail_next(status=401, body={"error": "invalid_client"})

    with pytest.raises(ClientMisconfiguredError):
        check_grant(account)

    assert row().is_active
    assert row().refresh_lease is None


def test_check_in_a_transaction(google: FakeGoogle, account: GoogleAccount) -> None:
    """In a transaction, which takes no lease, a check recovers a lost account."""
    mark_lost(account, "revoked")

    with transaction.atomic():
        check_grant(account)

    assert row().is_active


def test_check_in_a_transaction_while_another_worker_asks(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """In a transaction another worker's lease is respected."""
    GoogleAccount.objects.update(refresh_lease_expires_at=in_seconds(10))

    with (
        transaction.atomic(),
        pytest.raises(RefreshUnavailableError, match="refresh_under_way"),
    ):
        check_grant(account)

    assert google.requests == []


def test_check_in_a_transaction_of_what_is_dead(
    google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """In a transaction a check of a revoked grant raises GrantLostError."""
    mark_lost(account, "revoked")
    google.revoke(alice)

    with transaction.atomic(), pytest.raises(GrantLostError):
        check_grant(account)


def test_check_while_the_grant_is_renewed(google: FakeGoogle, account: GoogleAccount) -> None:
    """If the account is linked again during a check, the response is discarded."""
    with during_refresh(google, lambda: save(account.user, account.sub)):
        check_grant(account)

    assert token_of(account, "access_token") == "ya29.new"


def test_check_without_a_refresh_token(google: FakeGoogle, account: GoogleAccount) -> None:
    """Without a refresh token a check raises GrantLostError without a request."""
    GoogleAccount.objects.update(sealed_refresh_token="")

    with pytest.raises(GrantLostError) as lost:
        check_grant(account)

    assert lost.value.reason == "no_refresh_token"
    assert google.requests == []


def test_check_of_what_is_gone(google: FakeGoogle, account: GoogleAccount) -> None:
    """A check of an account that was unlinked meanwhile raises NotLinkedError."""
    GoogleAccount.objects.all().delete()

    with pytest.raises(NotLinkedError):
        check_grant(account)


def test_check_finds_out_why_it_is_lost_by_now(
    google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """If the user revoked access, the reason "requested" becomes "revoked", with no signal."""
    mark_lost(account, Reason.REQUESTED)
    google.revoke(alice)

    with heard() as news, pytest.raises(GrantLostError):
        check_grant(account)

    assert row().status_reason == Reason.REVOKED
    assert row().refresh_lease is None
    assert news == []
