"""Tests in classes, as Django's own test runner likes them."""

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
    """Run a fake Google, with all of ``GOOGLE_LINK`` leading to it meanwhile.

    For other test runners, and for scripts.
    """
    # It may have the port of a Google that has stopped.
    forget_published()
    forget_metadata()
    forget_failures()
    with (
        FakeGoogle() as google,
        override_settings(GOOGLE_LINK=lead_to_fake(google, getattr(settings, "GOOGLE_LINK", {}))),
    ):
        yield google


class FakeGoogleMixin:
    """Gives each test of a ``django.test.TestCase`` a Google of its own::

        class AgendaTests(FakeGoogleMixin, TestCase):
            def test_agenda(self):
                self.link_google_account(self.anna, scopes=[CALENDAR])
                self.fake_google.answer("/calendar/v3/calendars/primary/events", {"items": []})

    It stands before ``TestCase``; a ``setUp`` of one's own calls ``super().setUp()`` first.
    """

    _google: FakeGoogle | None = None

    @property
    def fake_google(self) -> FakeGoogle:
        """The Google of the test that runs."""
        if self._google is None:
            raise FakeGoogleError(
                "This Google has not been started: name FakeGoogleMixin before TestCase, and call "
                "super().setUp() first."
            )
        return self._google

    def setUp(self) -> None:
        """Start it."""
        super().setUp()  # type: ignore[misc]
        self._google = self.enterContext(running_google())  # type: ignore[attr-defined]

    def link_google_account(self, user: Any, **values: Any) -> GoogleAccount:
        """Link a user to an account at ``fake_google``; see ``link_google_account``."""
        return link_google_account(self.fake_google, user, **values)
