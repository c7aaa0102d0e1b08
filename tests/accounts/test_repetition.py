"""Transactions that lost a race are retried: with the same result, and signals sent once."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from django_google_link.accounts.database_errors import is_lost_race
from django_google_link.accounts.identities import save_identity
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.accounts.outbox import enqueue_token
from django_google_link.accounts.revocations import process_pending
from django_google_link.accounts.spent_states import delete_old_states, finish_state, spend_state
from django_google_link.accounts.transactions import is_in_callers_transaction, run_in_transaction
from django_google_link.conf.clients import get_client
from django_google_link.models import GoogleAccount, PendingRevocation, Reason, SpentState
from django_google_link.operations.revoke_pending import process_now
from django_google_link.operations.rotate_keys import reseal_row
from django_google_link.secret import Secret
from django_google_link.signals import account_linked, send_on_commit
from django_google_link.testing import FakeGoogle
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import identity
from tests.support.constants import OTHER_KEY
from tests.support.databases import new_user
from tests.support.failing import FOR_EVER, failing, lost_race, refusing
from tests.support.signals import heard
from tests.support.times import in_seconds, skip_pauses

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


class Psycopg2Error(Exception):
    """An error of psycopg2, which has ``pgcode``."""

    pgcode = "40001"


class OtherError(Exception):
    """An error of psycopg that is no lost race."""

    sqlstate = "23505"


def caused_by(cause: Exception) -> OperationalError:
    """Return Django's error for an error of the driver."""
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (lost_race(), True),
        (caused_by(Psycopg2Error()), True),
        (OperationalError(1213, "Deadlock found when trying to get lock"), True),
        (OperationalError(1205, "Lock wait timeout exceeded"), True),
        (OperationalError(1020, "Record has changed since last read"), True),
        (OperationalError(3101, "Plugin instructed the server to rollback"), True),
        (OperationalError(3572, "lock(s) could not be acquired immediately and NOWAIT"), True),
        (OperationalError("database is locked"), True),
        (OperationalError("database table is locked: google_link_googleaccount"), True),
        (caused_by(OtherError()), False),
        (OperationalError(1366, "Incorrect string value"), False),
        (OperationalError("no such table"), False),
        (IntegrityError("a row that is locked"), False),
        (ValueError("it is locked"), False),
    ],
    ids=str,
)
def test_lost_races_are_told_from_other_errors(error: Exception, is_lost: bool) -> None:
    """By SQLSTATE, by MySQL's error number, or by SQLite's message."""
    assert is_lost_race(error) is is_lost


def two_accounts() -> tuple[GoogleAccount, GoogleAccount]:
    """Return two accounts of one user; the first is the default."""
    user = new_user()
    return make_google_account(user, sub="1"), make_google_account(user, sub="2")


def unlink() -> Callable[[], Any]:
    """Unlink the default account."""
    return two_accounts()[0].unlink


def make_default() -> Callable[[], Any]:
    """Make the other account the default."""
    _, other = two_accounts()

    def choose() -> bool:
        other.make_default()
        return other.is_chosen_default

    return choose


def reassign() -> Callable[[], Any]:
    """Reassign an account to another user."""
    account, _ = two_accounts()
    ben = new_user("ben")

    def move() -> bool:
        account.reassign(ben)
        return bool(account.user_id == ben.pk)

    return move


def lose() -> Callable[[], Any]:
    """Mark a grant as lost."""
    account, _ = two_accounts()
    return lambda: mark_lost(account, Reason.REVOKED)


def enqueue(token: str) -> PendingRevocation:
    """Put a token into the outbox."""
    key = uuid.uuid4()
    return enqueue_token(
        get_client(), "1", Secret(token), owner="1", key=key, using=DEFAULT_DB_ALIAS
    )


def rename() -> Callable[[], Any]:
    """Store the identity of an ID token."""
    account, _ = two_accounts()

    def follow() -> str:
        save_identity(account, identity("1", name="Anna"))
        return account.name

    return follow


def revoke() -> Callable[[], Any]:
    """Revoke two tokens of one account; the first revocation settles the second."""
    keys = [enqueue(token).pk for token in ("1//a", "1//b")]
    return lambda: [process_pending(key) for key in keys]


def revoke_at_once() -> Callable[[], Any]:
    """Revoke a token at once, as the admin does."""
    pending = enqueue("1//a")
    return lambda: process_now(pending)


def rotate() -> Callable[[], Any]:
    """Re-encrypt an account's tokens with the newest key."""
    account, _ = two_accounts()
    return lambda: reseal_row(account)


def spend() -> Callable[[], Any]:
    """Spend a state, and record where it led."""

    def use() -> bool:
        is_first = spend_state("abc", owner="1")
        finish_state("abc", location="/there")
        return is_first

    return use


def forget_states() -> Callable[[], Any]:
    """Delete old states."""
    for number in range(3):
        SpentState.objects.create(digest=str(number), owner="1", spent_at=in_seconds(-9999))
    return delete_old_states


