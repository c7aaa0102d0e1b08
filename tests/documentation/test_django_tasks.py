"""The guide's task with Django's own backends, which Django has from 6.0 on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.documentation.pages import block_with
from tests.support.apis import link_account
from tests.support.constants import CALENDAR, EVENTS
from tests.support.databases import new_user
from tests.support.times import in_seconds

tasks = pytest.importorskip("django.tasks")
pytestmark = pytest.mark.django_db

exec(block_with("howto/tasks", "django.tasks"))
count_events: Any = globals()["count_events"]


@pytest.fixture
def backend(settings: Settings) -> Any:
    """One that keeps what it is given, and waits for nobody."""
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    return tasks.task_backends["default"]


def test_task_counts(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """Enqueued as a view does it."""
    link_account(google, user, alice, CALENDAR)

    assert count_events.enqueue(str(user.pk)).return_value == len(EVENTS)


def test_task_writes_to_the_user(user: Any, settings: Settings) -> None:
    """Who has not linked an account, or no longer."""
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}

    assert count_events.enqueue(str(user.pk)).return_value == "not_linked"
    assert mail.outbox[0].to == [user.email]


@pytest.mark.usefixtures("shared_database")
def test_task_comes_back(google: FakeGoogle, alice: FakeUser, backend: Any) -> None:
    """When it makes sense to try again, by the worker's clock; the row has the database's."""
    user = new_user()
    link_account(google, user, alice, CALENDAR, access_token_expires_at=in_seconds(-60))
    google.fail_next(status=503)

    count_events.func(str(user.pk))

    [result] = backend.results
    retry_at = GoogleAccount.objects.get().refresh_retry_at
    assert retry_at
    assert abs(result.task.run_after - retry_at) < timedelta(seconds=1)
