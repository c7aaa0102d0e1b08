"""Linking accounts of providers that are not Google, each with its own ways."""

from __future__ import annotations

import gzip
import logging
import re
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import jwt
import pytest
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from django_google_link.accounts.access_tokens import check_grant, fresh_access_token
from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.exceptions import GrantLostError
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.operations.refresh import (
    RefreshOutcome,
    list_due_accounts,
    refresh_account,
)
from django_google_link.testing import (
    FakeClient,
    FakeGoogle,
    FakeUser,
    link_google_account,
    travel,
)
from tests.support.flow import link, visit
from tests.support.providers import START, play_provider, without
from tests.support.urls import local, query_of

pytestmark = pytest.mark.django_db

Play = Callable[..., FakeClient]


@pytest.fixture
def play(google: FakeGoogle, settings: Settings) -> Play:
    """Let the default client be one of another provider."""

    def play(**traits: Any) -> FakeClient:
        return play_provider(google, settings, **traits)

    return play


@pytest.fixture
def oauth(play: Play) -> FakeClient:
    """A provider that speaks OAuth 2.0 and no OpenID, and is asked whose a token is."""
    return play(speaks_openid=False)


def only() -> GoogleAccount:
    """Return the one account that is linked."""
    return GoogleAccount.objects.get()


def add_url(browser: Client) -> str:
    """Return where the page of accounts leads for a further one; nothing, if it offers none."""
    page = browser.get("/google/").content.decode()
    found = re.search(r'href="(/google/authorize/[^"]+)"', page)
    return unescape(found[1]) if found else ""


def token_requests(google: FakeGoogle) -> list[Any]:
    """Return the requests to the token endpoint."""
    return google.requests_to("token")


def test_openid_provider_gets_nothing_of_googles(
    browser: Client, google: FakeGoogle, alice: FakeUser, play: Play
) -> None:
    """It refuses what it does not know, and still gives a refresh token."""
    play()
    query = query_of(browser.get(START)["Location"])
    assert set(query) == {
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "prompt",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    }
    assert query["prompt"] == "consent"

    response = link(browser, google, alice)

    assert response.status_code == 302
    account = only()
    assert (account.sub, account.email) == (alice.sub, alice.email)
    assert account.is_active
    assert fresh_access_token(account).value


def test_second_account_is_asked_for_without_googles_prompt(
    browser: Client, google: FakeGoogle, alice: FakeUser, play: Play
) -> None:
    """``select_account`` is refused by those who do not know it; what they know can be said."""
    play()
    link(browser, google, alice)

    assert "prompt" not in query_of(browser.get(add_url(browser))["Location"])

    play(AUTHORIZATION_PARAMS={"prompt": "login", "audience": "api"})
    query = query_of(browser.get(add_url(browser))["Location"])
    assert (query["prompt"], query["audience"]) == ("login", "api")


def test_prompt_may_be_left_out(browser: Client, google: FakeGoogle, play: Play) -> None:
    """For those who refuse ``consent`` as well."""
    play(AUTHORIZATION_PARAMS={"prompt": ""})

    assert "prompt" not in query_of(browser.get(START)["Location"])


def test_oauth_provider_is_asked_whose_token_it_is(
    browser: Client, google: FakeGoogle, alice: FakeUser, oauth: FakeClient
) -> None:
    """It gets neither a nonce nor a prompt, and no scopes of OpenID's."""
    query = query_of(browser.get(START)["Location"])
    assert not {"nonce", "prompt", "access_type"} & set(query)
    assert query["scope"] == "read write"

    response = link(browser, google, alice)

    assert response.status_code == 302
    account = only()
    assert (account.sub, account.email, account.name) == (alice.sub, alice.email, alice.name)
    assert not account.email_verified
    assert account.granted_scopes == ["read", "write"]
    [asked] = google.requests_to("userinfo")
    assert asked.headers["Authorization"].startswith("Bearer ya29.")
    assert not google.requests_to("certs")


