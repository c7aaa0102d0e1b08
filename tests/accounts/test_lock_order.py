"""Two workers that write a user's links at the same time: no deadlock, no second default."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction

from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import save, token_of
from tests.support.databases import at_once, new_user
from tests.support.races import Racer
from tests.support.workers import just_before

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("shared_database"),
    pytest.mark.skipif(
        not os.environ.get("TEST_DATABASE"), reason="SQLite has one writer at a time."
    ),
]

at_read_committed = pytest.mark.skipif(
    "TEST_ISOLATION" in os.environ, reason="The caller's own transaction would lose the race."
)

LAST_KEY = uuid.UUID(int=2**128 - 1)


def make_last(account: GoogleAccount) -> GoogleAccount:
    """Give this account the greatest primary key, and return it."""
    token = account.unseal_token("refresh_token")
    assert token
    GoogleAccount.objects.filter(pk=account.pk).update(id=LAST_KEY)
    last = GoogleAccount.objects.get(pk=LAST_KEY)
    last.drop_tokens()
    last.seal_token("refresh_token", token)
    last.save()
    return last


def defaults_of(user: Any) -> list[str]:
    """Return the subjects of a user's default accounts."""
    rows = GoogleAccount.objects.filter(user=user, is_default=True)
    return sorted(rows.values_list("sub", flat=True))


def link_and_make_default(user: Any, sub: str) -> None:
    """Link an account, and make it the default."""
    save(user, sub).make_default()


def test_unlinking_beside_a_link_that_is_made_the_default() -> None:
    """Both workers lock the remaining account, in an order that cannot deadlock."""
    user = new_user()
    old = make_last(make_google_account(user, sub="old"))
    # Next, the remaining account is read and made the default.
    unlinking = Racer(old.unlink, stops_before=("SELECT", '"is_default"', "LIMIT 2"))
    unlinking.wait_until_stopped()
    linking = Racer(lambda: link_and_make_default(user, "new"))
    linking.wait_until_done_or_waiting()

    unlinking.result()
    linking.result()

    assert defaults_of(user) == ["new"]


def test_unlinking_beside_a_new_link() -> None:
    """An account that is linked while the only other one is unlinked becomes the default."""
    user = new_user()
    old = make_google_account(user, sub="old")
    unlinking = Racer(old.unlink, stops_before=("DELETE", "googleaccount"))
    unlinking.wait_until_stopped()
    linking = Racer(lambda: save(user, "new"))
    linking.wait_until_done_or_waiting()

    unlinking.result()
    linking.result()

    assert defaults_of(user) == ["new"]


@pytest.mark.parametrize(
    "transactions", [nullcontext, pytest.param(transaction.atomic, marks=at_read_committed)]
)
def test_making_default_beside_a_new_default(transactions: Callable[[], Any]) -> None:
    """The account that is chosen last is the only default, also in a transaction of the caller."""
    user = new_user()
    old = make_google_account(user, sub="old")

    def link() -> None:
        with transaction.atomic():
            link_and_make_default(user, "new")
            with connection.cursor() as cursor:
                cursor.execute("SELECT 42")

    def choose() -> None:
        with transactions():
            old.make_default()

    linking = Racer(link, stops_before=("SELECT 42",))
    linking.wait_until_stopped()
    choosing = Racer(choose)
    choosing.wait_until_done_or_waiting()

    linking.result()
    choosing.result()

    assert defaults_of(user) == ["old"]


@at_read_committed
def test_making_default_beside_an_account_that_is_added() -> None:
    """An account that is added before the others are locked is locked in order with them."""
    user = new_user()
    old = make_last(make_google_account(user, sub="old"))
    added: list[GoogleAccount] = []

    def add() -> None:
        added.extend(at_once(lambda: save(user, "new")))

    def choose_old() -> None:
        with transaction.atomic(), just_before("FOR UPDATE", act=add):
            old.make_default()  # Here a deadlock would not be repeated.

    def choose_new() -> None:
        with transaction.atomic():
            added[0].make_default()

    choosing_old = Racer(choose_old, stops_before=("UPDATE", '"is_default" = '))
    choosing_old.wait_until_stopped()
    choosing_new = Racer(choose_new)
    choosing_new.wait_until_done_or_waiting()

    choosing_old.result()
    choosing_new.result()

    assert defaults_of(user) == ["new"]


