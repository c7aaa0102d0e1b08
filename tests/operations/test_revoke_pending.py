"""Revoking many grants with few requests, without failures delaying others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts.revocations import RevocationOutcome, process_grant
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.operations.revoke_pending import revoke_pending
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save
from tests.support.databases import at_once, new_user
from tests.support.providers import other_issuer
from tests.support.times import in_seconds
from tests.support.workers import just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

REVOKED, SHARED = RevocationOutcome.REVOKED, RevocationOutcome.SHARED
INVALID = {"status": 400, "body": {"error": "invalid_token"}}
REFUSED = {"status": 400, "body": {"error": "unsupported_token_type"}}


def unlink_from_many(google: FakeGoogle, alice: FakeUser, count: int) -> None:
    """Link Alice's account to this many users, one after the other, and delete them all."""
    for n in range(count):
        account = linked(new_user(f"user-{n}"), google, alice, access_token="")
        GoogleAccount.objects.filter(pk=account.pk).update(refreshed_at=in_seconds(n - 9999))
    get_user_model().objects.all().delete()
    assert PendingRevocation.objects.count() == count


def run(workers: int = 4) -> Counter[RevocationOutcome]:
    """Run the operation; return the number of each outcome."""
    return Counter(revoke_pending(workers=workers))


def asked(google: FakeGoogle) -> int:
    """Return the number of revocation requests."""
    return len(google.requests_to("revoke"))


@pytest.mark.slow
def test_grant_of_many_links_takes_one_request(google: FakeGoogle, alice: FakeUser) -> None:
    """Even if Google has invalidated most tokens: the newest one is tried first."""
    google.max_refresh_tokens = 5
    unlink_from_many(google, alice, 30)

    assert run() == {REVOKED: 30}

    assert asked(google) == 1
    assert google.granted_scopes(alice) is None


