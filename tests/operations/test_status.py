"""``google_link_status``, for operators, programs and monitoring."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.conf.clients import get_client
from django_google_link.encryption.keyring import key_ids
from django_google_link.exceptions import ClientMisconfiguredError
from django_google_link.models import CircuitBreaker, GoogleAccount, PendingRevocation, Status
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked
from tests.support.constants import OTHER_KEY
from tests.support.databases import new_user

pytestmark = pytest.mark.django_db

NOTHING_WAITS = (
    "\nFailing refreshes: 0\nPending revocations: 0\nGrants that expire within a week: 0\n"
    "No problems.\n"
)


def run(**options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_status", stdout=out, **options)
    return out.getvalue()


def problems() -> str:
    """Return the problems that ``--check`` reports."""
    with pytest.raises(CommandError) as error:
        run(check=True)
    assert str(error.value) in run()
    return str(error.value)


def ago(**time: float) -> Any:
    return timezone.now() - timedelta(**time)


def test_status_of_an_empty_site() -> None:
    """Without links."""
    assert run(check=True) == "No accounts are linked.\n" + NOTHING_WAITS


def test_status_counts_by_what_matters(
    user: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """By client, status, reason and key, with a constant number of queries."""
    for _ in range(3):
        make_google_account(user)
    mark_lost(make_google_account(user), "revoked")
    GoogleAccount.objects.create(user=user, client="default", sub="1")
    damaged = make_google_account(user)
    GoogleAccount.objects.filter(pk=damaged.pk).update(sealed_refresh_token="1//pasted-token")
    [key] = key_ids()

    with django_assert_num_queries(6):
        said = run()

    assert said == (
        "client   status                 reason   key       accounts\n"
        "default  active                          none      1\n"
        "default  active                          damaged   1\n"
        f"default  active                          {key}  3\n"
        f"default  needs_reauthorization  revoked  {key}  1\n" + NOTHING_WAITS
    )


def test_status_for_programs(user: Any) -> None:
    """The output is JSON and nothing else."""
    make_google_account(user)
    GoogleAccount.objects.update(refresh_failing_since=ago(minutes=5))

    content = json.loads(run(json=True))

    [key] = key_ids()
    group = {"client": "default", "status": "active", "reason": "", "key": key, "accounts": 1}
    assert content["accounts"] == [group]
    assert content["failing_refreshes"]["count"] == 1
    assert content["failing_refreshes"]["since"]
    assert content["pending_revocations"] == {"count": 0, "since": None}
    assert content["problems"] == []


def test_status_for_programs_that_monitor(user: Any, settings: Settings) -> None:
    """Everything is printed, and the exit code tells whether there are problems."""
    make_google_account(user, client="gone")
    out = io.StringIO()

    with pytest.raises(CommandError, match="'gone'"):
        call_command("google_link_status", json=True, check=True, stdout=out)

    assert len(json.loads(out.getvalue())["problems"]) == 1


def test_status_knows_a_key_that_is_gone(user: Any, settings: Settings) -> None:
    """Tokens of links and of pending revocations may need it."""
    [key] = key_ids()
    make_google_account(user)
    make_google_account(user).delete()
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}

    assert problems().startswith(f"The key {key}, which is not configured, is needed for 2 of")

    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": []}
    assert "is needed for 2 of" in problems()


def test_status_knows_a_client_that_is_gone(user: Any, settings: Settings) -> None:
    """Its accounts can be neither refreshed nor revoked."""
    make_google_account(user)
    make_google_account(user, client="gone")

    assert problems() == "There are accounts of the client 'gone', which is not configured."

    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {}}
    assert "'default'" in problems()


def test_status_is_patient_with_google(user: Any) -> None:
    """Half an hour of failures is not a problem; two hours are."""
    make_google_account(user)
    GoogleAccount.objects.update(refresh_failing_since=ago(minutes=30))
    assert "Failing refreshes: 1, the oldest since 20" in run(check=True)

    GoogleAccount.objects.update(refresh_failing_since=ago(hours=2))
    assert problems().startswith("Failing refreshes: 1, the oldest since 20")


def test_status_knows_when_nobody_revokes(user: Any) -> None:
    """The command has to run every few minutes."""
    make_google_account(user).delete()
    assert "Pending revocations: 1, the oldest since 20" in run(check=True)

    PendingRevocation.objects.update(created_at=ago(days=2))
    assert "check that google_link_revoke_pending runs" in problems()


def test_status_does_not_mind_what_users_do(user: Any) -> None:
    """Users who revoke access are not a problem."""
    mark_lost(make_google_account(user), "revoked")

    assert "No problems." in run(check=True)


def test_status_knows_that_google_refuses_the_client(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """The accounts do not change, but no tokens are issued."""
    account = linked(new_user(), google, alice, access_token_expires_at=ago(minutes=1))
    google.error_next("invalid_client", status=401, count=2)
    with pytest.raises(ClientMisconfiguredError):
        fresh_access_token(account)
    assert "Failing refreshes: 1" in run(check=True)

    GoogleAccount.objects.update(refresh_failing_since=ago(hours=2))
    with pytest.raises(ClientMisconfiguredError):
        fresh_access_token(account)
    assert "Failing refreshes: 1, the oldest since" in problems()

    fresh_access_token(account)
    assert "Failing refreshes: 0" in run(check=True)


def test_status_does_not_mind_the_policy_of_one_organization(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """A policy may last for years, and operators cannot change it."""
    account = linked(new_user(), google, alice, access_token_expires_at=ago(minutes=1))
    google.error_next("admin_policy_enforced")
    with pytest.raises(ClientMisconfiguredError):
        fresh_access_token(account)

    assert "Failing refreshes: 0" in run(check=True)


def test_status_does_not_mind_a_lost_account_that_was_checked_in_vain(user: Any) -> None:
    """It is not refreshed any more, and its user has to act anyway."""
    mark_lost(make_google_account(user), "revoked")
    GoogleAccount.objects.update(refresh_failing_since=ago(hours=2))

    assert "Failing refreshes: 0" in run(check=True)


def open_circuit(issuer: str) -> None:
    """Let an issuer have been unavailable for two hours."""
    CircuitBreaker.objects.create(
        digest=issuer[:64], issuer=issuer, opened_at=ago(hours=2), retry_at=ago(hours=1)
    )


def test_status_knows_an_outage(
    user: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """One query more tells whether an account is concerned."""
    make_google_account(user)
    issuer = get_client().issuer
    open_circuit(issuer)

    with django_assert_num_queries(7):
        assert f"No response from {issuer} since 20" in run()

    assert problems().startswith(f"The issuer {issuer} has not responded since 20")


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://elsewhere.example"},
        {"issuer": "HTTPS://ACCOUNTS.GOOGLE.COM"},
        {"status": Status.NEEDS_REAUTHORIZATION},
    ],
)
def test_status_does_not_mind_an_issuer_that_no_active_account_needs(
    user: Any, change: dict[str, str]
) -> None:
    """Nobody asks it again, so its circuit stays open; issuers are told apart to the letter."""
    make_google_account(user)
    open_circuit(get_client().issuer)
    GoogleAccount.objects.update(**change)

    assert "No response" not in run(check=True)


def test_status_does_not_mind_a_provider_that_is_gone(
    user: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Its client has been removed from the settings, and its links have been deleted."""
    make_google_account(user)
    open_circuit("https://gone.example")

    with django_assert_num_queries(6):
        assert "No response" not in run(check=True)
