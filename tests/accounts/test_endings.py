"""Grants that expire: the signal, the pages and the commands that announce it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django.utils.formats import date_format

from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.accounts.news import announce_ending
from django_google_link.models import GoogleAccount, Status
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, travel
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save
from tests.support.callers import HTML
from tests.support.constants import CALENDAR, DRIVE
from tests.support.databases import new_user
from tests.support.flow import link, visit
from tests.support.signals import heard

pytestmark = pytest.mark.django_db

DAY = 24 * 3600


def end_in(account: GoogleAccount, **time: float) -> GoogleAccount:
    """Let a grant expire after this time."""
    ends_at = timezone.now() + timedelta(**time)
    GoogleAccount.objects.filter(pk=account.pk).update(refresh_token_expires_at=ends_at)
    return GoogleAccount.objects.get(pk=account.pk)


def run(command: str, **options: Any) -> str:
    """Run a command, and return its output."""
    out = io.StringIO()
    call_command(command, stdout=out, **options)
    return out.getvalue()


def endings(news: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Return the accounts for which ``authorization_ending`` was sent."""
    return [arguments["account"].pk for name, arguments in news if name == "authorization_ending"]


@pytest.mark.usefixtures("shared_database")
def test_ending_is_said_once_by_the_command(google: FakeGoogle) -> None:
    """google_link_refresh sends the signal once, for valid grants that expire within a week."""
    user = new_user()
    soon = end_in(make_google_account(user), days=6)
    for time in ({"days": 8}, {"hours": -1}):
        end_in(make_google_account(user), **time)
    end_in(make_google_account(user, status=Status.NEEDS_REAUTHORIZATION), days=1)
    end_in(make_google_account(user, refresh_token=""), days=1)
    make_google_account(user)

    with heard() as news:
        first, second = run("google_link_refresh"), run("google_link_refresh")

    assert endings(news) == [soon.pk]
    assert [news[0][1]["ends_at"]] == [soon.refresh_token_expires_at]
    assert first == "       1 expire within a week: their users can link again\nNothing is due.\n"
    assert second == "Nothing is due.\n"


@pytest.mark.usefixtures("shared_database")
def test_ending_is_said_once_by_refreshes(google: FakeGoogle, alice: FakeUser) -> None:
    """Refreshes in the last week of a grant send the signal once."""
    google.refresh_token_lifetime = 10 * DAY
    account = linked(new_user(), google, alice)

    with heard() as news:
        check_grant(account)
        assert endings(news) == []
        with travel(days=4):
            check_grant(GoogleAccount.objects.get())
            check_grant(GoogleAccount.objects.get())
            run("google_link_refresh")

    assert endings(news) == [account.pk]
    ends_at = GoogleAccount.objects.get().ends_at
    assert ends_at
    assert abs(ends_at - timezone.now() - timedelta(days=10)) < timedelta(minutes=5)


@pytest.mark.usefixtures("shared_database")
def test_ending_that_was_announced_meanwhile(google: FakeGoogle) -> None:
    """A worker with an outdated row does not send the signal again."""
    account = end_in(make_google_account(new_user()), days=1)

    with heard() as news, transaction.atomic():
        assert announce_ending(account, using="default")
        assert not announce_ending(account, using="default")

    assert endings(news) == [account.pk]


def test_ending_is_not_said_of_what_has_ended(user: Any) -> None:
    """No signal is sent for a grant that has expired."""
    account = end_in(make_google_account(user), hours=-1)

    assert not announce_ending(account, using="default")


@pytest.mark.usefixtures("shared_database")
def test_end_that_moves_away_is_said_again(google: FakeGoogle, alice: FakeUser) -> None:
    """If Google postpones the expiry, the signal is sent again before the new one."""
    google.refresh_token_lifetime = 30 * DAY
    account = end_in(linked(new_user(), google, alice), days=5)

    with heard() as news:
        run("google_link_refresh")
        check_grant(GoogleAccount.objects.get())
        with travel(days=25):
            run("google_link_refresh")

    assert endings(news) == [account.pk, account.pk]


@pytest.mark.usefixtures("shared_database")
def test_new_grant_is_said_to_end_as_well(user: Any) -> None:
    """The signal is sent again for a new grant that expires within a week."""
    ends_at = timezone.now() + timedelta(days=6)

    with heard() as news:
        for _ in range(2):
            save(user, refresh_token_expires_at=ends_at)
            run("google_link_refresh")
            run("google_link_refresh")

    assert len(endings(news)) == 2


