"""Deleting many accounts takes few statements, and moves all their tokens to the outbox."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.utils import NestedObjects
from django.contrib.auth import get_user_model
from django.db import NotSupportedError, connection, models, transaction
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, pre_delete
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext

from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.testing.accounts import make_google_account
from tests.support.databases import new_user
from tests.support.signals import connected, heard

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("google")]

MANY = 130

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def make_many(count: int = MANY) -> list[GoogleAccount]:
    """Create users with an account each; the last account has no tokens."""
    users = [new_user(f"user-{n}") for n in range(count)]
    accounts = [make_google_account(user, sub=f"1{n}") for n, user in enumerate(users)]
    GoogleAccount.objects.filter(pk=accounts[-1].pk).update(
        sealed_refresh_token="", sealed_access_token=""
    )
    return accounts


def by_a_queryset_of_users() -> Any:
    return get_user_model().objects.all().delete()


def by_a_queryset() -> Any:
    return GoogleAccount.objects.all().delete()


def by_hand() -> Any:
    """Delete with a collector, as some libraries do."""
    collector = Collector(using="default")
    collector.collect(list(GoogleAccount.objects.all()))
    return collector.delete()


WAYS = [by_a_queryset_of_users, by_a_queryset, by_hand]


@contextmanager
def listening(signal: Signal) -> Iterator[list[Any]]:
    """Collect the rows that a project's receiver gets."""
    instances: list[Any] = []

    def listen(sender: Any, instance: Any, **arguments: Any) -> None:
        if sender is GoogleAccount:
            instances.append((instance.pk, instance.email, instance.sealed_refresh_token))

    with connected(signal, listen):
        yield instances


@contextmanager
def with_a_model_that_refers_to_accounts() -> Iterator[Any]:
    """Give the project a model with a foreign key to accounts."""

    class Note(models.Model):  # noqa: DJ008
        account = models.ForeignKey(GoogleAccount, models.CASCADE)

        class Meta:
            app_label = "custom_user"

    try:
        with connection.schema_editor() as editor:
            editor.create_model(Note)
        yield Note
        with connection.schema_editor() as editor:
            editor.delete_model(Note)
    finally:
        del apps.all_models["custom_user"]["note"]
        apps.clear_cache()


