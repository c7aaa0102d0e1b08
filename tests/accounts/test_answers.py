"""Responses of the token endpoint are stored, or their grants revoked or queued for revocation."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import call_command
from django.db import (
    DEFAULT_DB_ALIAS,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
    transaction,
)
from django.db.models import F
from pytest_django import Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.answers import end_grant, hold_grant
from django_google_link.accounts.authorization_requests import (
    PendingAuthorization,
    start_authorization,
)
from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.accounts.linking import complete_authorization
from django_google_link.accounts.revocations import process_pending
from django_google_link.conf.clients import get_client
from django_google_link.exceptions import (
    GoogleLinkError,
    GrantLostError,
    GrantNotStoredError,
    IDTokenError,
    OtherAccountError,
    RefreshUnavailableError,
    StateError,
)
from django_google_link.models import GoogleAccount, PendingRevocation, Status
from django_google_link.secret import Secret
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.accounts import linked, stale
from tests.support.constants import CALENDAR, CALLBACK, DRIVE, OPENID, OTHER_KEY
from tests.support.databases import new_user, second_connection
from tests.support.failing import FOR_EVER, failing, refusing, unconfirmed
from tests.support.providers import play_provider
from tests.support.races import locked_elsewhere
from tests.support.signals import heard
from tests.support.times import in_seconds, skip_pauses
from tests.support.urls import query_of
from tests.support.workers import during_refresh, just_before

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.slow,
    pytest.mark.usefixtures("shared_database"),
]

#: Errors that a statement can raise, and the signal to stop a worker.
ERRORS: dict[str, BaseException] = {
    "deadlock": OperationalError("deadlock detected"),
    "lost connection": InterfaceError("connection already closed"),
    "read-only": InternalError("cannot execute UPDATE in a read-only transaction"),
    "data": DataError("invalid byte sequence"),
    "unknown character": UnicodeEncodeError("latin-1", "😀", 0, 1, "ordinal not in range"),
    "integrity": IntegrityError("a constraint"),
    "gone": GoogleAccount.DoesNotExist("matching query does not exist"),
    "stop": SystemExit(1),
}

COUNTS = {"once": 1, "for a while": 12, "for ever": FOR_EVER}

#: Run by default; the other combinations are similar, and marked ``processes``.
TELLING = {
    ("deadlock", "once"),
    ("deadlock", "for a while"),
    ("deadlock", "for ever"),
    ("integrity", "for ever"),
    ("data", "for ever"),
    ("stop", "once"),
}

failures = pytest.mark.parametrize(
    ("kind", "count"),
    [
        pytest.param(
            kind, count, marks=() if (kind, count) in TELLING else (pytest.mark.processes,)
        )
        for kind in ERRORS
        for count in COUNTS
        if kind != "stop" or count == "once"  # A worker is stopped only once.
    ],
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Skip pauses between attempts."""
    return skip_pauses(monkeypatch)


@pytest.fixture
def user(shared_database: None) -> Any:
    """A user in a database with real commits."""
    return new_user()


Authorization = tuple[PendingAuthorization, dict[str, str], Secret]


def authorized(
    user: Any, google: FakeGoogle, alice: FakeUser, *scopes: str, **changes: Any
) -> Authorization:
    """Return an authorization response."""
    values: dict[str, Any] = {
        "user": str(user.pk),
        "host": "",
        "client": "default",
        "scopes": (*OPENID, CALENDAR, *scopes),
        "required": (CALENDAR, *scopes),
        "return_url": "",
        **changes,
    }
    pending = start_authorization(
        user, AuthorizeRequest(**values), get_client(), redirect_uri=CALLBACK
    )
    assert pending
    response = query_of(google.consent(pending.authorization_url("state"), user=alice))
    return pending, response, Secret(response.pop("code"))


def complete(user: Any, authorization: Authorization) -> GoogleAccount:
    """Link, and check that one authorization is enough."""
    account = complete_authorization(user, *authorization)
    assert isinstance(account, GoogleAccount)
    return account


