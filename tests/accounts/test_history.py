"""The link history: an entry for each event, with its actor, in the same transaction."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.accounts.history import PROVIDER, acting_as, delete_old_entries, record
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.encryption.keyring import key_ids, make_key
from django_google_link.exceptions import GrantLostError
from django_google_link.models import (
    ActorKind,
    GoogleAccount,
    HistoryEntry,
    HistoryEvent,
    PendingRevocation,
    Reason,
)
from django_google_link.testing import FakeGoogle, FakeUser, travel
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save, stale, token_of
from tests.support.constants import CALENDAR, DRIVE, OPENID
from tests.support.databases import new_user
from tests.support.flow import link
from tests.support.history import events, told
from tests.support.tables import delete_rows

pytestmark = pytest.mark.django_db

PAGE = "/google/"


def whole_history() -> str:
    """Return all columns of all entries, as text."""
    return json.dumps(list(HistoryEntry.objects.values()), default=str)


@pytest.mark.slow
def test_life_of_a_link_on_the_pages(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, shared_database: None
) -> None:
    """Changes on the pages are recorded with the user, the revocation with the provider."""
    user = new_user()
    browser.force_login(user)
    link(browser, google, alice)
    account = GoogleAccount.objects.get()

    browser.post(f"{PAGE}{account.pk}/label/", {"label": "Work of Anna"})
    browser.post(f"{PAGE}{account.pk}/make-default/")
    browser.post(f"{PAGE}{account.pk}/unlink/")

    granted = sorted((*OPENID, CALENDAR))
    by_user = f"user {user.pk}"
    assert told(account_id=account.pk, owner=str(user.pk), sub=alice.sub, client="default") == [
        ("linked", by_user, {"asked": granted, "created": True, "granted": granted}),
        ("labelled", by_user, {"removed": False}),
        ("made_default", by_user, {}),
        ("unlinked", by_user, {"with_user": False}),
        ("revoked", "provider", {}),
    ]
    assert HistoryEntry.objects.count() == 5


def test_history_holds_no_secret_and_no_address(
    browser: Client, google: FakeGoogle, alice: FakeUser, shared_database: None
) -> None:
    """Entries outlive the link and contain no token, address, name or label."""
    browser.force_login(new_user())
    link(browser, google, alice)
    account = GoogleAccount.objects.get()
    tokens = [token_of(account, "refresh_token"), token_of(account, "access_token")]
    browser.post(f"{PAGE}{account.pk}/label/", {"label": "Work of Anna"})
    mark_lost(account, "revoked")
    get_user_model().objects.all().delete()

    for secret in (*tokens, account.email, account.name, "Work of Anna", "clara"):
        assert secret
        assert secret not in whole_history()
    assert HistoryEntry.objects.filter(account_id=account.pk).count() == 4


def test_scopes_that_come_and_go(user: Any) -> None:
    """Scopes that a new consent adds or removes are recorded."""
    account = save(user, scopes=(*OPENID, CALENDAR), requested_scopes=[CALENDAR])
    save(user, scopes=(*OPENID, DRIVE), requested_scopes=[DRIVE])

    assert told(account_id=account.pk)[1:] == [
        (
            "linked",
            "site",
            {"asked": [DRIVE], "created": False, "granted": sorted((*OPENID, DRIVE))},
        ),
        ("scopes_changed", "site", {"added": [DRIVE], "removed": [CALENDAR]}),
    ]


def test_refresh_tells_of_scopes_in_the_providers_name(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Scopes that a refresh changes are recorded as the provider's doing; a refresh is not."""
    account = stale(user, google, alice)
    fresh_access_token(account)
    assert told() == []

    with travel(hours=2):
        google.fail_next(status=200, body={"access_token": "ya29.x", "scope": "openid"})
        fresh_access_token(account)

    [(event, actor, details)] = told()
    assert (event, actor, details["added"]) == ("scopes_changed", "provider", [])


