"""Every pair of operations, in every order of their steps with at most two switches.

``make interleavings`` runs all schedules; CI runs a sample, the same each time. To repeat a
single one, pass the name that its failure shows:
``make interleavings ONLY="same,link,unlink,3,5"``. All schedules of a pair are run with
``ONLY="same,link,unlink"``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from random import Random

import pytest
from pytest_django import Settings

from django_google_link.encryption.key import Key
from django_google_link.encryption.keyring import decode_key, make_key
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle
from tests.interleavings.operations import OPERATIONS, SCENARIOS
from tests.interleavings.proxy import holding_proxy
from tests.interleavings.scheduler import Scheduler
from tests.interleavings.schedules import Interleavings, Schedule
from tests.interleavings.world import TABLES, World
from tests.support.constants import OTHER_KEY

on_postgresql = pytest.mark.skipif(
    os.environ.get("TEST_DATABASE") != "postgresql", reason="pg_blocking_pids"
)
pytestmark = [pytest.mark.processes, on_postgresql, pytest.mark.usefixtures("shared_database")]

#: ``make interleavings`` runs all schedules; CI a sample.
WHOLE = os.environ.get("LONG") == "whole"
ONLY = os.environ.get("ONLY", "")


@pytest.fixture
def interleavings(google: FakeGoogle, settings: Settings) -> Iterator[Interleavings]:
    """Two workers, whose requests to Google are held until the scheduler releases them."""
    google.always_sends_refresh_token = True
    scheduler = Scheduler(tables=TABLES)
    port = int(google.url.rpartition(":")[2])
    with holding_proxy(port, scheduler.hold) as url:
        endpoints = {"TOKEN_ENDPOINT": f"{url}/token", "REVOCATION_ENDPOINT": f"{url}/revoke"}
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {"default": settings.GOOGLE_LINK["CLIENTS"]["default"] | endpoints},
            "ENCRYPTION_KEYS": [make_key(), OTHER_KEY],
        }
        interleavings = Interleavings(World(google, Key(decode_key(Secret(OTHER_KEY)))), scheduler)
        try:
            yield interleavings
        finally:
            scheduler.close()


@pytest.mark.skipif(bool(ONLY), reason="ONLY names one.")
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_order_of_two_operations_does_harm(
    interleavings: Interleavings,
    record_property: Callable[[str, object], None],
    scenario: str,
    name: str,
) -> None:
    """No error for a user, no second default, no orphaned grant, no dead link marked active."""
    random = Random(f"{scenario},{name}")
    for other in OPERATIONS:
        if WHOLE:
            interleavings.run_all(scenario, (name, other))
        else:
            interleavings.run_some(scenario, (name, other), random)

    if WHOLE:
        for count, number in interleavings.tally.counts().items():
            record_property(count, number)
    assert interleavings.tally.describe_faults() == []


@pytest.mark.skipif(not ONLY, reason="ONLY names none.")
def test_what_is_asked_for(
    interleavings: Interleavings, capsys: pytest.CaptureFixture[str]
) -> None:
    """All schedules of the pair that ``ONLY`` names; or a single schedule, step by step."""
    scenario, *names = ONLY.split(",")[:3]
    if ONLY.count(",") == 2:
        interleavings.run_all(scenario, (names[0], names[1]))
        report = [f"{number} {name}" for name, number in interleavings.tally.counts().items()]
    else:
        report = interleavings.run(Schedule.parse(ONLY)).describe()

    with capsys.disabled():
        print("", *report, sep="\n")
    assert interleavings.tally.describe_faults() == []
