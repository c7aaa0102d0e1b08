"""What other apps can listen to: after the commit, whatever the others do, and never a secret."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.db import connection, transaction
from django.dispatch import Signal
from pytest_django import DjangoCaptureOnCommitCallbacks

from django_google_link import signals
from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.exceptions import GrantLostError
from django_google_link.models import GoogleAccount
from django_google_link.signals import send_on_commit
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, save, token_of
from tests.support.constants import CALENDAR, DRIVE, OPENID
from tests.support.databases import new_user
from tests.support.signals import connected, heard

pytestmark = pytest.mark.django_db


def test_signals_are_those_of_the_contract() -> None:
    """No more and no fewer."""
    names = {name for name, value in vars(signals).items() if isinstance(value, Signal)}

    assert names == {
        "account_linked",
        "scopes_changed",
        "token_refreshed",
        "authorization_denied",
        "authorization_ending",
        "authorization_lost",
        "authorization_recovered",
        "account_unlinked",
        "revocation_finished",
        "token_request_finished",
        "token_wait_finished",
        "security_event",
    }


def test_send_on_commit_waits_for_the_outermost_commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """An inner block that ends well is not the end."""
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            send_on_commit(signals.account_unlinked, GoogleAccount, sub="42")
        assert news == []

    assert news == [("account_unlinked", {"sub": "42"})]


def test_send_on_commit_is_silent_after_a_rollback() -> None:
    """What did not happen is not told."""
    with heard() as news, transaction.atomic():
        send_on_commit(signals.account_unlinked, GoogleAccount, sub="42")
        transaction.set_rollback(True)

    assert news == []
    assert connection.run_on_commit == []


def test_send_on_commit_without_a_transaction_sends_at_once(shared_database: None) -> None:
    """There is nothing to wait for."""
    with heard() as news:
        send_on_commit(signals.account_unlinked, GoogleAccount, using="default", sub="42")

    assert news == [("account_unlinked", {"sub": "42"})]


def test_send_on_commit_asks_every_receiver(
    shared_database: None, caplog: pytest.LogCaptureFixture
) -> None:
    """One that raises disturbs neither the others nor the caller."""

    def fail(**arguments: Any) -> None:
        raise RuntimeError("A receiver of the project's own.")

    with connected(signals.account_unlinked, fail), heard() as news:
        send_on_commit(signals.account_unlinked, GoogleAccount, sub="42")

    assert news == [("account_unlinked", {"sub": "42"})]
    assert "A receiver of the project's own." in caplog.text


def test_receivers_find_what_they_are_told_in_the_database(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """The account they get is the one that was committed."""
    found: list[str | None] = []

    def look(account: GoogleAccount, **arguments: Any) -> None:
        assert not connection.in_atomic_block
        found.append(token_of(account, "access_token"))

    with connected(signals.token_refreshed, look):
        token = fresh_access_token(linked(new_user(), google, alice, access_token=""))

    assert found == [token.value.reveal()]


def test_signals_carry_no_secret(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """A receiver may log or queue what it gets."""
    user = new_user()
    account = linked(user, google, alice)
    secrets = [token_of(account, "refresh_token"), token_of(account, "access_token"), "1//new"]

    with heard() as news:
        save(user, alice.sub, scopes=(*OPENID, CALENDAR, DRIVE))
        google.error_next("invalid_grant")
        GoogleAccount.objects.update(sealed_access_token="")
        with pytest.raises(GrantLostError):
            fresh_access_token(account)
        save(user, alice.sub)
        GoogleAccount.objects.update(sealed_access_token="")
        google.fail_next(status=200, body={"access_token": "ya29.next"})
        fresh_access_token(account)
        account.unlink()

    assert {name for name, _ in news} == {
        "account_linked",
        "scopes_changed",
        "authorization_lost",
        "authorization_recovered",
        "token_refreshed",
        "account_unlinked",
    }
    for _, arguments in news:
        shown = repr(arguments).encode() + pickle.dumps(arguments)
        for secret in (*secrets, "ya29.new", "ya29.next"):
            assert secret is not None and secret.encode() not in shown