@pytest.mark.skipif(os.environ.get("TEST_DATABASE") != "mysql", reason="MySQL only")
def test_making_default_beside_an_account_that_only_a_snapshot_lists() -> None:
    """On MySQL, a transaction still lists what another one has deleted, but cannot lock it."""
    user = new_user()
    chosen, deleted = make_google_account(user, sub="1"), make_google_account(user, sub="2")
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # of the next one

    with transaction.atomic():
        assert GoogleAccount.objects.count() == 2
        at_once(deleted.unlink)
        chosen.make_default()

    assert defaults_of(user) == ["1"]


@at_read_committed
def test_moved_in_a_transaction_beside_a_new_link_of_the_same_account() -> None:
    """The caller gets the message, rather than an error of the database."""
    anna, ben = new_user("anna"), new_user("ben")
    moved = make_google_account(anna, sub="same")
    make_google_account(ben, sub="other")

    def link() -> None:
        with transaction.atomic():
            save(ben, "same")
            with connection.cursor() as cursor:
                cursor.execute("SELECT 42")

    def move() -> None:
        with transaction.atomic():
            moved.reassign(ben)

    linking = Racer(link, stops_before=("SELECT 42",))
    linking.wait_until_stopped()
    moving = Racer(move)
    moving.wait_until_done_or_waiting()

    linking.result()
    with pytest.raises(ValueError, match="has already linked the same Google account"):
        moving.result()


def test_two_first_links() -> None:
    """Only one becomes the default, also on a database without partial unique constraints."""
    user = new_user()
    first = Racer(lambda: save(user, "1"), stops_before=("UPDATE", '"is_default" = '))
    first.wait_until_stopped()
    second = Racer(lambda: save(user, "2"))
    second.wait_until_done_or_waiting()

    first.result()
    second.result()

    assert defaults_of(user) == ["1"]


def test_two_first_links_of_one_account() -> None:
    """One worker creates the link, and the other one renews it."""
    user = new_user()
    first = Racer(lambda: save(user, "1"), stops_before=("UPDATE", '"is_default" = '))
    first.wait_until_stopped()
    second = Racer(lambda: save(user, "1"))
    second.wait_until_done_or_waiting()

    first.result()
    second.result()

    assert defaults_of(user) == ["1"]
    assert GoogleAccount.objects.get().grant_version == 3


def test_moved_to_a_user_who_links_for_the_first_time() -> None:
    """Only the account that the user links becomes the default, not the reassigned one."""
    anna, ben = new_user("anna"), new_user("ben")
    moved = make_google_account(anna, sub="moved")
    linking = Racer(lambda: save(ben, "linked"), stops_before=("UPDATE", '"is_default" = '))
    linking.wait_until_stopped()
    moving = Racer(lambda: moved.reassign(ben))
    moving.wait_until_done_or_waiting()

    linking.result()
    moving.result()

    assert defaults_of(ben) == ["linked"]
    assert GoogleAccount.objects.filter(user=ben).count() == 2


def test_moved_to_a_user_who_links_the_same_account() -> None:
    """Linking renews the reassigned row instead of creating a second one."""
    anna, ben = new_user("anna"), new_user("ben")
    moved = make_google_account(anna, sub="same")
    moving = Racer(lambda: moved.reassign(ben), stops_before=("UPDATE", '"user_id" = '))
    moving.wait_until_stopped()
    linking = Racer(lambda: save(ben, "same"))
    linking.wait_until_done_or_waiting()

    moving.result()
    linking.result()

    assert GoogleAccount.objects.get().user == ben
    assert defaults_of(ben) == ["same"]


@at_read_committed
def test_moving_beside_a_new_link_that_is_made_the_default() -> None:
    """Reassigning does not lock the new account after one with a greater key."""
    anna, ben = new_user("anna"), new_user("ben")
    old = make_last(make_google_account(anna, sub="old"))

    def move() -> None:
        with transaction.atomic():  # Here a deadlock would not be retried.
            old.reassign(ben)

    linking = Racer(lambda: save(anna, "new"), stops_before=("INSERT", "googleaccount"))
    linking.wait_until_stopped()
    user_table = get_user_model()._meta.db_table
    moving = Racer(move, stops_before=("SELECT", f'FROM "{user_table}"', "FOR "))
    moving.wait_until_done_or_waiting()
    new = linking.result()
    moving.wait_until_stopped()
    choosing = Racer(new.make_default)
    choosing.wait_until_done_or_waiting()

    moving.result()
    choosing.result()

    assert defaults_of(anna) == ["new"]
    assert defaults_of(ben) == ["old"]


