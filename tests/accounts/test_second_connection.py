"""``REFRESH_USING`` when the second connection fails: the caller's own one is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from pytest_django import Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, token_of
from tests.support.databases import new_user, second_connection
from tests.support.failing import FOR_EVER, Failing, failing
from tests.support.times import in_seconds, skip_pauses

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, whose access token is due and lives for two more minutes."""
    return linked(new_user(), google, alice, access_token_expires_at=in_seconds(120))


@pytest.fixture
def apart(shared_database: None, settings: Settings) -> Iterator[Any]:
    """The second connection."""
    with second_connection(settings):
        yield connections["apart"]


def refuse(*args: Any) -> None:
    """Refuse a connection."""
    raise OperationalError("too many clients")


@pytest.mark.parametrize("seconds", [120, -60])
def test_second_connection_that_cannot_be_opened(
    account: GoogleAccount,
    apart: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seconds: int,
) -> None:
    """A new token is stored as without ``REFRESH_USING``, whether or not the old one lives."""
    GoogleAccount.objects.update(access_token_expires_at=in_seconds(seconds))
    monkeypatch.setattr(apart, "get_new_connection", refuse)

    with transaction.atomic():
        token = fresh_access_token(account)

    assert token.is_new
    assert token_of(account, "access_token") == token.value.reveal()
    assert "The connection apart for refreshes" in caplog.text


@pytest.mark.parametrize("first", range(1, 8))
def test_second_connection_that_fails_later(
    account: GoogleAccount, apart: Any, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Whichever statement fails, the caller gets the old or a new token."""
    skip_pauses(monkeypatch)
    broken = Failing(OperationalError("gone"), first=first, count=FOR_EVER)

    with apart.execute_wrapper(broken), transaction.atomic():
        assert fresh_access_token(account).value

    assert broken.has_failed


def test_second_connection_that_was_lost_is_opened_again(
    account: GoogleAccount,
    apart: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody else would: by the next call, a rollback discards no token."""
    apart.ensure_connection()
    apart.connection.close()
    monkeypatch.setattr(apart, "is_usable", lambda: False)  # SQLite does not ask.

    for _ in range(2):
        with transaction.atomic():
            token = fresh_access_token(account)
            transaction.set_rollback(True)

    assert token_of(account, "access_token") == token.value.reveal()
    assert caplog.text.count("cannot be used") == 1


def test_failure_of_the_callers_own_connection_is_the_callers(
    account: GoogleAccount, apart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not mistaken for one of the second connection."""
    monkeypatch.setattr(apart, "get_new_connection", refuse)

    with (
        transaction.atomic(),
        failing(OperationalError("ours"), count=FOR_EVER),
        pytest.raises(OperationalError, match="ours"),
    ):
        fresh_access_token(account)


def test_second_connection_that_is_the_first(account: GoogleAccount, settings: Settings) -> None:
    """If the alias names the caller's own connection, its errors are the caller's as well."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REFRESH_USING": "default"}
    # SQLite is refused.
    default = {**connections.settings["default"], "ENGINE": "another"}

    # The fixture would undo it only after the database is another one again.
    with pytest.MonkeyPatch.context() as patch, transaction.atomic():
        patch.setitem(connections.settings, "default", default)
        with failing(OperationalError("ours")), pytest.raises(OperationalError, match="ours"):
            fresh_access_token(account)
