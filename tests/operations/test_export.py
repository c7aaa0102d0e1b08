"""``google_link_export``: everything stored about a user, without tokens or other users' data."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_google_link.models import GoogleAccount, HistoryEntry, PendingRevocation, SpentState
from django_google_link.operations.export import TOKEN_FIELDS
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, save, token_of
from tests.support.databases import new_user
from tests.support.history import events

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


def export(user: str, **options: Any) -> Any:
    """Run the command; return its parsed output."""
    return json.loads(printed(user, **options))


def printed(user: str, **options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_export", user, stdout=out, **options)
    return out.getvalue()


def test_everything_about_a_user(google: FakeGoogle, alice: FakeUser) -> None:
    """Links, rows of former links, the history, and the export itself."""
    user, other = new_user(), new_user("dora")
    gone = linked(user, google, alice, sub="1")
    google.fail_next(endpoint="revoke")
    gone.unlink()
    account = save(user, "42")
    save(other, "43")
    SpentState.objects.create(digest="d", owner=str(user.pk))

    found = export("clara")

    assert found["user"] == str(user.pk)
    [row] = found["accounts"]
    assert (row["id"], row["sub"], row["email"]) == (str(account.pk), "42", account.email)
    assert row["has_refresh_token"]
    assert [one["sub"] for one in found["pending_revocations"]] == ["1"]
    assert [one["event"] for one in found["history"]] == ["unlinked", "linked", "exported"]
    assert found["history"][-1]["actor"] == "google_link_export"
    assert [one["digest"] for one in found["spent_states"]] == ["d"]
    assert len(found["ended_grants"]) == 1


def test_every_column_is_there_but_for_tokens(user: Any) -> None:
    """New columns are exported, unless they are listed as token columns."""
    account = save(new_user())
    account.unlink()
    save(get_user_model().objects.get(username="clara"))

    found = export("clara")

    for name, model in (("accounts", GoogleAccount), ("pending_revocations", PendingRevocation)):
        columns = {field.attname for field in model._meta.concrete_fields}
        for row in found[name]:
            assert set(row) == columns - TOKEN_FIELDS | {"has_refresh_token", "has_access_token"}
    assert {name for name in TOKEN_FIELDS if "token" not in name} == {"sealed_by"}


def test_no_token_is_printed(google: FakeGoogle, alice: FakeUser) -> None:
    """Neither bare nor sealed, nor as a digest."""
    account = linked(new_user(), google, alice)
    text = printed("clara")

    for name in ("refresh_token", "access_token"):
        assert (token_of(account, name) or "?") not in text
    assert account.sealed_refresh_token[20:60] not in text
    assert "gl1." not in text


@pytest.mark.parametrize("by", [None, "pk"])
def test_user_who_is_gone_is_found_by_the_key(by: str | None) -> None:
    """The pseudonymous history of a deleted user is exported."""
    user = new_user()
    save(user)
    key = str(user.pk)
    get_user_model().objects.all().delete()

    found = export(key, by=by)

    assert (found["user"], found["accounts"]) == (key, [])
    assert [one["event"] for one in found["history"]] == ["linked", "unlinked"]


@pytest.mark.parametrize("user", ["nobody", "", "999999999999999999999999", "'; --"])
def test_nobody_says_so(user: str) -> None:
    """The error says what was searched for."""
    with pytest.raises(
        CommandError, match="is not the name of a user, nor the primary key of a user"
    ):
        export(user)


def test_name_that_is_anothers_key_is_asked_about() -> None:
    """An ambiguous name is refused, and nothing is recorded."""
    user = new_user()
    save(user)
    new_user(str(user.pk))

    with pytest.raises(CommandError, match=r"\(--by name\) and the primary key .*\(--by pk\)"):
        export(str(user.pk))

    assert events() == ["linked"]
    assert export(str(user.pk), by="name")["accounts"] == []
    assert len(export(str(user.pk), by="pk")["accounts"]) == 1
    with pytest.raises(CommandError, match="it is not the primary key of a user"):
        export("clara", by="pk")


@pytest.mark.slow
def test_a_thousand_links_take_a_few_statements() -> None:
    """They are printed row by row."""
    user = new_user()
    GoogleAccount.objects.bulk_create(
        GoogleAccount(user=user, client="default", sub=str(n)) for n in range(1000)
    )

    with CaptureQueriesContext(connection) as captured:
        found = export("clara")

    assert len(found["accounts"]) == len(found["history"]) == 1000
    assert len(captured) < 60
    assert HistoryEntry.objects.count() == 1000


def test_empty_export_is_json() -> None:
    """A user without links."""
    new_user()
    assert export("clara")["accounts"] == []