@pytest.mark.matrix
@pytest.mark.parametrize("member", ["id", "data.id", "data.user.id"])
def test_subject_may_have_any_name(
    browser: Client, google: FakeGoogle, alice: FakeUser, play: Play, member: str
) -> None:
    """Within another object, too."""
    play(speaks_openid=False, subject_member=member)

    link(browser, google, alice)

    assert only().sub == alice.sub


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("value", "sub"),
    [(583231, "583231"), (0, "0"), (-1, "-1"), ("a b", "a b"), ("x" * 255, "x" * 255)],
)
def test_subject_is_text_or_a_whole_number(
    browser: Client, google: FakeGoogle, alice: FakeUser, oauth: FakeClient, value: Any, sub: str
) -> None:
    """A number is written out."""
    google.tamper_next_response("userinfo", fields={"sub": value})

    link(browser, google, alice)

    assert only().sub == sub


@pytest.mark.matrix
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        True,
        False,
        1.5,
        [],
        ["x"],
        {},
        {"x": 1},
        "x" * 256,
        "\udcff",
        "a\nb",
        " a",
        10**300,
    ],
)
def test_what_is_no_subject_is_refused(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    oauth: FakeClient,
    caplog: pytest.LogCaptureFixture,
    value: Any,
) -> None:
    """Nothing is stored, and the grant is ended."""
    google.tamper_next_response("userinfo", fields={"sub": value})

    response = link(browser, google, alice)

    assert response.status_code == 400
    assert "sub" in caplog.text
    assert_nothing_is_left(google, alice)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"status": 200, "body": "<html>"}, 400),
        ({"status": 200, "body": []}, 400),
        ({"status": 200, "body": {}}, 400),
        ({"status": 200, "body": {"id": 1}}, 400),
        ({"status": 200, "body": "[" * 100_000}, 400),
        ({"status": 401, "body": {"error": "invalid_token"}}, 400),
        ({"status": 403}, 400),
        ({"status": 404}, 400),
        ({"status": 302, "headers": {"Location": "/v1/other"}}, 400),
        ({"status": 302, "headers": {"Location": "/"}, "body": {"sub": "42"}}, 400),
        ({"status": 203, "body": {"sub": "42"}}, 400),
        ({"status": 429}, 503),
        ({"status": 500}, 503),
        ({"status": 200, "body": b"x" * 2_000_000}, 503),
        ({"drop": True}, 503),
    ],
)
def test_userinfo_that_says_nothing_links_nothing(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    oauth: FakeClient,
    fault: dict[str, Any],
    status: int,
) -> None:
    """A page that says so, never a 500, and the grant is ended."""
    google.fail_next(endpoint="userinfo", **fault)

    response = link(browser, google, alice)

    assert response.status_code == status
    assert b"Try again" in response.content
    assert_nothing_is_left(google, alice)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("is_compressed", [False, True])
def test_userinfo_of_a_hundred_megabytes_is_cut_short(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    oauth: FakeClient,
    caplog: pytest.LogCaptureFixture,
    is_compressed: bool,
) -> None:
    """Compressed, too, though nobody has asked for that."""
    body = b'{"sub": "' + b"x" * 100_000_000 + b'"}'
    headers = {"Content-Encoding": "gzip"} if is_compressed else {}
    body = gzip.compress(body, 1) if is_compressed else body
    google.fail_next(endpoint="userinfo", status=200, body=body, headers=headers)

    response = link(browser, google, alice)

    assert response.status_code == 503
    assert "answer_too_long" in caplog.text
    assert_nothing_is_left(google, alice)


def assert_nothing_is_left(google: FakeGoogle, user: FakeUser) -> None:
    """Nothing is stored, and what was granted was ended."""
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()
    [revocation] = google.requests_to("revoke")
    assert revocation.form["token"].startswith("1//")


def test_another_subject_is_another_account(
    browser: Client, google: FakeGoogle, alice: FakeUser, oauth: FakeClient
) -> None:
    """Whoever the userinfo endpoint names at the second consent: the first link stays as it is."""
    link(browser, google, alice)
    GoogleAccount.objects.update(status="needs_reauthorization")
    google.tamper_next_response("userinfo", fields={"sub": "somebody else"})

    response = link(browser, google, alice)

    assert response.status_code == 409
    assert only().sub == alice.sub


