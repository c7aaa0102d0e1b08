"""``google_link_forget``: deleting what outlives links, and nothing still in use."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command

from django_google_link.models import (
    EndedGrant,
    GoogleAccount,
    HistoryEntry,
    PendingRevocation,
    SpentState,
)
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, save
from tests.support.databases import new_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database", "google")]


def forget(subject: str, *options: str) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_forget", subject, *options, stdout=out)
    return out.getvalue()


def log(account: GoogleAccount) -> None:
    """Add an operator's entry to the admin's log."""
    olga, _ = get_user_model().objects.get_or_create(username="olga")
    kind = ContentType.objects.get_for_model(GoogleAccount)
    LogEntry.objects.create(
        user=olga, content_type=kind, object_id=str(account.pk), object_repr="x", action_flag=CHANGE
    )


def subs() -> set[str]:
    """Return the subjects that have a history."""
    return set(HistoryEntry.objects.values_list("sub", flat=True))


@pytest.mark.parametrize("is_there", [True, False])
def test_user_is_forgotten(google: FakeGoogle, alice: FakeUser, is_there: bool) -> None:
    """Current and deleted users' rows are deleted; other users' rows stay."""
    user, other = new_user(), new_user("dora")
    account, kept = linked(user, google, alice), save(other, "43")
    save(user, alice.sub)
    log(account)
    log(kept)
    account.unlink()
    SpentState.objects.create(digest="d", owner=str(user.pk))
    name = "clara" if is_there else str(user.pk)
    if not is_there:
        user.delete()

    said = forget(name, "--noinput")

    assert "3 entries in the history" in said
    assert "1 entries about links in the log" in said
    assert subs() == {"43"}
    assert LogEntry.objects.get().object_id == str(kept.pk)
    assert not SpentState.objects.exists()
    assert not EndedGrant.objects.exists()
    if not is_there:
        with pytest.raises(CommandError, match="Nothing is stored about"):
            forget(name, "--noinput")


@pytest.mark.slow
def test_google_account_is_forgotten_whoever_has_linked_it() -> None:
    """By an exact match of its subject."""
    for name, sub in (("clara", "aBc"), ("dora", "aBc"), ("emil", "abc")):
        save(new_user(name), sub).unlink()
    SpentState.objects.create(digest="d", owner="1")

    forget("aBc", "--noinput")

    assert subs() == {"abc"}
    assert SpentState.objects.exists()


def test_links_that_work_are_not_touched(google: FakeGoogle, alice: FakeUser) -> None:
    """Active links are not deleted by mistake."""
    account = linked(new_user(), google, alice)
    account.make_default()

    with pytest.raises(CommandError, match="there are linked accounts"):
        forget("clara", "--noinput")

    assert GoogleAccount.objects.get() == account
    assert subs() == {alice.sub}
    assert google.granted_scopes(alice) is not None


def test_links_are_ended_where_that_is_asked(google: FakeGoogle, alice: FakeUser) -> None:
    """With ``--unlink``, grants are revoked at Google and nothing is left."""
    linked(new_user(), google, alice)

    said = forget("clara", "--noinput", "--unlink")

    assert "1 links, which will be unlinked first" in said
    assert google.granted_scopes(alice) is None
    for model in (GoogleAccount, PendingRevocation, HistoryEntry, EndedGrant):
        assert not model.objects.exists()


def test_grant_that_google_has_not_ended_is_not_forgotten(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """Its tokens are needed to revoke it."""
    account = linked(new_user(), google, alice)
    with google.failing(endpoint="revoke", status=503):
        account.unlink()
        with pytest.raises(CommandError, match="has not confirmed the revocation of 1 grants"):
            forget("clara", "--noinput")
        assert PendingRevocation.objects.exists()
        assert subs() == {alice.sub}

    forget("clara", "--noinput")

    assert google.granted_scopes(alice) is None
    assert not HistoryEntry.objects.exists()


def test_dry_run_changes_nothing() -> None:
    """It counts everything, including active links."""
    save(new_user())

    said = forget("clara", "--dry-run")

    assert "1 links\n" in said
    assert "1 entries in the history" in said
    assert GoogleAccount.objects.exists()
    assert HistoryEntry.objects.exists()


@pytest.mark.parametrize(("answer", "is_removed"), [("yes", True), ("no", False), ("", False)])
def test_question_comes_first(
    monkeypatch: pytest.MonkeyPatch, answer: str, is_removed: bool
) -> None:
    """Only "yes" confirms."""
    save(new_user()).unlink()
    monkeypatch.setattr("builtins.input", lambda question: answer)

    if is_removed:
        assert "Removed." in forget("clara")
    else:
        with pytest.raises(CommandError, match=r"Nothing was removed\."):
            forget("clara")

    assert HistoryEntry.objects.exists() != is_removed


def test_number_that_may_be_two_things_is_asked_about() -> None:
    """Subjects and primary keys are mostly both numbers."""
    user, other = new_user(), new_user("dora")
    save(user, str(user.pk)).unlink()
    save(other, str(user.pk)).unlink()

    with pytest.raises(CommandError, match=r"\(--by pk\) and the subject .*\(--by sub\)"):
        forget(str(user.pk), "--noinput")
    forget(str(user.pk), "--noinput", "--by", "pk")

    assert set(HistoryEntry.objects.values_list("owner", flat=True)) == {str(other.pk)}


def test_nobody_says_so() -> None:
    """The error says what was searched for."""
    with pytest.raises(CommandError, match="nor the subject of a Google account"):
        forget("nobody", "--noinput")


def test_site_without_the_admin(settings: Any) -> None:
    """The admin's log need not exist."""
    save(new_user()).unlink()
    apps = [app for app in settings.INSTALLED_APPS if app != "django.contrib.admin"]
    settings.INSTALLED_APPS = apps

    assert "0 entries about links in the log" in forget("clara", "--noinput")
