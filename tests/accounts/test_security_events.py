"""How Google's security events affect links."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_google_link.accounts.access_tokens import fresh_access_token
from django_google_link.accounts.security_events import REMEMBERED, delete_old_events
from django_google_link.encryption.keyring import make_key
from django_google_link.exceptions import GrantLostError
from django_google_link.models import (
    GoogleAccount,
    GrantCheck,
    PendingRevocation,
    Reason,
    SecurityEvent,
    Status,
)
from django_google_link.testing import FakeGoogle, FakeUser, travel
from django_google_link.testing.accounts import make_google_account
from tests.support.accounts import linked, save, token_of
from tests.support.databases import at_once, new_user
from tests.support.history import told
from tests.support.signals import heard
from tests.support.times import in_seconds
from tests.support.workers import during_refresh

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver")]

TOKEN = "1//0gRefreshTokenOfAlice-AndMore"
REVOKED = (Status.NEEDS_REAUTHORIZATION, Reason.REVOKED)
WORKS = (Status.ACTIVE, "")
ALGORITHMS = ["prefix", "hash_base64_sha512_sha512"]
Capture = DjangoCaptureOnCommitCallbacks


@pytest.fixture
def tell(client: Client, google: FakeGoogle) -> Callable[..., None]:
    """Send a security event, and check that it is accepted."""

    def tell(event: str = "", **options: Any) -> None:
        assert google.send_security_event(client, event, **options).status_code == 202

    return tell


def of_last_year(account: GoogleAccount) -> GoogleAccount:
    """Date a link back by a year."""
    GoogleAccount.objects.filter(pk=account.pk).update(granted_at=in_seconds(-365 * 86_400))
    return account


def state_of(account: GoogleAccount) -> tuple[str, str]:
    """Return the status and its reason."""
    row = GoogleAccount.objects.get(pk=account.pk)
    return row.status, row.status_reason


def to_be_asked() -> set[Any]:
    """Return the primary keys of the links with requested checks."""
    rows = GrantCheck.objects.filter(requested_at__isnull=False)
    return set(rows.values_list("pk", flat=True))


@pytest.mark.matrix
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_token_revoked_ends_its_link_and_no_other(
    tell: Callable[..., None], user: Any, other_user: Any, algorithm: str
) -> None:
    """By its prefix or its hash; the refresh token is kept, and nothing is revoked."""
    account = of_last_year(make_google_account(user, sub="42", refresh_token=TOKEN))
    others = [
        of_last_year(make_google_account(user, sub="43", refresh_token="1//another-of-anna")),
        of_last_year(make_google_account(other_user, sub="42", refresh_token="1//same-account")),
    ]

    tell("token-revoked", refresh_token=TOKEN, algorithm=algorithm)

    assert state_of(account) == REVOKED
    assert [state_of(other) for other in others] == [WORKS, WORKS]
    assert token_of(account, "access_token") is None
    assert token_of(account, "refresh_token") == TOKEN
    assert not PendingRevocation.objects.exists()
    assert told(account_id=account.pk) == [
        ("security_event", "provider", {"type": "token-revoked", "reason": ""}),
        ("lost", "provider", {"reason": "revoked"}),
    ]
    assert len(told()) == 2
    assert not to_be_asked()
    event = SecurityEvent.objects.get()
    assert (event.types, event.ended, event.asked) == ("token-revoked", 1, 0)


def test_lost_link_asks_for_consent(
    tell: Callable[..., None], google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Google is not asked for a token."""
    account = of_last_year(linked(user, google, alice))
    tell("tokens-revoked", user=alice)

    with pytest.raises(GrantLostError, match="link the account again") as caught:
        fresh_access_token(account)

    assert caught.value.reason == "revoked"
    assert google.requests_to("token") == []


def test_prefix_of_several_tokens_is_asked_about(tell: Callable[..., None], user: Any) -> None:
    """Any of them may be meant, so all their grants are checked."""
    accounts = [
        of_last_year(make_google_account(user, refresh_token=TOKEN[:16] + str(n))) for n in range(2)
    ]

    tell("token-revoked", refresh_token=TOKEN, algorithm="prefix")

    assert [state_of(account) for account in accounts] == [WORKS, WORKS]
    assert to_be_asked() == {account.pk for account in accounts}


