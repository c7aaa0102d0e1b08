"""Subjects are compared case-sensitively (OpenID Connect Core 1.0 section 2) on every database."""

from __future__ import annotations

from typing import Any

import pytest

from django_google_link.accounts.outbox import discard_revocations
from django_google_link.conf.clients import get_client
from django_google_link.models import GoogleAccount, PendingRevocation
from tests.support.accounts import save, token_of


@pytest.mark.django_db
@pytest.mark.parametrize("other", ["aBC", "Abc"])
def test_subjects_that_are_nearly_the_same_are_two_accounts(user: Any, other: str) -> None:
    """Linking one neither changes the other nor cancels its revocation."""
    first = save(user, "abc")
    second = save(user, other)

    assert GoogleAccount.objects.count() == 2
    assert first.pk != second.pk
    assert token_of(first, "refresh_token")

    second.delete()
    discard_revocations(get_client(), "abc", using="default")
    assert [row.sub for row in PendingRevocation.objects.all()] == [other]