def test_grant_without_an_end(user: Any, browser: Client) -> None:
    """For a grant without an expiry the page shows none."""
    account = make_google_account(user, scopes=[CALENDAR])

    assert account.ends_at is None
    assert not account.ends_soon
    assert not account.has_ended
    assert "until" not in browser.get("/google/").content.decode()


def test_lost_grant_ends_no_more(user: Any) -> None:
    """A lost grant has no ``ends_at``."""
    account = end_in(make_google_account(user, status=Status.NEEDS_REAUTHORIZATION), days=3)

    assert account.ends_at is None


@pytest.mark.parametrize(("days", "offered"), [(6, True), (8, False)])
def test_page_says_when(browser: Client, user: Any, days: int, offered: bool) -> None:
    """The page shows the expiry, and offers to link again in the last week."""
    account = end_in(make_google_account(user, scopes=[CALENDAR]), days=days)

    text = browser.get("/google/").content.decode()

    when = date_format(timezone.template_localtime(account.ends_at), "DATETIME_FORMAT")
    assert f"Access expires: {when}" in text
    assert ("Link again" in text) is offered


def test_page_says_that_it_has_ended(browser: Client, user: Any) -> None:
    """The page shows an expired grant as a link that no longer works."""
    end_in(make_google_account(user, scopes=[CALENDAR]), hours=-1)

    text = browser.get("/google/").content.decode()

    assert "This link no longer works." in text
    assert "until" not in text


def test_link_again_before_it_ends(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Linking again before the expiry asks for consent, and stores the new grant."""
    google.refresh_token_lifetime = 3 * DAY
    link(browser, google, alice)
    before = GoogleAccount.objects.get()
    [entry] = browser.get("/google/").context["accounts"]
    google.refresh_token_lifetime = 30 * DAY

    response, asked = visit(browser, google, entry["authorize_url"], user=alice)

    after = GoogleAccount.objects.get()
    assert (response.status_code, asked) == (200, 1)
    assert before.ends_soon
    assert not after.ends_soon
    assert access_token(user, scopes=[CALENDAR])


def test_request_and_json_say_when(browser: Client, user: Any) -> None:
    """The JSON and the template context of a refused request contain ``ends_at``."""
    account = end_in(make_google_account(user, scopes=[CALENDAR]), days=3)
    assert account.ends_at

    refused = browser.get("/files/", headers={"sec-fetch-mode": "cors"})
    page = browser.post("/files/", headers={"accept": HTML})

    assert refused.json()["ends_at"] == account.ends_at.isoformat()
    assert page.context["ends_at"] == account.ends_at.isoformat()
    assert DRIVE in refused.json()["missing_scopes"]


def test_request_without_an_account(browser: Client, user: Any) -> None:
    """Without an account the JSON of a refused request has no ``ends_at``."""
    refused = browser.get("/files/", headers={"sec-fetch-mode": "cors"})

    assert "ends_at" not in refused.json()


def test_status_counts(user: Any, configure: Callable[..., None]) -> None:
    """google_link_status counts grants that expire within a week, and names the first date."""
    first = end_in(make_google_account(user), days=2)
    for days in (5, 8, -1):
        end_in(make_google_account(user), days=days)

    said, content = run("google_link_status"), json.loads(run("google_link_status", json=True))

    ends_at = first.refresh_token_expires_at
    assert f"\nGrants that expire within a week: 2, the first on {ends_at:%Y-%m-%d %H:%M}\n" in said
    assert content["ending_within_a_week"]["count"] == 2
    assert content["ending_within_a_week"]["first"]
    assert content["problems"] == []


@pytest.mark.usefixtures("shared_database")
def test_rotated_refresh_token_that_ends_soon_each_time(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """If short-lived refresh tokens are rotated at each refresh, the signal is sent once."""
    google.refresh_token_lifetime = 3 * DAY
    google.rotates_refresh_tokens = True
    linked(new_user(), google, alice, access_token_expires_at=timezone.now())

    with heard() as news:
        for day in range(3):
            with travel(days=day):
                fresh_access_token(GoogleAccount.objects.get())

    assert len(endings(news)) == 1
