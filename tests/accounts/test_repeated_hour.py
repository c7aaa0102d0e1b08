"""Without ``USE_TZ``: the hour that daylight saving time repeats, and the one that it skips."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings

from django_google_link import services
from django_google_link.accounts import history, lease, spent_states
from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.conf import clock
from django_google_link.conf.local_time import LocalTime, to_utc
from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.models import GoogleAccount, HistoryEntry, HistoryEvent, SpentState
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked
from tests.support.databases import new_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

# Time zones, and when their clocks change.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("America/St_Johns", datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2027, 4, 3, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("UTC", datetime(2026, 10, 25, 1, tzinfo=UTC)),
]

At = Callable[[float], AbstractContextManager[Any]]


@pytest.fixture(params=CHANGES, ids=[f"{zone} {when:%B}" for zone, when in CHANGES])
def change(request: pytest.FixtureRequest, settings: Settings) -> datetime:
    """The moment when the clocks change in the site's time zone."""
    settings.USE_TZ = False
    settings.TIME_ZONE, when = request.param
    # Django tells PostgreSQL the time zone when it opens a connection.
    connections.close_all()
    return when


@pytest.fixture
def at(change: datetime) -> Iterator[At]:
    """Return a function that travels to so many minutes after the change.

    SQLite uses this process's clock. Others have their own, which only ``travel`` moves.
    """

    def at(minutes: float) -> Any:
        wanted = change + timedelta(minutes=minutes)
        if connection.vendor == "sqlite":
            return time_machine.travel(wanted)
        return travel(seconds=(wanted - datetime.now(UTC)).total_seconds())

    yield at
    connections.close_all()


@pytest.mark.matrix
def test_token_lives_for_an_hour(at: At, google: FakeGoogle, alice: FakeUser) -> None:
    """It is returned until it expires, and then refreshed, whatever the local time is."""
    with at(-20):
        account = linked(
            new_user(),
            google,
            alice,
            access_token_expires_at=clock.now() - timedelta(minutes=1),
        )
        first = services.access_token(account)
    for minutes in (-19, -1, 1, 20):
        with at(minutes):
            assert services.access_token(account) == first
    with at(41):
        second = services.access_token(account)
        assert second != first
    for minutes in (42, 70):
        with at(minutes):
            assert services.access_token(account) == second

    assert len(google.requests_to("token")) == 2


@pytest.mark.matrix
@pytest.mark.parametrize("minutes", [-0.1, 0.1, 20])
def test_failure_is_waited_out(at: At, google: FakeGoogle, alice: FakeUser, minutes: float) -> None:
    """The wait is half a minute, and not an hour longer."""
    with at(minutes):
        account = linked(
            new_user(),
            google,
            alice,
            access_token_expires_at=clock.now() - timedelta(minutes=1),
        )
        google.fail_next()
        with pytest.raises(RefreshUnavailableError) as failure:
            services.access_token(account)
        wait = failure.value.retry_at - clock.now()
        assert timedelta(seconds=15) < wait < timedelta(seconds=40)
        with pytest.raises(RefreshUnavailableError):
            services.access_token(account)
    with at(minutes + 1):
        assert services.access_token(account)

    assert len(google.requests_to("token")) == 2


@pytest.mark.matrix
@pytest.mark.parametrize("minutes", [-0.1, 0.1])
def test_lease_ends(at: At, google: FakeGoogle, alice: FakeUser, minutes: float) -> None:
    """It cannot be taken while another caller holds it, and can be after it has expired."""
    rows = GoogleAccount.objects.all()
    with at(minutes):
        account = linked(new_user(), google, alice)
        account.refresh_from_db()
        assert lease.take(rows, account)
        state = lease.read_state(rows, account.pk)
        assert state
        assert state.is_leased
        assert lease.take(rows, account) is None
    with at(minutes + 2):
        assert lease.take(rows, account)


