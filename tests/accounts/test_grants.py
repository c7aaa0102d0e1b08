"""Grants are stored, renewed, shared by several links, lost and revoked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_google_link import signals
from django_google_link.accounts.grants import is_held, save_grant
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.accounts.ownership import make_default, unlink
from django_google_link.accounts.transactions import run_durably
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import NoRefreshTokenError
from django_google_link.models import GoogleAccount, Reason, Status
from django_google_link.scopes import PREFIX
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import identity, linked, save, token_of, token_response
from tests.support.constants import CALENDAR, DRIVE, OPENID, OTHER_KEY
from tests.support.databases import at_once, new_user
from tests.support.signals import connected, heard
from tests.support.tables import table
from tests.support.times import in_seconds
from tests.support.workers import just_before

pytestmark = pytest.mark.django_db

# MySQL has no conditional constraints. Of two defaults the older one is used.
MAY_HAVE_TWO_DEFAULTS = connection.vendor == "mysql"


# Lost grants


def test_loss_of_a_grant_that_was_renewed_since_is_not_noted(user: Any) -> None:
    """A loss that was found with an outdated row does not mark a renewed grant."""
    before = save(user)
    save(user)

    with heard() as news:
        assert mark_lost(before, "revoked") is False

    assert (GoogleAccount.objects.get().status, news) == (Status.ACTIVE, [])


def test_loss_is_noted_once(user: Any) -> None:
    """Marking a lost account as lost again changes nothing."""
    account = save(user)
    assert mark_lost(account, "revoked") is True
    noted = table()

    assert mark_lost(account, "session_policy") is False

    assert table() == noted
    assert GoogleAccount.objects.get().status_reason == "revoked"
    assert token_of(account, "access_token") is None


def test_loss_that_an_operator_asked_for_is_told_from_one_at_google(user: Any) -> None:
    """The reason "requested" becomes "revoked" when Google no longer honours the grant."""
    account = save(user)
    assert mark_lost(account, Reason.REQUESTED) is True
    assert mark_lost(account, Reason.REQUESTED) is False

    assert mark_lost(account, "revoked") is True

    assert GoogleAccount.objects.get().status_reason == "revoked"


# Saving


def test_save_grant_first_time_stores_what_was_granted(user: Any) -> None:
    """The first link stores tokens, expiry times, scopes and profile."""
    expires_at, dies_at = in_seconds(3599), in_seconds(86_400)

    returned = save(user, access_token_expires_at=expires_at, refresh_token_expires_at=dies_at)

    account = GoogleAccount.objects.get()
    assert account == returned
    assert (account.user, account.client, account.sub) == (user, "default", "42")
    assert token_of(account, "access_token") == "ya29.new"
    assert token_of(account, "refresh_token") == "1//new"
    assert account.access_token_expires_at == expires_at
    assert account.refresh_token_expires_at == dies_at
    assert account.granted_scopes == sorted([*OPENID, CALENDAR])
    assert account.is_ready(CALENDAR)
    assert account.status_reason == ""
    assert account.refreshed_at is not None
    assert account.email == "alice@gmail.com"
    assert account.email_verified is True
    assert account.name == "Alice Example"
    assert account.picture == "https://example.com/alice.png"
    assert account.hosted_domain == "example.com"


def test_save_grant_leaves_no_plaintext_in_the_row(user: Any) -> None:
    """The row contains only encrypted tokens."""
    save(user, access_token=Secret("ya29.bare"), refresh_token=Secret("1//bare"))

    row = str(table())
    assert "bare" not in row
    assert row.count("gl1.") == 3  # two tokens, and the key id in ``sealed_by``


def test_save_grant_again_updates_the_same_row(user: Any) -> None:
    """Linking an account again updates its row, and keeps ``linked_at``."""
    first = save(user)

    save(user, access_token=Secret("ya29.second"))

    account = GoogleAccount.objects.get()
    assert account.pk == first.pk
    assert account.linked_at == first.linked_at
    assert account.is_default
    assert account.grant_version > first.grant_version
    assert token_of(account, "access_token") == "ya29.second"


def test_save_grant_without_a_refresh_token_keeps_the_stored_one(user: Any) -> None:
    """A response without a refresh token keeps the stored one and its expiry."""
    dies_at = in_seconds(86_400)
    save(user, refresh_token=Secret("1//first"), refresh_token_expires_at=dies_at)

    account = save(user, refresh_token=None)

    account.refresh_from_db()
    assert token_of(account, "refresh_token") == "1//first"
    assert account.refresh_token_expires_at == dies_at


def test_save_grant_with_a_refresh_token_replaces_the_stored_one(user: Any) -> None:
    """A new refresh token replaces the stored one, and its expiry even if it has none."""
    save(user, refresh_token=Secret("1//first"), refresh_token_expires_at=in_seconds(86_400))

    account = save(user, refresh_token=Secret("1//second"))

    account.refresh_from_db()
    assert token_of(account, "refresh_token") == "1//second"
    assert account.refresh_token_expires_at is None


def test_save_grant_replaces_the_scopes(user: Any) -> None:
    """The granted scopes replace the stored ones: some are added, others removed."""
    save(user, scopes=(*OPENID, CALENDAR))

    account = save(user, scopes=(*OPENID, DRIVE), requested_scopes=[CALENDAR, DRIVE])

    account.refresh_from_db()
    assert account.granted_scopes == sorted([*OPENID, DRIVE])


def test_save_grant_without_scopes_takes_the_requested_ones(user: Any) -> None:
    """RFC 6749 section 5.1: without scopes, those requested are granted; aliases resolved."""
    requested = ["openid", f"{PREFIX}userinfo.email", CALENDAR]

    account = save(user, scopes=None, requested_scopes=requested)

    account.refresh_from_db()
    assert account.granted_scopes == sorted(["openid", "email", CALENDAR])


def test_save_grant_without_expiry_is_accepted(user: Any) -> None:
    """An access token without ``expires_in`` is stored without an expiry."""
    save(user)

    account = save(user, access_token_expires_at=None)

    account.refresh_from_db()
    assert account.access_token_expires_at is None
    assert account.has_unexpired_access_token()


def test_save_grant_follows_who_the_account_is_now(user: Any) -> None:
    """Address, name and picture are replaced by those of the ID token, even by none."""
    save(user)
    changed = identity("42", email="new@gmail.com", email_verified=False, name="", picture="")

    save_grant(user, get_client(), changed, token_response(), requested_scopes=())

    account = GoogleAccount.objects.get()
    assert (account.email, account.email_verified) == ("new@gmail.com", False)
    assert (account.name, account.picture, account.hosted_domain) == ("", "", "example.com")


def test_save_grant_touches_only_its_own_columns(user: Any) -> None:
    """A column that another worker changes meanwhile is not overwritten."""
    save(user)
    save(user, "43")
    long_ago = in_seconds(-86_400)

    with just_before(
        '"sealed_refresh_token" =',
        act=lambda: GoogleAccount.objects.filter(sub="43").update(linked_at=long_ago),
    ):
        save(user, "43")

    account = GoogleAccount.objects.get(sub="43")
    assert account.linked_at == long_ago


def test_save_grant_makes_only_the_first_account_the_default(user: Any) -> None:
    """A user's second account does not become the default."""
    first = save(user, "42")
    second = save(user, "43")

    assert first.is_default is True
    assert second.is_default is False
    assert list(GoogleAccount.objects.for_user(user)) == [first, second]
    assert GoogleAccount.objects.get(is_default=True) == first


