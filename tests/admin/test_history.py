"""The link history in the admin: reading, searching and filtering, without changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import path, reverse
from pytest_django import DjangoAssertNumQueries

from django_google_link.admin import GoogleAccountAdmin
from django_google_link.encryption.keyring import make_key
from django_google_link.models import GoogleAccount, HistoryEntry, HistoryEvent, PendingRevocation
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, save
from tests.support.databases import new_user
from tests.support.history import told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

ENTRIES = "admin:google_link_historyentry_changelist"
ACCOUNTS = "admin:google_link_googleaccount_changelist"

# An admin of the project's own, without the list of entries.
small_admin = admin.AdminSite("small")
small_admin.register(GoogleAccount, GoogleAccountAdmin)
urlpatterns = [path("admin/", admin.site.urls), path("small/", small_admin.urls)]


@pytest.fixture
def operator(shared_database: None) -> Any:
    """A superuser."""
    create_permissions(apps.get_app_config("google_link"), verbosity=0)
    return get_user_model().objects.create_superuser("olga", "olga@example.com", "pw")


@pytest.fixture
def desk(client: Client, operator: Any) -> Client:
    """The operator's browser."""
    client.force_login(operator)
    return client


def entries(desk: Client, **query: Any) -> list[str]:
    """Return the events that the list shows, the newest first."""
    response = desk.get(reverse(ENTRIES), query)
    assert response.status_code == 200, response.headers
    return [entry.event for entry in response.context["cl"].result_list]


def act(desk: Client, action: str, row: Any, **data: Any) -> None:
    """Select a row, and run an action."""
    ticked = {"action": action, "_selected_action": [str(row.pk)], **data}
    kind = row._meta.model_name
    desk.post(reverse(f"admin:google_link_{kind}_changelist"), ticked, follow=True)


@pytest.mark.slow
def test_list_is_searched_and_filtered(desk: Client, user: Any) -> None:
    """By full ids and names, event and actor."""
    user, other = new_user(), new_user("dora")
    account = save(user, "42")
    save(other, "43").make_default()

    newest_first = ["made_default", "linked", "linked"]
    assert entries(desk) == newest_first
    assert entries(desk, q="clara") == entries(desk, q=str(user.pk)) == ["linked"]
    assert entries(desk, q=str(account.pk)) == entries(desk, q="42") == ["linked"]
    assert entries(desk, q="999") == entries(desk, q="alice@gmail.com") == []
    assert entries(desk, q=" ") == newest_first
    assert entries(desk, event="made_default") == ["made_default"]
    assert entries(desk, event="nonsense") == entries(desk, actor_kind="nonsense") == []
    assert entries(desk, actor_kind="site", account_id=str(account.pk)) == ["linked"]
    assert entries(desk, client="default") == newest_first


def test_list_and_page_speak_to_people(desk: Client) -> None:
    """The list and the page show the event, the actor and the details."""
    save(new_user(), requested_scopes=["openid"])
    [entry] = HistoryEntry.objects.all()

    page = desk.get(reverse(ENTRIES)).content.decode()
    assert "asked: openid; " in page
    assert "site code" in page
    url = reverse("admin:google_link_historyentry_change", args=[entry.pk])
    assert "asked: openid; " in desk.get(url).content.decode()


def test_what_was_not_the_case_is_left_out(desk: Client) -> None:
    """Details that are false are omitted."""
    save(new_user())
    HistoryEntry.objects.update(details={"with_user": False, "accounts": 2})

    page = desk.get(reverse(ENTRIES)).content.decode()

    assert "accounts: 2" in page
    assert "with_user" not in page


def test_unknown_words_are_shown_as_they_are(desk: Client) -> None:
    """Unknown events, from a later version or written by hand, are shown unchanged."""
    account = save(new_user())
    HistoryEntry.objects.update(event="sold", actor_kind="ghost", details=["<b>"])

    page = desk.get(reverse(ENTRIES)).content.decode()

    assert "sold" in page
    assert "ghost" in page
    assert desk.get(reverse("admin:google_link_googleaccount_change", args=[account.pk]))


