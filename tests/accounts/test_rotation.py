"""A rotated refresh token is not lost, even if nothing else in the response can be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DataError, transaction

from django_google_link.accounts import lease
from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.models import CircuitBreaker, GoogleAccount, PendingRevocation, Status
from django_google_link.secret import Secret
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import attempt, linked, save, stale, token_of
from tests.support.constants import CALENDAR, OPENID
from tests.support.databases import new_user
from tests.support.failing import refusing
from tests.support.signals import heard
from tests.support.times import in_seconds
from tests.support.workers import during_refresh, just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

#: What only a statement that writes a refresh token contains.
WRITTEN = ("UPDATE", "refresh_token_prefix_digest")


@pytest.fixture(autouse=True)
def _provider(google: FakeGoogle, configure: Callable[..., None]) -> None:
    """A provider that rotates refresh tokens, and at which each grant ends separately."""
    configure(PROVIDER=None)
    google.rotates_refresh_tokens = google.reuse_ends_family = True
    google.revocation_ends_grant = False


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, whose access token has expired."""
    return stale(new_user(), google, alice)


def spoil_next(google: FakeGoogle) -> None:
    """Let the next response contain a kind of token that cannot be used."""
    google.tamper_next_response(fields={"token_type": "mac"})


def assert_all_revoked(google: FakeGoogle) -> None:
    """Check that the provider has revoked a token, and that none waits to be revoked."""
    assert len(google.requests_to("revoke")) == 1
    assert not PendingRevocation.objects.exists()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"token_type": "mac"}, "unsupported_token_type"),
        ({"scope": 5}, "malformed_scope"),
        ({"access_token": ""}, "no_access_token"),
    ],
)
def test_next_refresh_uses_the_new_refresh_token(
    google: FakeGoogle, account: GoogleAccount, fields: dict[str, Any], error: str
) -> None:
    """The failure is counted and waited out like any other, and the link is kept."""
    former = token_of(account, "refresh_token")
    google.tamper_next_response(fields=fields)

    assert (attempt(account), attempt(account)) == (error, "backing_off")

    row = GoogleAccount.objects.get()
    assert token_of(account, "refresh_token") not in {None, former}
    assert row.sealed_access_token == account.sealed_access_token
    assert row.granted_scopes == account.granted_scopes
    assert (row.refresh_lease, row.refresh_failures) == (None, 1)
    assert CircuitBreaker.objects.get().failures == 1
    assert not PendingRevocation.objects.exists()
    with travel(minutes=2):
        assert access_token(account.user, scopes=[CALENDAR])
    assert not google.requests_to("revoke")


def test_each_of_several_failures_keeps_the_link(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """The refresh token is replaced again and again."""
    for minutes in (0, 2, 6):
        spoil_next(google)
        with travel(minutes=minutes):
            assert attempt(account) == "unsupported_token_type"

    with travel(minutes=15):
        assert attempt(account) == "token"


def test_access_token_that_has_not_expired_is_returned(google: FakeGoogle, alice: FakeUser) -> None:
    """The stored one is as good as before."""
    account = linked(new_user(), google, alice, access_token_expires_at=in_seconds(60))
    spoil_next(google)

    with heard() as news:
        token = fresh_access_token(account)

    assert token.value == account.unseal_token("access_token")
    assert isinstance(token.problem, RefreshUnavailableError)
    assert news == []
    with travel(minutes=2):
        assert attempt(account) == "token"


def test_new_refresh_token_is_in_the_outbox_until_it_is_stored(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """If the worker dies in between, it is revoked."""
    held: list[Any] = []

    def look() -> None:
        held.extend(row.unseal_token("refresh_token") for row in PendingRevocation.objects.all())

    spoil_next(google)
    with just_before('"refresh_token_prefix_digest" =', act=look):
        attempt(account)

    assert held == [GoogleAccount.objects.get().unseal_token("refresh_token")]


def test_new_refresh_token_of_a_replaced_grant_is_revoked(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """If the user links again meanwhile, the row keeps what is newer."""
    newer = google.grant(alice, [*OPENID, CALENDAR]).refresh_token
    spoil_next(google)

    with during_refresh(google, lambda: save(account.user, alice.sub, refresh_token=Secret(newer))):
        assert attempt(account) == "unsupported_token_type"

    assert_all_revoked(google)
    assert token_of(account, "refresh_token") == newer
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(-60))
    assert attempt(account) == "token"


@pytest.mark.slow
def test_time_for_revoking_it_does_not_count(
    google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """The token endpoint has answered at once: it is not slow."""
    newer = google.grant(alice, [*OPENID, CALENDAR]).refresh_token
    google.fail_next(endpoint="revoke", status=503, delay=1.5)
    spoil_next(google)

    with during_refresh(google, lambda: save(account.user, alice.sub, refresh_token=Secret(newer))):
        assert attempt(account) == "unsupported_token_type"

    assert CircuitBreaker.objects.get().failures == 1


def test_new_refresh_token_that_cannot_be_stored_is_revoked(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """The link is lost at once: a link that looked active would never work again."""
    spoil_next(google)

    with refusing(DataError("invalid byte sequence"), *WRITTEN):
        assert attempt(account) == "not_stored"

    assert_all_revoked(google)
    assert GoogleAccount.objects.get().status == Status.NEEDS_REAUTHORIZATION


def test_refresh_token_that_is_repeated_is_not_written(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """Some providers send the one that was used: no failing statement costs the link."""
    google.rotates_refresh_tokens = False
    same = token_of(account, "refresh_token")
    google.tamper_next_response(fields={"token_type": "mac", "refresh_token": same})

    with refusing(DataError("invalid byte sequence"), *WRITTEN):
        assert attempt(account) == "unsupported_token_type"

    assert not google.requests_to("revoke")
    with travel(minutes=2):
        assert attempt(account) == "token"


def test_in_a_transaction_the_new_refresh_token_is_stored_with_it(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """No wait is written there. A worker that has read the row before finds it changed."""
    rows = GoogleAccount.objects.all()
    before = rows.get()
    spoil_next(google)

    with transaction.atomic():
        assert attempt(account) == "unsupported_token_type"

    assert lease.take(rows, before) is None
    assert attempt(account) == "token"
