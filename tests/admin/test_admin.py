"""The admin, used through its pages as an operator with the given permissions would."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import JSONField, Value
from django.http import HttpRequest
from django.test import Client
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries, Settings

from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.accounts.revocations import RevocationOutcome
from django_google_link.admin import GoogleAccountAdmin, base
from django_google_link.admin.base import MOST_AT_ONCE, ShortPaginator
from django_google_link.conf.clock import now
from django_google_link.encryption.format import key_id_of
from django_google_link.encryption.keyring import key_ids
from django_google_link.models import GoogleAccount, PendingRevocation, Reason, Status
from django_google_link.operations import revoke_pending
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, token_of
from tests.support.constants import OTHER_KEY
from tests.support.databases import new_user
from tests.support.providers import other_issuer
from tests.support.tables import table
from tests.support.times import in_seconds
from tests.support.workers import just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

ACCOUNTS = "admin:google_link_googleaccount_changelist"
REVOCATIONS = "admin:google_link_pendingrevocation_changelist"

ACTIONS = {
    "check_now": "check_googleaccount",
    "refresh_now": "refresh_googleaccount",
    "reauthorize": "reauthorize_googleaccount",
    "reencrypt": "reencrypt_googleaccount",
    "delete_selected": "delete_googleaccount",
}
ENDED = "the grant is no longer valid: its user has to link again"
RENEWED = "a new access token was stored"
UNUSABLE = "postponed: no usable response from the provider"
SCOPES = "https://www.googleapis.com/auth/"

ACTIONS_ON_REVOCATIONS = {
    "revoke_now": "revoke_pendingrevocation",
    "reencrypt": "reencrypt_pendingrevocation",
    "delete_selected": "delete_pendingrevocation",
}

# An admin that has the users' pages with every model of them: Django's own has none for another.
users_admin = admin.AdminSite()
users_admin.register(get_user_model(), UserAdmin)
users_admin.register(GoogleAccount, GoogleAccountAdmin)
urlpatterns = [path("admin/", users_admin.urls)]


@pytest.fixture
def operator(shared_database: None) -> Any:
    """A superuser."""
    create_permissions(apps.get_app_config("google_link"), verbosity=0)
    return get_user_model().objects.create_superuser("olga", "olga@example.com", "pw")


@pytest.fixture
def colleague(operator: Any) -> Callable[..., Any]:
    """Create an operator with fewer permissions."""

    def make(*permissions: str) -> Any:
        user = get_user_model().objects.create_user("otto", "o@example.com", "pw", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        return user

    return make


@pytest.fixture
def desk(client: Client, operator: Any) -> Client:
    """The operator's browser."""
    client.force_login(operator)
    return client


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, linked by Clara."""
    return linked(new_user(), google, alice)


@pytest.fixture
def pending(account: GoogleAccount, google: FakeGoogle) -> PendingRevocation:
    """The pending revocation of an account that was unlinked while Google was unavailable."""
    google.fail_next(endpoint="revoke")
    account.unlink()
    return PendingRevocation.objects.get()


def use_keys(settings: Settings, *keys: str) -> None:
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": list(keys)}


def page_of(desk: Client, row: Any) -> str:
    """Return the page of a row."""
    response = desk.get(reverse(f"admin:google_link_{row._meta.model_name}_change", args=[row.pk]))
    assert response.status_code == 200
    return response.content.decode()


def list_of(desk: Client, page: str = ACCOUNTS, **query: Any) -> Any:
    """Return the contents of a list."""
    response = desk.get(reverse(page), query)
    assert response.status_code == 200, response.headers
    return response.context["cl"]


def act(desk: Client, action: str, *rows: Any, **data: Any) -> str:
    """Select rows, run an action, and return the following page."""
    page = REVOCATIONS if isinstance(rows[0], PendingRevocation) else ACCOUNTS
    ticked = {"action": action, "_selected_action": [str(row.pk) for row in rows], **data}
    return desk.post(reverse(page), ticked, follow=True).content.decode()


def history() -> list[str]:
    """Return the entries in the admin's log."""
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


