"""What monitoring is told: every request to an OAuth endpoint, revocations, and waits."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from django_google_link import signals
from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.exceptions import (
    GoogleLinkError,
    RefreshUnavailableError,
    TokenEndpointError,
)
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.oauth.measurements import judge_error
from django_google_link.oauth.measurements import measured as measuring
from django_google_link.services import ServiceAccount, access_token
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, stale, token_of
from tests.support.constants import CALENDAR
from tests.support.databases import new_user
from tests.support.flow import link
from tests.support.signals import connected, measured
from tests.support.times import in_seconds

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


def request(kind: str, outcome: str, client: str = "default") -> dict[str, Any]:
    """Return what is told of a request."""
    return {"kind": kind, "client": client, "outcome": outcome}


@pytest.mark.slow
def test_life_of_a_link(client: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """The code, the keys of the ID token, a refresh, a check, and the end."""
    client.force_login(new_user())
    with (
        measured(signals.token_request_finished) as requests,
        measured(signals.revocation_finished) as revocations,
    ):
        link(client, google, alice)
        account = GoogleAccount.objects.get()
        google.expire_access_tokens()
        access_token(account, rejected=token_of(account, "access_token"))
        GoogleAccount.objects.update(sealed_access_token="")
        fresh_access_token(account)
        check_grant(account)
        account.unlink()

    assert requests == [
        request("exchange", "success"),
        request("published", "success", client=""),
        request("forced_refresh", "success"),
        request("refresh", "success"),
        request("check", "success"),
        request("revoke", "success"),
    ]
    assert revocations == [{"client": "default", "outcome": "revoked"}]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"error": "invalid_grant"}, "invalid_grant"),
        ({"error": "invalid_client"}, "client_refused"),
        ({"error": "access_denied"}, "refused"),
        ({"error": "word_of_a_hostile_provider"}, "refused"),
        ({"status": 503}, "unavailable"),
        ({"status": 200, "body": {}}, "unavailable"),
    ],
)
def test_outcome_of_a_refresh(
    google: FakeGoogle, alice: FakeUser, fault: dict[str, Any], outcome: str
) -> None:
    """One of a few words, of which a label of a metric can be made."""
    account = stale(new_user(), google, alice)
    if "error" in fault:
        google.error_next(fault["error"])
    else:
        google.fail_next(**fault)

    with (
        measured(signals.token_request_finished) as requests,
        measured(signals.token_wait_finished) as waits,
        pytest.raises(GoogleLinkError),
    ):
        fresh_access_token(account)

    assert requests == [request("refresh", outcome)]
    assert waits == [{"client": "default", "outcome": "failed"}]


def test_other_outcomes() -> None:
    """Of this machine's network, and of a worker that is told to stop."""
    assert judge_error(RefreshUnavailableError("timeout")) == "timeout"
    assert judge_error(RefreshUnavailableError("unreachable")) == "unreachable"
    assert judge_error(TokenEndpointError("timeout")) == "timeout"
    with (
        measured(signals.token_request_finished) as requests,
        pytest.raises(SystemExit),
        measuring("refresh", "default"),
    ):
        raise SystemExit
    assert requests == [request("refresh", "interrupted")]


def test_receiver_that_fails_disturbs_nobody(google: FakeGoogle, alice: FakeUser) -> None:
    """Monitoring is no reason for a view to fail."""

    def fail(**arguments: Any) -> None:
        raise RuntimeError("A receiver of the project's own.")

    account = stale(new_user(), google, alice)
    with (
        connected(signals.token_request_finished, fail),
        connected(signals.token_wait_finished, fail),
    ):
        assert fresh_access_token(account).is_new


@pytest.mark.slow
def test_waits_of_callers(google: FakeGoogle, alice: FakeUser, settings: Any) -> None:
    """Of those who find a token that is good nobody waits."""
    account = stale(new_user(), google, alice)
    with measured(signals.token_wait_finished) as waits:
        fresh_access_token(account)
        fresh_access_token(account)
        assert waits == [{"client": "default", "outcome": "token"}]

        GoogleAccount.objects.update(
            sealed_access_token="",
            refresh_lease=account.pk,
            refresh_lease_expires_at=in_seconds(60),
        )
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REFRESH_WAIT": 0.1}
        with pytest.raises(RefreshUnavailableError):
            fresh_access_token(account)

    assert waits[1:] == [{"client": "default", "outcome": "timeout"}]


def test_revocations(google: FakeGoogle, alice: FakeUser) -> None:
    """Those that have to wait, those that are called off, and those that nobody needs."""
    user = new_user()
    with (
        measured(signals.revocation_finished) as revocations,
        measured(signals.token_request_finished) as requests,
    ):
        with google.failing(endpoint="revoke", status=503):
            linked(user, google, alice).unlink()
        linked(user, google, alice)
        PendingRevocation.objects.update(retry_at=GoogleAccount.objects.get().linked_at)
        call_command("google_link_revoke_pending", stdout=io.StringIO())
        google.revoke(alice)
        GoogleAccount.objects.get().unlink()

    assert [one["outcome"] for one in revocations] == ["unreachable", "cancelled", "revoked"]
    assert requests == [
        request("revoke", "unavailable"),
        *[request("revoke", "invalid_token")] * 2,
    ]


@pytest.mark.slow
def test_service_accounts(google: FakeGoogle, settings: Any) -> None:
    """By the name that they have in the settings."""
    key = google.service_account_info(google.add_service_account())
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "SERVICE_ACCOUNTS": {"reports": {"INFO": key, "API_ENDPOINT": google.url}},
    }
    with measured(signals.token_request_finished) as requests:
        google.error_next("invalid_grant")
        with pytest.raises(GoogleLinkError):
            access_token(ServiceAccount("reports"), scopes=[CALENDAR])
        access_token(ServiceAccount("reports"), scopes=[CALENDAR])

    assert requests == [
        request("service_account", "invalid_grant", client="reports"),
        request("service_account", "success", client="reports"),
    ]
