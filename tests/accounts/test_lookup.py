"""The rows of a user, which are read without Django's query compiler."""

from __future__ import annotations

from collections.abc import Callable
from cProfile import Profile
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts.lookup import linked_accounts
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token, authorized_session, build_service
from django_google_link.testing import FakeGoogle, make_google_account
from tests.support.constants import CALENDAR, DRIVE

pytestmark = pytest.mark.django_db


def columns_of(account: GoogleAccount) -> dict[str, Any]:
    """Return the values of all columns, without Django's own state."""
    return {field.attname: getattr(account, field.attname) for field in account._meta.fields}


@pytest.mark.parametrize("use_tz", [True, False])
def test_rows_are_what_django_reads(user: Any, settings: Settings, use_tz: bool) -> None:
    """The values and their types are those that the ORM returns, with and without USE_TZ."""
    settings.USE_TZ = use_tz
    now = timezone.now()
    account = make_google_account(user, scopes=[CALENDAR, DRIVE], access_token="ya29.stored")
    GoogleAccount.objects.update(
        refresh_lease=account.pk,
        refresh_lease_expires_at=now,
        refresh_failures=3,
        access_token_expires_at=now + timedelta(hours=1),
    )

    [row] = linked_accounts(user, client="default")

    expected = columns_of(GoogleAccount.objects.get())
    assert columns_of(row) == expected
    assert {name: type(value) for name, value in columns_of(row).items()} == {
        name: type(value) for name, value in expected.items()
    }
    assert timezone.is_aware(row.linked_at) is use_tz


def test_row_is_a_row_like_any_other(user: Any) -> None:
    """It can be saved, and refreshed from the database."""
    make_google_account(user)

    [row] = linked_accounts(user, client="default")
    row.label = "Work"
    row.save()
    row.refresh_from_db()

    assert row.label == "Work"
    assert GoogleAccount.objects.get().label == "Work"


def test_default_account_comes_first(user: Any, other_user: Any) -> None:
    """The others follow in the order of linking; other users and clients are left out."""
    first, second, third = (make_google_account(user) for _ in range(3))
    make_google_account(user, client="other")
    make_google_account(other_user)
    third.make_default()

    assert linked_accounts(user, client="default") == [third, first, second]


@pytest.mark.parametrize(
    "call",
    [
        lambda owner: access_token(owner, scopes=[CALENDAR]),
        lambda owner: authorized_session(owner, scopes=[CALENDAR]),
        lambda owner: build_service(owner, "calendar", "v3", scopes=[CALENDAR]),
    ],
    ids=["access_token", "authorized_session", "build_service"],
)
def test_account_is_judged_once(google: FakeGoogle, user: Any, call: Callable[[Any], Any]) -> None:
    """The scopes are checked once per call, however many functions it goes through."""
    account = make_google_account(user, scopes=[CALENDAR], access_token="ya29.stored")

    for owner in (user, account):
        with Profile() as profile:
            call(owner)

        judged = GoogleAccount.missing_scopes.__code__
        assert [entry.callcount for entry in profile.getstats() if entry.code is judged] == [1]