def test_hash_of_a_token_that_several_rows_hold(
    tell: Callable[..., None], user: Any, other_user: Any
) -> None:
    """The links of all these rows are lost."""
    accounts = [
        of_last_year(make_google_account(owner, sub="42", refresh_token=TOKEN))
        for owner in (user, other_user)
    ]

    tell("token-revoked", refresh_token=TOKEN)

    assert [state_of(account) for account in accounts] == [REVOKED, REVOKED]


@pytest.mark.matrix
@pytest.mark.parametrize("spelling", ["urlsafe", "unpadded"])
def test_hash_in_another_spelling(
    tell: Callable[..., None], google: FakeGoogle, user: Any, spelling: str
) -> None:
    """URL-safe and unpadded Base64 are accepted as well."""
    # A token whose hash has a character in which the alphabets differ.
    token = next(
        token
        for token in (f"1//token{n}" for n in range(100))
        if "/" in subject_of(google, token)["token"]
    )
    account = of_last_year(make_google_account(user, refresh_token=token))
    subject = subject_of(google, token)
    if spelling == "urlsafe":
        subject["token"] = subject["token"].replace("+", "-").replace("/", "_")
    else:
        subject["token"] = subject["token"].rstrip("=")

    tell("token-revoked", details={"subject": subject})

    assert state_of(account) == REVOKED


def subject_of(google: FakeGoogle, token: str) -> dict[str, Any]:
    """Return the subject of an event about a token."""
    from django_google_link.testing.provider.security_events import name_token

    return name_token(token, "hash_base64_sha512_sha512")


@pytest.mark.matrix
@pytest.mark.parametrize(
    "changes",
    [
        {"token_type": "access_token"},
        {"token_identifier_alg": "plain"},
        {"token": "no base64 of 64 bytes"},
        {"token": "\ud800"},
        {"token": ""},
    ],
    ids=str,
)
def test_token_that_is_named_in_another_way(
    tell: Callable[..., None], google: FakeGoogle, user: Any, changes: dict[str, Any]
) -> None:
    """The event is recorded without effect."""
    account = of_last_year(make_google_account(user, refresh_token=TOKEN))

    tell("token-revoked", details={"subject": {**subject_of(google, TOKEN), **changes}})

    assert state_of(account) == WORKS
    assert SecurityEvent.objects.get().ended == 0


