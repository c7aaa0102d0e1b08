"""Unlinking at a provider without a revocation endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_google_link.accounts.outbox import read_outbox
from django_google_link.accounts.revocations import RevocationOutcome
from django_google_link.models import PendingRevocation
from django_google_link.operations.revoke_pending import process_now
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked


@pytest.mark.django_db
def test_provider_without_revocation_endpoint_is_said_to_have_none(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    configure: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The token is sent nowhere; the log says where the grant is still valid."""
    configure(PROVIDER=None, REVOCATION_ENDPOINT=None)
    account = linked(user, google, alice)
    account.unlink()

    assert [process_now(row) for row in read_outbox()] == [RevocationOutcome.ABANDONED]

    assert f"is still authorized at {google.url}, which has no revocation endpoint" in caplog.text
    assert not PendingRevocation.objects.exists()
    assert google.requests_to("revoke") == []
    assert google.granted_scopes(alice)
