"""One clock, which tests can move."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from django_google_link.conf import clock
from django_google_link.models import GoogleAccount
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, link_google_account, travel
from tests.support.constants import CALENDAR


def test_time_passes_and_comes_back() -> None:
    """For as long as the block is; several add up."""
    with travel(hours=1):
        assert clock.now() - timezone.now() > timedelta(minutes=59)
        with travel(days=7):
            assert clock.moved_by() == timedelta(days=7, hours=1)
        assert clock.moved_by() == timedelta(hours=1)

    assert clock.moved_by() == timedelta()


def test_time_comes_back_after_a_failure() -> None:
    """The next test is not a week late."""
    with pytest.raises(RuntimeError), travel(days=7):
        raise RuntimeError

    assert clock.moved_by() == timedelta()


@pytest.mark.slow
def test_day_of_hourly_refreshes(google: FakeGoogle, user: Any) -> None:
    """The access token of each hour is another, and all of them were asked for once."""
    link_google_account(google, user, scopes=[CALENDAR])
    seen = {access_token(user, scopes=[CALENDAR])}

    for hour in range(1, 25):
        with travel(hours=hour):
            seen.add(access_token(user, scopes=[CALENDAR]))
            assert access_token(user, scopes=[CALENDAR]) in seen

    assert len(google.requests_to("/token")) == len(seen) - 1 == 24


def test_account_is_linked_at_the_time_that_it_is(
    google: FakeGoogle, alice: FakeUser, browser: Client
) -> None:
    """The flow, its ID token included, lives in the same time as the fake Google."""
    with travel(days=30):
        google.browse(browser, "/bare/", user=alice)
        account = GoogleAccount.objects.get()

        assert abs(account.linked_at - clock.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("freeze", ["freezegun", "time_machine"])
def test_other_peoples_clocks(freeze: str) -> None:
    """They move this one too: nothing has kept the real one from import time."""
    library = pytest.importorskip(freeze)
    then = datetime(2031, 5, 17, 12, tzinfo=UTC)
    started: Callable[[datetime], Any] = getattr(library, "freeze_time", None) or library.travel

    with started(then):
        assert abs(clock.timestamp() - then.timestamp()) < 60


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["freezegun", "time_machine"])
@pytest.mark.parametrize("is_ticking", [True, False])
def test_whole_flow_by_other_peoples_clocks(
    client: Client, user: Any, google: FakeGoogle, alice: FakeUser, freeze: str, is_ticking: bool
) -> None:
    """A link, its token for an hour, and the next, whether time passes meanwhile or not."""
    library = pytest.importorskip(freeze)
    started: Callable[..., Any] = getattr(library, "freeze_time", None) or library.travel
    then = datetime(2031, 5, 17, 12, tzinfo=UTC)

    with started(then, tick=is_ticking):
        client.force_login(user)
        google.browse(client, "/bare/", user=alice)
        account = GoogleAccount.objects.get()
        first = access_token(account)
        assert abs(account.linked_at - clock.now()) < timedelta(minutes=1)
    with started(then + timedelta(minutes=40), tick=is_ticking):
        assert access_token(account.user) == first
    with started(then + timedelta(minutes=61), tick=is_ticking):
        second = access_token(account.user)

    assert second != first
    assert len(google.requests_to("token")) == 2