def test_basic_is_form_encoded(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    play: Play,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """RFC 6749 section 2.3.1, at all three endpoints, and never in the body as well."""
    client = play(authentication="client_secret_basic")
    google.client.client_secret = "a:b c%d+~"
    play(authentication="client_secret_basic")

    link(browser, google, alice)
    with travel(hours=2):
        fresh_access_token(only())
    with django_capture_on_commit_callbacks(execute=True):
        only().unlink()

    assert not PendingRevocation.objects.exists()
    requests = [*token_requests(google), *google.requests_to("revoke")]
    assert len(requests) == 4, "Both tokens are ended."
    for request in requests:
        kind, _, encoded = request.headers["Authorization"].partition(" ")
        assert kind == "Basic"
        assert b64decode(encoded).decode() == f"{client.client_id}:a%3Ab+c%25d%2B~"
        assert not {"client_id", "client_secret"} & set(request.form)


def test_wrong_way_to_show_the_secret_is_told_to_the_operator(
    browser: Client, google: FakeGoogle, alice: FakeUser, play: Play
) -> None:
    """Nobody's link suffers."""
    play(authentication="client_secret_basic", TOKEN_ENDPOINT_AUTH_METHOD="client_secret_post")

    assert link(browser, google, alice).status_code == 503
    assert not GoogleAccount.objects.exists()


def test_scopes_may_be_separated_by_commas(
    browser: Client, google: FakeGoogle, alice: FakeUser, play: Play
) -> None:
    """In requests, and in answers."""
    play(speaks_openid=False, scope_separator=",")
    assert query_of(browser.get(START)["Location"])["scope"] == "read,write"

    link(browser, google, alice)

    assert only().granted_scopes == ["read", "write"]
    with travel(hours=2):
        fresh_access_token(only())
    assert only().granted_scopes == ["read", "write"]


@pytest.mark.matrix
@pytest.mark.parametrize(
    "scope", ["read,write", "read, write", ["read", "write"], ["read", 1, "write"]]
)
def test_answers_may_separate_scopes_in_other_ways(
    browser: Client, google: FakeGoogle, alice: FakeUser, oauth: FakeClient, scope: Any
) -> None:
    """As GitHub and Twitch do, whose requests have spaces."""
    google.tamper_next_response(fields={"scope": scope})

    link(browser, google, alice)

    assert only().granted_scopes == ["read", "write"]


def test_scopes_that_are_not_named_are_those_that_were_asked_for(
    browser: Client, google: FakeGoogle, alice: FakeUser, oauth: FakeClient
) -> None:
    """RFC 6749 section 5.1."""
    google.tamper_next_response(remove=["scope"])

    link(browser, google, alice)

    assert only().granted_scopes == ["read", "write"]


def test_offline_access_is_never_missing(
    browser: Client, google: FakeGoogle, alice: FakeUser, play: Play
) -> None:
    """It asks for a refresh token, and opens nothing."""
    play(SCOPES=["offline_access", "read"])
    google.tamper_next_response(fields={"scope": "openid read"})
    link(browser, google, alice)

    assert only().is_ready("offline_access", "read")
    assert not only().missing_scopes("offline_access")


def test_address_and_name_need_not_be_asked(
    browser: Client, google: FakeGoogle, alice: FakeUser, play: Play
) -> None:
    """An account is known by its subject, too."""
    play(IDENTITY_SCOPES=["openid"])
    assert query_of(browser.get(START)["Location"])["scope"] == "openid read write"

    link(browser, google, alice)

    assert (only().sub, only().email) == (alice.sub, "")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"token_type": "mac"}, 503),
        ({"token_type": "DPoP"}, 503),
        ({"token_type": ["mac"]}, 503),
        ({"token_type": 5}, 503),
        ({"access_token": None}, 503),
        ({"access_token": ["x"]}, 503),
        ({"access_token": "é"}, 503),
        ({"scope": 5}, 503),
        ({"scope": {"read": True}}, 503),
    ],
)
def test_answer_that_cannot_be_used_leaves_no_grant(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    oauth: FakeClient,
    fields: dict[str, Any],
    status: int,
) -> None:
    """The tokens in it are ended: nobody else could."""
    google.tamper_next_response(fields=fields)

    response = link(browser, google, alice)

    assert response.status_code == status
    assert_nothing_is_left(google, alice)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer", " bearer "])