def assert_works(user: Any, *scopes: str) -> None:
    """Check that the link works now and for two hours."""
    for hours in range(3):
        with travel(hours=hours, minutes=2):  # By then a dead worker's lease has expired.
            assert access_token(user, scopes=[CALENDAR, *scopes])


def assert_not_lost(google: FakeGoogle, alice: FakeUser, user: Any) -> bool:
    """Check that the link works, or the grant was revoked or is in the outbox.

    Returns:
        Whether it works.
    """
    connections.close_all()
    if GoogleAccount.objects.filter(user=user, status=Status.ACTIVE).exists():
        try:
            assert_works(user)
        except GoogleLinkError:
            pass
        else:
            return True
    PendingRevocation.objects.update(retry_at=in_seconds(-1))
    for pending in PendingRevocation.objects.all():
        process_pending(pending.pk)
    assert google.granted_scopes(alice) is None
    return False


def at_every_statement(
    google: FakeGoogle,
    kind: str,
    count: str,
    arrange: Callable[[Any, FakeUser], Callable[[], object]],
) -> int:
    """Fail at the first statement, at the second one, and so on, each with a new user.

    Args:
        arrange: returns what to run while the database fails.

    Returns:
        How many runs did not result in a working link.
    """
    broken = number = 0
    while True:
        number += 1
        user = new_user(f"user-{number}")
        alice = google.add_user(f"user-{number}@gmail.com")
        act = arrange(user, alice)
        with failing(ERRORS[kind], first=number, count=COUNTS[count]) as failure:
            try:
                act()
            except (GoogleLinkError, SystemExit, *map(type, ERRORS.values())):
                pass
        broken += not assert_not_lost(google, alice, user)
        if not failure.has_failed:
            assert number > 3
            return broken


def passes(kind: str, count: str) -> bool:
    """Return whether the failure ends within the time of the retries."""
    return kind in {"deadlock", "lost connection", "read-only"} and count != "for ever"


@failures
def test_first_link(google: FakeGoogle, kind: str, count: str) -> None:
    """Whichever statement fails, the account is linked or the grant is revoked."""

    def arrange(user: Any, alice: FakeUser) -> Callable[[], object]:
        authorization = authorized(user, google, alice)
        return lambda: complete(user, authorization)

    broken = at_every_statement(google, kind, count, arrange)

    if passes(kind, count):
        assert broken == 0


@failures
def test_second_link_of_the_same(google: FakeGoogle, kind: str, count: str) -> None:
    """Whichever statement fails while an account is linked again, the link keeps working."""

    def arrange(user: Any, alice: FakeUser) -> Callable[[], object]:
        linked(user, google, alice)
        authorization = authorized(user, google, alice, DRIVE)
        return lambda: complete(user, authorization)

    assert at_every_statement(google, kind, count, arrange) == 0


@failures
@pytest.mark.parametrize("provider", ["google", None])
def test_refresh_that_replaces_the_refresh_token(
    google: FakeGoogle,
    configure: Callable[..., None],
    kind: str,
    count: str,
    provider: str | None,
) -> None:
    """Whichever statement fails, a rotated refresh token is stored or its grant revoked."""
    configure(PROVIDER=provider)
    google.rotates_refresh_tokens = True

    def arrange(user: Any, alice: FakeUser) -> Callable[[], object]:
        account = stale(user, google, alice)
        return lambda: fresh_access_token(account)

    broken = at_every_statement(google, kind, count, arrange)

    if passes(kind, count):
        assert broken == 0


@failures
def test_refresh_that_keeps_the_refresh_token(google: FakeGoogle, kind: str, count: str) -> None:
    """If the refresh token is not rotated, no failing statement costs the link."""

    def arrange(user: Any, alice: FakeUser) -> Callable[[], object]:
        account = stale(user, google, alice)
        return lambda: fresh_access_token(account)

    assert at_every_statement(google, kind, count, arrange) == 0


# Commits that are not confirmed