def test_nobody_writes_here(desk: Client) -> None:
    """Entries cannot be added, changed or deleted through any URL."""
    save(new_user())
    [entry] = HistoryEntry.objects.all()
    page = desk.get(reverse(ENTRIES)).content.decode()
    assert reverse("admin:google_link_historyentry_add") not in page
    assert 'name="action"' not in page

    for name in ("change", "delete"):
        url = reverse(f"admin:google_link_historyentry_{name}", args=[entry.pk])
        assert desk.post(url, {"post": "yes", "event": "x"}).status_code == 403
    assert desk.post(reverse("admin:google_link_historyentry_add")).status_code == 403
    ticked = {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"}
    desk.post(reverse(ENTRIES), ticked)

    assert list(HistoryEntry.objects.values_list("pk", "event")) == [(entry.pk, "linked")]


def test_history_needs_its_permission(client: Client, operator: Any) -> None:
    """The list requires the view permission."""
    colleague = get_user_model().objects.create_user("otto", "o@example.com", "pw", is_staff=True)
    client.force_login(colleague)
    assert client.get(reverse(ENTRIES)).status_code == 403

    colleague.user_permissions.set(Permission.objects.filter(codename="view_historyentry"))
    assert client.get(reverse(ENTRIES)).status_code == 200


@pytest.mark.slow
def test_page_of_an_account_has_its_newest_entries(desk: Client) -> None:
    """The page shows the latest entries and links to all of them."""
    account = save(new_user())
    for _ in range(30):
        account.make_default()

    url = reverse("admin:google_link_googleaccount_change", args=[account.pk])
    page = desk.get(url).content.decode()

    assert page.count("made the default, site code") == 20
    assert f"{reverse(ENTRIES)}?account_id={account.pk}" in page
    HistoryEntry.objects.all().delete()
    assert "No entries." in desk.get(url).content.decode()


@pytest.mark.urls(__name__)
def test_page_of_an_account_in_a_small_admin(desk: Client) -> None:
    """Without a registered list there is no link to it."""
    account = save(new_user())

    page = desk.get(f"/small/google_link/googleaccount/{account.pk}/change/").content.decode()

    assert "linked, site code" in page
    assert "Full history" not in page


@pytest.mark.slow
def test_list_asks_no_more_for_more(
    desk: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """The number of queries does not depend on the number of entries."""
    account = save(new_user())
    for _ in range(40):
        account.make_default()
    # What a process asks once, and keeps, does not count.
    desk.get(reverse(ENTRIES))

    with django_assert_max_num_queries(5):
        desk.get(reverse(ENTRIES))


@pytest.mark.slow
def test_operators_act_in_their_own_name(
    desk: Client, operator: Any, google: FakeGoogle, alice: FakeUser, settings: Any
) -> None:
    """Each action is recorded with the operator and its outcome."""
    account = linked(new_user(), google, alice)
    keys = [make_key(), *settings.GOOGLE_LINK["ENCRYPTION_KEYS"]]
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": keys}

    for action in ("check_now", "refresh_now", "reencrypt", "reauthorize"):
        act(desk, action, account)
    google.fail_next(endpoint="revoke")
    act(desk, "delete_selected", account, post="yes")

    staff = f"staff {operator.pk}"
    assert [(event, actor) for event, actor, _ in told()] == [
        ("checked", staff),
        ("refreshed", staff),
        ("reencrypted", staff),
        ("consent_requested", staff),
        ("unlinked", staff),
    ]
    assert told(event=HistoryEvent.CHECKED)[0][2] == {"outcome": "refreshed"}


@pytest.mark.parametrize("by_list", [False, True])
def test_revocation_that_an_operator_gives_up(
    desk: Client, operator: Any, google: FakeGoogle, alice: FakeUser, by_list: bool
) -> None:
    """It is recorded whether deleted on its page or in the list."""
    account = linked(new_user(), google, alice)
    google.fail_next(endpoint="revoke")
    account.unlink()
    pending = PendingRevocation.objects.get()

    if by_list:
        act(desk, "delete_selected", pending, post="yes")
    else:
        url = reverse("admin:google_link_pendingrevocation_delete", args=[pending.pk])
        desk.post(url, {"post": "yes"})

    assert not PendingRevocation.objects.exists()
    assert told()[1:] == [("revocation_ended", f"staff {operator.pk}", {"reason": "by_hand"})]


@pytest.mark.slow
@pytest.mark.parametrize("by_list", [False, True])
def test_log_of_the_admin_keeps_no_address(
    desk: Client, google: FakeGoogle, alice: FakeUser, by_list: bool
) -> None:
    """The log outlives the link, and identifies the account by its id only."""
    account = linked(new_user(), google, alice)
    act(desk, "check_now", account)
    act(desk, "reauthorize", account)
    if by_list:
        act(desk, "delete_selected", account, post="yes")
    else:
        url = reverse("admin:google_link_googleaccount_delete", args=[account.pk])
        desk.post(url, {"post": "yes"})

    log = list(LogEntry.objects.values("object_id", "object_repr", "change_message"))
    assert len(log) == 3
    assert {row["object_id"] for row in log} == {str(account.pk)}
    assert alice.email not in json.dumps(log)


def test_messages_of_a_project_are_kept_in_the_log(operator: Any, rf: Any) -> None:
    """A subclass may log what it does in Django's structured form."""
    account = save(new_user())
    request = rf.get("/")
    request.user = operator
    model_admin: Any = GoogleAccountAdmin(GoogleAccount, admin.site)

    entry = model_admin.log_change(request, account, [{"changed": {"fields": ["label"]}}])

    assert "abel" in LogEntry.objects.get(pk=entry.pk).get_change_message()
