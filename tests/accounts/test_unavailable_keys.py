"""Refreshes while the keys of an issuer's ID tokens cannot be fetched."""

from __future__ import annotations

import pytest

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import attempt, stale
from tests.support.databases import new_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def accounts(shared_database: None, google: FakeGoogle, alice: FakeUser) -> list[GoogleAccount]:
    """Two accounts with expired access tokens, whose names have changed at the issuer."""
    return [stale(new_user(name), google, alice, name=name) for name in ("clara", "dora")]


def test_keys_are_left_alone_once_they_could_not_be_fetched(
    google: FakeGoogle, accounts: list[GoogleAccount], alice: FakeUser
) -> None:
    """Otherwise each refresh would wait for them; a later one takes over the name."""
    with google.failing(endpoint="certs"):
        assert [attempt(account) for account in accounts] == ["token", "token"]
    assert len(google.requests_to("certs")) == 1

    with travel(hours=1):
        assert attempt(accounts[0]) == "token"
    assert GoogleAccount.objects.get(pk=accounts[0].pk).name == alice.name


@pytest.mark.slow
def test_keys_are_not_waited_for_as_long_as_a_token(
    google: FakeGoogle, accounts: list[GoogleAccount], caplog: pytest.LogCaptureFixture
) -> None:
    """The token is there, and a new name can wait."""
    with google.failing(endpoint="certs", delay=3):
        assert attempt(accounts[0]) == "token"

    assert "cannot be used: No usable response at present (timeout)" in caplog.text