def test_loss_and_recovery(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """A loss is recorded once, with its reason, and so is the recovery by a check."""
    account = stale(user, google, alice)
    google.error_next("invalid_grant")
    with pytest.raises(GrantLostError):
        fresh_access_token(account)
    with pytest.raises(GrantLostError):
        fresh_access_token(account)

    check_grant(account)

    assert told() == [
        ("lost", "provider", {"reason": "revoked"}),
        ("recovered", "provider", {}),
    ]


def test_damaged_token_is_not_the_providers_doing(user: Any) -> None:
    """A token that cannot be decrypted is recorded as the site's doing."""
    mark_lost(make_google_account(user), Reason.UNDECRYPTABLE)

    assert told() == [("lost", "site", {"reason": "undecryptable"})]


def test_reassigned_link_is_in_the_history_of_both(user: Any, other_user: Any) -> None:
    """Reassigning a link is recorded for both users, and neither entry names the other."""
    account = save(user)
    account.reassign(other_user)

    assert told(owner=str(user.pk))[1:] == [("reassigned", "site", {"direction": "away"})]
    assert told(owner=str(other_user.pk)) == [("reassigned", "site", {"direction": "here"})]
    assert set(HistoryEntry.objects.values_list("account_id", "sub")) == {(account.pk, "42")}


def test_rolled_back_with_what_it_tells_of(user: Any) -> None:
    """A rollback discards the entries as well."""
    with transaction.atomic():
        account = save(user)
        account.make_default()
        account.unlink()
        transaction.set_rollback(True)

    assert told() == []


def test_view_with_a_fresh_token_writes_nothing(
    google: FakeGoogle, alice: FakeUser, user: Any, django_assert_num_queries: Any
) -> None:
    """Returning a valid token records nothing: it takes one query."""
    account = linked(user, google, alice)

    with django_assert_num_queries(1):
        fresh_access_token(account)


@pytest.mark.matrix
@pytest.mark.parametrize("count", [3, 130])
def test_deleted_users_leave_an_entry_for_each_link(google: FakeGoogle, count: int) -> None:
    """Deleting users records an entry for each link, for few users and for many."""
    accounts = [make_google_account(new_user(f"user-{n}"), sub=f"1{n}") for n in range(count)]
    owners = {account.pk: account.owner for account in accounts}

    get_user_model().objects.all().delete()

    rows = HistoryEntry.objects.filter(event="unlinked", details={"with_user": True})
    assert dict(rows.values_list("account_id", "owner")) == owners
    assert {(row.client, row.issuer, row.actor_kind) for row in rows} == {
        (accounts[0].client, accounts[0].issuer, "site")
    }
    assert sorted(row.sub for row in rows) == sorted(account.sub for account in accounts)


@pytest.mark.slow
def test_history_of_many_takes_few_statements(google: FakeGoogle) -> None:
    """The entries of 150 deleted accounts take three statements at most."""
    for n in range(150):
        make_google_account(new_user(f"user-{n}"), sub=f"1{n}")

    with CaptureQueriesContext(connection) as captured:
        GoogleAccount.objects.all().delete()

    inserts = [q for q in captured.captured_queries if "historyentry" in q["sql"]]
    assert 1 <= len(inserts) <= 3
    assert HistoryEntry.objects.count() == 150


def test_revocation_that_a_new_link_calls_off(
    google: FakeGoogle, alice: FakeUser, shared_database: None
) -> None:
    """Linking the account again ends the pending revocation, which is recorded."""
    user = new_user()
    account = linked(user, google, alice)
    google.fail_next(endpoint="revoke")
    account.unlink()

    save(user, alice.sub)

    assert told(account_id=account.pk) == [
        ("unlinked", "site", {"with_user": False}),
        ("revocation_ended", "site", {"reason": "linked_again"}),
    ]
    assert events() == ["unlinked", "revocation_ended", "linked"]


def test_revocation_while_another_link_lives(
    google: FakeGoogle, alice: FakeUser, shared_database: None
) -> None:
    """If another link uses the grant, it is recorded that nothing is revoked."""
    first, second = new_user(), new_user("dora")
    account = linked(first, google, alice)
    linked(second, google, alice)

    account.unlink()

    assert told(account_id=account.pk)[1:] == [
        ("revocation_ended", "site", {"reason": "another_link"})
    ]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [({"sealed_refresh_token": "x", "sealed_access_token": ""}, "undecryptable"), ({}, "too_old")],
)
def test_revocation_that_is_given_up(
    google: FakeGoogle, alice: FakeUser, shared_database: None, damage: Any, reason: str
) -> None:
    """A revocation that is given up is recorded with the reason and the command."""
    account = linked(new_user(), google, alice)
    with google.failing(endpoint="revoke", status=503):
        account.unlink()
        PendingRevocation.objects.update(**damage)
        with travel(days=200):
            call_command("google_link_revoke_pending", stdout=io.StringIO())

    assert told()[1:] == [
        ("revocation_ended", "command google_link_revoke_pending", {"reason": reason})
    ]


