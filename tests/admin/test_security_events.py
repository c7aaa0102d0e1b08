"""Received security events in the admin, read-only."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from django_google_link.models import SecurityEvent
from django_google_link.testing import FakeGoogle, FakeUser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver")]

PAGE = "admin:google_link_securityevent"


@pytest.fixture
def olga(google: FakeGoogle, alice: FakeUser, db: None) -> Any:
    """A superuser's browser, after an event was received."""
    google.send_security_event(
        Client(), "account-disabled", user=alice, details={"reason": "hijacking"}
    )
    browser = Client()
    browser.force_login(get_user_model().objects.create_superuser("olga"))
    return browser


def test_list(olga: Any, alice: FakeUser) -> None:
    """The list shows the events, their subject and effects, and can be searched by subject."""
    for query in ("", f"?q={alice.sub}"):
        page = olga.get(reverse(f"{PAGE}_changelist") + query).content.decode()
        assert "account-disabled" in page
        assert alice.sub in page
        assert "hijacking" in page
    assert (
        "account-disabled" not in olga.get(reverse(f"{PAGE}_changelist") + "?q=7").content.decode()
    )


def test_nothing_can_be_changed(olga: Any) -> None:
    """Rows cannot be added, changed or deleted."""
    key = SecurityEvent.objects.get().pk
    change = reverse(f"{PAGE}_change", args=[key])

    assert "account-disabled" in olga.get(change).content.decode()
    assert olga.post(change, {"types": "x"}).status_code == 403
    assert olga.get(reverse(f"{PAGE}_add")).status_code == 403
    assert olga.post(reverse(f"{PAGE}_delete", args=[key]), {"post": "yes"}).status_code == 403
    assert SecurityEvent.objects.filter(types="account-disabled").exists()
