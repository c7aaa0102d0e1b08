"""However many accounts a transaction unlinks, only one short attempt to revoke follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.utils import timezone

from django_google_link.accounts.answers import end_grant
from django_google_link.conf.clients import get_client
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked
from tests.support.databases import new_user
from tests.support.slow_servers import dripping, silent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


def link_several(google: FakeGoogle, count: int = 3) -> list[GoogleAccount]:
    """Link different Google accounts of one user."""
    user = new_user()
    others = [google.add_user(f"user-{n}@gmail.com") for n in range(count)]
    return [linked(user, google, other) for other in others]


def asked(google: FakeGoogle) -> int:
    """Return the number of revocation requests."""
    return len(google.requests_to("revoke"))


def by_deleting_the_user(accounts: list[GoogleAccount]) -> None:
    accounts[0].user.delete()


def by_unlinking_in_one_transaction(accounts: list[GoogleAccount]) -> None:
    with transaction.atomic():
        for account in accounts:
            account.unlink()


def by_deleting_in_one_transaction(accounts: list[GoogleAccount]) -> None:
    with transaction.atomic():
        for account in accounts:
            account.delete()


def by_unlinking_in_savepoints(accounts: list[GoogleAccount]) -> None:
    with transaction.atomic():
        for account in accounts:
            with transaction.atomic():
                account.unlink()


def by_deleting_several_users(accounts: list[GoogleAccount]) -> None:
    for n, account in enumerate(accounts):
        account.reassign(new_user(f"user-{n}"))
    with transaction.atomic():
        for user in get_user_model().objects.all():
            user.delete()


WAYS = [
    by_deleting_the_user,
    by_unlinking_in_one_transaction,
    by_deleting_in_one_transaction,
    by_unlinking_in_savepoints,
    by_deleting_several_users,
]


@pytest.mark.matrix
@pytest.mark.parametrize("delete", WAYS)
def test_one_attempt_follows_the_commit(
    google: FakeGoogle, delete: Callable[[list[GoogleAccount]], None]
) -> None:
    """After the commit one grant is revoked; the others are due for the command."""
    delete(link_several(google))

    assert asked(google) == 1
    assert not GoogleAccount.objects.exists()
    assert PendingRevocation.objects.filter(retry_at__lte=timezone.now(), attempts=0).count() == 2


@pytest.mark.slow
@pytest.mark.parametrize("serve", [silent, dripping])
def test_nobody_waits_long_for_a_google_that_hangs(
    google: FakeGoogle, configure: Callable[..., None], serve: Any
) -> None:
    """If Google hangs, the caller waits less than five seconds, not ``HTTP_TIMEOUT``."""
    [first, *_] = link_several(google)
    with serve() as url:
        configure(REVOCATION_ENDPOINT=url)
        first.user.delete()

    waiting = PendingRevocation.objects.filter(retry_at__lte=timezone.now())
    assert sorted(waiting.values_list("attempts", flat=True)) == [0, 0, 0]


@pytest.mark.slow
def test_time_limit_is_for_all_requests_of_an_attempt(
    google: FakeGoogle, configure: Callable[..., None], alice: FakeUser
) -> None:
    """A refusal that takes most of the time leaves little for the second request."""
    account = linked(new_user(), google, alice)
    google.fail_next(endpoint="revoke", status=401, body={"error": "invalid_client"}, delay=2.5)
    google.fail_next(endpoint="revoke", delay=2.5)

    account.unlink()

    assert "timeout" in PendingRevocation.objects.get().last_error


def test_attempt_of_a_savepoint_that_is_taken_back_is_none(google: FakeGoogle) -> None:
    """If a savepoint is rolled back, the next account that is unlinked has the attempt."""
    first, second, third = link_several(google)

    with transaction.atomic():
        with transaction.atomic():
            first.unlink()
            transaction.set_rollback(True)
        second.unlink()
        third.unlink()

    assert GoogleAccount.objects.get() == first
    assert asked(google) == 1
    assert PendingRevocation.objects.get().account_id == third.pk


def test_each_transaction_has_an_attempt(google: FakeGoogle) -> None:
    """Each transaction has an attempt, also if a test runs the on_commit functions itself."""
    first, second, third = link_several(google)
    first.unlink()
    with transaction.atomic():
        for account in (second, third):
            before = len(connections["default"].run_on_commit)
            account.unlink()
            for entry in connections["default"].run_on_commit[before:]:
                entry[1]()
        assert asked(google) == 3
        transaction.set_rollback(True)


@pytest.mark.slow
@pytest.mark.parametrize("serve", [silent])
def test_grant_that_is_not_stored_is_ended_in_as_short_a_time(
    google: FakeGoogle, configure: Callable[..., None], alice: FakeUser, serve: Any
) -> None:
    """The attempt to revoke a grant that is not stored is as short, since a user waits."""
    user = new_user()
    with serve() as url:
        configure(REVOCATION_ENDPOINT=url)
        end_grant(get_client(), alice.sub, Secret("1//new"), owner=str(user.pk))

    assert PendingRevocation.objects.filter(retry_at__lte=timezone.now(), attempts=0).exists()
