"""Reassigning a link to another user, and the choice of a default."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.exceptions import EncryptionKeyUnavailableError, TokenUndecryptableError
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.support.accounts import linked, save, stale, token_of
from tests.support.constants import OTHER_KEY
from tests.support.databases import new_user
from tests.support.failing import refusing
from tests.support.signals import heard
from tests.support.tables import links, table
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = pytest.mark.django_db


def test_reassign_seals_the_tokens_for_the_new_owner(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """They work for the new owner, and nothing is revoked."""
    account = linked(user, google, alice)
    before = token_of(account, "refresh_token")

    account.reassign(other_user)

    assert account.user == other_user
    assert account.is_default
    assert account.grant_version == 2  # for a refresh that holds no lease, in a transaction
    assert token_of(account, "refresh_token") == before
    assert access_token(other_user)
    assert google.granted_scopes(alice)
    assert not PendingRevocation.objects.exists()


def test_reassign_tells_both_sides_after_the_commit(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """``account_unlinked`` for one user, and ``account_linked`` for the other."""
    account = linked(user, google, alice)

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        account.reassign(other_user)
        assert news == []

    gone = {"user_id": user.pk, "client": "default", "sub": alice.sub, "email": alice.email}
    come = {"account": account, "created": True, "request": None}
    assert news == [("account_unlinked", gone), ("account_linked", come)]
    assert google.requests == []


def test_reassign_leaves_one_default_on_each_side(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """A remaining single account becomes the default; an existing default stays."""
    moved = linked(user, google, alice)
    left = linked(user, google, alice, sub="2")
    theirs = linked(other_user, google, alice, sub="3")

    moved.reassign(other_user)

    defaults = GoogleAccount.objects.filter(is_default=True)
    assert set(defaults) == {left, theirs}


def test_reassign_to_whom_has_linked_it_already(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """The error says what to do, and nothing changes."""
    account = linked(user, google, alice)
    linked(other_user, google, alice)
    before = table()

    with pytest.raises(ValueError, match="unlink it first"), transaction.atomic():
        account.reassign(other_user)

    assert table() == before


def test_reassign_to_the_owner_changes_nothing_that_matters(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The account stays theirs, and the default."""
    account = linked(user, google, alice)

    account.reassign(user)

    assert account.user == user
    assert account.is_default
    assert access_token(user)


def test_reassign_what_is_gone(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """A deleted row is not restored."""
    account = linked(user, google, alice)
    GoogleAccount.objects.all().delete()

    with pytest.raises(GoogleAccount.DoesNotExist):
        account.reassign(other_user)


def test_reassign_without_the_key(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any, settings: Settings
) -> None:
    """It fails until the key is configured again."""
    account = linked(user, google, alice)
    before = table()
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}

    with pytest.raises(EncryptionKeyUnavailableError), transaction.atomic():
        account.reassign(other_user)

    assert table() == before