def test_save_grant_of_another_client_has_its_own_default(user: Any) -> None:
    """The same Google account through two clients is two links, each a default."""
    save(user)
    save(user, client="other")

    defaults = GoogleAccount.objects.filter(user=user, is_default=True)
    assert sorted(account.client for account in defaults) == ["default", "other"]


def test_save_grant_of_an_only_account_makes_it_the_default_again(user: Any) -> None:
    """Linking a user's only account again makes it the default."""
    save(user)
    GoogleAccount.objects.update(is_default=False)

    save(user)

    assert GoogleAccount.objects.get().is_default


def test_save_grant_of_one_google_account_by_two_users_is_two_links(
    user: Any, other_user: Any
) -> None:
    """A Google account that two users link is two links, with a refresh token each."""
    first = save(user, refresh_token=Secret("1//anna"))
    second = save(other_user, refresh_token=Secret("1//ben"))

    assert (first.user, second.user) == (user, other_user)
    assert token_of(first, "refresh_token") == "1//anna"
    assert token_of(second, "refresh_token") == "1//ben"
    assert first.is_default and second.is_default


def test_save_grant_while_another_first_link_becomes_the_default(user: Any) -> None:
    """Of two first links that are stored at the same time, one is the default."""

    def link_another() -> None:
        make_google_account(user, sub="43")
        GoogleAccount.objects.filter(sub="43").update(is_default=True)

    with just_before('AS "a"', "SAVEPOINT", act=link_another):
        account = save(user)

    assert account.is_default is False or MAY_HAVE_TWO_DEFAULTS
    assert GoogleAccount.objects.for_user(user)[0].is_default
    assert GoogleAccount.objects.get(sub="42").is_ready(CALENDAR)


