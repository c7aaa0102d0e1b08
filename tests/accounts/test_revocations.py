"""Deleting a link revokes its grant at Google, however it is deleted and whatever fails."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts import revocations
from django_google_link.accounts.access_tokens import check_grant
from django_google_link.accounts.lost_grants import mark_lost
from django_google_link.accounts.revocations import (
    RevocationOutcome,
    process_grant,
    process_pending,
)
from django_google_link.conf.clients import get_revoking_client
from django_google_link.conf.providers import DEFAULT_ENDPOINTS, GOOGLE_ISSUER
from django_google_link.models import GoogleAccount, PendingRevocation, Reason, Status
from django_google_link.operations.revoke_pending import revoke_pending
from django_google_link.secret import Secret
from django_google_link.testing import FakeClient, FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.legacy.models import LinkOfTheOffice
from tests.support.accounts import linked, save, token_of
from tests.support.constants import CALLBACK, OPENID, OTHER_KEY
from tests.support.databases import at_once, new_user
from tests.support.flow import arrive
from tests.support.signals import heard
from tests.support.tables import delete_rows
from tests.support.times import in_seconds
from tests.support.workers import during_refresh, just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]


@pytest.fixture
def account(shared_database: None, google: FakeGoogle, alice: FakeUser) -> GoogleAccount:
    """Alice's account, linked by a user of this site."""
    return linked(new_user(), google, alice)


