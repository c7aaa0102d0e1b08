"""What ``request.google`` is, and what to annotate a view's request with.

The request classes are for type checkers and readers: what a view gets is Django's own request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest

from .web.access import GoogleAccess

if TYPE_CHECKING:
    from .models import GoogleAccount

__all__ = ["GoogleAccess", "GoogleAwareRequest", "GoogleRequiredRequest", "LinkedGoogleAccess"]


class LinkedGoogleAccess(GoogleAccess):
    """A :class:`GoogleAccess` whose account is there, since the view's requirement is met."""

    if TYPE_CHECKING:

        @property
        def account(self) -> GoogleAccount:
            """The account that is used."""


class GoogleAwareRequest(HttpRequest):
    """The request of a view under ``google_aware``: ``request.google.account`` may be ``None``."""

    google: GoogleAccess


class GoogleRequiredRequest(HttpRequest):
    """The request of a view under ``google_required``: ``request.google.account`` is there."""

    google: LinkedGoogleAccess
