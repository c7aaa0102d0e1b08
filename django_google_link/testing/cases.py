"""Support for Django's own test runner and others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.test import override_settings

from ..accounts.process_breaker import forget_failures
from ..oauth.metadata import forget_metadata
from ..oauth.published import forget_published
from .accounts import link_google_account
from .fake import FakeGoogle
from .provider.errors import FakeGoogleError
from .wiring import lead_to_fake

if TYPE_CHECKING:
    from ..models import GoogleAccount


@contextmanager
def running_google() -> Iterator[FakeGoogle]:
    """Run a fake Google; meanwhile all of ``GOOGLE_LINK`` leads to it.

    For scripts and test runners other than pytest and Django's.
    """
    # It may have the same port as an earlier fake Google.
    forget_published()
    forget_metadata()
    forget_failures()
    with (
        FakeGoogle() as google,
        override_settings(GOOGLE_LINK=lead_to_fake(google, getattr(settings, "GOOGLE_LINK", {}))),
    ):
        yield google


class FakeGoogleMixin:
    """Gives each test of a ``django.test.TestCase`` its own fake Google::

        class AgendaTests(FakeGoogleMixin, TestCase):
            def test_agenda(self):
                self.link_google_account(self.anna, scopes=[CALENDAR])
                self.fake_google.answer("/calendar/v3/calendars/primary/events", {"items": []})

    Put it before ``TestCase``; a ``setUp()`` of your own calls ``super().setUp()`` first.
    """

    _google: FakeGoogle | None = None

    @property
    def fake_google(self) -> FakeGoogle:
        """The fake Google of the current test."""
        if self._google is None:
            raise FakeGoogleError(
                "This FakeGoogle has not been started: put FakeGoogleMixin before TestCase, and "
                "call super().setUp() first."
            )
        return self._google

    def setUp(self) -> None:
        """Start the fake Google."""
        super().setUp()  # type: ignore[misc]
        self._google = self.enterContext(running_google())  # type: ignore[attr-defined]

    def link_google_account(self, user: Any, **values: Any) -> GoogleAccount:
        """Link a user to an account at ``fake_google``; see ``link_google_account``."""
        return link_google_account(self.fake_google, user, **values)