def run(**options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_revoke_pending", stdout=out, **options)
    return out.getvalue()


def asked(google: FakeGoogle) -> int:
    """Return the number of revocation requests."""
    return len(google.requests_to("revoke"))


def make_due() -> None:
    """Make all pending revocations due."""
    PendingRevocation.objects.update(retry_at=in_seconds(-1))


# Ways to delete an account


def by_unlinking(account: GoogleAccount) -> None:
    account.unlink()


def by_deleting(account: GoogleAccount) -> None:
    account.delete()


def by_deleting_its_user(account: GoogleAccount) -> None:
    account.user.delete()


def by_a_queryset(account: GoogleAccount) -> None:
    GoogleAccount.objects.filter(pk=account.pk).delete()


def by_a_queryset_of_users(account: GoogleAccount) -> None:
    get_user_model().objects.all().delete()


def by_deleting_a_proxy(account: GoogleAccount) -> None:
    LinkOfTheOffice.objects.get(pk=account.pk).delete()


def by_a_queryset_of_proxies(account: GoogleAccount) -> None:
    LinkOfTheOffice.objects.filter(pk=account.pk).delete()


AT_ONCE = [by_unlinking, by_deleting, by_deleting_its_user, by_deleting_a_proxy]
IN_BULK = [by_a_queryset, by_a_queryset_of_users, by_a_queryset_of_proxies]


@pytest.mark.matrix
@pytest.mark.parametrize("delete", AT_ONCE)
def test_deletion_revokes_at_once(
    google: FakeGoogle,
    account: GoogleAccount,
    alice: FakeUser,
    delete: Callable[[GoogleAccount], None],
) -> None:
    """The refresh token is sent in the body of a POST."""
    token = account.unseal_token("refresh_token")

    with heard() as news:
        delete(account)

    assert token is not None
    [request] = google.requests_to("revoke")
    assert (request.method, request.form, request.query) == ("POST", {"token": token.reveal()}, {})
    assert google.granted_scopes(alice) is None
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()
    assert [name for name, _ in news] == ["account_unlinked"]


@pytest.mark.matrix
@pytest.mark.parametrize("delete", IN_BULK)
def test_deletion_in_bulk_is_left_to_the_command(
    google: FakeGoogle,
    account: GoogleAccount,
    alice: FakeUser,
    delete: Callable[[GoogleAccount], None],
) -> None:
    """A request cannot wait for a thousand revocations."""
    delete(account)
    assert (GoogleAccount.objects.count(), asked(google)) == (0, 0)

    assert run() == "       1 revoked\n       0 left\n"

    assert google.granted_scopes(alice) is None


@pytest.mark.matrix
@pytest.mark.parametrize("delete", AT_ONCE + IN_BULK)
def test_deletion_that_is_rolled_back_revokes_nothing(
    google: FakeGoogle,
    account: GoogleAccount,
    alice: FakeUser,
    delete: Callable[[GoogleAccount], None],
) -> None:
    """The row, the outbox and the signal are one transaction."""
    with heard() as news, transaction.atomic():
        delete(account)
        transaction.set_rollback(True)

    assert GoogleAccount.objects.get().unseal_token("refresh_token")
    assert not PendingRevocation.objects.exists()
    assert (asked(google), news) == (0, [])
    assert google.granted_scopes(alice)


def test_deletion_by_a_stale_object_revokes_what_is_there(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """If the grant was renewed since, its new token is revoked."""
    save(account.user, alice.sub)

    account.delete()

    assert google.requests_to("revoke")[0].form == {"token": "1//new"}


def test_deletion_of_what_is_gone(google: FakeGoogle, account: GoogleAccount) -> None:
    """A second deletion does nothing."""
    delete_rows()

    with heard() as news:
        account.delete()

    assert news == []
    assert not PendingRevocation.objects.exists()


def test_deletion_without_tokens_leaves_nothing_to_do(google: FakeGoogle) -> None:
    """The outbox stays empty."""
    make_google_account(new_user(), refresh_token="", access_token="").delete()

    assert not PendingRevocation.objects.exists()


def test_deletion_without_the_key_is_no_obstacle(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, settings: Settings
) -> None:
    """The tokens are moved sealed, and can be unsealed when the key is back."""
    right = settings.GOOGLE_LINK
    settings.GOOGLE_LINK = {**right, "ENCRYPTION_KEYS": [OTHER_KEY]}
    account.unlink()
    pending = PendingRevocation.objects.get()
    assert "Add that key back" in pending.last_error

    settings.GOOGLE_LINK = right
    make_due()

    assert run() == "       1 revoked\n       0 left\n"
    assert google.granted_scopes(alice) is None


def test_outbox_shows_no_token(google: FakeGoogle, account: GoogleAccount) -> None:
    """The tokens stay sealed for the account."""
    google.fail_next(endpoint="revoke")
    token = account.unseal_token("refresh_token")
    account.unlink()

    pending = PendingRevocation.objects.get()
    other = PendingRevocation(account_id=pending.pk, owner=pending.owner, sub=pending.sub)
    other.sealed_refresh_token = pending.sealed_refresh_token

    assert token is not None
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {PendingRevocation._meta.db_table}")
        assert token.reveal() not in str(cursor.fetchall())
    assert pending.unseal_token("refresh_token") == token
    with pytest.raises(revocations.TokenUndecryptableError):
        other.unseal_token("refresh_token")
    assert str(pending) == pending.sub
    assert token.reveal() not in repr(pending)


# What Google answers


@pytest.mark.matrix
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 429},
        {"status": 400, "body": {"error": "unsupported_token_type"}},
        {"status": 403, "body": "<html>", "content_type": "text/html"},
        {"drop": True},
    ],
)
def test_failure_is_waited_out(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, fault: dict[str, Any]
) -> None:
    """The link is deleted, and its grant revoked later."""
    google.fail_next(2, endpoint="revoke", **fault)

    account.unlink()

    pending = PendingRevocation.objects.get()
    assert not GoogleAccount.objects.exists()
    assert (pending.attempts, asked(google)) == (0, 1)
    assert pending.last_error
    with pytest.raises(CommandError, match="could not be revoked yet"):
        run()  # At once: the attempt while unlinking does not count.
    pending.refresh_from_db()
    assert (pending.attempts, asked(google)) == (1, 2)
    assert timedelta(seconds=45) < pending.retry_at - timezone.now() < timedelta(seconds=75)
    with pytest.raises(CommandError, match="could not be revoked yet"):
        run()  # Not yet.
    assert asked(google) == 2

    make_due()
    assert run() == "       1 revoked\n       0 left\n"
    assert google.granted_scopes(alice) is None