def test_token_revoked_of_an_account_alone(
    tell: Callable[..., None], google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The token is not identified, so each link is checked."""
    account = of_last_year(linked(user, google, alice))

    tell("token-revoked", user=alice)

    assert state_of(account) == WORKS
    assert to_be_asked() == {account.pk}


def test_token_and_account_have_to_agree(
    tell: Callable[..., None], google: FakeGoogle, user: Any
) -> None:
    """If the event names both, the link has to match both."""
    account = of_last_year(make_google_account(user, sub="42", refresh_token=TOKEN))
    subject = subject_of(google, TOKEN)

    tell("token-revoked", details={"subject": {**subject, "sub": "43"}})
    assert state_of(account) == WORKS
    tell("token-revoked", details={"subject": {**subject, "sub": "42"}})
    assert state_of(account) == REVOKED


def test_token_under_an_older_key(tell: Callable[..., None], user: Any, settings: Settings) -> None:
    """It is found while that key is configured."""
    account = of_last_year(make_google_account(user, refresh_token=TOKEN))
    keys = [make_key(), *settings.GOOGLE_LINK["ENCRYPTION_KEYS"]]
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": keys}

    tell("token-revoked", refresh_token=TOKEN)

    assert state_of(account) == REVOKED


@pytest.fixture
def projects(google: FakeGoogle, settings: Settings) -> dict[str, Any]:
    """Three clients: two of one project, and one of another."""
    sibling = google.add_client(project=google.client.project)
    clients = {"default": google.client, "sibling": sibling, "stranger": google.add_client()}
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {name: google.client_settings(client) for name, client in clients.items()},
    }
    return clients


@pytest.mark.matrix
@pytest.mark.parametrize("event", ["tokens-revoked", "account-disabled"])
def test_links_through_the_clients_of_the_projects_that_it_is_for(
    tell: Callable[..., None],
    alice: FakeUser,
    user: Any,
    other_user: Any,
    projects: dict[str, Any],
    event: str,
) -> None:
    """All users' links end, but not those of other projects or accounts."""
    ended = [
        of_last_year(make_google_account(owner, sub=alice.sub, client=client))
        for owner in (user, other_user)
        for client in ("default", "sibling")
    ]
    others = [
        of_last_year(make_google_account(user, sub=alice.sub, client="stranger")),
        of_last_year(make_google_account(user, sub="43")),
    ]

    tell(event, user=alice)

    assert {state_of(account)[0] for account in ended} == {Status.NEEDS_REAUTHORIZATION}
    assert [state_of(account) for account in others] == [WORKS, WORKS]
    assert SecurityEvent.objects.get().ended == 4


@pytest.mark.matrix
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_token_of_another_project(
    tell: Callable[..., None], user: Any, projects: dict[str, Any], algorithm: str
) -> None:
    """An event for one project does not concern another."""
    account = of_last_year(make_google_account(user, client="stranger", refresh_token=TOKEN))

    tell("token-revoked", refresh_token=TOKEN, algorithm=algorithm)
    assert state_of(account) == WORKS

    tell("token-revoked", refresh_token=TOKEN, algorithm=algorithm, client=projects["stranger"])
    assert state_of(account) == REVOKED


def test_subject_is_compared_to_the_letter(
    tell: Callable[..., None], google: FakeGoogle, user: Any
) -> None:
    """Subjects are compared case-sensitively, also on MySQL."""
    accounts = [of_last_year(make_google_account(user, sub=sub)) for sub in ("abc", "ABC")]
    subject = {"subject_type": "id_token_claims", "sub": "ABC", "email": "alice@gmail.com"}

    tell("tokens-revoked", details={"subject": subject})

    assert [state_of(account) for account in accounts] == [WORKS, REVOKED]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "hijacking"}, "account_hijacked"),
        ({"reason": "bulk-account"}, "account_bulk"),
        ({"reason": "something new"}, "account_disabled"),
        ({}, "account_disabled"),
    ],
    ids=str,
)
def test_account_disabled_makes_links_unusable_at_once(
    tell: Callable[..., None],
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    details: dict[str, Any],
    reason: str,
    django_capture_on_commit_callbacks: Capture,
) -> None:
    """The reason is Google's, and the access token is deleted."""
    account = of_last_year(linked(user, google, alice))

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        tell("account-disabled", user=alice, details=details)

    assert state_of(account) == (Status.NEEDS_REAUTHORIZATION, reason)
    assert token_of(account, "access_token") is None
    assert token_of(account, "refresh_token")
    assert [(name, arguments["reason"]) for name, arguments in news] == [
        ("authorization_lost", reason),
        ("security_event", details.get("reason", "")),
    ]
    with pytest.raises(GrantLostError) as caught:
        fresh_access_token(account)
    assert caught.value.reason == reason