@pytest.mark.matrix
@pytest.mark.parametrize("delete", WAYS)
def test_tokens_of_many_move_whole(
    delete: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """All tokens can be decrypted in the outbox, and each account is signalled once."""
    accounts = make_many()
    names = ("client", "issuer", "client_id", "sub", "owner")
    before = {
        account.pk: (
            *(getattr(account, name) for name in names),
            account.unseal_token("refresh_token"),
            account.unseal_token("access_token"),
        )
        for account in accounts[:-1]
    }
    expected = sorted((account.user_id, account.sub, account.email) for account in accounts)
    caplog.set_level(logging.INFO, "django_google_link")

    with heard() as news, transaction.atomic():
        _, counts = delete()
        for entry in connection.run_on_commit:
            entry[1]()

    assert counts["google_link.GoogleAccount"] == MANY
    after = {
        row.account_id: (
            *(getattr(row, name) for name in names),
            row.unseal_token("refresh_token"),
            row.unseal_token("access_token"),
        )
        for row in PendingRevocation.objects.all()
    }
    assert after == before
    assert len({row.pk for row in PendingRevocation.objects.all()} - set(before)) == MANY - 1
    told = [(said["user_id"], said["sub"], said["email"]) for _, said in news]
    assert sorted(told) == expected


@pytest.mark.matrix
@pytest.mark.parametrize("delete", [by_a_queryset_of_users, by_a_queryset])
def test_number_of_statements_does_not_follow_that_of_accounts(delete: Callable[[], Any]) -> None:
    """Deleting 190 accounts takes at most two statements more than deleting 110."""
    numbers = []
    for count in (110, 190):
        get_user_model().objects.all().delete()
        make_many(count)
        with CaptureQueriesContext(connection) as captured:
            delete()
        numbers.append(len(captured))

    assert numbers[1] - numbers[0] <= 2
    assert numbers[0] < 25


def test_migrations_see_a_plain_foreign_key() -> None:
    """In migrations ``user`` is a plain ForeignKey with CASCADE."""
    field = GoogleAccount._meta.get_field("user")

    name, path, _, options = field.deconstruct()

    assert (name, path) == ("user", "django.db.models.ForeignKey")
    assert options["on_delete"] is models.CASCADE


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("count", "lines"), [(3, 3), (10, 10), (11, 11), (MANY, 11)], ids=["3", "10", "11", "many"]
)
def test_log_names_a_few_and_counts_the_others(
    count: int,
    lines: int,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    """The log names the first ten accounts, and states the number of the others."""
    make_many(count)
    caplog.set_level(logging.INFO, "django_google_link")

    with django_capture_on_commit_callbacks(execute=True):
        by_a_queryset_of_users()

    said = [message for message in caplog.messages if "unlinked" in message]
    assert len(said) == lines
    assert said[0].endswith("was unlinked.")
    assert (f"{count - 10} more accounts were unlinked." in said) == (count > 10)


@pytest.mark.matrix
@pytest.mark.parametrize("signal", [pre_delete, post_delete], ids=["pre_delete", "post_delete"])
@pytest.mark.parametrize("delete", WAYS)
def test_receivers_of_a_project_see_each_row(delete: Callable[[], Any], signal: Signal) -> None:
    """Receivers of pre_delete and post_delete get each row, and the tokens move once."""
    accounts = make_many(5)
    expected = GoogleAccount.objects.values_list("pk", "email", "sealed_refresh_token")
    rows = sorted(expected)

    with listening(signal) as instances:
        delete()

    assert sorted(instances) == rows
    assert PendingRevocation.objects.count() == len(accounts) - 1


@pytest.mark.matrix
@pytest.mark.usefixtures("shared_database")
@pytest.mark.parametrize("delete", WAYS)
def test_models_that_refer_to_accounts_are_deleted_as_well(delete: Callable[[], Any]) -> None:
    """Rows of other models that refer to accounts are deleted by Django's cascade."""
    with with_a_model_that_refers_to_accounts() as note:
        for account in make_many(5):
            note.objects.create(account=account)

        delete()

        assert not note.objects.exists()
    assert not GoogleAccount.objects.exists()
    assert PendingRevocation.objects.count() == 4


def by_deleting_one() -> Any:
    return GoogleAccount.objects.get().delete()


@pytest.mark.parametrize("delete", [*WAYS, by_deleting_one])
def test_nothing_is_read_in_the_transaction_before_it_is_locked(delete: Callable[[], Any]) -> None:
    """Accounts are locked, on SQLite by an UPDATE, before the transaction reads them."""
    make_many(1)
    with CaptureQueriesContext(connection) as captured:
        delete()

    locks = connection.features.has_select_for_update
    table = GoogleAccount._meta.db_table
    found = [query["sql"] for query in captured.captured_queries if table in query["sql"]]
    kinds = ["lock" if "FOR UPDATE" in sql else sql.split()[0] for sql in found]
    if locks:
        assert "lock" in kinds
    else:  # Django itself may have read whole rows before its transaction.
        assert kinds.index("UPDATE") == (1 if "sealed" in found[0] else 0)


@pytest.mark.skipif(not os.environ.get("TEST_DATABASE"), reason="SQLite has no row locks.")
@pytest.mark.parametrize("delete", [by_a_queryset_of_users, by_a_queryset])
def test_more_than_fit_into_one_statement_are_locked_in_order(delete: Callable[[], Any]) -> None:
    """The order is that in which the database sorts them, as in all other transactions."""
    account = make_google_account(new_user(), access_token="", refresh_token="")
    account.is_default = False
    values = {
        field.attname: getattr(account, field.attname) for field in account._meta.concrete_fields
    }
    further = [values | {"id": uuid.uuid4(), "sub": f"1{number}"} for number in range(1000)]
    GoogleAccount.objects.bulk_create(GoogleAccount(**each) for each in further)
    keys = list(GoogleAccount.objects.order_by("pk").values_list("pk", flat=True))
    with CaptureQueriesContext(connection) as captured:
        delete()

    locking = [query["sql"] for query in captured if "FOR UPDATE" in query["sql"]]
    named = [{uuid.UUID(text) for text in re.findall(_UUID, sql)} for sql in locking]
    assert named[-1] <= {keys[-1]}


@pytest.mark.parametrize("delete", [by_a_queryset_of_users, by_a_queryset])
def test_receiver_that_refuses_the_deletion_keeps_all(delete: Callable[[], Any]) -> None:
    """If a receiver raises, the accounts stay, no token moves and no signal is sent."""
    make_many(5)

    def refuse(**arguments: Any) -> None:
        raise PermissionError

    with (
        heard() as news,
        connected(pre_delete, refuse),
        pytest.raises(PermissionError),
        transaction.atomic(),
    ):
        delete()

    assert (GoogleAccount.objects.count(), PendingRevocation.objects.count()) == (5, 0)
    assert news == []


def test_what_a_queryset_cannot_delete_is_left_alone() -> None:
    """A queryset that Django cannot delete raises its error, and no token moves."""
    make_many(3)
    for rows in (
        GoogleAccount.objects.all()[:2],
        GoogleAccount.objects.values("pk"),
        GoogleAccount.objects.all().union(GoogleAccount.objects.all()),
    ):
        with pytest.raises((TypeError, NotSupportedError), match="delete"):
            rows.delete()

    assert (GoogleAccount.objects.count(), PendingRevocation.objects.count()) == (3, 0)


@pytest.mark.parametrize("kind", [Collector, NestedObjects])
def test_collecting_is_no_deletion(kind: type[Collector]) -> None:
    """Collecting what a deletion would affect, as the admin does, moves no token."""
    accounts = make_many(3)

    collector = kind(using="default")
    collector.collect(list(get_user_model().objects.all()))

    if isinstance(collector, NestedObjects):
        assert collector.model_objs[GoogleAccount] == set(accounts)
    assert (GoogleAccount.objects.count(), PendingRevocation.objects.count()) == (3, 0)


@pytest.mark.slow
@pytest.mark.skipif("TEST_USER_MODEL" in os.environ, reason="Another user's key is a UUID.")
def test_owner_that_the_database_writes_otherwise_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox has each owner's key as Python shows it, which the database may not."""

    class Key(str):
        """A primary key as Python shows it."""

    key: Any = get_user_model()._meta.pk
    to_python = key.to_python
    monkeypatch.setattr(key, "to_python", lambda value: Key(f"user-{to_python(value)}"))
    accounts = make_many()
    owners = {account.pk: account.owner for account in accounts[:-1]}

    GoogleAccount.objects.all().delete()

    assert dict(PendingRevocation.objects.values_list("account_id", "owner")) == owners
    for pending in PendingRevocation.objects.all():
        assert pending.unseal_token("refresh_token")


@pytest.mark.slow
def test_deletion_of_a_user_with_many_links_has_an_attempt(google: Any) -> None:
    """Deleting a user with many links makes one attempt to revoke, of two requests at most."""
    user = new_user()
    for n in range(MANY):
        make_google_account(user, sub=f"1{n}")

    with transaction.atomic():
        user.delete()
        for entry in connection.run_on_commit:
            entry[1]()

    assert len(google.requests_to("revoke")) > 0
    tried = {request.form["token"] for request in google.requests_to("revoke")}
    assert len(tried) == len(google.requests_to("revoke")) <= 2
