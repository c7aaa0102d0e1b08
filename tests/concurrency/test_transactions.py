"""Threads that write two users' links at the same time, in random order: no errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pytest

from django_google_link.accounts.identities import save_identity
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.accounts.transactions import run_durably
from django_google_link.models import GoogleAccount, PendingRevocation, Reason
from django_google_link.operations.revoke_pending import process_now
from django_google_link.operations.rotate_keys import reseal_row
from django_google_link.testing import FakeGoogle
from tests.support.accounts import identity, save
from tests.support.databases import at_once, new_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

THREADS, ACTS = 4, 15
SUBS = ("1", "2", "3")


class Writer:
    """A thread that performs random operations, which are the same in each run.

    Args:
        number: the seed of its random choices.
        users: the users whose links it writes.
    """

    def __init__(self, number: int, users: list[Any]) -> None:
        self._random = Random(number)
        self._users = users
        self._acts: list[Callable[[], object]] = [
            *[self._link] * 3,
            *[partial(self._act, act) for act in self._list_acts()],
        ]

    def __call__(self) -> None:
        """Perform ``ACTS`` operations."""
        for _ in range(ACTS):
            self._random.choice(self._acts)()

    def _link(self) -> None:
        user, sub = self._random.choice(self._users), self._random.choice(SUBS)
        run_durably(lambda: save(user, sub), using="default")

    def _act(self, act: Callable[[GoogleAccount], object]) -> None:
        """Perform an operation on one of the accounts, if there are any."""
        if rows := list(GoogleAccount.objects.order_by("user_id", "sub")):
            act(self._random.choice(rows))

    def _list_acts(self) -> list[Callable[[GoogleAccount], object]]:
        return [
            GoogleAccount.unlink,
            GoogleAccount.make_default,
            self._reassign,
            reseal_row,
            lambda row: mark_lost(row, Reason.REVOKED),
            lambda row: save_identity(row, identity(row.sub, name=str(self._random.random()))),
            lambda row: [process_now(one) for one in PendingRevocation.objects.filter(sub=row.sub)],
        ]

    def _reassign(self, account: GoogleAccount) -> None:
        # It may have been deleted meanwhile, or the receiver has linked it too.
        with suppress(GoogleAccount.DoesNotExist, ValueError):
            account.reassign(self._random.choice(self._users))


@pytest.mark.parametrize("seed", [1, 2])
def test_writers_of_the_same_links(google: FakeGoogle, seed: int) -> None:
    """Afterwards each user has at most one default, and every token can be decrypted."""
    users = [new_user("anna"), new_user("ben")]

    at_once(*[Writer(100 * seed + number, users) for number in range(THREADS)])

    for user in users:
        rows = GoogleAccount.objects.filter(user=user)
        defaults = rows.filter(is_default=True).count()
        assert defaults == 1 if rows.count() == 1 else defaults <= 1
    for row in GoogleAccount.objects.all():
        assert row.unseal_token("refresh_token")