def test_save_grant_while_the_same_account_is_linked(
    user: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """If another worker links the same account first, its row is updated."""
    with (
        heard() as news,
        django_capture_on_commit_callbacks(execute=True),
        just_before("SELECT", "SAVEPOINT", act=lambda: make_google_account(user, sub="42")),
    ):
        save(user)

    account = GoogleAccount.objects.get()
    assert token_of(account, "refresh_token") == "1//new"
    assert account.grant_version > 1
    assert news[0][1]["created"] is False


@pytest.mark.slow
def test_save_grant_in_many_threads_at_once(shared_database: None) -> None:
    """Links that are stored at the same time have a row for each account, and one default."""
    user = new_user()

    def save_durably(sub: str) -> GoogleAccount:
        # As the flow does: MariaDB may roll one of them back.
        return run_durably(lambda: save(user, sub), using="default")

    saved = at_once(*[partial(save_durably, sub) for sub in ("42", "43", "44") * 4])

    assert {account.sub for account in saved} == {"42", "43", "44"}
    assert GoogleAccount.objects.count() == 3
    assert GoogleAccount.objects.filter(is_default=True).count() == 1 or MAY_HAVE_TWO_DEFAULTS


# Signals


def test_save_grant_speaks_after_the_commit_only(
    user: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """account_linked is sent after the commit, with the request."""
    request = object()

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        account = save(user, request=request)
        assert news == []

    assert news == [
        ("account_linked", {"account": account, "created": True, "request": request}),
    ]


def test_save_grant_that_rolls_back_says_nothing(user: Any) -> None:
    """After a rollback there is neither a link nor a signal."""
    with heard() as news, transaction.atomic():
        save(user)
        transaction.set_rollback(True)

    assert news == []
    assert not connection.run_on_commit
    assert not GoogleAccount.objects.exists()


def test_save_grant_with_a_receiver_that_raises(
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a receiver raises, the error is logged, the link stays and other receivers run."""

    def fail(**arguments: Any) -> None:
        raise RuntimeError("A receiver of the project's own.")

    with (
        connected(signals.account_linked, fail),
        heard() as news,
        django_capture_on_commit_callbacks(execute=True),
    ):
        save(user)

    assert GoogleAccount.objects.get().is_ready(CALENDAR)
    assert [name for name, _ in news] == ["account_linked"]
    assert "A receiver of the project's own." in caplog.text


def test_save_grant_again_tells_what_changed(
    user: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """Linking again sends ``created=False``, and scopes_changed with the differences."""
    save(user, scopes=(*OPENID, CALENDAR))

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        account = save(user, scopes=(*OPENID, DRIVE))

    assert news == [
        ("account_linked", {"account": account, "created": False, "request": None}),
        (
            "scopes_changed",
            {"account": account, "added": frozenset({DRIVE}), "removed": frozenset({CALENDAR})},
        ),
    ]


def test_save_grant_with_the_same_scopes_does_not_call_that_a_change(
    user: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """The same scopes in another order do not send scopes_changed."""
    save(user, scopes=(*OPENID, CALENDAR))

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        save(user, scopes=(CALENDAR, *OPENID))

    assert [name for name, _ in news] == ["account_linked"]


def test_save_grant_of_a_lost_account_recovers_it(
    user: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    """Linking a lost account again sends authorization_recovered once."""
    account = make_google_account(
        user,
        sub="42",
        scopes=[CALENDAR],
        status=Status.NEEDS_REAUTHORIZATION,
        status_reason="revoked",
    )

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        save(user)
        save(user)

    assert [name for name, _ in news] == [
        "account_linked",
        "authorization_recovered",
        "account_linked",
    ]
    again = GoogleAccount.objects.get()
    assert again.is_ready(CALENDAR)
    assert again.status_reason == ""
    assert again.status_changed_at > account.status_changed_at


# Unlinking


def test_unlink_deletes_and_revokes_after_the_commit(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """After the commit the refresh token is sent for revocation in the body of a POST."""
    account = linked(user, google, alice)
    refresh_token = token_of(account, "refresh_token")

    with django_capture_on_commit_callbacks(execute=True):
        account.unlink()
        assert google.requests == []

    [request] = google.requests
    assert (request.method, request.path) == ("POST", "/revoke")
    assert request.form == {"token": refresh_token}
    assert request.query == {}
    assert google.granted_scopes(alice) is None
    assert not GoogleAccount.objects.exists()


def test_unlink_that_rolls_back_revokes_nothing(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """After a rollback the link is still there, and nothing was revoked or signalled."""
    account = linked(user, google, alice)

    with heard() as news, transaction.atomic():
        unlink(account)
        transaction.set_rollback(True)

    assert not connection.run_on_commit
    assert (news, google.requests) == ([], [])
    assert GoogleAccount.objects.get() == account


def test_unlink_is_told_without_a_secret(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """account_unlinked is sent after the commit, with user and account but no token."""
    account = linked(user, google, alice)

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        unlink(account)
        assert news == []

    told = {"user_id": user.pk, "client": "default", "sub": alice.sub, "email": alice.email}
    assert news == [("account_unlinked", told)]


def test_unlink_twice_is_harmless(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Unlinking an account twice makes one revocation and sends one signal."""
    account = linked(user, google, alice)
    same = GoogleAccount.objects.get()

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        unlink(account)
        unlink(same)
        unlink(account)

    assert len(news) == 1
    assert len(google.requests) == 1


def test_unlink_leaves_everything_else(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
) -> None:
    """Unlinking deletes neither users nor other links."""
    account = linked(user, google, alice)
    others = [make_google_account(user), make_google_account(other_user)]

    unlink(account)

    assert get_user_model().objects.count() == 2
    assert set(GoogleAccount.objects.all()) == set(others)


def test_unlink_without_a_refresh_token_revokes_the_access_token(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Without a refresh token, the access token is used to revoke the grant."""
    account = linked(user, google, alice, refresh_token="")

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)

    assert google.granted_scopes(alice) is None


def test_unlink_without_any_token_asks_nothing_of_google(
    google: FakeGoogle,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """An account without tokens is unlinked without a request."""
    account = make_google_account(user, refresh_token="", access_token="")

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)

    assert google.requests == []
    assert not GoogleAccount.objects.exists()


def test_unlink_of_a_stale_object_revokes_what_is_stored_now(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Unlinking with an outdated object revokes the token that is stored now."""
    stale = linked(user, google, alice)
    google.revoke(alice)
    again = google.grant(alice, [*OPENID, CALENDAR])
    save(user, alice.sub, refresh_token=Secret(again.refresh_token))

    with django_capture_on_commit_callbacks(execute=True):
        unlink(stale)

    assert google.granted_scopes(alice) is None


def test_unlink_of_a_shared_grant_revokes_with_the_last_link(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """A grant that two links share is revoked with the second one."""
    first = linked(user, google, alice)
    second = linked(other_user, google, alice)

    with django_capture_on_commit_callbacks(execute=True):
        unlink(first)

    assert google.requests == []
    assert GoogleAccount.objects.get() == second
    assert google.granted_scopes(alice) is not None

    with django_capture_on_commit_callbacks(execute=True):
        unlink(second)

    assert google.granted_scopes(alice) is None


def test_unlink_heeds_only_the_same_google_account_and_client(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Links of another client or Google account do not prevent the revocation."""
    account = linked(user, google, alice)
    make_google_account(other_user, sub=alice.sub, client="other")
    make_google_account(other_user, sub="43")

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)

    assert google.granted_scopes(alice) is None


def test_unlink_of_a_grant_that_is_dead_already_is_done(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A grant that Google no longer knows counts as revoked, without a warning."""
    account = linked(user, google, alice)
    google.revoke(alice)

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)

    assert len(google.requests_to("revoke")) == 2
    assert not GoogleAccount.objects.exists()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.matrix
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 400, "body": {"error": "unsupported_token_type"}},
        {"status": 200, "body": "half an answer", "drop": True},
        {"status": 429, "body": "<html>rate limit</html>", "content_type": "text/html"},
    ],
    ids=["503", "refused", "dropped", "429"],
)
def test_unlink_when_google_fails_forgets_the_link_all_the_same(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
) -> None:
    """If the revocation fails, the account is unlinked, and a warning without tokens logged."""
    account = linked(user, google, alice)
    tokens = [token_of(account, "refresh_token"), token_of(account, "access_token")]
    google.fail_next(endpoint="revoke", **fault)

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)

    assert not GoogleAccount.objects.exists()
    [warning] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(account.pk) in warning.getMessage()
    assert not any(token in caplog.text for token in tokens if token)


def _tamper(settings: Settings) -> None:
    GoogleAccount.objects.update(
        sealed_refresh_token="gl1.unknown", sealed_access_token="gl1.unknown"
    )


def _lose_the_key(settings: Settings) -> None:
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}


