"""What the two workers do, whom it concerns, and which errors are right answers."""

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

#: Whether what needs no transaction of its own is done in one of the caller's, as a view is with
#: ``ATOMIC_REQUESTS``. Then deadlocks are the caller's.
IN_TRANSACTION = os.environ.get("ATOMIC") == "yes"
#: The operations that bring a consent back from Google: their view opens no transaction.
LINKING = frozenset({"link", "relink", "link+default"})
#: How often a caller tries again what has lost against others.
_MOST_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Role:
    """Whom a worker's operation concerns.

    Attributes:
        link: the account that is linked anew, unlinked, made default, reassigned, refreshed or
            sealed anew.
        new: the link that ``link`` makes.
        receiver: who gets what is reassigned.
        deleted: the user who is deleted.
    """

    link: Link
    new: Link
    receiver: str
    deleted: str


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is linked in the beginning, and the roles of both workers."""

    links: tuple[Link, ...]
    roles: tuple[Role, Role]


@dataclass(frozen=True, kw_only=True)
class Act:
    """An operation, made ready for one schedule.

    Attributes:
        call: what the worker does.
        consent: what was brought back from Google, if it links.
    """

    call: Callable[[], Any]
    consent: Consent | None = None


SCENARIOS = {
    # Both workers have the same account of a user's two.
    "same": Scenario(
        links=(("anna", "g1"), ("anna", "g2")),
        roles=(
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="ben", deleted="anna"),
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="carl", deleted="anna"),
        ),
    ),
    # Each has another account of the same user.
    "siblings": Scenario(
        links=(("anna", "g1"), ("anna", "g2")),
        roles=(
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="ben", deleted="anna"),
            Role(link=("anna", "g2"), new=("anna", "g4"), receiver="ben", deleted="anna"),
        ),
    ),
    # Both have the only account of a user.
    "single": Scenario(
        links=(("anna", "g1"),),
        roles=(
            Role(link=("anna", "g1"), new=("anna", "g3"), receiver="ben", deleted="ben"),
            Role(link=("anna", "g1"), new=("anna", "g4"), receiver="ben", deleted="ben"),
        ),
    ),
    # A user who has linked nothing links, and is given, a first account.
    "newcomer": Scenario(
        links=(("ben", "g1"), ("ben", "g2")),
        roles=(
            Role(link=("ben", "g1"), new=("anna", "g3"), receiver="anna", deleted="anna"),
            Role(link=("ben", "g2"), new=("anna", "g4"), receiver="anna", deleted="anna"),
        ),
    ),
    # Two users have linked the same Google account, and further ones link it.
    "shared": Scenario(
        links=(("anna", "g1"), ("ben", "g1")),
        roles=(
            Role(link=("anna", "g1"), new=("carl", "g1"), receiver="ben", deleted="anna"),
            Role(link=("ben", "g1"), new=("dora", "g1"), receiver="carl", deleted="ben"),
        ),
    ),
}


def prepare_link(world: World, role: Role) -> Act:
    """A further account is linked."""
    return _complete(world.consent(*role.new))


def prepare_relink(world: World, role: Role) -> Act:
    """An account is linked once more."""
    return _complete(world.consent(*role.link))


def prepare_link_and_default(world: World, role: Role) -> Act:
    """A further account is linked, and made the default at once."""
    act = prepare_link(world, role)

    def call() -> Any:
        account = act.call()
        account.make_default()
        return account

    return Act(call=call, consent=act.consent)


def prepare_unlink(world: World, role: Role) -> Act:
    """An account is unlinked."""
    return _on_row(world, role, lambda row: row.unlink())


def prepare_default(world: World, role: Role) -> Act:
    """An account is made the default."""
    return _on_row(world, role, lambda row: row.make_default())


def prepare_reassign(world: World, role: Role) -> Act:
    """An account is moved to another user."""
    receiver = world.user(role.receiver)
    return _on_row(world, role, lambda row: row.reassign(receiver))


def prepare_refresh(world: World, role: Role) -> Act:
    """An access token is replaced before it expires."""
    return _on_row(world, role, lambda row: refresh_account(row, leeway=timedelta(hours=2)))


def prepare_rotate(world: World, role: Role) -> Act:
    """The tokens of an account are sealed with the newest key."""
    return _on_row(world, role, reseal_row)


def prepare_delete(world: World, role: Role) -> Act:
    """A user is deleted: again, where it was the caller's own statement that lost a race."""
    users = get_user_model()._base_manager.filter(pk=world.user(role.deleted).pk)

    def delete() -> Any:
        user = users.first()
        return user and user.delete()

    return Act(call=lambda: _call_as_caller(world, delete))


def _call_as_caller(world: World, call: Callable[[], Any]) -> Any:
    """Do what is the caller's own transaction, and again where that has lost against others."""
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
        # As a view does it, which says 404 where there is none.
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
    """Return whether an error says what is true.

    Args:
        name: of the operation that has raised it.
        beside: the name of the other operation.
    """
    if name in LINKING:
        if isinstance(error, StateError):  # The user is gone.
            return beside == "delete"
        # The code has ended with the grant, which the other one had revoked.
        is_code = isinstance(error, TokenEndpointError) and error.error == "invalid_grant"
        return is_code and beside in {"unlink", "delete"}
    if name == "reassign":
        if isinstance(error, GoogleAccount.DoesNotExist):  # Or it is another's by now.
            return beside in {"unlink", "delete", "reassign"}
        # In a transaction of the caller's it is at the commit that the database says so.
        is_caller_told = IN_TRANSACTION and isinstance(error, IntegrityError)
        if is_caller_told or isinstance(error, get_user_model().DoesNotExist):
            return beside == "delete"
        return isinstance(error, ValueError)  # The receiver has linked the same account.
    return False


def may_take_link_away(name: str, linked_by: str) -> bool:
    """Return whether an operation may undo a link that the other worker makes.

    Args:
        name: of the operation.
        linked_by: the name of the one that links. A new link only goes with its user.
    """
    return name == "delete" or (linked_by == "relink" and name in {"unlink", "reassign"})


def _has_lost_race(error: DatabaseError) -> bool:
    """Return whether a statement of the caller's own lost against others.

    A deadlock, a serialization failure, or a row that refers to the user and was not there before.
    """
    return getattr(error.__cause__, "sqlstate", "") in {"40P01", "40001", "23503"}