@pytest.mark.matrix
def test_command_refreshes_what_is_due(at: At, google: FakeGoogle, alice: FakeUser) -> None:
    """Only tokens that expire within the given minutes are refreshed."""

    def refresh() -> str:
        output = io.StringIO()
        call_command("google_link_refresh", expiring_within=10, workers=1, stdout=output)
        return output.getvalue()

    with at(-20):
        account = linked(new_user(), google, alice)
        fresh_access_token(account, rejected=account.unseal_token("access_token"))
    for minutes, said in ((-10, "Nothing is due."), (25, "Nothing is due."), (32, "1 refreshed")):
        with at(minutes):
            assert said in refresh()


@pytest.mark.matrix
def test_history_is_in_order(
    at: At, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Entries sort by their times, and are deleted after ``HISTORY_DAYS``."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "HISTORY_DAYS": 30}
    moments = (-40, -20, 1, 20, 45)
    with at(-41):
        account = linked(new_user(), google, alice)
    HistoryEntry.objects.all().delete()
    for minutes in moments:
        with at(minutes):
            history.record(account, HistoryEvent.LABELLED, using="default", minutes=minutes)

    entries = HistoryEntry.objects.order_by("created_at")

    assert [entry.details["minutes"] for entry in entries] == list(moments)
    gaps = [b.created_at - a.created_at for a, b in pairwise(entries)]
    assert [round(gap / timedelta(minutes=1)) for gap in gaps] == [20, 21, 19, 25]
    with at(30 * 24 * 60 + 10):
        history.delete_old_entries()
    assert HistoryEntry.objects.count() == 2


@pytest.mark.matrix
def test_spent_state_is_remembered(at: At, settings: Settings) -> None:
    """It is kept for twice ``STATE_MAX_AGE``, and not for an hour longer."""
    longest = settings.GOOGLE_LINK.get("STATE_MAX_AGE", 600) * 2 / 60
    with at(-5):
        spent_states.spend_state("state", owner="1")
    for minutes, count in ((-5 + longest - 1, 1), (-5 + longest + 1, 0)):
        with at(minutes):
            spent_states.delete_old_states()
            assert SpentState.objects.count() == count


@pytest.mark.matrix
def test_moments_come_back_as_they_were(at: At, google: FakeGoogle, alice: FakeUser) -> None:
    """Times survive the database, pickling and arithmetic, and are naive as Django's are."""
    with at(0):
        account = linked(new_user(), google, alice)
        now = clock.now()
    moments = [now + timedelta(minutes=minutes) for minutes in range(-90, 91, 15)]
    for moment in moments:
        GoogleAccount.objects.update(last_used_at=moment)
        account.refresh_from_db()
        assert account.last_used_at == moment
        assert account.last_used_at.fold == moment.fold
        assert to_utc(pickle.loads(pickle.dumps(moment))) == to_utc(moment)
        assert timezone.is_naive(moment)
        assert GoogleAccount.objects.filter(last_used_at=moment).exists()
    steps = {later - earlier for earlier, later in pairwise(moments)}
    assert steps == {timedelta(minutes=15)}
    assert sorted([*moments[5:], *moments[:5]]) == moments


def test_naive_times_of_others(settings: Settings) -> None:
    """Plain naive times are compared and subtracted as times of the site's time zone."""
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    plain = datetime(2026, 6, 1, 12)
    moment: Any = LocalTime.of(plain)

    assert moment == plain
    assert hash(moment) == hash(plain)
    assert moment != "noon"
    assert moment <= plain
    assert moment >= plain
    assert not moment > plain
    assert not moment < plain
    assert plain - moment == timedelta()
    assert moment - timedelta(hours=1) == datetime(2026, 6, 1, 11)
    assert timedelta(hours=1) + moment == datetime(2026, 6, 1, 13)
    assert moment.astimezone(UTC) == datetime(2026, 6, 1, 10, tzinfo=UTC)
    assert moment.timestamp() == datetime(2026, 6, 1, 10, tzinfo=UTC).timestamp()


def test_database_has_the_column_of_any_other_time() -> None:
    """Migrations do not name the class of the field, so it can be removed without one."""
    field = GoogleAccount._meta.get_field("last_used_at")

    assert field.deconstruct()[1] == "django.db.models.DateTimeField"
