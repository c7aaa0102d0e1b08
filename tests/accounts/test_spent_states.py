"""Spent states: used once, waited for within limits, and deleted in time."""

from __future__ import annotations

import io
import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import OperationalError
from freezegun import freeze_time
from pytest_django import Settings

from django_google_link.accounts.spent_states import (
    await_location,
    delete_old_states,
    finish_state,
    spend_state,
)
from django_google_link.conf import clock
from django_google_link.models import SpentState
from django_google_link.testing import travel
from tests.support.databases import at_once
from tests.support.failing import FOR_EVER, failing, unconfirmed
from tests.support.times import skip_pauses

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


def spend(n: int, *, age: timedelta = timedelta()) -> None:
    """Mark states as spent at this time in the past."""
    SpentState.objects.bulk_create(
        SpentState(digest=f"{age.total_seconds()} {i}", owner="1", spent_at=clock.now() - age)
        for i in range(n)
    )


def test_state_is_spent_once_among_many() -> None:
    """Only the first caller succeeds."""
    taken = at_once(*[lambda: spend_state("abc", owner="1")] * 6)

    assert sorted(taken) == [False] * 5 + [True]
    row = SpentState.objects.get()
    assert "abc" not in row.digest
    assert str(row) == row.digest


def test_location_is_for_its_owner() -> None:
    """It is not returned to other users, or for unknown states."""
    spend_state("abc", owner="1")
    finish_state("abc", location="/there/")

    assert await_location("abc", owner="1") == "/there/"
    assert await_location("abc", owner="2") == ""
    assert await_location("other", owner="1") == ""


def test_repeat_waits_no_longer_than_a_request_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the first exchange does not finish."""
    spend_state("abc", owner="1")
    pauses = skip_pauses(monkeypatch)

    assert await_location("abc", owner="1") == ""

    assert 10 < sum(pauses) < 16


def test_repeat_does_not_wait_for_a_worker_that_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeating a state cannot tie up workers."""
    spend_state("abc", owner="1")
    pauses = skip_pauses(monkeypatch)

    with travel(seconds=20):
        assert await_location("abc", owner="1") == ""

    assert pauses == []


def test_outcome_that_cannot_be_noted_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database failure is logged, and the user sees the outcome."""
    spend_state("abc", owner="1")
    skip_pauses(monkeypatch)

    with failing(OperationalError("gone"), count=FOR_EVER):
        finish_state("abc", location="/there/")

    assert "could not be recorded: OperationalError" in caplog.text


def test_state_is_spent_after_a_moment_of_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is retried after a deadlock."""
    skip_pauses(monkeypatch)

    with failing(OperationalError("deadlock"), count=2):
        assert spend_state("abc", owner="1")


@pytest.mark.parametrize("durable", [False, True], ids=["state", "ticket"])
def test_state_is_spent_although_the_acknowledgement_was_lost(
    monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """The second attempt finds the row of the first; to all others the state is spent."""
    skip_pauses(monkeypatch)

    with unconfirmed("INSERT", "spentstate"):
        assert spend_state("abc", owner="1", durable=durable)

    assert not spend_state("abc", owner="1", durable=durable)
    assert SpentState.objects.count() == 1


def test_state_that_another_caller_spends_before_the_second_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not taken for this caller's, even if both began at the same moment."""
    taken = []

    def spend_elsewhere(seconds: float) -> None:
        taken.extend(at_once(lambda: spend_state("abc", owner="1")))

    monkeypatch.setattr(time, "sleep", spend_elsewhere)
    with freeze_time(clock.now()), failing(OperationalError("server closed the connection")):
        assert not spend_state("abc", owner="1")

    assert taken == [True]


def test_location_is_told_only_when_the_exchange_has_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then the column contains something else."""
    skip_pauses(monkeypatch)
    spend_state("abc", owner="1")

    assert SpentState.objects.get().location
    assert await_location("abc", owner="1") == ""


def test_old_states_are_forgotten(settings: Settings) -> None:
    """States that may still be used are kept."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "STATE_MAX_AGE": 60}
    spend(3, age=timedelta(seconds=121))
    spend(2, age=timedelta(seconds=119))

    assert delete_old_states() == 3
    assert SpentState.objects.count() == 2
    assert delete_old_states() == 0


def test_very_many_old_states_are_forgotten_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one statement can delete."""
    spend(1001, age=timedelta(days=1))

    assert delete_old_states() == 1001
    assert not SpentState.objects.exists()


@pytest.mark.parametrize("command", ["google_link_revoke_pending", "google_link_refresh"])
def test_commands_that_run_regularly_forget_old_states(command: str) -> None:
    """Even if nothing else is due."""
    spend(1, age=timedelta(days=1))

    call_command(command, stdout=io.StringIO())

    assert not SpentState.objects.exists()
