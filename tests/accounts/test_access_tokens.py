"""Fresh access tokens: from the database, from Google, or an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks, Settings

from django_google_link.accounts import revocations
from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.stored_tokens import refresh_leeway, stored_access_token
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import (
    ClientMisconfiguredError,
    EncryptionKeyUnavailableError,
    GrantLostError,
    NotLinkedError,
    RefreshUnavailableError,
    TokenUndecryptableError,
)
from django_google_link.models import GoogleAccount, PendingRevocation, Status
from django_google_link.secret import Secret
from django_google_link.services import access_token, authorized_session, build_service
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save, stale, token_of
from tests.support.constants import CALENDAR, DRIVE, OPENID, OTHER_KEY
from tests.support.databases import new_user
from tests.support.signals import heard
from tests.support.tables import table
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = pytest.mark.django_db

CLIENT_ERRORS = [
    ("invalid_client", 401),
    ("unauthorized_client", 401),
    ("deleted_client", 401),
    ("disabled_client", 401),
    ("org_internal", 403),
    ("admin_policy_enforced", 400),
    ("redirect_uri_mismatch", 400),
    ("invalid_scope", 400),
]

FAULTS: dict[str, dict[str, Any]] = {
    "503": {"status": 503},
    "500 in JSON": {"status": 500, "body": {"error": "internal_failure"}},
    "500 invalid_grant": {"status": 500, "body": {"error": "invalid_grant"}},
    "429": {"status": 429, "body": {"error": "rate_limit_exceeded"}},
    "408": {"status": 408},
    "rate limit as HTML": {"status": 403, "body": "<html>Rate", "content_type": "text/html"},
    "temporarily unavailable": {"status": 400, "body": {"error": "temporarily_unavailable"}},
    "a list": {"status": 200, "body": ["ya29.token"]},
    "no token": {"status": 200, "body": {"token_type": "Bearer"}},
    "a token that is a number": {"status": 200, "body": {"access_token": 5}},
    "an error that is a list": {"status": 400, "body": {"error": ["invalid_grant"]}},
    "no JSON": {"status": 200, "body": "access_token=ya29.token"},
    "HTML": {"status": 200, "body": "<html>", "content_type": "text/html"},
    "a redirect": {"status": 302, "headers": {"Location": "https://example.com/"}},
    "closed": {"drop": True},
    "half an answer": {"status": 200, "body": {"access_token": "ya29.token"}, "drop": True},
}


def fresh(account: GoogleAccount, rejected: str | None = None) -> str:
    """Return a fresh access token as a plain string."""
    token = fresh_access_token(account, rejected=Secret(rejected) if rejected else None)
    return token.value.reveal()


# Without asking Google


def test_fresh_access_token_that_lives_is_not_refreshed(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """A valid stored token takes one query."""
    expires_at = in_seconds(3599)
    account = linked(user, google, alice, access_token_expires_at=expires_at)

    with django_assert_num_queries(1):
        token = fresh_access_token(account)

    assert token.value == account.unseal_token("access_token")
    assert token.expires_at == expires_at
    assert google.requests == []


def test_fresh_access_token_adopts_what_another_worker_stored(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The row is read again: a token that another worker has stored is returned."""
    account = stale(user, google, alice)
    save(user, alice.sub, access_token=Secret("ya29.newer"))

    assert fresh(account) == "ya29.newer"
    assert google.requests == []


