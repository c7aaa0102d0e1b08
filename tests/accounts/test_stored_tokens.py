"""When an access token is due for a refresh, and which token is used until then."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, OperationalError
from django.utils import timezone
from google.auth.credentials import TokenState

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.stored_tokens import choose_leeway
from django_google_link.exceptions import GrantLostError, RefreshUnavailableError
from django_google_link.models import GoogleAccount
from django_google_link.operations.refresh import RefreshOutcome, refresh_account
from django_google_link.services import access_token, credentials_for
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked, token_of
from tests.support.databases import new_user, read_only
from tests.support.failing import refusing
from tests.support.times import in_seconds

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, with an expired access token."""
    return linked(new_user(), google, alice, access_token_expires_at=in_seconds(-60))


def asked(google: FakeGoogle) -> int:
    """Return the number of token requests."""
    return len(google.requests_to("token"))


def with_lifetime(seconds: float, pk: uuid.UUID | None = None) -> GoogleAccount:
    """Return a row with a new access token of this lifetime."""
    now = timezone.now()
    return GoogleAccount(
        pk=pk or uuid.uuid4(),
        refreshed_at=now,
        access_token_expires_at=now + timedelta(seconds=seconds),
    )


# Tokens with a lifetime of minutes


@pytest.mark.matrix
@pytest.mark.parametrize("lifetime", [30, 120, 300])
def test_token_that_lives_for_minutes_is_used_for_half_of_them(
    google: FakeGoogle, account: GoogleAccount, lifetime: int
) -> None:
    """Twenty calls cause one request; in the second half of its lifetime it is refreshed."""
    google.access_token_lifetime = lifetime

    for _ in range(20):
        access_token(account)

    assert asked(google) == 1
    with travel(seconds=lifetime * 0.45):
        access_token(account)
    assert asked(google) == 1
    with travel(seconds=lifetime * 0.55):
        access_token(account)
    assert asked(google) == 2


def test_token_that_lives_for_minutes_is_fresh_for_google_auth(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """google-auth's own threshold of 225 seconds would refresh it at each call."""
    google.access_token_lifetime = 200

    credentials = credentials_for(account)
    credentials.refresh(None)

    assert (credentials.valid, credentials.expired) == (True, False)
    assert credentials.token_state is TokenState.FRESH
    copy = credentials.with_quota_project("billed")
    assert copy.token_state is TokenState.FRESH
    again = credentials_for(GoogleAccount.objects.get())
    assert again.token == credentials.token and again.token_state is TokenState.FRESH


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("left", "state"),
    [
        (None, TokenState.FRESH),
        (3000, TokenState.FRESH),
        (226, TokenState.FRESH),
        (224, TokenState.STALE),
        (1, TokenState.STALE),
        (-1, TokenState.INVALID),
    ],
)
def test_token_of_an_hour_is_fresh_for_google_auth_as_ever(
    google: FakeGoogle, account: GoogleAccount, left: int | None, state: TokenState
) -> None:
    """It becomes stale 225 seconds before its expiry."""
    credentials = credentials_for(account)
    assert credentials.token_state is TokenState.INVALID
    credentials.refresh(None)
    now = datetime.now(UTC).replace(tzinfo=None)
    credentials.expiry = None if left is None else now + timedelta(seconds=left)

    assert credentials.token_state is state
    assert credentials.expired is (state is not TokenState.FRESH)
    assert credentials.valid is (state is TokenState.FRESH)


# Tokens issued at the same time


def test_tokens_that_came_together_do_not_end_together() -> None:
    """They are due five to eleven minutes before expiry, at a constant offset per account."""
    rows = [with_lifetime(3600) for _ in range(1000)]

    leeways = [choose_leeway(row).total_seconds() for row in rows]

    assert 300 <= min(leeways) < 310 and 650 < max(leeways) <= 660
    assert len(set(leeways)) > 500
    first = with_lifetime(3600, pk=rows[0].pk)
    assert choose_leeway(first).total_seconds() == pytest.approx(leeways[0])


def test_tokens_without_a_known_lifetime_go_by_the_setting() -> None:
    """Without a lifetime there is no spread."""
    unknown = [
        GoogleAccount(access_token_expires_at=in_seconds(3600)),
        GoogleAccount(refreshed_at=in_seconds(0)),
        with_lifetime(-5),
    ]

    assert {choose_leeway(row) for row in unknown} == {timedelta(seconds=300)}


def test_leeway_is_never_below_what_google_auth_calls_expired() -> None:
    """Otherwise each use of the token would refresh it."""
    for lifetime in (500, 900, 3600, 86_400):
        leeway = choose_leeway(with_lifetime(lifetime))
        assert leeway >= min(timedelta(seconds=225), timedelta(seconds=lifetime / 2))


# A database that accepts no writes


def test_token_serves_while_the_database_is_read_only(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """Google is not asked for a token that could not be stored."""
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(60))

    with read_only():
        token = fresh_access_token(account)
        assert access_token(account) == token.value.reveal()

    assert "database_unavailable" in str(token.problem)
    assert asked(google) == 0


def test_nothing_is_asked_while_the_database_is_read_only(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """A rotated refresh token could not be stored, and the link would be lost."""
    with (
        read_only(),
        pytest.raises(RefreshUnavailableError, match="database_unavailable"),
    ):
        fresh_access_token(account)

    assert asked(google) == 0


def test_what_a_read_only_database_hides_is_counted(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """The command and the admin do not report it as a success."""
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(60))

    with read_only():
        outcome = refresh_account(account, leeway=timedelta(hours=2))

    assert outcome == RefreshOutcome.UNSTORED


@pytest.mark.matrix
@pytest.mark.parametrize(
    "words", [("UPDATE", "refresh_lease_expires_at", "sealed_access_token"), ("FOR UPDATE",)]
)
@pytest.mark.parametrize("error", [OperationalError("disk full"), DatabaseError("read only")])
def test_full_database_is_no_500(
    google: FakeGoogle, account: GoogleAccount, words: tuple[str, ...], error: Exception
) -> None:
    """A valid token is returned, whichever statement fails."""
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(60))
    stored = token_of(account, "access_token")

    with refusing(error, *words):
        token = fresh_access_token(account)

    assert token.value.reveal() in {stored, token_of(account, "access_token")} or token.problem


def test_new_token_that_could_not_be_stored_serves_its_caller(
    google: FakeGoogle, account: GoogleAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported as not stored: the next caller has to request another."""
    with refusing(DatabaseError("read only"), "UPDATE", "refreshed_at"):
        token = fresh_access_token(account)

    assert token.is_new
    assert "could not be stored" in str(token.problem)
    assert GoogleAccount.objects.get().refresh_lease is None
    assert fresh_access_token(account).problem is None


def test_loss_that_could_not_be_saved_is_told_all_the_same(
    google: FakeGoogle, account: GoogleAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """The user is sent to consent, and the next caller gets the same error from Google."""
    google.error_next("invalid_grant", count=2)

    with (
        refusing(DatabaseError("read only"), "UPDATE", "status_reason"),
        pytest.raises(GrantLostError) as caught,
    ):
        fresh_access_token(account)

    assert caught.value.account == account
    assert "The loss of a grant could not be saved: DatabaseError" in caplog.text
    assert GoogleAccount.objects.get().is_active
    with pytest.raises(GrantLostError):
        fresh_access_token(account)
    assert not GoogleAccount.objects.get().is_active