@pytest.fixture
def rotating(configure: Callable[..., None], google: FakeGoogle) -> None:
    """A provider other than Google, which replaces refresh tokens."""
    configure(PROVIDER=None)
    google.rotates_refresh_tokens = True


def find_revocations(google: FakeGoogle) -> int:
    """Run the command an hour later; return how often a revocation was requested."""
    with travel(hours=1):
        call_command("google_link_revoke_pending", stdout=io.StringIO())
    assert not PendingRevocation.objects.exists()
    return len(google.requests_to("revoke"))


@pytest.mark.usefixtures("rotating")
def test_refresh_is_noted_once(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """A second entry in the outbox would end the grant that is stored."""
    account = stale(user, google, alice)

    with unconfirmed("INSERT", "pendingrevocation"):
        assert fresh_access_token(account).is_new

    assert find_revocations(google) == 0
    with travel(hours=2):
        assert fresh_access_token(account).is_new


def test_link_is_noted_once(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """A second entry in the outbox would end the grant that is stored."""
    play_provider(google, settings)
    authorization = authorized(user, google, alice)

    with unconfirmed("INSERT", "pendingrevocation"):
        account = complete(user, authorization)

    assert find_revocations(google) == 0
    with travel(hours=2):
        assert fresh_access_token(account).is_new


@pytest.mark.usefixtures("rotating")
@pytest.mark.parametrize("refused", [None, ""])
def test_refresh_whose_commit_is_not_confirmed(
    google: FakeGoogle, alice: FakeUser, user: Any, refused: str | None
) -> None:
    """What may be stored is not revoked, whether or not the database can be asked at once."""
    account = stale(user, google, alice)

    with (
        suppress(RefreshUnavailableError),
        unconfirmed("UPDATE", "refresh_token_prefix_digest", refused=refused),
    ):
        fresh_access_token(account)

    assert find_revocations(google) == 0
    with travel(hours=2):
        assert fresh_access_token(account).is_new


@pytest.mark.usefixtures("rotating")
@pytest.mark.parametrize("refused", [None, ""])
def test_refresh_that_is_not_committed(
    google: FakeGoogle, alice: FakeUser, user: Any, refused: str | None
) -> None:
    """It is stored by another attempt; or else the command revokes it."""
    account = stale(user, google, alice)

    with (
        suppress(RefreshUnavailableError),
        unconfirmed("UPDATE", "refresh_token_prefix_digest", is_committed=False, refused=refused),
    ):
        fresh_access_token(account)

    is_gone = refused is not None
    assert find_revocations(google) == is_gone
    with travel(hours=2), suppress(GrantLostError):
        assert fresh_access_token(account).is_new
    account.refresh_from_db()
    assert account.is_active != is_gone


@pytest.mark.parametrize("is_committed", [True, False])
@pytest.mark.parametrize("refused", [None, ""])
def test_link_whose_commit_is_not_confirmed(
    google: FakeGoogle, alice: FakeUser, user: Any, refused: str | None, is_committed: bool
) -> None:
    """The user is told that it failed, and is linked if it was stored; or else it is revoked."""
    authorization = authorized(user, google, alice)

    with (
        suppress(GrantNotStoredError),
        unconfirmed("INSERT", "googleaccount", is_committed=is_committed, refused=refused),
    ):
        complete(user, authorization)

    is_lost = refused is not None and not is_committed
    assert find_revocations(google) == is_lost
    assert GoogleAccount.objects.exists() != is_lost
    if not is_lost:
        assert_works(user)


def test_link_of_which_the_outbox_says_that_it_is_not_stored(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """It is revoked at once, as after any other failure."""
    authorization = authorized(user, google, alice)

    with (
        pytest.raises(GrantNotStoredError),
        unconfirmed("INSERT", "googleaccount", is_committed=False, refused="INSERT"),
    ):
        complete(user, authorization)

    assert not PendingRevocation.objects.exists()
    assert google.granted_scopes(alice) is None


@pytest.mark.usefixtures("rotating")
def test_refresh_of_a_row_that_is_not_ours_any_more(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Its token is stored nowhere, even if that commit is not confirmed."""
    account = stale(user, google, alice)

    def relink() -> None:
        GoogleAccount.objects.update(grant_version=F("grant_version") + 1)

    with (
        during_refresh(google, relink),
        unconfirmed("UPDATE", "refresh_token_prefix_digest", refused=""),
        pytest.raises(RefreshUnavailableError),
    ):
        fresh_access_token(account)

    assert len(google.requests_to("revoke")) + find_revocations(google)


@pytest.mark.usefixtures("rotating")
def test_refresh_over_another_connection_whose_commit_is_not_confirmed(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """The outbox is written by the connection that stores the token, and tells of it."""
    account = stale(user, google, alice)

    with second_connection(settings):
        with transaction.atomic():
            with unconfirmed("UPDATE", "refresh_token_prefix_digest", using="apart"):
                assert fresh_access_token(account).value
            transaction.set_rollback(True)

        assert find_revocations(google) == 0
        with travel(hours=2):
            assert fresh_access_token(account).is_new


@pytest.mark.skipif(os.environ.get("TEST_DATABASE") != "postgresql", reason="needs NOWAIT")
def test_commit_that_is_still_under_way(user: Any) -> None:
    """Until it has ended, its entry is locked, and the grant may be stored."""
    held = hold_grant(
        get_client(), "1", Secret("1//a"), owner="1", is_linked=False, using=DEFAULT_DB_ALIAS
    )
    with suppress(OperationalError), unconfirmed("DELETE", is_committed=False):
        held.store(lambda: True)

    with locked_elsewhere(PendingRevocation.objects.all()):
        assert held.may_be_stored


# Responses that cannot be attributed to an account


BAD_IDENTITIES: dict[str, Callable[[FakeGoogle], object]] = {
    "no keys": lambda google: google.fail_next(endpoint="certs", status=503),
    "keys in HTML": lambda google: google.fail_next(endpoint="certs", status=200, body="<p>hello"),
    "no ID token": lambda google: google.tamper_next_response(
        endpoint="token", remove=["id_token"]
    ),
    "nonsense": lambda google: google.tamper_next_response(
        endpoint="token", fields={"id_token": "a.b.c"}
    ),
    "another audience": lambda google: google.tamper_next_id_token(claims={"aud": "another"}),
    "another issuer": lambda google: google.tamper_next_id_token(
        claims={"iss": "https://evil.example"}
    ),
    "another nonce": lambda google: google.tamper_next_id_token(claims={"nonce": "another"}),
    "expired": lambda google: google.tamper_next_id_token(claims={"exp": 1}),
    "no subject": lambda google: google.tamper_next_id_token(claims={"sub": [1]}),
    "a list": lambda google: google.tamper_next_id_token(payload=b"[]"),
}

bad_identities = pytest.mark.parametrize("kind", BAD_IDENTITIES)


@bad_identities
def test_grant_that_cannot_be_verified_is_ended(
    google: FakeGoogle, alice: FakeUser, user: Any, kind: str
) -> None:
    """A grant whose ID token cannot be verified is revoked, and nothing is stored."""
    authorization = authorized(user, google, alice)
    BAD_IDENTITIES[kind](google)

    with pytest.raises((IDTokenError, RefreshUnavailableError)):
        complete_authorization(user, *authorization)

    assert google.granted_scopes(alice) is None
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()


@bad_identities
def test_link_does_not_end_with_a_grant_that_cannot_be_verified(
    google: FakeGoogle, alice: FakeUser, user: Any, kind: str
) -> None:
    """An unverified response does not revoke a grant that an existing link uses."""
    linked(user, google, alice)
    authorization = authorized(user, google, alice, DRIVE)
    BAD_IDENTITIES[kind](google)

    with pytest.raises((IDTokenError, RefreshUnavailableError)):
        complete_authorization(user, *authorization)

    assert_works(user)


def test_grant_of_nobody_beside_another_link_is_told(
    google: FakeGoogle, alice: FakeUser, user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If the user has another link, an unverified grant is logged instead of revoked."""
    linked(user, google, google.add_user("first@gmail.com"))
    authorization = authorized(user, google, alice, add=True)
    google.tamper_next_response(endpoint="token", remove=["id_token"])

    with pytest.raises(IDTokenError):
        complete_authorization(user, *authorization)

    assert "may still be valid at Google: its account is unknown" in caplog.text
    assert_works(user)


def test_grant_of_another_domain_is_ended(
    google: FakeGoogle, alice: FakeUser, user: Any, configure: Callable[..., None]
) -> None:
    """The grant of an account outside ``HOSTED_DOMAIN`` is revoked."""
    authorization = authorized(user, google, alice)
    configure(HOSTED_DOMAIN="example.com")

    with pytest.raises(IDTokenError):
        complete_authorization(user, *authorization)

    assert google.granted_scopes(alice) is None


def test_other_account_is_ended_unless_the_user_takes_it(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The grant of an unexpected account is revoked after 20 minutes; the link is kept."""
    linked(user, google, alice)
    ben = google.add_user("ben@gmail.com")
    authorization = authorized(user, google, ben, DRIVE, account=alice.sub)

    with pytest.raises(OtherAccountError):
        complete_authorization(user, *authorization)

    pending = PendingRevocation.objects.get()
    process_pending(pending.pk)
    assert google.granted_scopes(ben)
    with travel(minutes=21):
        process_pending(pending.pk)
    assert google.granted_scopes(ben) is None
    assert_works(user)


def test_other_account_that_brings_no_refresh_token_is_ended_too(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The grant of an unexpected account is revoked even if it has no refresh token."""
    linked(user, google, alice)
    ben = google.add_user("ben@gmail.com")
    google.grant(ben, [*OPENID])
    google.prompt_consent_sends_refresh_token = False
    authorization = authorized(user, google, ben, DRIVE, account=alice.sub)

    with pytest.raises(OtherAccountError):
        complete_authorization(user, *authorization)

    with travel(minutes=21):
        process_pending(PendingRevocation.objects.get().pk)
    assert google.granted_scopes(ben) is None


def test_user_who_does_not_come_back_for_a_refresh_token(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """If the user does not give the repeated consent, the first grant is revoked."""
    google.grant(alice, [*OPENID])
    google.prompt_consent_sends_refresh_token = False

    outcome = complete_authorization(user, *authorized(user, google, alice))

    assert isinstance(outcome, PendingAuthorization)
    with travel(minutes=21):
        process_pending(PendingRevocation.objects.get().pk)
    assert google.granted_scopes(alice) is None


def test_user_who_comes_back_for_a_refresh_token(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """After the repeated consent the account is linked, and nothing is revoked."""
    google.grant(alice, [*OPENID])
    google.prompt_consent_sends_refresh_token = False
    outcome = complete_authorization(user, *authorized(user, google, alice))
    google.prompt_consent_sends_refresh_token = True
    assert isinstance(outcome, PendingAuthorization)
    response = query_of(google.consent(outcome.authorization_url("state"), user=alice))

    complete(user, (outcome, response, Secret(response.pop("code"))))

    assert not PendingRevocation.objects.exists()
    assert_works(user)


# Repeated authorizations


def test_second_attempt_has_its_own_time_and_secrets(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A repeated authorization has its own time, nonce and verifier, hidden in repr()."""
    google.grant(alice, [*OPENID])
    google.prompt_consent_sends_refresh_token = False
    first = authorized(user, google, alice)
    with travel(minutes=9):
        second = complete_authorization(user, *first)
    assert isinstance(second, PendingAuthorization)

    with travel(minutes=12):
        assert not first[0].is_live
        assert second.is_live
    with travel(minutes=20):
        assert not second.is_live
    for attempt in (first[0], second):
        assert attempt.nonce not in repr(attempt)
        assert attempt.code_verifier not in repr(attempt)
    assert first[0].nonce != second.nonce
    assert first[0].code_verifier != second.code_verifier
    assert second.account == alice.sub
    assert second.prompt == "consent"


# Signals, errors and the log


def test_attempt_that_is_repeated_tells_the_same(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A response that is stored at the second attempt, after a deadlock, sends its signals."""
    account = stale(user, google, alice)
    google.set_scopes(alice, [*OPENID])

    def fail() -> None:
        raise ERRORS["deadlock"]

    with heard() as news, just_before('"granted_scopes" =', act=fail):
        fresh_access_token(account)

    assert "scopes_changed" in [name for name, _ in news]


def test_user_who_is_gone_is_told_apart(google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """StateError is for a deleted user; other integrity errors raise GrantNotStoredError."""
    authorization = authorized(user, google, alice)
    with failing(ERRORS["integrity"], first=3, count=FOR_EVER), pytest.raises(GrantNotStoredError):
        complete_authorization(user, *authorization)

    other = google.add_user("eve@gmail.com")
    authorization = authorized(user, google, other)
    user_pk = user.pk
    user.delete()
    user.pk = user_pk
    with pytest.raises(StateError):
        complete_authorization(user, *authorization)
    assert google.granted_scopes(other) is None


def test_grant_on_which_a_link_lives_outlives_an_outbox_that_cannot_be_written(
    google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """If the outbox cannot be written, a grant that an active link uses is not revoked."""
    linked(user, google, alice)
    token = Secret(google.grant(alice, [*OPENID]).access_token)

    with refusing(ERRORS["read-only"], "INSERT INTO", "pendingrevocation"):
        end_grant(get_client(), alice.sub, token, owner=str(user.pk))

    assert_works(user)


def test_grant_that_can_neither_be_noted_nor_ended_is_told(
    google: FakeGoogle, alice: FakeUser, user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If neither the outbox nor Google accepts a revocation, an error is logged."""
    token = Secret(google.grant(alice, [*OPENID]).access_token)
    google.fail_next(10, endpoint="revoke", status=503)

    with refusing(ERRORS["read-only"], "INSERT INTO", "pendingrevocation"):
        end_grant(get_client(), alice.sub, token, owner=str(user.pk))

    assert google.granted_scopes(alice) is not None
    assert "HTTP 503" in caplog.records[-1].getMessage()
    assert caplog.records[-1].levelname == "ERROR"


def test_grant_that_is_noted_and_not_ended_waits(
    google: FakeGoogle, alice: FakeUser, user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A grant in the outbox that cannot be revoked immediately is revoked later."""
    token = Secret(google.grant(alice, [*OPENID]).refresh_token)

    with refusing(ERRORS["deadlock"], "UPDATE", "pendingrevocation"):
        end_grant(get_client(), alice.sub, token, owner=str(user.pk))

    assert "could not be revoked immediately: OperationalError" in caplog.text
    with travel(days=1):
        process_pending(PendingRevocation.objects.get().pk)
    assert google.granted_scopes(alice) is None


def test_what_is_stored_falls_short_and_cannot_be_tried(
    google: FakeGoogle, alice: FakeUser, user: Any, settings: Settings
) -> None:
    """If the stored token lacks scopes and its key is missing, consent is requested again."""
    linked(user, google, alice, scopes=[CALENDAR, DRIVE])
    authorization = authorized(user, google, alice, DRIVE, add=True)
    GoogleAccount.objects.update(refresh_token_scopes=[*OPENID])
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [OTHER_KEY]}

    again = complete_authorization(user, *authorization)

    assert isinstance(again, PendingAuthorization)
    assert again.consent_repeated


def test_stop_while_the_id_token_is_verified_ends_the_grant(
    google: FakeGoogle, alice: FakeUser, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped while it verifies the ID token revokes the grant."""
    authorization = authorized(user, google, alice)

    def stop(*args: Any, **kwargs: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("jwt.PyJWK", stop)

    with pytest.raises(SystemExit):
        complete_authorization(user, *authorization)

    assert google.granted_scopes(alice) is None