def test_fresh_access_token_adopts_one_that_was_not_rejected(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A stored token other than the rejected one is returned."""
    account = linked(user, google, alice)

    assert fresh(account, rejected="ya29.old") == token_of(account, "access_token")
    assert google.requests == []


@pytest.mark.parametrize(
    ("leeway", "life", "is_fresh"),
    [(None, 290, False), (None, 310, True), (600, 590, False), (600, 610, True)],
)
def test_fresh_access_token_near_its_end_is_refreshed_first(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    settings: Settings,
    leeway: int | None,
    life: int,
    is_fresh: bool,
) -> None:
    """A token is refreshed ``REFRESH_LEEWAY`` before its expiry."""
    if leeway:
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REFRESH_LEEWAY": leeway}
    account = linked(user, google, alice, access_token_expires_at=in_seconds(life))
    stored = token_of(account, "access_token")

    token = fresh(account)

    assert (token == stored) is is_fresh
    assert len(google.requests_to("token")) == (0 if is_fresh else 1)


def test_fresh_access_token_without_expiry_serves_until_it_is_rejected(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A token without a known expiry is not refreshed by itself."""
    account = linked(user, google, alice, access_token_expires_at=None)
    stored = token_of(account, "access_token")

    assert fresh(account) == stored
    assert fresh(account, rejected=stored) != stored
    assert len(google.requests) == 1


def test_stored_access_token_never_asks_anybody(
    google: FakeGoogle,
    user: Any,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """Reading a stored token makes no query and no request."""
    account = make_google_account(user, access_token="ya29.stored")
    without = make_google_account(user, access_token="")

    with django_assert_num_queries(0):
        token = stored_access_token(account, leeway=refresh_leeway())
        nothing = stored_access_token(without, leeway=refresh_leeway())

    assert token is not None and token.value == Secret("ya29.stored")
    assert nothing is None
    assert stored_access_token(account, leeway=timedelta(hours=2)) is None
    assert google.requests == []


# A refresh that works


def test_fresh_access_token_when_the_newer_one_has_expired_too_is_refreshed_once(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """An expired token stored by another worker is refreshed."""
    account = stale(user, google, alice)
    save(
        user,
        alice.sub,
        refresh_token=None,
        access_token=Secret("ya29.newer"),
        access_token_expires_at=in_seconds(-1),
    )

    token = fresh(account)

    assert token not in {"ya29.newer", "ya29.access-token"}
    assert token == token_of(account, "access_token")
    assert len(google.requests_to("token")) == 1


def test_fresh_access_token_refreshes_and_stores(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """A refresh stores token, expiry and time, and sends one signal after the commit."""
    account = stale(user, google, alice)
    before = timezone.now()

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        token = fresh_access_token(account)
        assert news == []

    account.refresh_from_db()
    assert account.unseal_token("access_token") == token.value
    assert account.access_token_expires_at == token.expires_at
    assert token.expires_at is not None
    assert before + timedelta(seconds=3599) <= token.expires_at
    assert token.expires_at <= timezone.now() + timedelta(seconds=3599)
    assert account.refreshed_at is not None and account.refreshed_at >= before
    assert news == [("token_refreshed", {"account": account})]
    assert fresh(account) == token.value.reveal()
    assert len(google.requests) == 1


def test_fresh_access_token_sends_the_refresh_token_in_the_body_and_no_scope(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The request has no scope parameter, which could cause invalid_scope."""
    account = stale(user, google, alice)

    fresh(account)

    [request] = google.requests
    assert (request.method, request.path, request.query) == ("POST", "/token", {})
    assert request.form == {
        "grant_type": "refresh_token",
        "refresh_token": token_of(account, "refresh_token"),
        "client_id": google.client.client_id,
        "client_secret": google.client.client_secret,
    }


def test_fresh_access_token_that_was_rejected_is_refreshed(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A rejected token is replaced although it has not expired."""
    account = linked(user, google, alice)
    stored = token_of(account, "access_token")

    token = fresh(account, rejected=stored)

    assert token != stored
    assert token == token_of(account, "access_token")
    assert len(google.requests_to("token")) == 1


def test_fresh_access_token_keeps_the_refresh_token(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A response without a refresh token keeps the stored one."""
    account = stale(user, google, alice)
    before = token_of(account, "refresh_token")

    fresh(account)

    assert token_of(account, "refresh_token") == before


def test_fresh_access_token_takes_a_rotated_refresh_token(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A rotated refresh token replaces the stored one."""
    account = stale(user, google, alice)
    rotated = {
        "access_token": "ya29.next",
        "token_type": "Bearer",
        "expires_in": 3599,
        "refresh_token": "1//rotated",
        "refresh_token_expires_in": 604_800,
    }
    google.fail_next(status=200, body=rotated)

    assert fresh(account) == "ya29.next"
    account.refresh_from_db()
    assert token_of(account, "refresh_token") == "1//rotated"
    assert account.refresh_token_expires_at > in_seconds(604_000)


@pytest.mark.usefixtures("shared_database")
def test_rotated_refresh_token_of_a_link_that_is_gone_is_revoked(
    google: FakeGoogle, alice: FakeUser
) -> None:
    """If the account is unlinked during a refresh, the rotated refresh token is revoked."""
    account = stale(new_user(), google, alice)
    rotated = {"access_token": "ya29.next", "expires_in": 3599, "refresh_token": "1//rotated"}
    google.fail_next(status=200, body=rotated)

    with during_refresh(google, account.unlink), pytest.raises(NotLinkedError):
        fresh(account)

    assert "1//rotated" in [request.form["token"] for request in google.requests_to("revoke")]
    assert not PendingRevocation.objects.exists()


def test_fresh_access_token_from_an_answer_without_expiry(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A token without ``expires_in`` is stored, and returned again without a refresh."""
    account = stale(user, google, alice)
    google.fail_next(status=200, body={"access_token": "ya29.next", "token_type": "Bearer"})

    token = fresh_access_token(account)

    assert token.expires_at is None
    assert fresh(account) == "ya29.next"
    assert len(google.requests) == 1


def test_fresh_access_token_notes_scopes_that_were_cut(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """A refresh that states other scopes changes those in the row, and a signal is sent."""
    account = stale(user, google, alice)
    google.set_scopes(alice, [*OPENID, DRIVE])

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        fresh(account)

    account.refresh_from_db()
    assert account.granted_scopes == sorted([*OPENID, DRIVE])
    assert [name for name, _ in news] == ["token_refreshed", "scopes_changed"]
    assert news[1][1]["added"] == {DRIVE}
    assert news[1][1]["removed"] == {CALENDAR}


def test_fresh_access_token_from_an_answer_without_scopes_keeps_them(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """RFC 6749 section 6: omitted scopes are unchanged."""
    account = stale(user, google, alice)
    google.fail_next(status=200, body={"access_token": "ya29.next", "token_type": "Bearer"})

    fresh(account)

    account.refresh_from_db()
    assert account.granted_scopes == sorted([*OPENID, CALENDAR])


def test_fresh_access_token_does_not_touch_who_the_account_is(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A refresh with an invalid ID token leaves the profile unchanged."""
    account = stale(user, google, alice)
    alice.email = "renamed@gmail.com"
    google.tamper_next_id_token(raw="nonsense")

    fresh(account)

    again = GoogleAccount.objects.get()
    for name in ("user_id", "sub", "email", "email_verified", "is_default", "linked_at", "client"):
        assert getattr(again, name) == getattr(account, name)


def test_fresh_access_token_when_the_stored_one_is_damaged_is_refreshed(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A stored access token that cannot be decrypted is refreshed."""
    account = linked(user, google, alice)
    GoogleAccount.objects.update(sealed_access_token="gl1.damaged")

    token = fresh(account)

    assert token == token_of(account, "access_token")
    assert GoogleAccount.objects.get().status == Status.ACTIVE


# No account, no grant


def test_fresh_access_token_of_a_row_that_is_gone(google: FakeGoogle, user: Any) -> None:
    """If the account was unlinked meanwhile, Google is not asked."""
    account = make_google_account(user)
    GoogleAccount.objects.all().delete()

    with pytest.raises(NotLinkedError):
        fresh_access_token(account)

    assert google.requests == []


def test_fresh_access_token_of_a_lost_grant_is_refused_without_asking(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A lost grant raises an error with the stored reason, without a request."""
    account = linked(
        user, google, alice, status=Status.NEEDS_REAUTHORIZATION, status_reason="session_policy"
    )

    with pytest.raises(GrantLostError) as caught:
        fresh_access_token(account)

    assert caught.value.reason == "session_policy"
    assert caught.value.account == account
    assert google.requests == []


@pytest.mark.parametrize("access_token", ["", "ya29.stored"])
def test_fresh_access_token_without_a_refresh_token(
    google: FakeGoogle, user: Any, access_token: str
) -> None:
    """Without a refresh token the account has to be linked again."""
    account = make_google_account(user, refresh_token="", access_token=access_token)

    with pytest.raises(GrantLostError):
        fresh_access_token(account)

    assert google.requests == []


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("subtype", "reason"),
    [
        (None, "revoked"),
        ("something_new", "revoked"),
        ("invalid_rapt", "session_policy"),
        ("rapt_required", "session_policy"),
    ],
)
def test_fresh_access_token_of_a_dead_grant_marks_the_account_once(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
    subtype: str | None,
    reason: str,
) -> None:
    """invalid_grant marks the account as lost and is signalled once; nothing is revoked."""
    account = stale(user, google, alice)
    refresh_token = token_of(account, "refresh_token")
    google.error_next("invalid_grant", subtype=subtype, count=2)

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        for _ in range(2):
            with pytest.raises(GrantLostError) as caught:
                fresh_access_token(account)
            assert caught.value.reason == reason
            assert caught.value.account == account

    lost = GoogleAccount.objects.get()
    assert (lost.status, lost.status_reason) == (Status.NEEDS_REAUTHORIZATION, reason)
    assert lost.status_changed_at > account.status_changed_at
    assert news == [("authorization_lost", {"account": account, "reason": reason})]
    assert len(google.requests_to("token")) == 1
    assert google.requests_to("revoke") == []
    assert google.granted_scopes(alice) is not None
    assert str(account.pk) in caplog.text
    assert refresh_token is not None and refresh_token not in caplog.text


def test_fresh_access_token_of_a_revoked_grant_asks_once(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """If the user revoked access at Google, the unexpired access token is deleted as well."""
    account = linked(user, google, alice)
    google.revoke(alice)

    with pytest.raises(GrantLostError):
        fresh(account, rejected=token_of(account, "access_token"))
    with pytest.raises(GrantLostError):
        fresh(account)

    assert token_of(account, "access_token") is None
    assert len(google.requests) == 1


def test_fresh_access_token_after_a_new_link_works_again(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """After a grant was lost, linking the account again makes it work."""
    account = stale(user, google, alice)
    google.revoke(alice)
    with pytest.raises(GrantLostError):
        fresh(account)
    tokens = google.grant(alice, [*OPENID, CALENDAR])

    save(user, alice.sub, access_token=Secret(tokens.access_token))

    assert fresh(account) == tokens.access_token


def test_fresh_access_token_that_is_lost_in_a_rollback_is_not_told(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """If the loss is rolled back, no signal is sent."""
    account = stale(user, google, alice)
    google.revoke(alice)

    with heard() as news, transaction.atomic():
        with pytest.raises(GrantLostError):
            fresh_access_token(account)
        transaction.set_rollback(True)

    assert news == []
    assert GoogleAccount.objects.get().status == Status.ACTIVE


# A refresh that fails


@pytest.mark.matrix
@pytest.mark.parametrize(("error", "status"), CLIENT_ERRORS)
def test_fresh_access_token_when_google_refuses_the_client_leaves_the_account(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
    error: str,
    status: int,
) -> None:
    """A misconfigured client does not change accounts."""
    account = stale(user, google, alice)
    before = table()
    google.error_next(error, description="The text.", status=status)

    with (
        heard() as news,
        django_capture_on_commit_callbacks(execute=True),
        pytest.raises(ClientMisconfiguredError) as caught,
    ):
        fresh_access_token(account)

    assert (caught.value.error, caught.value.status) == (error, status)
    assert caught.value.error_description == "The text."
    assert table() == before
    assert news == []
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error in record.getMessage()
    assert "'default'" in record.getMessage()


@pytest.mark.matrix
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_fresh_access_token_when_google_is_out_of_order_leaves_the_account(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    fault: dict[str, Any],
) -> None:
    """Transient errors do not change the status, and the next attempt works."""
    account = stale(user, google, alice)
    before = table()
    google.fail_next(**fault)

    with (
        heard() as news,
        django_capture_on_commit_callbacks(execute=True),
        pytest.raises(RefreshUnavailableError),
    ):
        fresh_access_token(account)

    assert table() == before
    assert news == []
    assert fresh(account) == token_of(account, "access_token")


def test_fresh_access_token_when_nobody_listens_leaves_the_account(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Connection errors do not change the status."""
    account = stale(user, google, alice)
    before = table()
    google.stop()

    with pytest.raises(RefreshUnavailableError):
        fresh_access_token(account)

    assert table() == before


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"drop": True}])
def test_fresh_access_token_in_an_outage_serves_what_still_lives(
    google: FakeGoogle, alice: FakeUser, user: Any, fault: dict[str, Any]
) -> None:
    """If a refresh fails, a token that has not expired yet is returned."""
    expires_at = in_seconds(100)
    account = linked(user, google, alice, access_token_expires_at=expires_at)
    stored = token_of(account, "access_token")
    google.fail_next(**fault)

    token = fresh_access_token(account)

    assert (token.value.reveal(), token.expires_at) == (stored, expires_at)
    assert len(google.requests_to("token")) == 1


def test_fresh_access_token_when_the_client_is_refused_serves_what_still_lives(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """If Google refuses the client, a token that has not expired yet is returned."""
    account = linked(user, google, alice, access_token_expires_at=in_seconds(100))
    google.error_next("deleted_client", status=401)

    assert fresh(account) == token_of(account, "access_token")


def test_fresh_access_token_in_an_outage_never_serves_what_was_rejected(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """If a refresh fails, a token that an API has rejected is not returned."""
    account = linked(user, google, alice)
    google.fail_next()

    with pytest.raises(RefreshUnavailableError):
        fresh(account, rejected=token_of(account, "access_token"))


@pytest.mark.parametrize("column", ["sealed_access_token", "sealed_refresh_token"])
def test_fresh_access_token_without_the_key_leaves_the_row(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings, column: str
) -> None:
    """A missing encryption key does not change accounts."""
    account = linked(user, google, alice)
    if column == "sealed_refresh_token":
        GoogleAccount.objects.update(sealed_access_token="")
    before = table()
    right = settings.GOOGLE_LINK
    settings.GOOGLE_LINK = {**right, "ENCRYPTION_KEYS": [OTHER_KEY]}

    with pytest.raises(EncryptionKeyUnavailableError):
        fresh_access_token(account)

    assert table() == before
    assert google.requests == []
    settings.GOOGLE_LINK = right
    assert fresh(account)


def test_fresh_access_token_without_the_client_leaves_the_row(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A client missing from the settings does not change accounts."""
    account = stale(user, google, alice, client="gone")
    before = table()

    with pytest.raises(ImproperlyConfigured):
        fresh_access_token(account)

    assert table() == before


def test_fresh_access_token_with_a_damaged_refresh_token_needs_a_new_link(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """A refresh token that cannot be decrypted marks the account as lost, without a request."""
    account = stale(user, google, alice)
    GoogleAccount.objects.update(sealed_refresh_token=account.sealed_access_token)

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        with pytest.raises(TokenUndecryptableError) as caught:
            fresh_access_token(account)
        with pytest.raises(GrantLostError) as caught_again:
            fresh_access_token(account)

    assert caught.value.account == account
    assert caught_again.value.reason == "undecryptable"
    lost = GoogleAccount.objects.get()
    assert (lost.status, lost.status_reason) == (Status.NEEDS_REAUTHORIZATION, "undecryptable")
    assert news == [("authorization_lost", {"account": account, "reason": "undecryptable"})]
    assert google.requests == []


# While a refresh is under way


def test_refresh_while_the_grant_is_renewed_keeps_the_new_grant(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """If the account is linked again during a refresh, the response is discarded."""
    user = new_user()
    account = stale(user, google, alice)
    google.fail_next(
        status=200, body={"access_token": "ya29.late", "refresh_token": "1//late", "scope": DRIVE}
    )

    with during_refresh(google, lambda: save(user, alice.sub)):
        fresh_access_token(account)

    assert token_of(account, "access_token") == "ya29.new"
    assert token_of(account, "refresh_token") == "1//new"
    assert GoogleAccount.objects.get().granted_scopes == sorted([*OPENID, CALENDAR])


def test_refresh_of_a_dead_grant_while_it_is_renewed_loses_nothing(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """invalid_grant for the old grant does not mark the new one as lost."""
    user = new_user()
    account = stale(user, google, alice)
    google.error_next("invalid_grant")

    with heard() as news, during_refresh(google, lambda: save(user, alice.sub)):
        assert fresh(account) == "ya29.new"

    assert token_of(account, "refresh_token") == "1//new"
    assert GoogleAccount.objects.get().status == Status.ACTIVE
    assert [name for name, _ in news] == ["account_linked"]


def test_refresh_of_a_dead_grant_that_another_worker_has_noted_is_not_told_again(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """A loss that another worker has recorded during the refresh is not signalled again."""
    account = stale(new_user(), google, alice)
    google.error_next("invalid_grant")
    lost = {"status": Status.NEEDS_REAUTHORIZATION, "status_reason": "session_policy"}

    with (
        heard() as news,
        during_refresh(google, lambda: GoogleAccount.objects.update(**lost)),
        pytest.raises(GrantLostError),
    ):
        fresh_access_token(account)

    assert news == []
    assert GoogleAccount.objects.get().status_reason == "session_policy"


@pytest.mark.parametrize("answer", ["success", "invalid_grant"])
def test_refresh_while_the_account_is_unlinked_brings_nothing_back(
    shared_database: None, google: FakeGoogle, alice: FakeUser, answer: str
) -> None:
    """If the account is unlinked during a refresh, the response does not restore it."""
    account = stale(new_user(), google, alice)
    if answer == "invalid_grant":
        google.error_next("invalid_grant")

    with (
        heard() as news,
        during_refresh(google, account.unlink),
        suppress(NotLinkedError, GrantLostError),
    ):
        fresh_access_token(account)

    assert not GoogleAccount.objects.exists()
    assert [name for name, _ in news] == ["account_unlinked"]


def test_refresh_while_the_user_is_deleted_brings_nothing_back(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """If the user is deleted during a refresh, the response does not restore the account."""
    user = new_user()
    account = stale(user, google, alice)

    with heard() as news, during_refresh(google, user.delete), suppress(NotLinkedError):
        fresh_access_token(account)

    assert not get_user_model().objects.exists()
    assert not GoogleAccount.objects.exists()
    assert [name for name, _ in news] == ["account_unlinked"]


def test_refresh_holds_no_transaction_open_over_the_request(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """During the request to Google another worker can write, even on SQLite."""
    user = new_user()
    account = stale(user, google, alice)

    with during_refresh(google, lambda: make_google_account(user)):
        fresh_access_token(account)

    assert GoogleAccount.objects.count() == 2


def test_client_id_that_was_changed_costs_no_link(
    google: FakeGoogle, alice: FakeUser, user: Any, configure: Callable[..., None]
) -> None:
    """After CLIENT_ID has changed Google is not asked: it would answer invalid_grant."""
    account = stale(user, google, alice)
    mine = get_client().client_id
    configure(CLIENT_ID="another")
    before = table()

    with pytest.raises(ClientMisconfiguredError, match=f"linked through {mine}"):
        fresh(account)
    assert (table(), google.requests) == (before, [])

    configure(CLIENT_ID=mine)
    assert fresh(account)


def test_client_id_is_that_of_the_last_consent(user: Any, configure: Callable[..., None]) -> None:
    """After a new consent the new client is used, but not with the former one's token."""
    assert save(user).client_id == get_client().client_id

    configure(CLIENT_ID="another")
    account = save(user)
    assert account.client_id == "another"
    assert account.unseal_token("refresh_token")

    configure(CLIENT_ID="a third one")
    with pytest.raises(ClientMisconfiguredError, match="nothing new"):
        save(user, refresh_token=None)
    assert GoogleAccount.objects.get().unseal_token("refresh_token")


@pytest.mark.parametrize(
    "helper", [partial(build_service, name="calendar", version="v3"), authorized_session]
)
def test_token_is_not_taken_to_another_provider(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings, helper: Any
) -> None:
    """The token of a row that was changed to name another client is not sent there."""
    linked(user, google, alice)
    clients = settings.GOOGLE_LINK["CLIENTS"]
    endpoints = {"CLIENT_ID": "of the office", "REVOCATION_ENDPOINT": f"{google.url}/office"}
    office = {**clients["default"], **endpoints}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {**clients, "office": office}}
    GoogleAccount.objects.update(client="office", access_token_expires_at=in_seconds(-60))

    with pytest.raises(ClientMisconfiguredError, match="client_id_changed"):
        helper(user, client="office")
    with pytest.raises(ClientMisconfiguredError, match="client_id_changed"):
        access_token(GoogleAccount.objects.get(), client="office")
    GoogleAccount.objects.get().unlink()
    revocations.process_pending(PendingRevocation.objects.get().pk)

    assert [request.path for request in google.requests] == ["/revoke"]
