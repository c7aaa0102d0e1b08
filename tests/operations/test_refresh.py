"""``google_link_refresh``: which accounts are due, their outcomes, and the output."""

from __future__ import annotations

import io
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.utils import timezone
from pytest_django import Settings

from django_google_link.models import GoogleAccount, Status
from django_google_link.operations import refresh
from django_google_link.operations.refresh import (
    RefreshOutcome,
    list_due_accounts,
    refresh_accounts,
)
from django_google_link.testing import FakeGoogle, FakeUser, travel
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, stale
from tests.support.chunks import use_small_chunks
from tests.support.constants import OTHER_KEY
from tests.support.databases import new_user
from tests.support.tables import links, table
from tests.support.times import in_seconds, until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

LONG_AGO = timedelta(days=91)


def link_many(
    count: int, google: FakeGoogle, alice: FakeUser, **changes: Any
) -> list[GoogleAccount]:
    """Link accounts whose access tokens have expired."""
    user = new_user()
    values = {"access_token_expires_at": in_seconds(-60), **changes}
    return [linked(user, google, alice, sub=str(n), **values) for n in range(1, count + 1)]


def run(**options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_refresh", stdout=out, **options)
    return out.getvalue()


def failed(match: str, **options: Any) -> str:
    """Run the command, and check that it fails with this error; return its output."""
    out = io.StringIO()
    with pytest.raises(CommandError, match=match):
        call_command("google_link_refresh", stdout=out, **options)
    return out.getvalue()


def asked(google: FakeGoogle) -> int:
    """Return the number of token requests."""
    return len(google.requests_to("token"))


def test_list_due_accounts_are_those_that_are_unused_or_about_to_expire() -> None:
    """Lost accounts, and those without a refresh token, are not due."""
    user = new_user()
    now = timezone.now()
    make_google_account(user, sub="fresh")
    make_google_account(user, sub="lost", status="needs_reauthorization", access_token="")
    make_google_account(user, sub="no refresh token", refresh_token="", access_token="")
    make_google_account(user, sub="expired", access_token_expires_at=in_seconds(-5))
    make_google_account(user, sub="expiring", access_token_expires_at=in_seconds(500))
    make_google_account(user, sub="without", access_token="")
    make_google_account(user, sub="no end", access_token_expires_at=None)
    make_google_account(user, sub="unused")
    GoogleAccount.objects.filter(sub="unused").update(refreshed_at=now - LONG_AGO)
    make_google_account(user, sub="never used")
    GoogleAccount.objects.filter(sub="never used").update(linked_at=now - LONG_AGO)

    def due(minutes: int | None) -> set[str]:
        window = None if minutes is None else timedelta(minutes=minutes)
        accounts = list_due_accounts(expiring_within=window, unused_for=timedelta(days=90))
        return {account.sub for account in accounts}

    assert due(None) == {"unused", "never used"}
    assert due(0) == {"unused", "never used", "expired", "without"}
    assert due(10) == {"unused", "never used", "expired", "without", "expiring"}


@pytest.mark.slow
def test_command_refreshes_what_is_due(google: FakeGoogle, alice: FakeUser) -> None:
    """Each account once; afterwards nothing is due."""
    link_many(7, google, alice)

    assert run(expiring_within=10) == "       7 refreshed\n"

    assert asked(google) == 7
    assert run(expiring_within=10) == "Nothing is due.\n"


def test_command_uses_what_google_would_drop(google: FakeGoogle, alice: FakeUser) -> None:
    """Google invalidates refresh tokens after six months without use."""
    link_many(2, google, alice)
    GoogleAccount.objects.filter(sub="1").update(linked_at=timezone.now() - LONG_AGO)

    assert run() == "       1 refreshed\n"
    assert run() == "Nothing is due.\n"


@pytest.mark.slow
def test_command_goes_all_the_way_round(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every account is refreshed, whatever the starting point and number of chunks."""
    use_small_chunks(monkeypatch, refresh, 2)
    link_many(9, google, alice)

    assert run(expiring_within=0, workers=3) == "       9 refreshed\n"
    assert asked(google) == 9


def test_command_tells_outcomes_apart(
    google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """Problems for operators make it fail; users who revoke access do not."""
    link_many(4, google, alice)
    google.error_next("invalid_grant")
    google.error_next("invalid_grant", subtype="invalid_rapt")

    assert run(expiring_within=0, workers=1) == (
        "       2 refreshed\n       2 lost: their users have to link again\n"
    )


def test_command_leaves_to_others_what_they_do(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts that another process leased, refreshed or deleted meanwhile are skipped."""
    leased, fresh, gone, _ = link_many(4, google, alice)
    accounts = list(GoogleAccount.objects.all())
    GoogleAccount.objects.filter(pk=leased.pk).update(
        refresh_lease=leased.pk, refresh_lease_expires_at=in_seconds(60)
    )
    GoogleAccount.objects.filter(pk=fresh.pk).update(access_token_expires_at=in_seconds(3599))
    GoogleAccount.objects.filter(pk=gone.pk).delete()

    read = iter([[accounts], []])
    monkeypatch.setattr(refresh, "in_chunks", lambda rows, **options: next(read))

    outcomes = Counter(
        refresh_accounts(GoogleAccount.objects.all(), leeway=timedelta(minutes=5), workers=2)
    )

    assert outcomes == {RefreshOutcome.SHARED: 3, RefreshOutcome.REFRESHED: 1}
    assert asked(google) == 1


def test_command_asks_nothing_more_for_a_client_that_is_refused(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """The log gets a line or two, rather than one per account."""
    link_many(20, google, alice)
    google.error_next("invalid_client", status=401, count=100)
    before = links()

    said = failed("20 of the accounts were not refreshed", expiring_within=0, workers=2)

    assert said.strip().startswith("20 skipped: the provider refuses their client")
    assert asked(google) <= 2
    assert links() == before


@pytest.mark.slow
def test_command_goes_on_behind_a_link_of_the_former_client(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """After a change of the client id, the users who linked again are refreshed."""
    former, *_ = link_many(12, google, alice)
    GoogleAccount.objects.filter(pk=former.pk).update(client_id="former")

    said = failed("1 of the accounts", expiring_within=0, workers=2)

    assert "11 refreshed" in said
    assert asked(google) == 11


def test_command_knows_a_client_that_is_not_configured(
    google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """Accounts of a removed client are reported."""
    link_many(1, google, alice, client="gone")

    assert "1 skipped" in failed("1 of the accounts", expiring_within=0)
    assert "There is no client 'gone'" in caplog.text


def test_command_without_the_key_leaves_all_as_it_is(
    google: FakeGoogle, alice: FakeUser, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing key changes no account."""
    link_many(3, google, alice)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}
    before = table()

    assert "3 skipped: their encryption key" in failed("3 of", expiring_within=0)
    assert table() == before
    assert "Add that key back" in caplog.text


@pytest.mark.slow
def test_command_stops_when_google_is_down(google: FakeGoogle, alice: FakeUser) -> None:
    """All are counted, few are requested, and no account is lost."""
    link_many(20, google, alice)
    google.fail_next(count=100)

    text = failed("20 of the accounts were not refreshed", expiring_within=0, workers=2)

    assert text == "      20 postponed: no usable response from the provider\n"
    assert 5 <= asked(google) <= 7
    assert GoogleAccount.objects.filter(status=Status.ACTIVE).count() == 20


@pytest.mark.slow
def test_command_goes_on_when_google_answers_in_between(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """A success resets the count of failures."""
    link_many(20, google, alice)
    google.fail_next(2)
    google.fail_next(status=200, body={"access_token": "ya29.next", "token_type": "Bearer"})
    google.fail_next(2)

    assert "16 refreshed" in failed("4 of the accounts", expiring_within=0, workers=1)

    assert asked(google) == 20


@pytest.mark.slow
def test_command_after_an_outage_refreshes_all(google: FakeGoogle, alice: FakeUser) -> None:
    """Accounts that were held back while one was the probe are refreshed once it has succeeded."""
    google.refresh_sends_id_token = False
    link_many(30, google, alice)
    with google.failing():
        failed("30 of the accounts", expiring_within=10, workers=1)
    google.delay = 0.1

    with travel(seconds=40):
        assert run(expiring_within=10, workers=4) == "      30 refreshed\n"
    assert asked(google) == 5 + 30


def test_command_goes_on_when_google_refuses_others_in_between(google: FakeGoogle) -> None:
    """A lost grant is an answer as well: several accounts that are throttled stop nobody."""
    users = [google.add_user(f"user{number}@gmail.com") for number in range(14)]
    for user in users:
        stale(new_user(user.email), google, user)
    # MariaDB sorts primary keys in an order of its own.
    in_turn = [google.user_with(row.email) for row in GoogleAccount.objects.order_by("pk")]

    with ExitStack() as faults:
        for lost in in_turn[::2]:
            google.revoke(lost)
        for throttled in in_turn[1::2]:
            faults.enter_context(google.failing(user=throttled, status=429))
        said = failed("7 of the accounts", expiring_within=10, workers=1)

    assert said.splitlines() == [
        "       7 lost: their users have to link again",
        "       7 postponed: no usable response from the provider",
    ]
    assert GoogleAccount.objects.filter(refresh_problem="throttled").count() == 7


def test_command_takes_no_lost_link_for_an_answer(google: FakeGoogle, alice: FakeUser) -> None:
    """Without a refresh token, nobody was asked."""
    link_many(12, google, alice)
    without = list(GoogleAccount.objects.order_by("pk").values_list("pk", flat=True)[::3])
    values = {"sealed_refresh_token": "", "without_refresh_token": True}
    GoogleAccount.objects.filter(pk__in=without).update(**values)

    with google.failing(status=429):
        failed("of the accounts", expiring_within=10, workers=1)

    assert asked(google) == 5


@pytest.mark.slow
def test_command_that_fails_makes_no_second_attempts(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an outage held back is left to the next run, although Google answers just now."""
    google.refresh_sends_id_token = False
    link_many(40, google, alice)
    with google.failing():
        failed("40 of the accounts", expiring_within=10, workers=1)
    google.delay = 0.5
    chunks: list[bool] = []

    def fail() -> None:
        chunks.append(True)
        if len(chunks) == 2:
            until(lambda: asked(google) == 6)
            raise DatabaseError("the disk is full")

    use_small_chunks(monkeypatch, refresh, 3, after_reading=fail)
    with travel(seconds=40), pytest.raises(DatabaseError, match="the disk is full"):
        run(expiring_within=10, workers=4)

    assert asked(google) == 6


@pytest.mark.slow
def test_command_that_is_interrupted_says_what_it_has_done(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Ctrl-C, requests in progress finish, no more are started, and no lease is left."""
    link_many(30, google, alice)
    google.delay = 0.05
    module = "django_google_link.management.outcomes"

    def interrupted(outcomes: Any, total: int) -> Any:
        yield next(outcomes)
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{module}.show_progress", interrupted)

    with pytest.raises(CommandError, match="Stopped") as caught:
        call_command("google_link_refresh", expiring_within=0, workers=2, stdout=io.StringIO())

    assert caught.value.returncode == 130
    assert 2 <= asked(google) <= 4
    assert not GoogleAccount.objects.exclude(refresh_lease=None).exists()


def test_command_that_fails_in_a_thread_fails(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exceptions of threads are raised."""
    link_many(3, google, alice)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(refresh, "fresh_access_token", broken)

    with pytest.raises(DatabaseError, match="the disk is full"):
        run(expiring_within=0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"workers": 0}, "--workers"),
        ({"unused_for": 0}, "--unused-for"),
        ({"expiring_within": -1}, "0 to 50 minutes"),
        ({"expiring_within": 51}, "0 to 50 minutes"),
    ],
)
def test_command_with_options_that_cannot_work(options: dict[str, int], match: str) -> None:
    """A window longer than a token's lifetime would refresh every time."""
    failed(match, **options)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_command_shows_a_bar_on_a_terminal(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    """Elsewhere only the summary is printed."""

    class Stderr(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    link_many(2, google, alice)
    monkeypatch.setattr("sys.stderr", Stderr())

    run(expiring_within=0)

    assert ("/2 " in sys.stderr.getvalue()) is is_terminal


def test_check_of_one_account(google: FakeGoogle, alice: FakeUser) -> None:
    """The admin's check returns an outcome for each result."""
    [account] = link_many(1, google, alice)

    assert refresh.check_account(account) == RefreshOutcome.REFRESHED
    google.fail_next(status=503)
    assert refresh.check_account(account) == RefreshOutcome.UNREACHABLE
    google.error_next("invalid_client", status=401)
    assert refresh.check_account(account) == RefreshOutcome.REFUSED
    google.revoke(alice)
    assert refresh.check_account(account) == RefreshOutcome.LOST


@pytest.mark.slow
def test_policy_of_one_organization_is_not_everybodys(google: FakeGoogle, alice: FakeUser) -> None:
    """A policy that blocks one user does not count against the client."""
    link_many(9, google, alice)
    google.error_next("admin_policy_enforced")

    assert run(expiring_within=0, workers=1) == (
        "       8 refreshed\n       1 skipped: forbidden by a policy of their organization\n"
    )


def test_command_does_not_ask_for_those_that_wait(google: FakeGoogle, alice: FakeUser) -> None:
    """Accounts that are backing off are counted, and reflected in the exit code."""
    link_many(3, google, alice)
    GoogleAccount.objects.update(refresh_retry_at=in_seconds(60))
    text = failed("3 of the accounts", expiring_within=0)
    assert text == "       3 waiting to be retried after a failure\n"
    assert asked(google) == 0

    GoogleAccount.objects.update(refresh_retry_at=in_seconds(-1))
    assert run(expiring_within=0) == "       3 refreshed\n"


def test_what_has_failed_is_tried_again(google: FakeGoogle, alice: FakeUser) -> None:
    """Unused accounts whose refresh failed are due, to find out when Google is back."""
    link_many(1, google, alice)
    GoogleAccount.objects.update(
        refresh_failing_since=in_seconds(-7200), refresh_retry_at=in_seconds(-60)
    )

    assert run() == "       1 refreshed\n"
    assert GoogleAccount.objects.get().refresh_failing_since is None
