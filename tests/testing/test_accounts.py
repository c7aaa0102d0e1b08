"""make_google_account: a linked account without any flow, and the app cannot tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from django_google_link.exceptions import GrantLostError, MissingScopesError
from django_google_link.models import GoogleAccount, Status
from django_google_link.services import access_token, credentials_for
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, DRIVE

pytestmark = pytest.mark.django_db


def test_make_google_account_is_ready_for_use(user: Any) -> None:
    """Linked, active, the default, and with tokens that open."""
    before = timezone.now()

    account = make_google_account(user)

    assert GoogleAccount.objects.get() == account
    assert (account.user, account.client, account.email) == (user, "default", "user@gmail.com")
    assert account.email_verified
    assert account.is_default
    assert account.status == Status.ACTIVE
    assert account.granted_scopes == ["email", "openid", "profile"]
    assert access_token(user) == "ya29.access-token"
    refresh_token = account.unseal_token("refresh_token")
    assert refresh_token is not None and refresh_token.reveal() == "1//refresh-token"
    hour = timedelta(hours=1)
    assert before + hour <= account.access_token_expires_at <= timezone.now() + hour


@pytest.mark.parametrize(
    "scopes", [CALENDAR, [CALENDAR], f"{CALENDAR} openid", (CALENDAR, "email")]
)
def test_make_google_account_adds_who_the_account_is(user: Any, scopes: Any) -> None:
    """Scopes come in any form, and those of the identity are always granted."""
    account = make_google_account(user, scopes=scopes)

    account.refresh_from_db()
    assert account.granted_scopes == sorted(["openid", "email", "profile", CALENDAR])
    with pytest.raises(MissingScopesError):
        credentials_for(user, scopes=[DRIVE])


def test_make_google_account_takes_what_is_given(user: Any) -> None:
    """Tokens, identity, client and expiry."""
    expires_at = timezone.now() + timedelta(minutes=7)

    account = make_google_account(
        user,
        email="alice@gmail.com",
        sub="42",
        refresh_token="1//mine",
        access_token="ya29.mine",
        access_token_expires_at=expires_at,
        client="other",
    )

    account.refresh_from_db()
    assert (account.email, account.sub, account.client) == ("alice@gmail.com", "42", "other")
    assert account.access_token_expires_at == expires_at
    assert access_token(account) == "ya29.mine"
    refresh_token = account.unseal_token("refresh_token")
    assert refresh_token is not None and refresh_token.reveal() == "1//mine"


def test_make_google_account_whose_token_never_ends(user: Any) -> None:
    """None is no end, and not the hour of the default."""
    account = make_google_account(user, access_token_expires_at=None)

    account.refresh_from_db()
    assert account.access_token_expires_at is None
    assert access_token(user) == "ya29.access-token"


def test_make_google_account_without_tokens(user: Any) -> None:
    """Empty means none."""
    account = make_google_account(user, refresh_token="", access_token="")

    account.refresh_from_db()
    assert account.unseal_token("refresh_token") is None
    assert account.unseal_token("access_token") is None
    assert account.access_token_expires_at is None
    with pytest.raises(GrantLostError):
        credentials_for(user)


def test_make_google_account_that_is_lost(user: Any) -> None:
    """Status and reason, as a refresh would have left them."""
    make_google_account(user, status=Status.NEEDS_REAUTHORIZATION, status_reason="session_policy")

    with pytest.raises(GrantLostError) as caught:
        credentials_for(user)

    assert caught.value.reason == "session_policy"


def test_make_google_account_makes_the_first_one_the_default(user: Any, other_user: Any) -> None:
    """For each user and client, as the flow does."""
    first, second = make_google_account(user), make_google_account(user)
    elsewhere = make_google_account(user, client="other")
    foreign = make_google_account(other_user)

    assert first.sub != second.sub
    assert set(GoogleAccount.objects.filter(is_default=True)) == {first, elsewhere, foreign}


def test_make_google_account_of_one_that_is_linked_already(user: Any) -> None:
    """The database allows a Google account once per user and client."""
    make_google_account(user, sub="42")

    with pytest.raises(IntegrityError), transaction.atomic():
        make_google_account(user, sub="42")