def test_account_enabled_has_the_grant_checked(
    tell: Callable[..., None], google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Whether the grant is still valid is checked at Google."""
    account = of_last_year(linked(user, google, alice))
    tell("account-disabled", user=alice)

    tell("account-enabled", user=alice)

    assert state_of(account) == REVOKED
    assert to_be_asked() == {account.pk}
    assert google.requests_to("token") == []


@pytest.mark.matrix
@pytest.mark.parametrize("reason", [Reason.REQUESTED, Reason.RETIRED])
def test_account_enabled_restores_nothing_that_was_ended_here(
    tell: Callable[..., None], alice: FakeUser, user: Any, reason: Reason
) -> None:
    """Links ended by an operator are not checked."""
    lost = {"status": Status.NEEDS_REAUTHORIZATION, "status_reason": reason}
    account = of_last_year(make_google_account(user, sub=alice.sub, **lost))

    tell("account-disabled", user=alice)
    tell("account-enabled", user=alice)

    assert state_of(account) == (Status.NEEDS_REAUTHORIZATION, reason)
    assert not to_be_asked()


@pytest.mark.matrix
@pytest.mark.parametrize("event", ["sessions-revoked", "account-credential-change-required"])
def test_event_that_concerns_the_site(
    tell: Callable[..., None],
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    event: str,
    django_capture_on_commit_callbacks: Capture,
) -> None:
    """The links stay active, and a signal names them."""
    account = of_last_year(linked(user, google, alice))

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        tell(event, user=alice)

    assert state_of(account) == WORKS
    assert not to_be_asked()
    [(name, told)] = news
    assert name == "security_event"
    assert told["type"].endswith(f"/risc/event-type/{event}")
    assert (told["accounts"], told["sub"], told["reason"]) == ([account], alice.sub, "")
    assert abs(told["issued_at"] - in_seconds(0)) < timedelta(minutes=1)


def test_signal_comes_for_accounts_that_are_not_linked(
    tell: Callable[..., None], alice: FakeUser, django_capture_on_commit_callbacks: Capture
) -> None:
    """Users may log in with an account that is not linked."""
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        tell("sessions-revoked", user=alice)

    [(_, told)] = news
    assert (told["accounts"], told["sub"]) == ([], alice.sub)


def test_unknown_event(
    tell: Callable[..., None], alice: FakeUser, django_capture_on_commit_callbacks: Capture
) -> None:
    """It is recorded, and the signal has its payload."""
    purged = "https://schemas.openid.net/secevent/risc/event-type/account-purged"
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        tell(purged, user=alice, details={"since": 7})

    [(_, told)] = news
    assert (told["type"], told["sub"], told["payload"]["since"]) == (purged, alice.sub, 7)
    event = SecurityEvent.objects.get()
    assert (event.types, event.sub) == ("account-purged", alice.sub)


@pytest.mark.matrix
@pytest.mark.parametrize("payload", [{}, {"subject": 7}, {"subject": {"sub": "\x00"}}])
def test_unknown_event_about_nobody(tell: Callable[..., None], payload: dict[str, Any]) -> None:
    """An event without a subject is recorded."""
    tell(events={"https://example.com/event": payload})

    assert SecurityEvent.objects.get().sub == ""


@pytest.mark.matrix
@pytest.mark.parametrize("event", ["sessions-revoked", "account-disabled"])
def test_subject_of_another_kind(
    tell: Callable[..., None], event: str, django_capture_on_commit_callbacks: Capture
) -> None:
    """An e-mail address does not identify an account."""
    subject = {"subject_type": "email", "email": "alice@gmail.com"}
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        tell(event, details={"subject": subject})

    assert news[0][1]["sub"] == ""
    assert news[0][1]["payload"]["subject"] == subject


def test_signal_names_no_token(
    tell: Callable[..., None], user: Any, django_capture_on_commit_callbacks: Capture
) -> None:
    """The payload of the signal contains not even the prefix."""
    of_last_year(make_google_account(user, refresh_token=TOKEN))
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        tell("token-revoked", refresh_token=TOKEN, algorithm="prefix")

    assert TOKEN[:16] not in repr(news)
    assert [name for name, _ in news] == ["authorization_lost", "security_event"]


def test_several_events_in_one_token(
    tell: Callable[..., None],
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: Capture,
) -> None:
    """Each has its own effect and signal."""
    bob = google.add_user("bob@gmail.com")
    first, second = (of_last_year(linked(user, google, who)) for who in (alice, bob))
    base = "https://schemas.openid.net/secevent/"
    events = {
        f"{base}risc/event-type/sessions-revoked": {"subject": {"sub": alice.sub}},
        f"{base}oauth/event-type/tokens-revoked": {"subject": {"sub": alice.sub}},
        f"{base}risc/event-type/account-disabled": {"subject": {"sub": bob.sub}},
        "https://example.com/new": {},
    }

    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        tell(events=events)

    assert state_of(first) == REVOKED
    assert state_of(second) == (Status.NEEDS_REAUTHORIZATION, "account_disabled")
    told = [arguments["type"] for name, arguments in news if name == "security_event"]
    assert told == list(events)
    event = SecurityEvent.objects.get()
    assert event.types == "sessions-revoked tokens-revoked account-disabled new"
    assert event.ended == 2


def test_event_about_a_token_ends_no_link_of_the_event_beside_it(
    tell: Callable[..., None], google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Events in one token do not affect each other."""
    account = of_last_year(make_google_account(user, refresh_token=TOKEN))
    beside = of_last_year(make_google_account(user, sub=alice.sub, refresh_token="1//beside"))
    base = "https://schemas.openid.net/secevent/"
    events = {
        f"{base}risc/event-type/sessions-revoked": {"subject": {"sub": alice.sub}},
        f"{base}oauth/event-type/token-revoked": {"subject": subject_of(google, TOKEN)},
    }

    tell(events=events)

    assert [state_of(account), state_of(beside)] == [REVOKED, WORKS]


@pytest.mark.matrix
@pytest.mark.parametrize("event", ["tokens-revoked", "account-disabled"])
def test_event_about_an_older_grant_harms_no_newer_one(
    tell: Callable[..., None], alice: FakeUser, user: Any, event: str
) -> None:
    """It was issued before the last link, and delivered late."""
    account = make_google_account(user, sub=alice.sub)

    tell(event, user=alice, issued_at=time.time() - 120)

    assert state_of(account) == WORKS
    assert not to_be_asked()


def test_event_about_an_older_grant_of_a_link_that_was_renewed(
    tell: Callable[..., None], user: Any
) -> None:
    """The time of the last consent counts, not that of the first link."""
    of_last_year(save(user, "42"))
    account = save(user, "42")

    tell("tokens-revoked", details={"subject": {"sub": "42"}}, issued_at=time.time() - 3600)

    assert state_of(account) == WORKS
    assert not to_be_asked()


@pytest.mark.matrix
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_token_that_was_revoked_before_the_last_link_is_asked_about(
    tell: Callable[..., None], user: Any, algorithm: str
) -> None:
    """It names the stored token, so the grant is checked."""
    account = make_google_account(user, refresh_token=TOKEN)

    tell("token-revoked", refresh_token=TOKEN, algorithm=algorithm, issued_at=time.time() - 3600)

    assert state_of(account) == WORKS
    assert to_be_asked() == {account.pk}


@pytest.mark.matrix
@pytest.mark.parametrize("seconds", [-50, 0, 50])
@pytest.mark.parametrize("event", ["tokens-revoked", "account-disabled"])
def test_event_about_as_old_as_the_link_is_asked_about(
    tell: Callable[..., None], alice: FakeUser, user: Any, event: str, seconds: int
) -> None:
    """Clocks may differ by a minute, so the grant is checked."""
    account = make_google_account(user, sub=alice.sub)

    tell(event, user=alice, issued_at=time.time() + seconds)

    assert state_of(account) == WORKS
    assert to_be_asked() == {account.pk}
    event_row = SecurityEvent.objects.get()
    assert (event_row.ended, event_row.asked) == (0, 1)


def test_event_that_google_has_refuted_since_is_asked_about(
    tell: Callable[..., None], google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Google has issued a token for the grant since."""
    account = of_last_year(linked(user, google, alice))
    GoogleAccount.objects.update(refreshed_at=in_seconds(0))

    tell("account-disabled", user=alice, issued_at=time.time() - 3600)
    assert state_of(account) == WORKS
    assert to_be_asked() == {account.pk}

    tell("account-disabled", user=alice)
    assert state_of(account) == (Status.NEEDS_REAUTHORIZATION, "account_disabled")


def test_event_that_is_older_than_what_is_remembered_is_asked_about(
    tell: Callable[..., None], google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """It may have been applied before, so the grant is checked."""
    account = of_last_year(linked(user, google, alice))
    GoogleAccount.objects.update(refreshed_at=None)

    old = time.time() - REMEMBERED.total_seconds() - 60
    tell("tokens-revoked", user=alice, issued_at=old)

    assert state_of(account) == WORKS
    assert to_be_asked() == {account.pk}


def test_link_is_lost_once(
    tell: Callable[..., None],
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    django_capture_on_commit_callbacks: Capture,
) -> None:
    """Only the first of several events ends it and sends ``authorization_lost``."""
    account = of_last_year(linked(user, google, alice))
    with heard() as news, django_capture_on_commit_callbacks(execute=True):
        for event in ("tokens-revoked", "tokens-revoked", "account-disabled"):
            tell(event, user=alice)

    assert state_of(account) == REVOKED
    assert [name for name, _ in news].count("authorization_lost") == 1
    ended = SecurityEvent.objects.order_by("received_at").values_list("ended", flat=True)
    assert list(ended) == [1, 0, 0]


def test_link_that_is_lost_is_not_asked_about(
    tell: Callable[..., None], alice: FakeUser, user: Any
) -> None:
    """A lost link needs no check."""
    make_google_account(
        user, sub=alice.sub, status=Status.NEEDS_REAUTHORIZATION, status_reason="revoked"
    )

    tell("tokens-revoked", user=alice)

    assert not to_be_asked()


def test_events_are_forgotten_when_they_cannot_come_again(
    tell: Callable[..., None], alice: FakeUser
) -> None:
    """They are deleted after half a year."""
    tell("sessions-revoked", user=alice)
    with travel(days=REMEMBERED.days - 1):
        assert delete_old_events() == 0
    with travel(days=REMEMBERED.days + 1):
        assert delete_old_events() == 1

    assert not SecurityEvent.objects.exists()


def test_grant_of_a_disabled_account_is_not_ended_with_another_link(
    tell: Callable[..., None],
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    other_user: Any,
    django_capture_on_commit_callbacks: Capture,
) -> None:
    """It may become valid again; it is revoked with the last link."""
    accounts = [of_last_year(linked(owner, google, alice)) for owner in (user, other_user)]
    tell("account-disabled", user=alice)

    is_granted = []
    for account in accounts:
        with django_capture_on_commit_callbacks(execute=True):
            account.unlink()
        is_granted.append(google.granted_scopes(alice) is not None)

    assert is_granted == [True, False]


@pytest.mark.usefixtures("shared_database")
def test_same_token_twice_in_the_same_moment(
    google: FakeGoogle, alice: FakeUser, receiver: None
) -> None:
    """Both are accepted, and one is applied."""
    account = of_last_year(linked(new_user(), google, alice))
    token = google.security_event_token("tokens-revoked", user=alice)

    def push() -> int:
        return google.push_security_event(Client(), token).status_code

    with heard() as news:
        answers = at_once(push, push, push)

    assert answers == [202, 202, 202]
    assert state_of(account) == REVOKED
    assert sorted(name for name, _ in news) == ["authorization_lost", "security_event"]


@pytest.mark.usefixtures("shared_database")
def test_answer_to_a_refresh_that_is_under_way_is_dropped(
    google: FakeGoogle, alice: FakeUser, receiver: None
) -> None:
    """It was requested before the account was disabled."""
    account = of_last_year(
        linked(new_user(), google, alice, access_token_expires_at=in_seconds(-60))
    )
    token = google.security_event_token("account-disabled", user=alice)

    with (
        during_refresh(google, lambda: google.push_security_event(Client(), token)),
        pytest.raises(GrantLostError),
    ):
        fresh_access_token(account)

    assert state_of(account) == (Status.NEEDS_REAUTHORIZATION, "account_disabled")
    assert token_of(account, "access_token") is None


if os.environ.get("TEST_DATABASE"):

    @pytest.mark.usefixtures("shared_database")
    def test_answer_to_a_refresh_in_a_transaction_is_dropped(
        google: FakeGoogle, alice: FakeUser, receiver: None
    ) -> None:
        """In a transaction no lease is taken, and the response is dropped all the same."""
        account = of_last_year(
            linked(new_user(), google, alice, access_token_expires_at=in_seconds(-60))
        )
        token = google.security_event_token("account-disabled", user=alice)

        with (
            pytest.raises(GrantLostError),
            transaction.atomic(),
            during_refresh(google, lambda: google.push_security_event(Client(), token)),
        ):
            fresh_access_token(account)

        assert state_of(account) == (Status.NEEDS_REAUTHORIZATION, "account_disabled")


def test_check_is_called_after_its_link() -> None:
    """``str()`` returns the account's id."""
    key = uuid.uuid4()

    assert str(GrantCheck(account_id=key)) == str(key)
