"""The guide to security events: its test runs, and its receiver hears."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_google_link.signals import security_event
from django_google_link.testing import FakeGoogle, FakeUser
from tests.documentation.pages import block_with, run
from tests.support.accounts import linked
from tests.support.signals import connected

pytestmark = pytest.mark.django_db

PAGE = "howto/security-events"

exec(block_with(PAGE, "def test_hijacked_account"))


@pytest.fixture
def anna(user: Any) -> Any:
    """A user, as in the guide to testing."""
    return user


@pytest.mark.usefixtures("receiver")
def test_user_is_written_to(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """The receiver of the page is connected as long as its names are there."""
    # From Django 6.1 on a project has to say how its mail goes.
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    linked(user, google, alice)
    names = run(PAGE, "def write_to_user")

    with (
        connected(security_event, names["write_to_user"]),
        django_capture_on_commit_callbacks(execute=True),
    ):
        google.send_security_event(Client(), "sessions-revoked", user=alice, issued_at=time.time())

    assert [message.to for message in mail.outbox] == [[user.email]]