# What is shown


def test_list_shows_what_an_operator_needs(desk: Client, account: GoogleAccount) -> None:
    """The list shows account, user, status, scopes, and when it was linked and last used."""
    GoogleAccount.objects.update(
        granted_scopes=["openid", "email", f"{SCOPES}calendar.readonly", "notes:read"],
        linked_at=now().replace(2026, 2, 3, 12),
        last_used_at=None,
    )

    row = desk.get(reverse(ACCOUNTS)).content.decode().replace("<wbr>", "")

    assert all(text in row for text in ("alice@gmail.com", "clara", "active", "Feb. 3, 2026"))
    assert ">calendar.readonly<br>notes:read<" in row
    assert "(default)" not in row, "There is one client."


def test_list_names_the_provider_where_there_are_several(
    desk: Client, account: GoogleAccount, settings: Settings
) -> None:
    """Each list shows the provider with the client if there are several."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    both = {**clients, "video": {**clients["default"], "DISPLAY_NAME": "Videos"}}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": both}
    GoogleAccount.objects.update(client="video")

    assert ">Videos (video)<" in desk.get(reverse(ACCOUNTS)).content.decode()


def test_list_names_a_few_scopes(desk: Client, account: GoogleAccount) -> None:
    """The list shows the first scopes and the number of others, or that there are none."""
    GoogleAccount.objects.update(granted_scopes=["openid", *"abcde"])
    assert ">a<br>b<br>c<br>and 2 more<" in desk.get(reverse(ACCOUNTS)).content.decode()

    GoogleAccount.objects.update(granted_scopes=["openid", "email"])
    assert ">identity only<" in desk.get(reverse(ACCOUNTS)).content.decode()


def test_list_tells_that_refreshing_fails(desk: Client, account: GoogleAccount) -> None:
    """The list shows failing refreshes of active links."""
    GoogleAccount.objects.update(refresh_failing_since=now().replace(2026, 2, 3, 12))

    row = desk.get(reverse(ACCOUNTS)).content.decode()

    assert "active; refresh failing since Feb. 3, 2026" in row


@pytest.mark.matrix
@pytest.mark.parametrize("column", ["account", "state", "linked", "last_used"])
def test_list_can_be_sorted(desk: Client, account: GoogleAccount, column: str) -> None:
    """The list can be sorted by each column that the database can sort."""
    fields = {"account": "email", "state": "status", "linked": "linked_at"}
    other = make_google_account(new_user("dora"), email="zoe@gmail.com")
    GoogleAccount.objects.filter(pk=other.pk).update(
        status=Status.NEEDS_REAUTHORIZATION,
        linked_at=now().replace(2999),
        last_used_at=now().replace(2999),
    )
    position = list_of(desk).list_display.index(column)

    lists = [list_of(desk, o=f"{sign}{position}").result_list for sign in ("", "-")]

    assert [[str(row) for row in rows] for rows in lists] == [
        ["alice@gmail.com", "zoe@gmail.com"],
        ["zoe@gmail.com", "alice@gmail.com"],
    ]
    assert fields.get(column, column)


def test_list_tells_why_an_account_is_lost(desk: Client, account: GoogleAccount) -> None:
    """The list shows the reason with the status, even a reason that the project made up."""
    mark_lost(account, Reason.SESSION_POLICY)
    said = "needs to be linked again: Google Cloud session control"
    assert said in desk.get(reverse(ACCOUNTS)).content.decode()

    GoogleAccount.objects.update(status_reason="bankruptcy")
    assert "linked again: bankruptcy" in desk.get(reverse(ACCOUNTS)).content.decode()


@pytest.mark.slow
def test_page_tells_everything_but_the_tokens(desk: Client, account: GoogleAccount) -> None:
    """The page shows the scopes' names, and for tokens only their key and length."""
    page = page_of(desk, account)

    assert "See your calendars and their events" in page
    length = len(account.sealed_refresh_token)
    assert f"stored, key {key_ids()[0]}, {length} characters" in page
    for secret in (
        token_of(account, "refresh_token"),
        token_of(account, "access_token"),
        account.sealed_refresh_token[13:],
        account.sealed_access_token[13:],
    ):
        assert secret
        assert secret not in page
        assert secret not in desk.get(reverse(ACCOUNTS)).content.decode()