def test_revocation_without_an_endpoint(
    google: FakeGoogle, alice: FakeUser, shared_database: None, configure: Any
) -> None:
    """Without a revocation endpoint it is recorded that nothing is revoked."""
    account = linked(new_user(), google, alice)
    configure(PROVIDER=None, REVOCATION_ENDPOINT=None)

    account.unlink()

    assert told()[1:] == [("revocation_ended", "site", {"reason": "no_revocation_endpoint"})]


def test_siblings_of_a_revoked_grant_are_told_of(
    google: FakeGoogle, alice: FakeUser, shared_database: None
) -> None:
    """The revocation of a shared grant is recorded for each of its links."""
    accounts = [linked(new_user(f"user-{n}"), google, alice) for n in range(3)]
    with google.failing(endpoint="revoke", status=503):
        GoogleAccount.objects.all().delete()

    call_command("google_link_revoke_pending", stdout=io.StringIO())

    revoked = HistoryEntry.objects.filter(event="revoked").values_list("account_id", flat=True)
    assert sorted(revoked) == sorted(account.pk for account in accounts)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 120])
def test_rotation_of_keys(shared_database: None, settings: Settings, count: int) -> None:
    """google_link_rotate_keys records each row that it re-encrypts, with the key's id."""
    user = new_user()
    accounts = [make_google_account(user) for _ in range(count)]
    accounts.pop().delete()
    [pending] = PendingRevocation.objects.all()
    HistoryEntry.objects.all().delete()
    keys = settings.GOOGLE_LINK["ENCRYPTION_KEYS"]
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [make_key(), *keys]}

    call_command("google_link_rotate_keys", stdout=io.StringIO())
    call_command("google_link_rotate_keys", stdout=io.StringIO())

    entry = ("reencrypted", "command google_link_rotate_keys", {"key": key_ids()[0]})
    assert told() == [entry] * count
    told_of = set(HistoryEntry.objects.values_list("account_id", flat=True))
    assert told_of == {pending.account_id, *(account.pk for account in accounts)}


def test_retired_scope(google: FakeGoogle, alice: FakeUser, shared_database: None) -> None:
    """google_link_scopes records the retired scope and the revocation of the grant."""
    account = linked(new_user(), google, alice, scopes=[CALENDAR, DRIVE])

    call_command(
        "google_link_scopes", retire=DRIVE, urlconf="django_google_link.urls", stdout=io.StringIO()
    )

    assert told(account_id=account.pk) == [
        ("retired", "command google_link_scopes", {"scope": DRIVE}),
        ("revoked", "provider", {}),
    ]


def test_outermost_actor_has_done_it(user: Any) -> None:
    """The outermost actor is recorded, unless another is given; without one, the site."""
    account = save(user)
    with acting_as(ActorKind.COMMAND, "tidy"), acting_as(ActorKind.USER, user.pk):
        account.make_default()
    account.make_default()
    with acting_as(ActorKind.STAFF, 7):
        record(account, HistoryEvent.SECURITY_EVENT, using="default", actor=PROVIDER, type="x")

    assert told()[1:] == [
        ("made_default", "command tidy", {}),
        ("made_default", "site", {}),
        ("security_event", "provider", {"type": "x"}),
    ]


def test_old_entries_are_deleted(user: Any, settings: Settings) -> None:
    """google_link_refresh deletes entries after ``HISTORY_DAYS``; with None they stay."""
    save(user)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HISTORY_DAYS": 30}
    with travel(days=29):
        save(user, "43")
    with travel(days=31):
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HISTORY_DAYS": None}
        assert delete_old_entries() == 0

        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HISTORY_DAYS": 30}
        delete_rows()
        call_command("google_link_refresh", stdout=io.StringIO())

    assert list(HistoryEntry.objects.values_list("sub", flat=True)) == ["43"]


@pytest.mark.slow
def test_many_old_entries_are_deleted_in_chunks(user: Any) -> None:
    """All old entries are deleted, even if there are more than in one chunk."""
    account = save(user)
    rows = [
        HistoryEntry(account_id=account.pk, event="linked", actor_kind="site") for _ in range(2500)
    ]
    HistoryEntry.objects.bulk_create(rows)

    with travel(days=1000):
        assert delete_old_entries() == 2501

    assert not HistoryEntry.objects.exists()