def test_moving_to_a_user_who_unlinks_the_only_account() -> None:
    """The reassigned account becomes the default."""
    anna, ben = new_user("anna"), new_user("ben")
    moved = make_google_account(anna, sub="moved")
    other = make_google_account(ben, sub="other")
    moving = Racer(lambda: moved.reassign(ben), stops_before=("SELECT", '"user_id" IN'))
    moving.wait_until_stopped()

    other.unlink()
    moving.result()

    assert defaults_of(ben) == ["moved"]


def test_deleting_a_user_who_links() -> None:
    """Linking locks in the order of the cascade: the accounts first, and then their user."""
    user = new_user()
    make_google_account(user, sub="old")
    deleting = Racer(get_user_model().objects.get().delete, stops_before=("DELETE", "_user"))
    deleting.wait_until_stopped()
    linking = Racer(lambda: save(user, "new"))
    linking.wait_until_done_or_waiting()

    deleting.result()
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        linking.result()

    assert not GoogleAccount.objects.exists()
    assert PendingRevocation.objects.count() == 1


@at_read_committed
def test_deleting_a_user_whose_accounts_another_one_locks() -> None:
    """Both lock them by primary key, not in the order of an index by subject."""
    user = new_user()
    last = make_last(make_google_account(user, sub="1"))
    first = make_google_account(user, sub="2")
    for other in range(10):  # A small table would be read as a whole.
        make_google_account(new_user(f"other-{other}"))

    def write_both() -> None:
        with transaction.atomic():  # Here a deadlock would not be repeated.
            GoogleAccount.objects.select_for_update().get(pk=first.pk)
            GoogleAccount.objects.filter(pk=last.pk).update(label="written")

    writing = Racer(write_both, stops_before=("UPDATE", '"label" = '))
    writing.wait_until_stopped()
    deleting = Racer(user.delete)
    deleting.wait_until_done_or_waiting()

    writing.result()
    deleting.result()

    assert GoogleAccount.objects.count() == 10


@at_read_committed
def test_deleting_a_user_whose_account_is_moved_meanwhile() -> None:
    """It stays with its new user."""
    anna, ben = new_user("anna"), new_user("ben")
    moved = make_google_account(anna, sub="moved")
    deleting = Racer(anna.delete, stops_before=("SELECT", "googleaccount", "FOR UPDATE"))
    deleting.wait_until_stopped()

    moved.reassign(ben)
    deleting.result()

    assert GoogleAccount.objects.get().user == ben
    assert not PendingRevocation.objects.exists()


def hold(account: GoogleAccount) -> None:
    """Lock a row, and then update it."""
    with transaction.atomic():
        GoogleAccount.objects.select_for_update().get(pk=account.pk)
        GoogleAccount.objects.filter(pk=account.pk).update(label="held")


def test_unlinking_waits_for_nothing_that_was_not_there() -> None:
    """A row that a script has added and locked is left alone, since waiting could deadlock."""
    user = new_user()
    old = make_google_account(user, sub="old")
    unlinking = Racer(old.unlink, stops_before=("SELECT", '"is_default"', "LIMIT 2"))
    unlinking.wait_until_stopped()
    added = make_google_account(user, sub="added")
    GoogleAccount.objects.filter(pk=added.pk).update(is_default=False)
    holding = Racer(lambda: hold(added), stops_before=("UPDATE", '"label" = '))
    holding.wait_until_stopped()

    unlinking.result()
    holding.result()

    assert defaults_of(user) == []


@pytest.mark.skipif(
    os.environ.get("TEST_DATABASE") != "postgresql",
    reason="PostgreSQL only",
)
@pytest.mark.skipif("TEST_ISOLATION" in os.environ, reason="A snapshot does not see the new row.")
def test_link_that_was_added_without_a_lock_is_renewed() -> None:
    """A script inserts it just before us, and a caller's transaction is not retried."""
    user = new_user()

    def add() -> None:
        at_once(lambda: make_google_account(user, sub="1"))

    with transaction.atomic(), just_before('INSERT INTO "google_link_googleaccount"', act=add):
        save(user, "1")

    account = GoogleAccount.objects.get()
    assert account.grant_version == 2
    assert token_of(account, "refresh_token") == "1//new"
