"""The number of connections that ``google_link_refresh`` opens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.management import call_command

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle
from django_google_link.testing.accounts import make_google_account
from tests.support.databases import new_user
from tests.support.hostile_servers import Seen, hostile_server, make_answer
from tests.support.times import in_seconds


def answer(seen: Seen) -> bytes:
    """Return a new token."""
    return make_answer({"access_token": f"ya29.{len(seen.body)}", "expires_in": 3600})


@pytest.mark.slow
def test_refresh_opens_as_many_connections_as_there_are_workers(
    shared_database: None, google: FakeGoogle, configure: Callable[..., None]
) -> None:
    """Even for two hundred accounts."""
    with hostile_server(answer=answer) as server:
        configure(TOKEN_ENDPOINT=f"{server.url}/token")
        user = new_user()
        for number in range(200):
            make_google_account(user, sub=str(number), access_token_expires_at=in_seconds(-60))

        call_command("google_link_refresh", expiring_within=15, workers=4, verbosity=0)

        assert len(server.requests) == 200
        assert server.connections <= 4
    assert not GoogleAccount.objects.filter(access_token_expires_at__lt=in_seconds(0)).exists()
