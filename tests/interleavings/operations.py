"""The workers' operations, whom they concern, and which errors are right answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, IntegrityError, transaction

from django_google_link.accounts.linking import complete_authorization
from django_google_link.exceptions import StateError, TokenEndpointError
from django_google_link.models import GoogleAccount
from django_google_link.operations.refresh import refresh_account
from django_google_link.operations.rotate_keys import reseal_row
from tests.interleavings.world import Consent, World

Link = tuple[str, str]

#: Whether operations on a link run in a transaction of the caller's, as in a view with
#: ``ATOMIC_REQUESTS``. Then it is the caller who has to retry after a deadlock.
IN_TRANSACTION = os.environ.get("ATOMIC") == "yes"
#: The operations that complete an authorization; their view opens no transaction.
LINKING = frozenset({"link", "relink", "link+default"})
#: How often a caller attempts what has lost a race.
_MOST_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Role:
    """The links and users that a worker's operation concerns.

    Attributes:
        link: the link that is renewed, unlinked, made default, reassigned, refreshed or
            re-encrypted.
        new: the link that the operation ``link`` creates.
        receiver: the user to whom a link is reassigned.
        deleted: the user who is deleted.
    """

    link: Link
    new: Link
    receiver: str
    deleted: str


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The links at the start, and the roles of both workers."""

    links: tuple[Link, ...]
    roles: tuple[Role, Role]


@dataclass(frozen=True, kw_only=True)
class Act:
    """An operation that is prepared for one schedule.

    Attributes:
        call: what the worker does.
        consent: the consent that it completes, if it links.
    """

    call: Callable[[], Any]
    consent: Consent | None = None


SCENARIOS = {
    # Both workers have the same one of a user's two accounts.
    "same": Scenario(
        links=(("anna", "g1"), ("anna", "g2")),
        roles=(
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="ben", deleted="anna"),
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="carl", deleted="anna"),
        ),
    ),
    # Each worker has a different account of the same user.
    "siblings": Scenario(
        links=(("anna", "g1"), ("anna", "g2")),
        roles=(
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="ben", deleted="anna"),
            Role(link=("anna", "g2"), new=("anna", "g4"), receiver="ben", deleted="anna"),
        ),
    ),
    # Both workers have the only account of a user.
    "single": Scenario(
        links=(("anna", "g1"),),
        roles=(
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="ben", deleted="ben"),
            Role(link=("anna", "g1"), new=("anna", "g4"), receiver="ben", deleted="ben"),
        ),
    ),
    # A user without links links a first account, and is assigned one.
    "newcomer": Scenario(
        links=(("ben", "g1"), ("ben", "g2")),
        roles=(
            Role(link=("ben", "g1"), new=("anna", "g3"), receiver="anna", deleted="anna"),
            Role(link=("ben", "g2"), new=("anna", "g4"), receiver="anna", deleted="anna"),
        ),
    ),
    # Two users have linked the same Google account, and others link it.
    "shared": Scenario(
        links=(("anna", "g1"), ("ben", "g1")),
        roles=(
            Role(link=("anna", "g1"), new=("carl", "g1"), receiver="ben", deleted="anna"),
            Role(link=("ben", "g1"), new=("dora", "g1"), receiver="carl", deleted="ben"),
        ),
    ),
}


def prepare_link(world: World, role: Role) -> Act:
    """Link another account."""
    return _complete(world.consent(*role.new))


def prepare_relink(world: World, role: Role) -> Act:
    """Link the same account again."""
    return _complete(world.consent(*role.link))


def prepare_link_and_default(world: World, role: Role) -> Act:
    """Link another account, and make it the default at once."""
    act = prepare_link(world, role)

    def call() -> Any:
        account = act.call()
        account.make_default()
        return account

    return Act(call=call, consent=act.consent)


def prepare_unlink(world: World, role: Role) -> Act:
    """Unlink an account."""
    return _on_row(world, role, lambda row: row.unlink())


def prepare_default(world: World, role: Role) -> Act:
    """Make an account the default."""
    return _on_row(world, role, lambda row: row.make_default())