def test_page_of_an_account_without_tokens(desk: Client) -> None:
    """The page says that no tokens are stored."""
    account = GoogleAccount.objects.create(user=new_user(), client="default", sub="42")

    assert page_of(desk, account).count("not stored") == 2
    assert "active; damaged" not in desk.get(reverse(ACCOUNTS)).content.decode()


def test_page_of_a_damaged_row_opens_and_says_why(desk: Client, account: GoogleAccount) -> None:
    """A damaged row does not break its page or others."""
    GoogleAccount.objects.update(sealed_refresh_token="1//pasted-by-somebody")

    page, rows = page_of(desk, account), desk.get(reverse(ACCOUNTS)).content.decode()

    assert "damaged: no key can decrypt it" in page
    assert "active; damaged" in rows
    assert "pasted" not in page + rows


def test_page_without_the_key_opens_and_says_which(
    desk: Client, account: GoogleAccount, settings: Settings
) -> None:
    """The page names the missing key."""
    key = key_ids()[0]
    use_keys(settings, OTHER_KEY)

    assert escape(f"its key {key} is not configured") in page_of(desk, account)
    assert list_of(desk, key="other").result_count == 1


@pytest.mark.parametrize("broken", [{"ENCRYPTION_KEYS": []}, {"CLIENTS": {}}])
def test_pages_with_broken_settings_open(
    desk: Client, account: GoogleAccount, settings: Settings, broken: dict[str, Any]
) -> None:
    """The pages work with invalid settings, so that operators can look for the cause."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, **broken}

    assert list(list_of(desk).result_list) == [account]
    assert list_of(desk, client="other", key="other").result_count in {0, 1}
    assert "stored" in page_of(desk, account)


def test_page_of_the_outbox(desk: Client, pending: PendingRevocation) -> None:
    """The page shows a pending revocation, since when, and its last error."""
    page = page_of(desk, pending)

    assert "HTTP 503" in page
    assert f"stored, key {key_ids()[0]}" in page
    assert pending.sealed_refresh_token[13:] not in page
    assert pending.sub in desk.get(reverse(REVOCATIONS)).content.decode()


@pytest.mark.slow
def test_nothing_is_added_or_edited(
    desk: Client, account: GoogleAccount, pending: PendingRevocation
) -> None:
    """Rows cannot be added or edited through pages or forged forms."""
    account = make_google_account(new_user("dora"))
    for row in (account, pending):
        name = f"admin:google_link_{row._meta.model_name}"
        assert desk.get(reverse(f"{name}_add")).status_code == 403
        assert desk.post(reverse(f"{name}_add"), {"sub": "1"}).status_code == 403
        before = table()
        change = reverse(f"{name}_change", args=[row.pk])
        assert desk.post(change, {"email": "x@y.z", "sealed_refresh_token": "x"}).status_code == 403
        assert table() == before
        assert 'name="_save"' not in page_of(desk, row)


# Finding


@pytest.mark.matrix
@pytest.mark.parametrize("term", ["clara", "alice@gmail.com", "Alice@", "alice"])
def test_search_finds(desk: Client, account: GoogleAccount, term: str) -> None:
    """The search matches a full username, or the beginning of an e-mail address."""
    make_google_account(new_user("dora"), email="dora@example.com")

    assert list(list_of(desk, q=term).result_list) == [account]


def test_search_finds_a_subject(desk: Client, account: GoogleAccount) -> None:
    """The search matches a full subject, ignoring surrounding spaces."""
    make_google_account(new_user("dora"))

    assert list(list_of(desk, q=f" {account.sub} ").result_list) == [account]
    assert list_of(desk, q=account.sub[:5]).result_count == 0
    assert list_of(desk, q="  ").result_count == 2


def test_search_finds_an_address_that_is_typed_with_capitals(desk: Client) -> None:
    """The search ignores capitals, which some databases distinguish."""
    account = make_google_account(new_user("dora"), email="änne@example.com")

    assert list(list_of(desk, q="Änne@").result_list) == [account]


@pytest.mark.parametrize("column", ["sealed_refresh_token", "sealed_access_token"])
def test_search_never_finds_a_token(desk: Client, account: GoogleAccount, column: str) -> None:
    """The search matches no token, bare or sealed, in the search box or the query string."""
    sealed = getattr(account, column)
    bare = token_of(account, column.removeprefix("sealed_"))

    assert list_of(desk, q=bare).result_count == 0
    assert list_of(desk, q=sealed).result_count == 0
    for lookup in (column, f"{column}__startswith", "refresh_lease", "sealed_by"):
        assert desk.get(reverse(ACCOUNTS), {lookup: "gl1"}).status_code == 400


@pytest.mark.parametrize(
    "lookup", ["user__password__startswith", "user__google_accounts__sealed_by"]
)
def test_address_does_not_reach_other_tables(
    desk: Client, account: GoogleAccount, lookup: str
) -> None:
    """Lookups by which a password could be guessed are refused."""
    assert desk.get(reverse(ACCOUNTS), {lookup: "x"}).status_code == 400
    assert desk.get(reverse(ACCOUNTS), {"user__exact": account.user.pk}).status_code == 200


@pytest.mark.slow
def test_filters_tell_the_troubled_apart(
    desk: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """The filters select by status, reason, failure, client and key."""
    user, key = new_user(), settings.GOOGLE_LINK["ENCRYPTION_KEYS"][0]
    well, lost, failing, foreign = (linked(user, google, alice, sub=str(n)) for n in range(1, 5))
    mark_lost(lost, Reason.REVOKED)
    rows = GoogleAccount.objects
    rows.filter(pk=failing.pk).update(refresh_failing_since=timezone.now())
    rows.filter(pk=foreign.pk).update(client="gone")
    use_keys(settings, OTHER_KEY, key)
    later = make_google_account(user)

    def shown(**query: Any) -> set[Any]:
        return set(list_of(desk, **query).result_list)

    assert shown(status__exact=Status.NEEDS_REAUTHORIZATION) == {lost}
    assert shown(status_reason=Reason.REVOKED) == {lost}
    assert shown(refresh="failing") == {failing}
    assert shown(client="default") == {well, lost, failing, later}
    assert shown(client="other") == {foreign}
    assert shown(key=key_ids()[0]) == {later}
    use_keys(settings, OTHER_KEY)
    assert shown(key="other") == {well, lost, failing, foreign}


@pytest.mark.slow
def test_list_asks_the_database_little(
    desk: Client,
    google: FakeGoogle,
    alice: FakeUser,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    """The number of queries does not depend on the number of rows, and none counts the table."""
    make_google_account(new_user())
    with django_assert_max_num_queries(5) as for_one:
        assert len(list_of(desk).result_list) == 1
    for n in range(59):
        make_google_account(new_user(f"user{n}"))

    with django_assert_max_num_queries(5) as for_sixty:
        assert len(list_of(desk).result_list) == 50

    assert len(for_sixty) == len(for_one)
    asked = [query["sql"] for query in for_sixty.captured_queries]
    counts = [sql for sql in asked if "COUNT(" in sql]
    assert counts
    assert all(f"LIMIT {ShortPaginator.LONGEST}" in sql for sql in counts)
    assert not any("DISTINCT" in sql for sql in asked)


def test_list_counts_no_further_than_anybody_reads(
    desk: Client, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list says that there are more rows than it counts."""
    assert "These are the first" not in desk.get(reverse(ACCOUNTS)).content.decode()
    monkeypatch.setattr(ShortPaginator, "LONGEST", 3)
    user = new_user("dora")
    for _ in range(4):
        make_google_account(user)

    assert list_of(desk).result_count == 3
    assert "These are the first 3." in desk.get(reverse(ACCOUNTS)).content.decode()