@pytest.mark.slow
def test_chunks_of_a_long_outbox(
    google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a grant that was settled in an earlier chunk cause no request."""
    unlink_from_many(google, alice, 600)

    assert run() == {REVOKED: 600}
    assert asked(google) == 1


@pytest.mark.slow
def test_token_that_google_does_not_know_settles_only_itself(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """The next token is tried."""
    unlink_from_many(google, alice, 6)
    google.fail_next(3, endpoint="revoke", **INVALID)

    assert run() == {REVOKED: 6}

    assert asked(google) == 4
    assert google.granted_scopes(alice) is None


@pytest.mark.slow
def test_tokens_that_google_knows_no_more_are_tried_each(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """An unknown token says nothing about the others."""
    unlink_from_many(google, alice, 6)
    google.revoke(alice)

    assert run() == {REVOKED: 6}
    assert asked(google) == 6


def test_new_link_in_the_middle_calls_off_the_rest(google: FakeGoogle, alice: FakeUser) -> None:
    """A link made between two attempts cancels the remaining ones."""
    unlink_from_many(google, alice, 4)
    google.fail_next(endpoint="revoke", **INVALID)
    table = PendingRevocation._meta.db_table

    with just_before(f'DELETE FROM "{table}', act=lambda: save(new_user(), alice.sub)):
        outcomes = process_grant(PendingRevocation.objects.order_by("-refreshed_at")[0].pk)

    assert outcomes == [REVOKED, SHARED, SHARED, SHARED]
    assert asked(google) == 1
    assert not PendingRevocation.objects.exists()
    assert google.granted_scopes(alice)


def test_link_that_lives_cancels_them_all(google: FakeGoogle, alice: FakeUser) -> None:
    """An active link is looked up once."""
    unlink_from_many(google, alice, 4)
    linked(new_user(), google, alice)

    assert run() == {RevocationOutcome.CANCELLED: 4}
    assert asked(google) == 0
    assert not PendingRevocation.objects.exists()


@pytest.mark.slow
def test_one_of_several_workers_takes_a_grant(google: FakeGoogle, alice: FakeUser) -> None:
    """Of several workers with different rows of a grant, one claims all of them."""
    unlink_from_many(google, alice, 8)
    google.fail_next(endpoint="revoke", delay=0.3, status=200)
    keys = list(PendingRevocation.objects.values_list("pk", flat=True))

    outcomes = at_once(*[lambda key=key: process_grant(key) for key in keys])

    assert sorted(outcomes) == [[]] * 7 + [[REVOKED] * 8]
    assert asked(google) == 1


def test_outage_postpones_a_grant_with_one_request(google: FakeGoogle, alice: FakeUser) -> None:
    """All rows of the grant get the same time."""
    unlink_from_many(google, alice, 5)
    google.fail_next(9, endpoint="revoke")

    assert run() == {RevocationOutcome.UNREACHABLE: 5}

    assert asked(google) == 1
    assert PendingRevocation.objects.filter(retry_at__gt=in_seconds(40), attempts=1).count() == 5


@pytest.mark.slow
def test_refusals_of_a_grant_are_bounded(google: FakeGoogle, alice: FakeUser) -> None:
    """Tokens that were not tried come first the next time."""
    unlink_from_many(google, alice, 5)
    google.fail_next(3, endpoint="revoke", **REFUSED)

    assert run() == {RevocationOutcome.POSTPONED: 5}
    assert asked(google) == 3

    PendingRevocation.objects.update(retry_at=in_seconds(-1))
    assert run() == {REVOKED: 5}
    assert len({request.form["token"] for request in google.requests_to("revoke")}) == 4


@pytest.mark.slow
def test_tokens_at_another_provider_are_each_revoked(
    google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """There each token has its own grant."""
    configure(PROVIDER=None)
    unlink_from_many(google, alice, 5)

    assert run() == {REVOKED: 5}
    assert asked(google) == 5


@pytest.mark.slow
def test_one_that_always_fails_keeps_nobody_waiting(google: FakeGoogle) -> None:
    """It comes first, and the others are revoked in the same run."""
    user = new_user()
    for n in range(40):
        linked(user, google, google.add_user(f"user-{n}@gmail.com"))
    GoogleAccount.objects.all().delete()
    first = PendingRevocation.objects.order_by("pk")[0]
    PendingRevocation.objects.filter(pk=first.pk).update(retry_at=in_seconds(-60))
    google.fail_next(endpoint="revoke")

    assert run(workers=1) == {REVOKED: 39, RevocationOutcome.UNREACHABLE: 1}
    assert PendingRevocation.objects.get() == first
    assert asked(google) == 40


def test_google_that_is_down_is_left_alone(google: FakeGoogle) -> None:
    """The run stops after a few consecutive failures."""
    user = new_user()
    for n in range(10):
        make_google_account(user, sub=str(n))
    GoogleAccount.objects.all().delete()
    google.fail_next(99, endpoint="revoke")

    assert run(workers=1) == {RevocationOutcome.UNREACHABLE: 3}

    assert asked(google) == 3
    now = timezone.now() + timedelta(seconds=1)
    assert PendingRevocation.objects.filter(retry_at__lte=now).count() == 7


def test_provider_that_is_down_stops_no_other(google: FakeGoogle, settings: Settings) -> None:
    """Only its own revocations are left to the next run, however many of them are older."""
    with other_issuer(settings) as other:
        user, ben = new_user(), other.add_user("ben@gmail.com")
        for n in range(10):
            make_google_account(user, sub=str(n))
        linked(user, other, ben, client="other")
        GoogleAccount.objects.all().delete()
        PendingRevocation.objects.filter(client="default").update(retry_at=in_seconds(-60))

        with google.failing(endpoint="revoke"):
            assert run(workers=1) == {RevocationOutcome.UNREACHABLE: 3, REVOKED: 1}

    assert asked(google) == 3
    assert PendingRevocation.objects.count() == 10


@pytest.mark.slow
def test_failures_that_are_not_in_a_row_stop_nothing(google: FakeGoogle) -> None:
    """A success resets the count."""
    user = new_user()
    for n in range(9):
        linked(user, google, google.add_user(f"user-{n}@gmail.com"))
    GoogleAccount.objects.all().delete()
    for fault in ({}, {}, {"status": 200}, {}, {}):
        google.fail_next(endpoint="revoke", **fault)

    assert run(workers=1) == {REVOKED: 5, RevocationOutcome.UNREACHABLE: 4}


def test_revocation_that_has_gone_takes_no_request(google: FakeGoogle, alice: FakeUser) -> None:
    """A row deleted since the outbox was read causes no request."""
    unlink_from_many(google, alice, 1)
    pending: Any = PendingRevocation.objects.get()
    with just_before("UPDATE", act=PendingRevocation.objects.all().delete):
        assert process_grant(pending.pk) == []
    assert process_grant(pending.pk) == []
    assert asked(google) == 0
