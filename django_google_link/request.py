"""``GoogleAccess``, the class of ``request.google``, and request classes for annotations.

The request classes are for type checkers and readers: at run time a view gets Django's request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpRequest

from .web.access import GoogleAccess

if TYPE_CHECKING:
    from .models import GoogleAccount

__all__ = ["GoogleAccess", "GoogleAwareRequest", "GoogleRequiredRequest", "LinkedGoogleAccess"]


class LinkedGoogleAccess(GoogleAccess):
    """A :class:`GoogleAccess` with an account: the requirement of the view is met."""

    if TYPE_CHECKING:

        @property
        def account(self) -> GoogleAccount:
            """The account that the view uses."""


class GoogleAwareRequest(HttpRequest):
    """The request of a view under ``google_aware``: ``request.google.account`` may be ``None``."""

    google: GoogleAccess


class GoogleRequiredRequest(HttpRequest):
    """The request of a view under ``google_required``: ``request.google.account`` is set."""

    google: LinkedGoogleAccess