def test_kind_of_token_is_read_without_case(
    browser: Client, google: FakeGoogle, alice: FakeUser, oauth: FakeClient, kind: str
) -> None:
    """RFC 6749 section 5.1."""
    google.tamper_next_response(fields={"token_type": kind})

    assert link(browser, google, alice).status_code == 302


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3600", 3600),
        (3600.5, 3600),
        (-5, 0),
        (10**30, 10 * 365 * 24 * 3600),
        ("soon", None),
        (None, None),
        (True, None),
        ([3600], None),
        ("9" * 5000, None),
    ],
)
def test_end_of_a_token_may_be_written_in_many_ways(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    oauth: FakeClient,
    value: Any,
    seconds: int | None,
) -> None:
    """As text, too; of what makes no sense nothing is known."""
    google.tamper_next_response(fields={"expires_in": value})

    link(browser, google, alice)

    account = only()
    if seconds is None:
        assert account.access_token_expires_at is None
    else:
        lifetime = (account.access_token_expires_at - account.refreshed_at).total_seconds()
        assert abs(lifetime - seconds) < 5


def test_errors_with_status_200_are_errors(
    browser: Client, google: FakeGoogle, alice: FakeUser, oauth: FakeClient
) -> None:
    """As GitHub answers."""
    body = {"error": "incorrect_client_credentials", "error_description": "No."}
    google.fail_next(status=200, body=body)

    assert link(browser, google, alice).status_code == 400
    assert not GoogleAccount.objects.exists()