def prepare_reassign(world: World, role: Role) -> Act:
    """Reassign an account to another user."""
    receiver = world.user(role.receiver)
    return _on_row(world, role, lambda row: row.reassign(receiver))


def prepare_refresh(world: World, role: Role) -> Act:
    """Refresh an access token before it expires."""
    return _on_row(world, role, lambda row: refresh_account(row, leeway=timedelta(hours=2)))


def prepare_rotate(world: World, role: Role) -> Act:
    """Re-encrypt the tokens of an account with the newest key."""
    return _on_row(world, role, reseal_row)


def prepare_delete(world: World, role: Role) -> Act:
    """Delete a user, and retry if a statement of the caller's own lost a race."""
    users = get_user_model()._base_manager.filter(pk=world.user(role.deleted).pk)

    def delete() -> Any:
        user = users.first()
        return user and user.delete()

    return Act(call=lambda: _call_as_caller(world, delete))


def _call_as_caller(world: World, call: Callable[[], Any]) -> Any:
    """Run a transaction of the caller's own, and retry it if it lost a race."""
    for _ in range(_MOST_ATTEMPTS - 1):
        try:
            return call()
        except DatabaseError as error:
            if not _has_lost_race(error):
                raise
            world.callers_own += 1
    return call()


def _complete(consent: Consent) -> Act:
    return Act(
        call=lambda: complete_authorization(consent.user, consent.pending, {}, consent.code),
        consent=consent,
    )


def _on_row(world: World, role: Role, act: Callable[[GoogleAccount], Any]) -> Act:
    rows = GoogleAccount.objects.filter(pk=world.key_of(role.link))

    def call() -> Any:
        # Like a view, which responds with 404 if there is no such row.
        row = rows.first()
        return row and act(row)

    def call_in_transaction() -> Any:
        with transaction.atomic():
            return call()

    if IN_TRANSACTION:
        return Act(call=lambda: _call_as_caller(world, call_in_transaction))
    return Act(call=call)


OPERATIONS: dict[str, Callable[[World, Role], Act]] = {
    "link": prepare_link,
    "relink": prepare_relink,
    "link+default": prepare_link_and_default,
    "unlink": prepare_unlink,
    "default": prepare_default,
    "reassign": prepare_reassign,
    "refresh": prepare_refresh,
    "rotate": prepare_rotate,
    "delete": prepare_delete,
}


def is_right_answer(name: str, error: BaseException, *, beside: str) -> bool:
    """Return whether an error is correct in view of the other operation.

    Args:
        name: the operation that raised it.
        beside: the other operation.
    """
    if name in LINKING:
        if isinstance(error, StateError):  # The user was deleted.
            return beside == "delete"
        # The code became invalid when the other operation revoked the grant.
        is_code = isinstance(error, TokenEndpointError) and error.error == "invalid_grant"
        return is_code and beside in {"unlink", "delete"}
    if name == "reassign":
        if isinstance(error, GoogleAccount.DoesNotExist):  # deleted or reassigned
            return beside in {"unlink", "delete", "reassign"}
        # In a transaction of the caller's, the database raises this at the commit.
        is_caller_told = IN_TRANSACTION and isinstance(error, IntegrityError)
        if is_caller_told or isinstance(error, get_user_model().DoesNotExist):
            return beside == "delete"
        return isinstance(error, ValueError)  # The receiver has linked the same account.
    return False


def may_take_link_away(name: str, linked_by: str) -> bool:
    """Return whether an operation may remove a link that the other worker creates.

    Args:
        name: the operation that may remove it.
        linked_by: the operation that links. A new link is only deleted with its user.
    """
    return name == "delete" or (linked_by == "relink" and name in {"unlink", "reassign"})


def _has_lost_race(error: DatabaseError) -> bool:
    """Return whether a statement of the caller's own lost a race.

    That is a deadlock, a serialization failure, or a new row that refers to the user.
    """
    return getattr(error.__cause__, "sqlstate", "") in {"40P01", "40001", "23503"}