ACTS = [
    unlink,
    make_default,
    reassign,
    lose,
    rename,
    revoke,
    revoke_at_once,
    rotate,
    spend,
    forget_states,
]


def read_tables() -> tuple[Any, ...]:
    """Return the contents of the tables, without keys and times."""
    accounts = GoogleAccount.objects.order_by("sub").values_list(
        "user__username", "sub", "name", "status", "is_default", "is_chosen_default", "label"
    )
    pending = PendingRevocation.objects.values_list("sub", "attempts")
    spent = SpentState.objects.values_list("location", "is_finished")
    return list(accounts), sorted(pending), sorted(spent)


def clear() -> None:
    """Delete all rows."""
    get_user_model().objects.all().delete()
    PendingRevocation.objects.all().delete()
    SpentState.objects.all().delete()


@pytest.mark.slow
@pytest.mark.parametrize("prepare", ACTS)
def test_race_that_is_lost_at_any_statement_changes_nothing(
    google: FakeGoogle,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    prepare: Callable[[], Callable[[], Any]],
) -> None:
    """Whichever statement fails, the result, tables, signals and log are the same."""
    caplog.set_level("INFO", "django_google_link")
    key = settings.GOOGLE_LINK["ENCRYPTION_KEYS"]

    def run(first: int) -> tuple[Any, bool]:
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": key}
        act = prepare()
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY, *key]}
        caplog.clear()
        with heard() as news, failing(lost_race(), first=first) as failure:
            result = act()
        told = [name for name, _ in news], [record.msg for record in caplog.records]
        outcome = result, read_tables(), told
        clear()
        return outcome, failure.has_failed

    expected, _ = run(FOR_EVER)
    number, is_under_way = 1, True
    while is_under_way:
        outcome, is_under_way = run(number)
        assert outcome == expected, f"Statement {number}"
        number += 1
    assert number > 2


def test_label_that_has_lost_a_race_is_stored() -> None:
    """The user sees no error."""
    account, _ = two_accounts()
    client = Client()
    client.force_login(account.user)
    url = reverse("google_link:label", args=[account.pk])

    with refusing(lost_race(), "UPDATE", "label", count=1):
        response = client.post(url, {"label": "Work"})

    assert response.status_code == 302
    account.refresh_from_db()
    assert account.label == "Work"


def test_what_was_to_be_told_of_an_attempt_that_failed_is_dropped() -> None:
    """Signals of attempts that were rolled back are not sent."""
    account, _ = two_accounts()
    attempts: list[int] = []

    def work() -> None:
        attempts.append(1)
        send_on_commit(account_linked, GoogleAccount, account=account, created=len(attempts))
        if len(attempts) < 3:
            raise lost_race()

    with heard() as news:
        run_in_transaction(work, using="default")

    assert [arguments["created"] for _, arguments in news] == [3]


def test_race_that_took_longer_than_patience_is_run_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MySQL reports a lock timeout only after 50 seconds; there is still one retry."""
    skip_pauses(monkeypatch)
    attempts: list[int] = []

    def work() -> None:
        attempts.append(1)
        time.sleep(50)
        raise OperationalError(1205, "Lock wait timeout exceeded")

    with pytest.raises(OperationalError):
        run_in_transaction(work, using="default")

    assert len(attempts) == 2


def test_identity_that_is_not_stored_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """If saving fails, the caller's object keeps the stored values."""
    skip_pauses(monkeypatch)
    account, _ = two_accounts()

    with failing(lost_race(), count=FOR_EVER), pytest.raises(OperationalError):
        save_identity(account, identity("1", name="Anna"))

    assert account.name == ""


def test_transaction_of_a_connection_without_autocommit_is_the_callers() -> None:
    """It is not retried, since the rollback would undo the caller's statements as well."""
    attempts: list[int] = []

    def work() -> None:
        attempts.append(1)
        raise lost_race()

    assert not is_in_callers_transaction("default")
    transaction.set_autocommit(False)
    try:
        assert is_in_callers_transaction("default")
        with pytest.raises(OperationalError):
            run_in_transaction(work, using="default")
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)

    assert len(attempts) == 1


def test_connection_that_is_not_open_has_no_transaction() -> None:
    """Before the connection is opened, no work of the caller's could be lost by a retry."""
    connection.close()

    assert not is_in_callers_transaction("default")


def test_what_the_admin_deletes_is_deleted_after_a_lost_race(google: FakeGoogle) -> None:
    """An operator sees no error."""
    account, _ = two_accounts()
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "pw"))
    chosen = {"action": "delete_selected", "_selected_action": [str(account.pk)], "post": "yes"}

    with refusing(lost_race(), "DELETE", "googleaccount", count=1):
        response = client.post(reverse("admin:google_link_googleaccount_changelist"), chosen)

    assert response.status_code == 302
    assert not GoogleAccount.objects.filter(pk=account.pk).exists()