def _lose_all_keys(settings: Settings) -> None:
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": []}


def _lose_the_client(settings: Settings) -> None:
    clients = {"other": {"CLIENT_ID": "another", "CLIENT_SECRET": "secret"}}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}


@pytest.mark.matrix
@pytest.mark.parametrize("mishap", [_tamper, _lose_the_key, _lose_all_keys, _lose_the_client])
def test_unlink_what_cannot_be_revoked_forgets_the_link_all_the_same(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
    mishap: Callable[[Settings], None],
) -> None:
    """With damaged tokens or without key or client, the account is unlinked all the same."""
    linked(user, google, alice)
    mishap(settings)

    with django_capture_on_commit_callbacks(execute=True):
        unlink(GoogleAccount.objects.get())

    assert not GoogleAccount.objects.exists()
    assert google.requests == []
    assert "could not be revoked" in caplog.text


def test_unlink_with_a_damaged_refresh_token_revokes_by_the_other(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """If the refresh token is damaged, the access token is used to revoke the grant."""
    linked(user, google, alice)
    GoogleAccount.objects.update(sealed_refresh_token="gl1.unknown")

    with django_capture_on_commit_callbacks(execute=True):
        unlink(GoogleAccount.objects.get())

    assert google.granted_scopes(alice) is None


@pytest.mark.parametrize("is_project", [False, True])
def test_unlink_keeps_a_grant_that_another_name_of_the_client_shares(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    is_project: bool,
) -> None:
    """A grant is kept for a link of another client of the same Google project."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    project = {**clients["default"], "CLIENT_ID": "123-web.apps.googleusercontent.com"}
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {
            **clients,
            "default": project if is_project else clients["default"],
            "second": {**project, "CLIENT_ID": "123-reports.apps.googleusercontent.com"}
            if is_project
            else clients["default"],
            "third": {**clients["default"], "CLIENT_ID": "another"},
            "broken": {},
        },
    }
    account = linked(user, google, alice)
    linked(other_user, google, alice, client="second")

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)

    assert google.granted_scopes(alice)


def test_unlink_revokes_though_a_dead_link_is_left(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """A lost link to the same account does not prevent the revocation."""
    account = linked(user, google, alice)
    linked(other_user, google, alice, status=Status.NEEDS_REAUTHORIZATION)

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)

    assert google.granted_scopes(alice) is None


def test_unlink_spares_a_grant_that_is_linked_in_between(
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """If the account is linked again before the request, the grant is not revoked."""
    account = linked(user, google, alice)

    with django_capture_on_commit_callbacks(execute=True):
        unlink(account)
        linked(other_user, google, alice)

    assert google.granted_scopes(alice)


def test_unlink_promotes_the_account_that_is_left(user: Any) -> None:
    """If the default is unlinked, a single account that is left becomes the default."""
    first, second = make_google_account(user), make_google_account(user)

    unlink(first)

    second.refresh_from_db()
    assert second.is_default


def test_unlink_leaves_the_choice_among_several(user: Any, other_user: Any) -> None:
    """If the default is unlinked and several accounts are left, none becomes the default."""
    first, second, third = (make_google_account(user) for _ in range(3))
    foreign = make_google_account(other_user)
    elsewhere = make_google_account(user, client="other")

    unlink(first)

    assert set(GoogleAccount.objects.filter(is_default=True)) == {foreign, elsewhere}

    unlink(second)

    assert set(GoogleAccount.objects.filter(is_default=True)) == {foreign, elsewhere, third}


def test_unlink_of_an_account_that_is_not_the_default_keeps_it(user: Any) -> None:
    """Unlinking another account leaves the default unchanged."""
    first, second = make_google_account(user), make_google_account(user)

    unlink(second)

    assert GoogleAccount.objects.get(is_default=True) == first


# The default


def test_make_default_takes_over(user: Any, other_user: Any) -> None:
    """The new default replaces that of the same user and client only."""
    first, second = make_google_account(user), make_google_account(user)
    foreign = make_google_account(other_user)
    elsewhere = make_google_account(user, client="other")

    second.make_default()

    assert second.is_default
    assert set(GoogleAccount.objects.filter(is_default=True)) == {second, foreign, elsewhere}
    assert GoogleAccount.objects.for_user(user, client="default")[0] == second
    first.refresh_from_db()
    assert first.is_default is False


def test_make_default_of_an_account_that_is_gone_changes_nothing(user: Any) -> None:
    """Making an account that was unlinked meanwhile the default changes nothing."""
    first, second = make_google_account(user), make_google_account(user)
    GoogleAccount.objects.filter(pk=second.pk).delete()

    make_default(second)

    assert GoogleAccount.objects.get() == first
    assert GoogleAccount.objects.get().is_default


@pytest.mark.slow
def test_make_default_in_many_threads_leaves_one(shared_database: None) -> None:
    """Changing the default in many threads leaves exactly one, without a deadlock."""
    user = new_user()
    accounts = [make_google_account(user) for _ in range(4)]

    for _ in range(10):
        at_once(*[account.make_default for account in accounts * 2])

        assert GoogleAccount.objects.filter(is_default=True).count() == 1


@pytest.mark.slow
def test_unlink_in_many_threads_revokes_what_is_shared(
    shared_database: None, google: FakeGoogle, alice: FakeUser
) -> None:
    """Unlinking all links of a grant at the same time revokes it, without a deadlock."""
    users = [new_user(), new_user("dora")]

    for _ in range(10):
        accounts = [linked(user, google, alice) for user in users]
        accounts += [make_google_account(user, refresh_token="") for user in users]

        at_once(*[account.unlink for account in accounts], accounts[-1].make_default)

        assert not GoogleAccount.objects.exists()
        assert google.granted_scopes(alice) is None


def test_save_grant_of_a_lost_account_without_a_refresh_token_changes_nothing(user: Any) -> None:
    """A response without a refresh token does not recover a lost account."""
    mark_lost(save(user), "revoked")
    before = table()

    with pytest.raises(NoRefreshTokenError):
        save(user, refresh_token=None)

    assert table() == before


def test_save_grant_keeps_no_access_token_of_less_than_the_grant(user: Any) -> None:
    """An access token with fewer scopes than the grant is not stored."""
    account = save(user, scopes=(*OPENID, CALENDAR, DRIVE))

    save(user, refresh_token=None, scopes=(*OPENID, CALENDAR), requested_scopes=[*OPENID, CALENDAR])

    assert token_of(account, "access_token") is None
    account.refresh_from_db()
    assert {CALENDAR, DRIVE} <= set(account.granted_scopes)


def test_token_that_cannot_be_read_is_held_by_no_row(user: Any, settings: Settings) -> None:
    """A stored token whose key is missing does not count as the same token."""
    save(user)
    assert is_held(Secret("1//new"), GoogleAccount.objects.all())
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}

    assert not is_held(Secret("1//new"), GoogleAccount.objects.all())