def test_reassign_with_a_damaged_token(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """A damaged access token is dropped; a damaged refresh token is an error."""
    account = linked(user, google, alice)
    rows = GoogleAccount.objects.filter(pk=account.pk)

    rows.update(sealed_access_token="damaged")
    account.reassign(other_user)
    assert access_token(other_user)

    rows.update(sealed_refresh_token="damaged")
    with pytest.raises(TokenUndecryptableError):
        account.reassign(user)


def test_reassign_without_tokens(user: Any, other_user: Any) -> None:
    """Links without tokens can be reassigned."""
    account = GoogleAccount.objects.create(user=user, client="default", sub="42")

    account.reassign(other_user)

    assert account.user == other_user
    assert token_of(account, "refresh_token") is None


@pytest.mark.usefixtures("shared_database")
def test_reassign_during_a_refresh(google: FakeGoogle, alice: FakeUser) -> None:
    """The response was sealed for the former owner, and is discarded."""
    anna, ben = new_user("anna"), new_user("ben")
    account = stale(anna, google, alice)

    with during_refresh(google, lambda: GoogleAccount.objects.get().reassign(ben)):
        token = fresh_access_token(account)

    assert token_of(account, "access_token") == token.value.reveal()
    assert access_token(ben) == token.value.reveal()
    assert len(google.requests_to("token")) == 2


def test_reassign_to_the_owner_keeps_the_default(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Repeating a reassignment changes nothing."""
    account = linked(user, google, alice)
    linked(user, google, alice, sub="2")

    with heard() as news:
        account.reassign(user)

    assert GoogleAccount.objects.get(is_default=True) == account
    assert news == []


def test_reassign_touches_no_other_account(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """Neither other users' accounts, nor those through other clients."""
    moved = linked(user, google, alice)
    kept = [
        linked(user, google, alice, client="second"),
        linked(user, google, alice, client="third", sub="2"),
        linked(other_user, google, alice, client="third", sub="2"),
        linked(new_user("dora"), google, alice),
        linked(new_user("emil"), google, alice, sub="2"),
    ]
    # A default is missing here, as where a user has yet to choose.
    GoogleAccount.objects.filter(client="third").update(is_default=False)
    GoogleAccount.objects.filter(user__username__in=["dora", "emil"]).update(is_default=False)
    before = list(GoogleAccount.objects.exclude(pk=moved.pk).order_by("pk").values())

    moved.reassign(other_user)

    assert list(GoogleAccount.objects.exclude(pk=moved.pk).order_by("pk").values()) == before
    assert len(before) == len(kept)
    assert (moved.user, moved.is_default) == (other_user, True)


def test_reassign_of_one_of_several_to_who_has_none(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """It becomes the new owner's default, and the state of its refreshes is reset."""
    moved = linked(user, google, alice)
    linked(user, google, alice, sub="2")
    GoogleAccount.objects.filter(pk=moved.pk).update(
        refresh_lease=moved.pk,
        refresh_lease_expires_at=in_seconds(60),
        refresh_failures=3,
        refresh_retry_at=in_seconds(60),
    )

    moved.reassign(other_user)

    assert moved.is_default
    assert (moved.refresh_lease, moved.refresh_lease_expires_at) == (None, None)
    assert (moved.refresh_failures, moved.refresh_retry_at) == (0, None)


def test_reassign_to_who_has_it_through_another_client(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """A link through another client does not conflict."""
    moved = linked(user, google, alice)
    theirs = linked(other_user, google, alice, client="second")

    moved.reassign(other_user)

    assert set(other_user.google_accounts.filter(is_default=True)) == {moved, theirs}


def test_reassign_to_who_has_other_accounts(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """It does not become their default, and no default is chosen."""
    moved = linked(user, google, alice)
    left = [linked(user, google, alice, sub=sub) for sub in ("2", "3")]
    theirs = linked(other_user, google, alice, sub="4")
    GoogleAccount.objects.filter(pk=theirs.pk).update(is_default=False)

    moved.reassign(other_user)

    assert moved.is_default is False
    assert not GoogleAccount.objects.filter(is_default=True).exists()
    assert set(user.google_accounts.all()) == set(left)


def flags() -> dict[str, tuple[bool, bool]]:
    """Return for each account whether it is the default, and whether it was chosen."""
    rows = GoogleAccount.objects.values_list("sub", "is_default", "is_chosen_default")
    return {sub: (is_default, is_chosen) for sub, is_default, is_chosen in rows}


def test_default_by_being_first_is_nobodys_choice(user: Any) -> None:
    """It counts as chosen only when the user chooses it."""
    first = make_google_account(user, sub="1")
    make_google_account(user, sub="2")
    assert flags() == {"1": (True, False), "2": (False, False)}

    first.make_default()

    assert flags() == {"1": (True, True), "2": (False, False)}
    assert first.is_chosen_default


def test_last_account_that_is_left_is_nobodys_choice(user: Any) -> None:
    """It becomes the default, although the user had chosen another."""
    make_google_account(user, sub="1")
    chosen = make_google_account(user, sub="2", is_chosen_default=True)

    chosen.unlink()

    assert flags() == {"1": (True, False)}


def test_last_account_that_is_left_stays_its_users_choice(user: Any) -> None:
    """If it was the chosen default before, it stays so."""
    other = make_google_account(user, sub="1")
    make_google_account(user, sub="2", is_chosen_default=True)

    other.unlink()

    assert flags() == {"2": (True, True)}


def test_account_that_was_once_chosen_is_not_chosen_again_by_itself(user: Any) -> None:
    """Earlier choices are forgotten, even if the chosen account is unlinked."""
    make_google_account(user, sub="1", is_chosen_default=True)
    later = make_google_account(user, sub="2", is_chosen_default=True)

    later.unlink()

    assert flags() == {"1": (True, False)}


def test_last_account_that_is_left_was_once_chosen(user: Any) -> None:
    """After the choice was removed by SQL, it becomes the default without being chosen."""
    make_google_account(user, sub="1", is_chosen_default=True)
    other = make_google_account(user, sub="2")
    GoogleAccount.objects.update(is_default=False)

    other.unlink()

    assert flags() == {"1": (True, False)}


def test_reassign_takes_no_choice_along(user: Any, other_user: Any) -> None:
    """Neither the new owner's nor the former owner's default counts as chosen."""
    moved = make_google_account(user, sub="1", is_chosen_default=True)
    make_google_account(user, sub="2")

    moved.reassign(other_user)

    assert flags() == {"1": (True, False), "2": (True, False)}


def test_reassign_leaves_the_new_owners_choice(user: Any, other_user: Any) -> None:
    """The reassigned account does not become the default."""
    moved = make_google_account(user, sub="1", is_chosen_default=True)
    make_google_account(other_user, sub="2", is_chosen_default=True)

    moved.reassign(other_user)

    assert flags() == {"1": (False, False), "2": (True, True)}


def test_linking_again_changes_no_choice(user: Any) -> None:
    """Neither for the chosen account nor for another."""
    make_google_account(user, sub="1")
    make_google_account(user, sub="2", is_chosen_default=True)
    before = flags()

    for sub in ("1", "2"):
        save(user, sub)

    assert flags() == before


@pytest.mark.django_db(transaction=True)
def test_reassign_to_a_user_who_is_gone(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """If the user was deleted meanwhile, the error says so, and nothing changes."""
    account = linked(user, google, alice)
    before = links()
    gone = get_user_model().objects.get(pk=other_user.pk)
    other_user.delete()

    with pytest.raises(get_user_model().DoesNotExist, match=f"The user {gone.pk} no longer exists"):
        account.reassign(gone)

    assert links() == before
    assert account.user_id == user.pk


@pytest.mark.django_db(transaction=True)
def test_reassign_against_a_rule_of_the_projects_own(
    google: FakeGoogle, alice: FakeUser, user: Any, other_user: Any
) -> None:
    """Other integrity errors are not attributed to a deleted user."""
    account = linked(user, google, alice)

    with (
        refusing(IntegrityError("a trigger"), "UPDATE", "google_link_googleaccount"),
        pytest.raises(IntegrityError, match="a trigger"),
    ):
        account.reassign(other_user)