# Acting


@pytest.mark.matrix
@pytest.mark.parametrize("action", ACTIONS)
def test_action_needs_its_own_permission(
    client: Client,
    colleague: Callable[..., Any],
    account: GoogleAccount,
    google: FakeGoogle,
    action: str,
) -> None:
    """Without its permission, an action is neither offered nor accepted."""
    others = {"view_googleaccount", *ACTIONS.values()} - {ACTIONS[action]}
    client.force_login(colleague(*others))
    before = table()

    page = client.get(reverse(ACCOUNTS)).content.decode()
    act(client, action, account)

    assert f'value="{action}"' not in page
    assert all(f'value="{other}"' in page for other in ACTIONS if other != action)
    assert (table(), google.requests, history()) == (before, [], [])


@pytest.mark.matrix
@pytest.mark.parametrize("action", ACTIONS_ON_REVOCATIONS)
def test_action_on_the_outbox_needs_its_own_permission(
    client: Client,
    colleague: Callable[..., Any],
    pending: PendingRevocation,
    google: FakeGoogle,
    action: str,
) -> None:
    """Without its permission, an action on the outbox is neither offered nor accepted."""
    others = {"view_pendingrevocation", *ACTIONS_ON_REVOCATIONS.values()}
    client.force_login(colleague(*(others - {ACTIONS_ON_REVOCATIONS[action]})))

    page = client.get(reverse(REVOCATIONS)).content.decode()
    act(client, action, pending, post="yes")

    assert f'value="{action}"' not in page
    assert PendingRevocation.objects.get().attempts == pending.attempts
    assert len(google.requests) == 1


