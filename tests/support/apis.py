"""Google's APIs, and accounts with access to them."""

from __future__ import annotations

from typing import Any

from django_google_link.models import GoogleAccount
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, DRIVE, EVENTS


def serve_apis(google: FakeGoogle) -> None:
    """Serve a Calendar with one event, and a Drive."""

    @google.route("/calendar/v3/calendars/<id>/events", scopes=[CALENDAR])
    def events(request: Any, user: FakeUser, id: str) -> dict[str, Any]:
        return {"items": EVENTS}

    @google.route("/drive/v3/about", scopes=[DRIVE])
    def about(request: Any, user: FakeUser) -> dict[str, Any]:
        return {"user": {"emailAddress": user.email}}


def link_account(
    google: FakeGoogle, owner: Any, who: FakeUser, *scopes: str, **values: Any
) -> GoogleAccount:
    """Link an account, with a grant for the same scopes at Google."""
    serve_apis(google)
    tokens = google.grant(who, [*IDENTITY_SCOPES, *scopes])
    return make_google_account(
        owner,
        scopes=scopes,
        sub=who.sub,
        email=who.email,
        refresh_token=tokens.refresh_token,
        access_token=tokens.access_token,
        **values,
    )