def test_id_token_of_a_refresh_is_no_matter_of_userinfo(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    play: Play,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its subject may be another one, for the same account."""
    play(speaks_openid=False, subject_member="id")
    link(browser, google, alice)

    google.client.speaks_openid = True
    strange = jwt.encode({"sub": "another name of hers"}, "k" * 32, algorithm="HS256")
    google.tamper_next_response(fields={"id_token": strange})
    with travel(hours=2), caplog.at_level(logging.WARNING):
        fresh_access_token(only())

    assert "ID token" not in caplog.text


def test_no_scopes_at_all(browser: Client, google: FakeGoogle, alice: FakeUser, play: Play) -> None:
    """Some providers have none. A refusal is remembered all the same."""
    play(speaks_openid=False, SCOPES=[])
    assert "scope" not in query_of(browser.get(START)["Location"])

    assert link(browser, google, alice, deny=True).status_code == 403
    assert visit(browser, google, "/bare/")[0].status_code == 403

    assert link(browser, google, alice).status_code == 302
    assert only().granted_scopes == []


class TestNobodyKnown:
    """A provider that does not say whose account it is."""

    @pytest.fixture
    def nobody(self, play: Play, settings: Settings) -> FakeClient:
        """Its settings."""
        client = play(speaks_openid=False, IDENTITY="none")
        without(settings, "USERINFO_ENDPOINT", "SUBJECT_MEMBER")
        return client

    def test_subject_is_made_up(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, nobody: FakeClient
    ) -> None:
        """And means nothing."""
        link(browser, google, alice)

        account = only()
        assert len(account.sub) == 32
        assert alice.sub not in account.sub
        assert account.display_name == "127.0.0.1", "It is called as its provider is."
        assert account.email == ""
        assert fresh_access_token(account).value
        assert not google.requests_to("userinfo")

    def test_second_consent_takes_the_place_of_the_first(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, nobody: FakeClient
    ) -> None:
        """Whosoever it is: the tokens that it replaces are revoked, and the new ones live."""
        ben = google.add_user("ben@gmail.com")
        link(browser, google, alice)
        first = only()
        old = first.unseal_token("refresh_token")
        assert not add_url(browser), "A further one could not be told from it."
        GoogleAccount.objects.update(status="needs_reauthorization", status_reason="requested")

        link(browser, google, ben)

        account = only()
        assert account.pk == first.pk
        assert account.unseal_token("refresh_token") != old
        assert account.is_active
        [pending] = PendingRevocation.objects.all()
        assert pending.unseal_token("refresh_token") == old

    def test_same_token_once_more_is_not_revoked(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, nobody: FakeClient
    ) -> None:
        """It would end the link that it has just renewed."""
        link(browser, google, alice)
        old = only().unseal_token("refresh_token")
        assert old
        GoogleAccount.objects.update(status="needs_reauthorization", status_reason="requested")
        google.tamper_next_response(fields={"refresh_token": old.reveal()})

        link(browser, google, alice)

        assert not PendingRevocation.objects.exists()
        assert only().unseal_token("refresh_token") == old

    def test_stored_token_is_not_kept_for_another(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, nobody: FakeClient
    ) -> None:
        """A consent without a refresh token may be of another account: asked once more, then no."""
        link(browser, google, alice)
        before = only().sealed_refresh_token
        GoogleAccount.objects.update(granted_scopes=["read"], refresh_token_scopes=["read"])
        google.client.gives_refresh_tokens = False

        response, visits = visit(browser, google, START, user=alice)

        assert response.status_code == 400
        assert visits == 2
        assert only().sealed_refresh_token == before

    def test_two_first_consents_make_one_link(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, nobody: FakeClient
    ) -> None:
        """In two tabs, neither of which knew of the other: the later one is what is left."""
        first, second = (browser.get(START)["Location"] for _ in range(2))
        browser.get(local(google.consent(first, user=alice)))
        before = only()

        browser.get(local(google.consent(second, user=alice)))

        account = only()
        assert (account.pk, account.sub) == (before.pk, before.sub)
        assert account.sealed_refresh_token != before.sealed_refresh_token
        [pending] = PendingRevocation.objects.all()
        assert pending.unseal_token("refresh_token") == before.unseal_token("refresh_token")

    def test_terminal_renews_it(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, nobody: FakeClient, user: Any
    ) -> None:
        """A further account cannot be told from it, so that one that is asked for replaces it."""
        link(browser, google, alice)
        wanted = AuthorizeRequest(
            user=str(user.pk),
            host="testserver",
            client="default",
            scopes=("read",),
            required=("read",),
            return_url="/",
            add=True,
        )

        assert browser.get(wanted.url())["Location"].startswith(google.url)


class TestWithoutRefreshTokens:
    """A provider whose links last as long as their access token."""

    @pytest.fixture
    def short(self, play: Play) -> FakeClient:
        """Its settings."""
        return play(speaks_openid=False, gives_refresh_tokens=False, SCOPES=["read"])

    def test_link_lasts_as_long_as_its_token(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, short: FakeClient
    ) -> None:
        """And says so; then it is asked for again, and a task is told."""
        link(browser, google, alice)
        account = only()
        assert account.is_active
        assert account.ends_at == account.access_token_expires_at
        assert not account.ends_soon
        assert fresh_access_token(account).value
        assert b"Access expires" in browser.get("/google/").content

        with travel(hours=2):
            assert not only().is_active
            with pytest.raises(GrantLostError) as caught:
                fresh_access_token(only())
            assert caught.value.reason == "expired"
            assert "does not issue refresh tokens" in str(caught.value)
            assert only().status == "needs_reauthorization"
            assert only().status_reason == "expired"

            link(browser, google, alice)
            assert only().is_active
            assert only().status_reason == ""
            assert fresh_access_token(only()).value
        assert len(token_requests(google)) == 2

    def test_refused_token_is_a_lost_link(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, short: FakeClient
    ) -> None:
        """One that has just come is handed out again: an API may say no to everything."""
        google.tamper_next_response(remove=["expires_in"])
        link(browser, google, alice)
        token = fresh_access_token(only()).value
        assert only().ends_at is None

        assert fresh_access_token(only(), rejected=token).value == token

        with travel(days=300):
            assert fresh_access_token(only()).value == token
            with pytest.raises(GrantLostError) as caught:
                fresh_access_token(only(), rejected=token)
        assert caught.value.reason == "revoked"
        assert only().status_reason == "revoked"

    @pytest.mark.matrix
    @pytest.mark.parametrize("seconds", [0, -1, 30, "59"])
    def test_token_that_ends_at_once_is_no_link(
        self,
        browser: Client,
        google: FakeGoogle,
        alice: FakeUser,
        short: FakeClient,
        seconds: Any,
    ) -> None:
        """Its user would be sent in a circle."""
        google.tamper_next_response(fields={"expires_in": seconds})
        google.tamper_next_response(fields={"expires_in": seconds})

        response, visits = visit(browser, google, START, user=alice)

        assert (response.status_code, visits) == (400, 2)
        assert not GoogleAccount.objects.exists()
        assert len(google.requests_to("revoke")) == 1
        assert PendingRevocation.objects.count() == 1

    def test_command_notes_what_is_over(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, short: FakeClient
    ) -> None:
        """So that whoever is told of lost links hears of it, and the counts are right."""
        link(browser, google, alice)
        day = timedelta(days=1)
        assert not list_due_accounts(expiring_within=day, unused_for=day)

        with travel(hours=2):
            [due] = list_due_accounts(expiring_within=None, unused_for=day)
            assert refresh_account(due, leeway=day) == RefreshOutcome.LOST

        assert only().status_reason == "expired"
        assert len(token_requests(google)) == 1

    def test_grant_is_as_good_as_its_token(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, short: FakeClient
    ) -> None:
        """The provider cannot be asked by other means."""
        link(browser, google, alice)
        check_grant(only())

        with travel(hours=2), pytest.raises(GrantLostError) as caught:
            check_grant(only())
        assert caught.value.reason == "expired"

    def test_kit_makes_such_a_link(self, google: FakeGoogle, short: FakeClient, user: Any) -> None:
        """Without any flow, and with the scopes that this provider has."""
        account = link_google_account(google, user)

        assert account.is_active
        assert account.without_refresh_token
        assert account.granted_scopes == ["read"]
        with travel(hours=2):
            assert not account.is_active

    def test_access_token_is_revoked(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, short: FakeClient
    ) -> None:
        """It is all that there is."""
        link(browser, google, alice)
        token = only().unseal_token("access_token")

        only().unlink()

        [pending] = PendingRevocation.objects.all()
        assert pending.unseal_token("access_token") == token

    def test_token_that_cannot_be_read_is_a_lost_link(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, short: FakeClient
    ) -> None:
        """There is no other way to a new one."""
        link(browser, google, alice)
        account = only()
        GoogleAccount.objects.update(sealed_access_token=f"{account.sealed_access_token[:-4]}AAAA")

        with pytest.raises(GrantLostError) as caught:
            fresh_access_token(only())
        assert caught.value.reason == "undecryptable"

    def test_refresh_token_is_used_where_one_comes(
        self, browser: Client, google: FakeGoogle, alice: FakeUser, short: FakeClient
    ) -> None:
        """The setting says what has to be done without."""
        link(browser, google, alice)
        assert only().without_refresh_token
        GoogleAccount.objects.update(status="needs_reauthorization", status_reason="requested")
        google.client.gives_refresh_tokens = True

        link(browser, google, alice)

        assert not only().without_refresh_token
        with travel(hours=2):
            assert only().is_active
            assert fresh_access_token(only()).is_new


def test_plain_http_is_not_said_to_be_refused_by_google(
    browser: Client, play: Play, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """What another provider accepts is that one's to say; where it is, is not known yet."""
    play()
    without(settings, "AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT", "JWKS_URI")

    assert browser.get(START).status_code == 302

    assert "redirect URI" not in caplog.text
