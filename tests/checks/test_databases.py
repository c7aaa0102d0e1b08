"""System checks of how a database isolates transactions, and of its driver."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import OperationalError, connection
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from tests.support.failing import FOR_EVER, failing
from tests.support.isolation import isolated

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture(autouse=True)
def atomic_requests(shared_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each view is a transaction."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)


def find_messages() -> dict[str, str]:
    """Return what the checks say of the database, by their ids."""
    messages = run_checks(databases=["default"])
    return {
        str(message.id).rpartition(".")[2]: message.msg
        for message in messages
        if str(message.id).startswith("django_google_link")
    }


@pytest.mark.slow
def test_default_isolation_level_is_well() -> None:
    """Django's own, and SQLite's only one."""
    expected = {"W014"} if os.environ.get("TEST_ISOLATION") else set()
    assert set(find_messages()) == expected


if os.environ.get("TEST_DATABASE"):

    class ElsewhereRouter:
        """The accounts are written to another database."""

        def db_for_write(self, model: Any, **hints: Any) -> str | None:
            """Return the alias of that one."""
            return "elsewhere" if model is GoogleAccount else None

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_snapshots_in_views_are_found(level: str) -> None:
        """A token that another worker has stored would not be seen."""
        with isolated(level):
            messages = find_messages()

        assert set(messages) == {"W014"}
        assert f"'default' are {level}: with ATOMIC_REQUESTS" in messages["W014"]

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_snapshots_beside_a_second_connection(settings: Settings, level: str) -> None:
        """They are well, unless they lock what they read."""
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REFRESH_USING": "default"}

        with isolated(level):
            messages = find_messages()

        locks_readers = connection.vendor == "mysql" and level == "SERIALIZABLE"
        assert set(messages) == ({"W014"} if locks_readers else set())

    @pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_snapshots_outside_of_views_are_well(
        monkeypatch: pytest.MonkeyPatch, level: str
    ) -> None:
        """A refresh has no transaction around it, as a rule."""
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", False)

        with isolated(level):
            assert find_messages() == {}

    def test_uncommitted_reads_are_found() -> None:
        """PostgreSQL has none, whatever is asked for."""
        with isolated("READ UNCOMMITTED"):
            messages = find_messages()

        assert set(messages) == ({"W015"} if connection.vendor == "mysql" else set())

    def test_database_without_accounts_may_be_as_it_likes(settings: Settings) -> None:
        """Nothing of ours is written there."""
        settings.DATABASE_ROUTERS = [ElsewhereRouter()]

        with isolated("SERIALIZABLE"):
            assert find_messages() == {}

    def test_database_that_does_not_answer_is_for_django_to_tell() -> None:
        """No check fails."""
        with isolated("SERIALIZABLE"), failing(OperationalError("gone"), count=FOR_EVER):
            assert find_messages() == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("use_tz", "zone", "is_psycopg3", "is_well"),
    [
        (False, "Europe/Berlin", False, False),
        (False, "Europe/Berlin", True, True),
        (False, "Asia/Tokyo", False, True),
        (True, "Europe/Berlin", False, True),
    ],
)
def test_driver_that_does_not_tell_hours_apart(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    use_tz: bool,
    zone: str,
    is_psycopg3: bool,
    is_well: bool,
) -> None:
    """psycopg2 has no mark for the second of two hours of the same name."""
    monkeypatch.setattr("django.db.backends.postgresql.psycopg_any.is_psycopg3", is_psycopg3)
    settings.USE_TZ, settings.TIME_ZONE = use_tz, zone

    found = "W039" in find_messages()

    assert found == (not is_well and connection.vendor == "postgresql")