def test_grant_that_is_dead_already_is_done(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """The user revoked it at Google; both tokens are tried, since one may have been rotated."""
    google.revoke(alice)

    account.unlink()

    assert asked(google) == 2
    assert not PendingRevocation.objects.exists()


def test_waiting_grows_to_a_day(google: FakeGoogle, account: GoogleAccount) -> None:
    """It doubles from a minute, up to a day."""
    google.fail_next(20, endpoint="revoke")
    account.unlink()

    for attempts, seconds in ((2, 120), (3, 240), (30, 86_400)):
        PendingRevocation.objects.update(attempts=attempts - 1)
        make_due()
        [outcome] = revoke_pending(workers=1)
        delay = PendingRevocation.objects.get().retry_at - timezone.now()
        assert outcome == RevocationOutcome.UNREACHABLE
        assert delay.total_seconds() == pytest.approx(seconds, rel=0.21)


def test_revocation_is_given_up_when_google_has_forgotten(
    google: FakeGoogle, account: GoogleAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """After six months without use, the refresh token is invalid anyway."""
    google.fail_next(endpoint="revoke")
    account.unlink()
    PendingRevocation.objects.update(created_at=timezone.now() - timedelta(days=191))
    make_due()
    google.fail_next(endpoint="revoke")

    assert "1 given up" in run()
    assert "within six months" in caplog.text
    assert not PendingRevocation.objects.exists()


def test_revocation_is_not_given_up_before(google: FakeGoogle, account: GoogleAccount) -> None:
    """Before that, the grant may still be valid, so the revocation stays pending."""
    google.fail_next(2, endpoint="revoke")
    account.unlink()
    PendingRevocation.objects.update(created_at=timezone.now() - timedelta(days=189))
    make_due()

    assert list(revoke_pending(workers=1)) == [RevocationOutcome.UNREACHABLE]
    assert PendingRevocation.objects.get().attempts == 1


@pytest.mark.parametrize("column", ["sealed_refresh_token", "sealed_access_token"])
def test_damaged_token_leaves_the_other(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, column: str
) -> None:
    """Either token revokes the whole grant."""
    GoogleAccount.objects.update(**{column: "gl1.unknown"})

    account.unlink()

    assert google.granted_scopes(alice) is None


def test_damaged_tokens_are_given_up(
    google: FakeGoogle, account: GoogleAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """The log reports it once."""
    GoogleAccount.objects.update(sealed_refresh_token="gl1.x", sealed_access_token="")

    account.unlink()

    assert "its tokens are unusable" in caplog.text
    assert not PendingRevocation.objects.exists()


def test_access_token_whose_hour_is_over_ends_nothing(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown access token says nothing about the grant, so no success is reported."""
    GoogleAccount.objects.update(sealed_refresh_token="gl1.x")
    google.expire_access_tokens(alice)

    account.unlink()

    assert google.granted_scopes(alice)
    assert "its tokens are unusable" in caplog.text
    assert "is revoked" not in caplog.text


# Grants that several links share


def test_shared_grant_is_spared_until_the_last_link_goes(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """Two users of this site have linked one Google account."""
    other = linked(new_user("dora"), google, alice)

    account.unlink()
    assert (asked(google), PendingRevocation.objects.count()) == (0, 0)

    other.unlink()
    assert google.granted_scopes(alice) is None


@pytest.mark.matrix
@pytest.mark.parametrize("delete", IN_BULK)
def test_shared_grant_whose_links_go_together_is_revoked(
    google: FakeGoogle,
    account: GoogleAccount,
    alice: FakeUser,
    delete: Callable[[GoogleAccount], None],
) -> None:
    """No link is left that uses it."""
    other = linked(new_user("dora"), google, alice)

    delete(account)
    delete(other)
    run()

    assert google.granted_scopes(alice) is None
    assert not PendingRevocation.objects.exists()


def test_first_revocation_of_a_grant_is_claimed_first(google: FakeGoogle, alice: FakeUser) -> None:
    """The first as the database sorts them, because other transactions lock it first."""
    for number in range(8):
        linked(new_user(f"user-{number}"), google, alice)
    GoogleAccount.objects.all().delete()
    first, *_, last = PendingRevocation.objects.order_by("pk")

    with CaptureQueriesContext(connection) as captured:
        process_grant(last.pk)

    claims = [query["sql"].replace("-", "") for query in captured if "UPDATE" in query["sql"]]
    assert first.pk.hex in claims[0]


def test_dead_link_does_not_spare_a_grant(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """Its user has to link again anyway."""
    linked(new_user("dora"), google, alice, status=Status.NEEDS_REAUTHORIZATION)

    account.unlink()

    assert google.granted_scopes(alice) is None


def test_link_without_a_refresh_token_does_not_spare_a_grant(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """It expires within the hour anyway."""
    linked(new_user("dora"), google, alice, refresh_token="")

    account.unlink()

    assert google.granted_scopes(alice) is None


def test_new_link_cancels_the_revocation(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """It would end the new grant; revocations of other accounts are kept."""
    user = account.user
    google.fail_next(2, endpoint="revoke")
    account.unlink()
    linked(user, google, google.add_user("eve@gmail.com")).unlink()
    assert PendingRevocation.objects.count() == 2

    save(user, alice.sub)

    assert PendingRevocation.objects.get().sub != alice.sub


# Concurrent attempts, and workers that are killed


def test_attempts_at_the_same_time_ask_once(google: FakeGoogle, account: GoogleAccount) -> None:
    """Of five workers, such as commands on several machines, one asks Google."""
    google.fail_next(endpoint="revoke")
    account.unlink()
    make_due()
    key = PendingRevocation.objects.get().pk

    outcomes = at_once(*[lambda: process_pending(key)] * 5)

    assert sorted(outcomes) == sorted([RevocationOutcome.REVOKED, *[RevocationOutcome.SHARED] * 4])
    assert asked(google) == 2


def test_attempt_of_what_was_cancelled_in_between(
    google: FakeGoogle, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is deleted after it was claimed."""
    google.fail_next(endpoint="revoke")
    account.unlink()
    make_due()
    key = PendingRevocation.objects.get().pk
    hits: list[int] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if sql.startswith("UPDATE") and not hits:
            hits.append(1)
            PendingRevocation.objects.all().delete()
        return result

    with connection.execute_wrapper(watch):
        assert process_pending(key) == RevocationOutcome.SHARED
    assert process_pending(key) == RevocationOutcome.SHARED
    assert asked(google) == 1


def test_worker_that_dies_in_the_middle_loses_nothing(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """The revocation is due again after the claim expires."""
    google.fail_next(endpoint="revoke")
    account.unlink()
    make_due()

    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    key = PendingRevocation.objects.get().pk
    accounts = f'FROM "{GoogleAccount._meta.db_table}"'
    with pytest.raises(Killed), just_before("UPDATE", accounts, act=die):
        process_pending(key)

    wait = PendingRevocation.objects.get().retry_at - timezone.now()
    assert timedelta(seconds=10) < wait <= timedelta(seconds=15)
    make_due()
    assert run() == "       1 revoked\n       0 left\n"
    assert google.granted_scopes(alice) is None


def test_no_transaction_is_open_while_google_is_asked(
    google: FakeGoogle, account: GoogleAccount
) -> None:
    """SQLite would report a locked database."""

    def now() -> float:
        GoogleAccount.objects.update(name="x")
        connections.close_all()
        return timezone.now().timestamp()

    google.now = now

    account.unlink()

    assert not PendingRevocation.objects.exists()


@pytest.mark.slow
def test_command_takes_many(google: FakeGoogle, account: GoogleAccount, alice: FakeUser) -> None:
    """Each grant takes one request."""
    for n in range(20):
        linked(account.user, google, google.add_user(f"user-{n}@gmail.com"))
    GoogleAccount.objects.all().delete()

    assert run(workers=5) == "      21 revoked\n       0 left\n"
    assert asked(google) == 21
    assert run() == "       0 left\n"


def test_command_that_is_interrupted(
    google: FakeGoogle, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends it with exit code 130."""
    GoogleAccount.objects.all().delete()

    def interrupted(outcomes: Any, total: int) -> Any:
        raise KeyboardInterrupt

    module = "django_google_link.management.outcomes"
    monkeypatch.setattr(f"{module}.show_progress", interrupted)

    with pytest.raises(CommandError, match="Stopped") as caught:
        run()
    assert caught.value.returncode == 130


def test_command_with_options_that_cannot_work() -> None:
    """At least one worker is required."""
    with pytest.raises(CommandError, match="--workers"):
        run(workers=0)


# Commit hooks, replicas and other providers


def test_failure_after_the_commit_is_not_the_users(
    google: FakeGoogle, account: GoogleAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """The link is deleted, the revocation pending, and other commit hooks run."""
    done: list[bool] = []

    def break_down() -> None:
        raise OperationalError("The database went away.")

    with just_before("INSERT", 'UPDATE "google_link_pending', act=break_down), transaction.atomic():
        account.unlink()
        transaction.on_commit(lambda: done.append(True))

    assert done == [True]
    assert "The database went away." in caplog.text
    assert PendingRevocation.objects.count() == 1


@pytest.mark.slow
def test_user_who_is_deleted_while_they_link_leaves_no_grant(
    google: FakeGoogle, alice: FakeUser, client: Client
) -> None:
    """The new grant is revoked, since nothing else would ever revoke it."""
    user = new_user()
    google.client.redirect_uris.append(CALLBACK)
    client.force_login(user)
    to_google = client.get("/google/authorize/")["Location"]
    back = google.consent(to_google, user=alice).removeprefix("http://testserver")

    with during_refresh(google, user.delete):
        response = arrive(client, back)

    assert response.status_code == 400
    assert google.granted_scopes(alice) is None
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()


def test_replica_is_never_written_to(
    google: FakeGoogle, account: GoogleAccount, settings: Settings
) -> None:
    """Pending revocations are read and counted in the database that is written to."""
    account_pk = account.pk
    # There is no such database.
    settings.DATABASE_ROUTERS = [SimpleNamespace(db_for_read=lambda model, **hints: "replica")]
    google.fail_next(2, endpoint="revoke")

    GoogleAccount.objects.using("default").get(pk=account_pk).delete()
    with pytest.raises(CommandError, match="Some could not be revoked yet"):
        run()
    PendingRevocation.objects.using("default").update(retry_at=in_seconds(-1))

    assert run() == "       1 revoked\n       0 left\n"


def test_link_that_an_operator_wants_renewed_spares_the_grant(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """A check could restore it, so another user's unlinking must not revoke it."""
    mark_lost(account, Reason.REQUESTED)

    linked(new_user("dora"), google, alice).unlink()

    assert google.granted_scopes(alice)
    assert asked(google) == 0


def test_token_that_the_provider_repeats_is_not_kept(
    google: FakeGoogle, account: GoogleAccount, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider's message is logged and stored without the token."""
    token = token_of(account, "refresh_token")
    said = f"Invalid token: {token} / {quote(str(token), safe='')}"
    google.fail_next(
        endpoint="revoke", status=400, body={"error": "other", "error_description": said}
    )

    account.unlink()

    assert PendingRevocation.objects.get().last_error.startswith("other: Invalid token: *** / ***")
    assert str(token) not in caplog.text


@pytest.mark.parametrize("error", ["invalid_client", "invalid_request"])
def test_provider_that_wants_to_know_who_asks_is_told(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, error: str
) -> None:
    """RFC 7009 section 2.1: Google requires no client authentication, others do."""
    google.fail_next(endpoint="revoke", status=401, body={"error": error})

    account.unlink()

    first, second = google.requests_to("revoke")
    assert set(first.form) == {"token"}
    assert set(second.form) == {"token", "client_id", "client_secret"}
    assert google.granted_scopes(alice) is None


# A client id that has changed under the same name


ANOTHER = "123456789012-another.apps.googleusercontent.com"


@pytest.fixture
def changed(
    google: FakeGoogle, account: GoogleAccount, configure: Callable[..., None]
) -> FakeClient:
    """A changed client, with Google's real endpoints."""
    client = google.add_client(client_id=ANOTHER)
    configure(CLIENT_ID=client.client_id, CLIENT_SECRET=client.client_secret)
    return client


def test_link_of_the_former_client_is_revoked(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, changed: FakeClient
) -> None:
    """Google requires no client authentication, so the former client is not needed."""
    account.unlink()

    assert google.granted_scopes(alice) is None
    assert not PendingRevocation.objects.exists()


def test_link_of_a_former_client_elsewhere_waits(
    google: FakeGoogle, account: GoogleAccount, configure: Callable[..., None]
) -> None:
    """Other providers' endpoints for the former client are unknown."""
    GoogleAccount.objects.all().delete()
    configure(CLIENT_ID="daybook", PROVIDER=None)
    account = save(account.user)
    configure(CLIENT_ID="other")

    account.unlink()

    [pending] = PendingRevocation.objects.filter(client_id="daybook")
    assert pending.last_error.startswith("client_id_changed")


def test_link_at_another_provider_is_of_another_grant(
    google: FakeGoogle, alice: FakeUser, configure: Callable[..., None], settings: Settings
) -> None:
    """With the same client ID and subject, it neither cancels nor prevents the revocation."""
    client = google.add_client(client_id="daybook")
    configure(CLIENT_ID=client.client_id, CLIENT_SECRET=client.client_secret, PROVIDER=None)
    default = settings.GOOGLE_LINK["CLIENTS"]["default"]
    office = {**default, "ISSUER": f"{google.url}/office"}
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {"default": default, "office": office},
    }
    tokens = google.grant(alice, [*OPENID], client=client)
    google.fail_next(endpoint="revoke")
    save(new_user(), alice.sub, refresh_token=Secret(tokens.refresh_token)).unlink()

    save(new_user("dora"), alice.sub, client="office")
    assert PendingRevocation.objects.count() == 1

    make_due()
    assert run() == "       1 revoked\n       0 left\n"
    assert google.granted_scopes(alice, client) is None


def test_new_link_ends_the_former_clients_grant(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, changed: FakeClient
) -> None:
    """Its token is replaced in the row, so nothing else would revoke it."""
    tokens = google.grant(alice, [*OPENID], client=changed)

    save(account.user, alice.sub, refresh_token=Secret(tokens.refresh_token))

    assert google.granted_scopes(alice) is None
    assert google.granted_scopes(alice, changed)
    assert not PendingRevocation.objects.exists()


def test_new_link_leaves_the_former_clients_revocation(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, changed: FakeClient
) -> None:
    """It is another grant, whose revocation does not end the new one."""
    google.fail_next(endpoint="revoke")
    account.unlink()
    tokens = google.grant(alice, [*OPENID], client=changed)

    save(new_user("dora"), alice.sub, refresh_token=Secret(tokens.refresh_token))

    assert PendingRevocation.objects.count() == 1
    make_due()
    assert "1 revoked" in run()
    assert google.granted_scopes(alice) is None
    assert google.granted_scopes(alice, changed)


# Providers that revoke each token separately


def test_elsewhere_each_token_is_revoked(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """No other link spares or cancels it; the access token is revoked as well."""
    GoogleAccount.objects.all().delete()
    PendingRevocation.objects.all().delete()
    configure(PROVIDER=None)
    google.revocation_ends_grant = False
    user = account.user
    first, other = linked(user, google, alice), linked(new_user("dora"), google, alice)
    google.fail_next(endpoint="revoke")
    first.unlink()
    again = google.grant(alice, [*OPENID]).refresh_token

    save(user, alice.sub, refresh_token=Secret(again))
    before = asked(google)
    make_due()

    assert run() == "       1 revoked\n       0 left\n"
    assert asked(google) == before + 2
    check_grant(other)  # It is still valid.


def test_one_yes_settles_what_waited_before_it(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """At Google one token revokes the whole grant, so the other revocations are deleted."""
    other = linked(new_user("dora"), google, alice)
    GoogleAccount.objects.filter(pk__in=[account.pk, other.pk]).delete()
    assert PendingRevocation.objects.count() == 2

    assert process_pending(PendingRevocation.objects.all()[0].pk) == RevocationOutcome.REVOKED

    assert asked(google) == 1
    assert not PendingRevocation.objects.exists()


def test_a_token_that_is_unknown_settles_only_itself(
    google: FakeGoogle, account: GoogleAccount, alice: FakeUser
) -> None:
    """The token of the other row is still sent."""
    dead = linked(new_user("dora"), google, alice, refresh_token="1//x", access_token="ya29.x")
    GoogleAccount.objects.filter(pk__in=[account.pk, dead.pk]).delete()

    process_pending(PendingRevocation.objects.get(account_id=dead.pk).pk)

    assert google.granted_scopes(alice)
    assert PendingRevocation.objects.get().account_id == account.pk
    assert "1 revoked" in run()
    assert google.granted_scopes(alice) is None


def test_row_of_a_client_that_is_gone_is_revoked_at_google_itself(google: FakeGoogle) -> None:
    """Google requires no client authentication."""
    row = PendingRevocation(client="former", client_id="former.id", issuer=GOOGLE_ISSUER)

    client = get_revoking_client(row)

    assert (client.name, client.client_id) == ("former", "former.id")
    assert client.revocation_endpoint == DEFAULT_ENDPOINTS["REVOCATION_ENDPOINT"]