@pytest.mark.slow
def test_check_finds_out_and_keeps_a_history(
    desk: Client, google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """A check finds a valid grant, a revoked one, and one that was restored."""
    assert "The grant is still valid (alice@gmail.com)" in act(desk, "check_now", account)
    mark_lost(account, "revoked")
    assert "The grant is still valid (alice@gmail.com)" in act(desk, "check_now", account)
    assert GoogleAccount.objects.get().is_active
    google.revoke(alice)
    assert f"{ENDED.capitalize()} (alice@gmail.com)" in act(desk, "check_now", account)

    assert history() == ["Check with the provider: the grant is still valid"] * 2 + [
        f"Check with the provider: {ENDED}"
    ]
    assert (
        "Check with the provider"
        in desk.get(
            reverse("admin:google_link_googleaccount_history", args=[account.pk])
        ).content.decode()
    )


def test_refresh_replaces_the_access_token(
    desk: Client, google: FakeGoogle, account: GoogleAccount
) -> None:
    """A refresh replaces an unexpired token, but does not ask Google during a backoff."""
    before = token_of(account, "access_token")

    assert f"{RENEWED.capitalize()} (alice@gmail.com)" in act(desk, "refresh_now", account)
    assert token_of(account, "access_token") != before

    GoogleAccount.objects.update(refresh_retry_at=in_seconds(60))
    assert f"{UNUSABLE.capitalize()} (alice@gmail.com)" in act(desk, "refresh_now", account)
    assert len(google.requests_to("token")) == 1


@pytest.mark.slow
def test_action_stops_when_google_is_down(
    desk: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """After three consecutive failures the action stops, and says how many rows are left."""
    user = new_user()
    accounts = [linked(user, google, alice, sub=str(n)) for n in range(1, 8)]
    google.fail_next(9)

    page = act(desk, "check_now", *accounts)

    assert f"{UNUSABLE.capitalize()} (3 Google accounts)" in page
    assert "4 were not processed." in page
    assert GoogleAccount.objects.filter(status=Status.ACTIVE).count() == 7
    assert len(history()) == 3


@pytest.mark.slow
def test_provider_that_is_down_stops_no_other(
    desk: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Only its own rows are left, also when they come first."""
    user = new_user()
    with other_issuer(settings) as other:
        ben = other.add_user("ben@gmail.com")
        oldest = linked(user, other, ben, client="other", email=ben.email)
        accounts = [linked(user, google, alice, sub=str(n)) for n in range(5)]

        with google.failing():
            page = act(desk, "check_now", *accounts, oldest)

    assert f"{UNUSABLE.capitalize()} (3 Google accounts)" in page
    assert "The grant is still valid (ben@gmail.com)" in page
    assert "2 were not processed." in page


@pytest.mark.slow
def test_action_goes_on_when_google_answers_in_between(
    desk: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Failures that are not consecutive do not stop the action."""
    user = new_user()
    accounts = [linked(user, google, alice, sub=str(n)) for n in range(1, 8)]
    google.fail_next(2)
    google.error_next("invalid_grant")
    google.fail_next(2)

    page = act(desk, "check_now", *accounts)

    assert f"{UNUSABLE.capitalize()} (4 Google accounts)" in page
    assert "The grant is still valid (2 Google accounts)" in page
    assert len(history()) == 7


@pytest.mark.slow
def test_action_takes_no_more_than_a_page_can_do(
    desk: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """The number of rows is limited, even with "select all"; the commands handle more."""
    user = new_user()
    accounts = [linked(user, google, alice, sub=str(n)) for n in range(1, MOST_AT_ONCE + 2)]
    before = table()

    for action in ACTIONS:
        page = act(desk, action, accounts[0], select_across="1", post="yes")
        assert f"Select at most {MOST_AT_ONCE}." in page

    assert (table(), google.requests, history()) == (before, [], [])


@pytest.mark.slow
def test_asking_for_consent_again_can_be_undone(
    desk: Client, google: FakeGoogle, account: GoogleAccount
) -> None:
    """The next view asks for consent; nothing is revoked, so a check restores the link."""
    page = act(desk, "reauthorize", account)

    assert "1 user will be asked for consent on next use." in page
    row = GoogleAccount.objects.get()
    assert (row.is_active, row.status_reason) == (False, Reason.REQUESTED)
    assert google.requests == []
    assert "requested by an operator" in page
    assert "0 users will be asked" in act(desk, "reauthorize", account)
    assert history() == ["Ask for consent again"]

    act(desk, "check_now", account)
    assert GoogleAccount.objects.get().is_active


def test_reencrypt_uses_the_newest_key(
    desk: Client, account: GoogleAccount, settings: Settings
) -> None:
    """A single row can be re-encrypted."""
    before = token_of(account, "refresh_token")
    use_keys(settings, OTHER_KEY, *settings.GOOGLE_LINK["ENCRYPTION_KEYS"])

    assert "Re-encrypted (alice@gmail.com)" in act(desk, "reencrypt", account)

    row = GoogleAccount.objects.get()
    assert key_id_of(row.sealed_refresh_token) == key_ids()[0]
    assert token_of(account, "refresh_token") == before


# Unlinking


def test_unlinking_asks_first_and_revokes(
    desk: Client, google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """The confirmation says what will happen, and the history names the operator."""
    page = act(desk, "delete_selected", account)
    assert "The grants will be revoked at the provider" in page
    assert GoogleAccount.objects.exists()

    act(desk, "delete_selected", account, post="yes")

    assert not GoogleAccount.objects.exists()
    assert google.granted_scopes(alice) is None
    assert not PendingRevocation.objects.exists()
    assert LogEntry.objects.get().is_deletion()


def test_unlinking_while_google_is_down(
    desk: Client, google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """The links are deleted at once; the grants are revoked later, with few requests."""
    linked(new_user("dora"), google, alice, sub="2")
    google.fail_next(9, endpoint="revoke")

    page = act(desk, "delete_selected", *GoogleAccount.objects.all(), post="yes")

    assert "google_link_revoke_pending will" in page
    assert not GoogleAccount.objects.exists()
    assert PendingRevocation.objects.count() == 2
    assert len(google.requests_to("revoke")) == 1


def test_unlinking_what_has_no_tokens_asks_nobody(desk: Client, google: FakeGoogle) -> None:
    """Without tokens there is nothing to revoke."""
    bare = make_google_account(new_user("dora"), refresh_token="", access_token="")

    page = act(desk, "delete_selected", bare, post="yes")

    assert "google_link_revoke_pending will" not in page
    assert not GoogleAccount.objects.exists()
    assert google.requests == []


def test_unlinking_under_atomic_requests_revokes_after_the_commit(
    desk: Client,
    google: FakeGoogle,
    alice: FakeUser,
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No transaction is open during the request to Google."""
    process_now = revoke_pending.process_now
    in_transaction: list[bool] = []

    def watched(pending: PendingRevocation) -> RevocationOutcome:
        in_transaction.append(connection.in_atomic_block)
        return process_now(pending)

    monkeypatch.setattr(revoke_pending, "process_now", watched)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    act(desk, "delete_selected", account, post="yes")

    assert in_transaction == [False]
    assert google.granted_scopes(alice) is None


def test_deletion_of_one_says_what_it_does(
    desk: Client, google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """The confirmation is shown for a single account as well."""
    url = reverse("admin:google_link_googleaccount_delete", args=[account.pk])
    assert "The grant will be revoked at the provider" in desk.get(url).content.decode()

    desk.post(url, {"post": "yes"})

    assert google.granted_scopes(alice) is None
    assert not PendingRevocation.objects.exists()


@pytest.mark.urls(__name__)
def test_deletion_of_a_user_revokes(
    desk: Client, google: FakeGoogle, alice: FakeUser, account: GoogleAccount
) -> None:
    """Deleting a user in the admin revokes their grants."""
    users = f"admin:{account.user._meta.app_label}_{account.user._meta.model_name}"

    desk.post(reverse(f"{users}_delete", args=[account.user.pk]), {"post": "yes"})

    assert not GoogleAccount.objects.exists()
    assert google.granted_scopes(alice) is None


# The outbox


@pytest.mark.slow
def test_revocation_can_be_tried_at_once(
    desk: Client, google: FakeGoogle, alice: FakeUser, pending: PendingRevocation
) -> None:
    """A revocation can be attempted before it is due; it stays pending while Google is down."""
    google.fail_next(endpoint="revoke")
    assert f"Postponed: the provider could not be reached ({pending.sub})" in act(
        desk, "revoke_now", pending
    )

    assert f"Revoked ({pending.sub})" in act(desk, "revoke_now", pending)
    assert google.granted_scopes(alice) is None
    assert not PendingRevocation.objects.exists()


@pytest.mark.slow
def test_revoking_stops_when_google_is_down(
    desk: Client, google: FakeGoogle, pending: PendingRevocation
) -> None:
    """After three consecutive failures the action stops."""
    PendingRevocation.objects.bulk_create([copy_of(pending) for _ in range(4)])
    google.clear_requests()
    google.fail_next(9, endpoint="revoke")

    page = act(desk, "revoke_now", *PendingRevocation.objects.all())

    assert "Postponed: the provider could not be reached (3 pending revocations)" in page
    assert "2 were not processed." in page
    assert len(google.requests_to("revoke")) == 3


def test_action_ends_before_the_request_has_to(
    desk: Client, google: FakeGoogle, pending: PendingRevocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Google responds slowly, the action stops in time and says how many rows are left."""
    monkeypatch.setattr(base, "MOST_SECONDS", 0)
    PendingRevocation.objects.bulk_create([copy_of(pending) for _ in range(4)])
    google.clear_requests()
    google.fail_next(9, endpoint="revoke", status=400, body={"error": "unsupported_token_type"})

    page = act(desk, "revoke_now", *PendingRevocation.objects.all())

    assert "4 were not processed." in page
    assert len(google.requests_to("revoke")) == 1


def test_revocation_that_is_done_meanwhile(
    desk: Client, google: FakeGoogle, pending: PendingRevocation
) -> None:
    """A revocation that was completed after the list was shown causes no error."""
    asked = len(google.requests_to("revoke"))

    with just_before("UPDATE", act=PendingRevocation.objects.all().delete):
        page = act(desk, "revoke_now", pending)

    assert f"Handled by another process ({pending.sub})" in page
    assert len(google.requests_to("revoke")) == asked


def test_revocation_can_be_given_up(
    desk: Client, google: FakeGoogle, alice: FakeUser, pending: PendingRevocation
) -> None:
    """The confirmation says that the grant stays valid."""
    url = reverse("admin:google_link_pendingrevocation_delete", args=[pending.pk])
    assert "the grant stays valid there" in desk.get(url).content.decode()
    assert "the grants stay valid there" in act(desk, "delete_selected", pending)

    act(desk, "delete_selected", pending, post="yes")

    assert not PendingRevocation.objects.exists()
    assert google.granted_scopes(alice)
    assert LogEntry.objects.get().is_deletion()


@pytest.mark.slow
def test_many_revocations_are_for_the_command(desk: Client, pending: PendingRevocation) -> None:
    """The number of revocations per action is limited."""
    values = {"account_id": pending.pk, "client": "default", "retry_at": in_seconds(60)}
    PendingRevocation.objects.bulk_create(
        PendingRevocation(sub=str(n), **values) for n in range(MOST_AT_ONCE)
    )

    page = act(desk, "delete_selected", pending, select_across="1", post="yes")

    assert "Select at most" in page
    assert PendingRevocation.objects.count() == MOST_AT_ONCE + 1


# What somebody has broken


def test_reencrypt_with_broken_settings_says_so(
    desk: Client, account: GoogleAccount, settings: Settings
) -> None:
    """Invalid settings are reported without an error page."""
    use_keys(settings)

    assert "ENCRYPTION_KEYS" in act(desk, "reencrypt", account)
    assert history() == []


@pytest.mark.matrix
@pytest.mark.parametrize("scopes", [None, 5, "openid"])
def test_scopes_that_somebody_has_written_by_hand(
    desk: Client, account: GoogleAccount, scopes: Any
) -> None:
    """A row with invalid scopes does not break the list."""
    GoogleAccount.objects.update(granted_scopes=Value(scopes, JSONField()))

    assert list(list_of(desk).result_list) == [account]
    assert "Granted scopes" in page_of(desk, account)


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["client", "key", "status_reason", "refresh"])
def test_filter_value_that_nobody_offers_finds_nothing(
    desk: Client, account: GoogleAccount, name: str
) -> None:
    """Values that are not choices match nothing, even NUL, which PostgreSQL rejects."""
    GoogleAccount.objects.update(refresh_failing_since=in_seconds(-60))

    assert list_of(desk, **{name: "\0"}).result_count == 0
    assert list_of(desk, **{name: "made-up"}).result_count == 0


def test_search_where_users_have_no_text_for_a_name(
    account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search works if the username field is not a text field."""
    monkeypatch.setattr(get_user_model(), "USERNAME_FIELD", "date_joined")
    page = GoogleAccountAdmin(GoogleAccount, admin.site)

    rows, _ = page.get_search_results(HttpRequest(), GoogleAccount.objects.all(), "alice")

    assert list(rows) == [account]


def test_two_revocations_of_one_account(desk: Client, pending: PendingRevocation) -> None:
    """An account that was restored from a backup can be unlinked again."""
    PendingRevocation.objects.bulk_create([copy_of(pending)])

    page = act(desk, "revoke_now", *PendingRevocation.objects.all())

    assert f"Revoked ({pending.sub})" in page
    assert f"Handled by another process ({pending.sub})" in page
    assert not PendingRevocation.objects.exists()


def copy_of(pending: PendingRevocation) -> PendingRevocation:
    """Return the same with another key."""
    pending = PendingRevocation.objects.get(pk=pending.pk)
    pending.pk = uuid.uuid4()
    return pending
