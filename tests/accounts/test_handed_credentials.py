"""``link_credentials()`` links the credentials that a project's own flow has obtained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError, transaction
from django.utils import timezone
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials
from google_auth_oauthlib.flow import Flow, InstalledAppFlow
from pytest_django import Settings

from django_google_link.exceptions import (
    ClientMisconfiguredError,
    GrantLostError,
    GrantNotStoredError,
    HostedDomainError,
    IDTokenError,
    NoRefreshTokenError,
    RefreshUnavailableError,
    SettingsError,
)
from django_google_link.models import GoogleAccount, PendingRevocation, Status
from django_google_link.services import (
    access_token,
    alink_credentials,
    credentials_for,
    link_credentials,
)
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.accounts import linked, token_of
from tests.support.constants import CALENDAR, CALLBACK, DRIVE
from tests.support.databases import new_user
from tests.support.failing import refusing
from tests.support.providers import play_provider, without
from tests.support.signals import heard
from tests.support.times import skip_pauses
from tests.support.workers import just_before

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

SCOPES = ["openid", "email", CALENDAR, DRIVE]
HELD = 'INSERT INTO "google_link_pendingrevocation"'
STORED = ("INSERT INTO", "google_link_googleaccount")


@pytest.fixture(autouse=True)
def _oauthlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let oauthlib use http, and accept fewer scopes than were requested."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")


@pytest.fixture
def anna(shared_database: None) -> Any:
    """A user of this site."""
    return new_user("anna")


def obtain(
    google: FakeGoogle,
    who: FakeUser,
    *,
    flow_class: type[Flow] = Flow,
    scopes: list[str] | None = None,
    **consent: Any,
) -> Credentials:
    """Complete a flow of the project's own, and return its credentials."""
    redirect_uri = google.client.redirect_uris[-1]
    flow = flow_class.from_client_config(
        google.client_secrets(), scopes or SCOPES, redirect_uri=redirect_uri
    )
    # Other providers refuse parameters of Google's own.
    params = {"access_type": "offline", "prompt": "consent"}
    params = params if google.client.is_googles else {"access_type": ""}
    url, _ = flow.authorization_url(**params)
    flow.fetch_token(authorization_response=google.consent(url, user=who, **consent))
    flow.oauth2session.close()
    return flow.credentials


def assert_ended(google: FakeGoogle, who: FakeUser) -> None:
    """Check that nothing is stored here, and the grant is revoked."""
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()
    assert not google.granted_scopes(who)


def assert_untouched(google: FakeGoogle, credentials: Credentials) -> None:
    """Check that nothing is stored here, and the refresh token still works."""
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()
    assert not google.requests_to("revoke")
    link_credentials(new_user("untouched"), credentials)


@pytest.mark.matrix
@pytest.mark.parametrize("flow_class", [Flow, InstalledAppFlow])
def test_credentials_become_a_link(
    google: FakeGoogle, alice: FakeUser, anna: Any, flow_class: type[Flow]
) -> None:
    """Credentials are linked as at the end of our own flow, with the same signals."""
    credentials = obtain(google, alice, flow_class=flow_class)

    with heard() as news:
        account = link_credentials(anna, credentials, label=" Work\nplace ")

    assert GoogleAccount.objects.get() == account
    account.refresh_from_db()
    assert (account.user, account.client, account.sub) == (anna, "default", alice.sub)
    assert (account.email, account.email_verified) == (alice.email, True)
    assert (account.label, account.is_default, account.is_active) == ("Work place", True, True)
    assert set(account.granted_scopes) == set(SCOPES)
    assert set(account.refresh_token_scopes) == set(SCOPES)
    assert token_of(account, "refresh_token") == credentials.refresh_token
    assert [(name, arguments["created"]) for name, arguments in news] == [("account_linked", True)]
    assert not PendingRevocation.objects.exists()
    assert access_token(anna, scopes=[CALENDAR, DRIVE]) != credentials.token


def test_credentials_become_a_link_asynchronously(
    google: FakeGoogle, alice: FakeUser, anna: Any
) -> None:
    """``alink_credentials()`` does the same in an event loop."""
    credentials = obtain(google, alice)

    account = async_to_sync(alink_credentials)(anna, credentials, client="default", label="Work")

    assert (account.sub, GoogleAccount.objects.get().label) == (alice.sub, "Work")


def test_scopes_are_those_that_were_granted(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """The scopes are the granted ones, not the requested ones."""
    credentials = obtain(google, alice, grant=[CALENDAR])

    account = link_credentials(anna, credentials)

    assert DRIVE in credentials.scopes
    assert set(account.granted_scopes) == {"openid", "email", CALENDAR}


@pytest.mark.matrix
@pytest.mark.parametrize("has_granted_scopes", [True, False])
def test_scopes_where_the_refresh_names_none(
    google: FakeGoogle, alice: FakeUser, anna: Any, has_granted_scopes: bool
) -> None:
    """If the refresh states no scopes, the flow's granted or requested ones are stored."""
    google.refresh_sends_scope = False
    credentials = obtain(google, alice, grant=[CALENDAR])
    if not has_granted_scopes:
        credentials = copy_of(credentials, granted_scopes=None)

    account = link_credentials(anna, credentials)

    assert (DRIVE in account.granted_scopes) is not has_granted_scopes


def test_scopes_that_nobody_names(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """If neither the refresh nor the credentials state scopes, none are stored."""
    google.refresh_sends_scope = False
    credentials = copy_of(obtain(google, alice), granted_scopes=None, scopes=None)

    assert link_credentials(anna, credentials).granted_scopes == []


def copy_of(credentials: Credentials, **changes: Any) -> Credentials:
    """Return a copy of credentials with some values changed."""
    names = ("token", "refresh_token", "id_token", "token_uri", "client_id", "client_secret")
    names = (*names, "scopes", "granted_scopes")
    return Credentials(**{name: getattr(credentials, name) for name in names} | changes)


def test_expired_credentials_are_refreshed(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """Credentials whose access token has expired can be linked."""
    credentials = obtain(google, alice)
    google.expire_access_tokens()
    credentials.expiry = timezone.now().replace(tzinfo=None) - timedelta(days=1)
    assert credentials.expired

    link_credentials(anna, credentials)

    assert access_token(anna)


def test_replaced_refresh_token_is_stored(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """If the provider rotates refresh tokens, the new one is stored."""
    google.rotates_refresh_tokens = True
    credentials = obtain(google, alice)

    account = link_credentials(anna, credentials)

    assert token_of(account, "refresh_token") not in {None, credentials.refresh_token}
    GoogleAccount.objects.update(access_token_expires_at=timezone.now())
    assert access_token(anna)


def test_id_token_of_the_flow_will_do(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """If the refresh returns no ID token, that of the credentials is used."""
    google.refresh_sends_id_token = False

    assert link_credentials(anna, obtain(google, alice)).sub == alice.sub


def test_lost_account_works_again(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """Linking a lost account recovers it in the same row, with its label."""
    row = linked(anna, google, alice, status=Status.NEEDS_REAUTHORIZATION)
    GoogleAccount.objects.update(label="Home")
    google.revoke(alice)

    with heard() as news:
        account = link_credentials(anna, obtain(google, alice))

    assert GoogleAccount.objects.get() == account == row
    assert (account.is_active, account.label) == (True, "Home")
    assert {name for name, _ in news} >= {"account_linked", "authorization_recovered"}


def test_second_account_is_added(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """A second account is added, and the first one stays the default."""
    bob = google.add_user("bob@gmail.com")
    first = link_credentials(anna, obtain(google, alice))

    second = link_credentials(anna, obtain(google, bob))

    assert [first.pk, second.pk] == [row.pk for row in GoogleAccount.objects.for_user(anna)]


def test_same_credentials_twice_are_one_link(
    google: FakeGoogle, alice: FakeUser, anna: Any
) -> None:
    """Linking the same credentials again keeps one link, and revokes nothing."""
    credentials = obtain(google, alice)
    first = link_credentials(anna, credentials)

    second = link_credentials(anna, credentials, label="Work")
    third = link_credentials(anna, credentials)

    assert GoogleAccount.objects.get() == first == second == third
    assert (second.label, third.label) == ("Work", "Work")
    assert third.is_active and not google.requests_to("revoke")


def test_same_credentials_after_a_revocation(
    google: FakeGoogle, alice: FakeUser, anna: Any
) -> None:
    """If linked credentials were revoked since, linking them again marks the link as lost."""
    credentials = obtain(google, alice)
    link_credentials(anna, credentials)
    google.revoke(alice)

    with pytest.raises(GrantLostError) as lost:
        link_credentials(anna, credentials)

    assert lost.value.account == GoogleAccount.objects.get()
    assert not GoogleAccount.objects.get().is_active


def test_same_credentials_for_another_user(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """Two users who link the same credentials have a link each, as through our pages."""
    credentials = obtain(google, alice)
    link_credentials(anna, credentials)

    link_credentials(new_user("ben"), credentials)

    assert GoogleAccount.objects.count() == 2


def robot(google: FakeGoogle) -> Any:
    """Return credentials of a service account."""
    account = google.add_service_account("reports@example.iam.gserviceaccount.com")
    return service_account.Credentials.from_service_account_info(
        google.service_account_info(account)
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda google: None, r"The credentials are None\. Call flow\.fetch_token\(\) first"),
        (lambda google: "1//secret", r"are a str\. A bare token does not state its client"),
        (
            robot,
            r'A service account cannot be linked: configure it in GOOGLE_LINK\["SERVICE_ACC',
        ),
        (
            lambda google: Flow.from_client_config(google.client_secrets(), SCOPES),
            r"are a Flow\. Pass what flow\.credentials returns",
        ),
        (lambda google: {"refresh_token": "1//secret"}, r"are a dict\. Pass what flow\.credent"),
        (lambda google: SimpleNamespace(refresh_token="1//secret"), "are a SimpleNamespace"),
    ],
)
def test_what_is_no_credentials(
    google: FakeGoogle, anna: Any, make: Callable[[FakeGoogle], Any], message: str
) -> None:
    """Anything else is refused; the message says what to pass, and repeats no token."""
    with pytest.raises(TypeError, match=message) as error:
        link_credentials(anna, make(google))

    assert "secret" not in str(error.value)
    assert not google.requests_to("token")


def test_credentials_of_an_account_that_is_linked(
    google: FakeGoogle, alice: FakeUser, anna: Any
) -> None:
    """Credentials that ``credentials_for()`` has returned for a linked account are refused."""
    account = linked(anna, google, alice)

    with pytest.raises(TypeError, match="are a AccountCredentials"):
        link_credentials(anna, credentials_for(account))  # type: ignore[arg-type]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: None, TypeError, "The user is a NoneType: pass a user of this site"),
        (lambda: "anna", TypeError, "The user is a str"),
        (lambda: 1, TypeError, "The user is a int"),
        (AnonymousUser, ValueError, "The user is anonymous: only a logged-in user"),
        (lambda: get_user_model()(username="x"), ValueError, "not saved yet: save the user first"),
        (lambda: get_user_model()(pk=7), ValueError, "The user is not saved yet"),
    ],
)
def test_who_can_have_no_link(
    google: FakeGoogle,
    alice: FakeUser,
    shared_database: None,
    make: Callable[[], Any],
    error: type[Exception],
    message: str,
) -> None:
    """Only a saved and logged-in user can have a link; the credentials still work."""
    credentials = obtain(google, alice)

    with pytest.raises(error, match=message):
        link_credentials(make(), credentials)

    assert_untouched(google, credentials)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        (None, TypeError, "The label is a NoneType: pass a string"),
        ("x" * 61, ValueError, "The label has 61 characters, but at most 60"),
    ],
)
def test_label_that_cannot_be_one(
    google: FakeGoogle,
    alice: FakeUser,
    anna: Any,
    label: Any,
    error: type[Exception],
    message: str,
) -> None:
    """An invalid label is refused, as on the page for labels; the credentials still work."""
    credentials = obtain(google, alice)

    with pytest.raises(error, match=message):
        link_credentials(anna, credentials, label=label)

    assert_untouched(google, credentials)


def test_credentials_without_a_refresh_token(
    google: FakeGoogle, alice: FakeUser, anna: Any
) -> None:
    """The error for credentials without a refresh token says how to get one."""
    credentials = obtain(google, alice)

    with pytest.raises(NoRefreshTokenError, match=r'access_type="offline", prompt="consent"'):
        link_credentials(anna, copy_of(credentials, refresh_token=None))

    assert_untouched(google, credentials)


def test_credentials_without_openid(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """Credentials without the scope openid are refused without a request."""
    credentials = obtain(google, alice, scopes=[CALENDAR])

    with pytest.raises(IDTokenError, match='add "openid" to the scopes of the flow'):
        link_credentials(anna, credentials)

    assert google.granted_scopes(alice)
    assert len(google.requests_to("token")) == 1  # The flow's own request.


@pytest.mark.matrix
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another.apps.googleusercontent.com"},
        {"client_id": None},
        {"token_uri": "https://id.example/token"},
        {"token_uri": None},
    ],
)
def test_credentials_of_another_client(
    google: FakeGoogle, alice: FakeUser, anna: Any, changes: dict[str, Any]
) -> None:
    """Credentials of another client or provider are refused, and the error names both."""
    credentials = obtain(google, alice)
    foreign = copy_of(credentials, **changes)

    with pytest.raises(SettingsError) as error:
        link_credentials(anna, foreign)

    given = (foreign.client_id or "nobody", foreign.token_uri or "no endpoint")
    assert f"issued to {given[0]} at {given[1]}" in str(error.value)
    assert f"'default' is {google.client.client_id} at {google.url}/token" in str(error.value)
    assert "Create the flow with the client id and secret" in str(error.value)
    assert str(credentials.refresh_token) not in str(error.value)
    assert_untouched(google, credentials)


def test_credentials_of_another_client_that_is_configured(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """If the credentials belong to another client in the settings, the error names it."""
    other = google.add_client(redirect_uris=[CALLBACK])
    clients = {"default": google.client_settings(), "tasks": google.client_settings(other)}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    credentials = copy_of(obtain(google, alice), client_id=other.client_id)

    with pytest.raises(SettingsError, match="Pass client='tasks'"):
        link_credentials(anna, credentials)


def test_client_that_is_not_configured(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """A client that is not in the settings raises SettingsError."""
    with pytest.raises(SettingsError, match="There is no client 'reports'"):
        link_credentials(anna, obtain(google, alice), client="reports")


def test_revoked_credentials(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """Revoked credentials raise GrantLostError, from which our decorators ask for consent."""
    credentials = obtain(google, alice)
    google.revoke(alice)

    with pytest.raises(GrantLostError, match="through the flow again") as lost:
        link_credentials(anna, credentials)

    assert (lost.value.client, lost.value.user_id) == ("default", anna.pk)
    assert lost.value.reason == "revoked"
    assert_ended(google, alice)


def test_client_that_google_refuses(
    google: FakeGoogle, alice: FakeUser, anna: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If Google refuses the client, an error is logged and the credentials still work."""
    credentials = obtain(google, alice)
    google.fail_next(endpoint="token", status=401, body={"error": "invalid_client"})

    with pytest.raises(ClientMisconfiguredError):
        link_credentials(anna, credentials)

    assert "Google refuses the client 'default': invalid_client" in caplog.text
    assert_untouched(google, credentials)


def test_google_that_cannot_be_reached(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """If Google is unavailable, the same credentials can be linked later."""
    credentials = obtain(google, alice)
    google.fail_next(endpoint="token", status=503)

    with pytest.raises(RefreshUnavailableError):
        link_credentials(anna, credentials)

    assert_untouched(google, credentials)


@pytest.mark.matrix
@pytest.mark.parametrize("rotates", [False, True])
def test_signing_keys_that_cannot_be_fetched(
    google: FakeGoogle, alice: FakeUser, anna: Any, rotates: bool
) -> None:
    """Without signing keys, a rotated refresh token is revoked, and any other still works."""
    google.rotates_refresh_tokens = rotates
    credentials = obtain(google, alice)
    google.fail_next(endpoint="certs", status=503)

    with pytest.raises(RefreshUnavailableError):
        link_credentials(anna, credentials)

    if rotates:
        assert_ended(google, alice)
    else:
        assert_untouched(google, credentials)


@pytest.mark.matrix
@pytest.mark.parametrize("rotates", [True, False])
def test_answer_that_cannot_be_used(
    google: FakeGoogle, alice: FakeUser, anna: Any, configure: Callable[..., None], rotates: bool
) -> None:
    """If it contains a rotated refresh token, that is revoked; any other still works."""
    configure(PROVIDER=None)
    google.rotates_refresh_tokens = rotates
    credentials = obtain(google, alice)
    google.tamper_next_response(fields={"token_type": "mac"})

    with pytest.raises(RefreshUnavailableError, match="unsupported_token_type"):
        link_credentials(anna, credentials)

    if rotates:
        assert_ended(google, alice)
    else:
        assert_untouched(google, credentials)


def test_id_token_of_another_account(
    google: FakeGoogle, alice: FakeUser, anna: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If the ID tokens of flow and refresh belong to two accounts, the grant is revoked."""
    bob = google.add_user("bob@gmail.com")
    mixed = copy_of(obtain(google, alice), id_token=obtain(google, bob).id_token)

    with pytest.raises(IDTokenError, match="belong to different accounts"):
        link_credentials(anna, mixed)

    assert "Linking through the client 'default' failed: The ID token and" in caplog.text
    assert_ended(google, alice)
    assert google.granted_scopes(bob)


def test_id_token_of_the_flow_that_is_none(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """An invalid ID token in the credentials is ignored if the refresh returns one."""
    credentials = copy_of(obtain(google, alice), id_token="nonsense")

    assert link_credentials(anna, credentials).sub == alice.sub


def test_forged_id_token(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """An ID token in the credentials is verified; if it is invalid, the grant is revoked."""
    google.refresh_sends_id_token = False
    google.tamper_next_id_token(claims={"aud": "another"})
    credentials = obtain(google, alice)

    with pytest.raises(IDTokenError):
        link_credentials(anna, credentials)

    assert_ended(google, alice)


def test_account_of_another_organization(
    google: FakeGoogle, alice: FakeUser, anna: Any, configure: Callable[..., None]
) -> None:
    """HOSTED_DOMAIN is checked even if the flow did not request it with ``hd``."""
    configure(HOSTED_DOMAIN="example.com")
    credentials = obtain(google, alice)

    with pytest.raises(HostedDomainError, match=r"Only accounts of example\.com"):
        link_credentials(anna, credentials)

    assert_ended(google, alice)


def test_account_that_another_user_has_linked_is_spared(
    google: FakeGoogle, alice: FakeUser, anna: Any, configure: Callable[..., None]
) -> None:
    """If linking fails, a grant that another user's link shares is not revoked."""
    link_credentials(new_user("ben"), obtain(google, alice))
    configure(HOSTED_DOMAIN="example.com")

    with pytest.raises(HostedDomainError):
        link_credentials(anna, obtain(google, alice))

    assert google.granted_scopes(alice)
    assert not PendingRevocation.objects.exists()


@pytest.mark.slow
def test_grant_that_cannot_be_stored_is_ended(
    google: FakeGoogle, alice: FakeUser, anna: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the database fails, the grant is revoked."""
    skip_pauses(monkeypatch)
    credentials = obtain(google, alice)

    with refusing(OperationalError("disk full"), *STORED), pytest.raises(GrantNotStoredError):
        link_credentials(anna, credentials)

    assert_ended(google, alice)


def test_worker_that_is_stopped_ends_the_grant(
    google: FakeGoogle, alice: FakeUser, anna: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped while it verifies the ID token revokes the grant."""
    credentials = obtain(google, alice)

    def stop(*args: Any, **options: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr("jwt.PyJWK", stop)

    with pytest.raises(SystemExit):
        link_credentials(anna, credentials)

    assert_ended(google, alice)


def test_user_who_is_deleted_meanwhile(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """If the user was deleted, the grant is revoked, and the error says why."""
    credentials = obtain(google, alice)
    user = get_user_model().objects.get(pk=anna.pk)
    anna.delete()

    with pytest.raises(GrantNotStoredError) as error:
        link_credentials(user, credentials)

    assert error.value.user_is_gone
    assert_ended(google, alice)


def test_grant_that_is_ended_in_the_same_moment(
    google: FakeGoogle, alice: FakeUser, anna: Any
) -> None:
    """If another user unlinks the account meanwhile, the new link is marked as lost."""
    other = linked(new_user("ben"), google, alice)
    credentials = obtain(google, alice)

    with (
        just_before(HELD, act=lambda: GoogleAccount.objects.get(pk=other.pk).unlink()),
        pytest.raises(GrantLostError) as lost,
    ):
        link_credentials(anna, credentials)

    assert lost.value.account == GoogleAccount.objects.get(user=anna)
    assert not GoogleAccount.objects.get(user=anna).is_active


def test_key_that_is_not_configured(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """Without an encryption key linking is refused, and the credentials still work."""
    credentials = obtain(google, alice)
    whole = settings.GOOGLE_LINK
    settings.GOOGLE_LINK = {**whole, "ENCRYPTION_KEYS": []}

    with pytest.raises(SettingsError):
        link_credentials(anna, credentials)

    settings.GOOGLE_LINK = whole
    assert_untouched(google, credentials)


def test_inside_a_transaction(google: FakeGoogle, alice: FakeUser, anna: Any) -> None:
    """In a transaction linking is refused: after a rollback the grant could not be revoked."""
    credentials = obtain(google, alice)

    with transaction.atomic(), pytest.raises(RuntimeError, match="non_atomic_requests"):
        link_credentials(anna, credentials)

    assert_untouched(google, credentials)


def test_link_is_logged(
    google: FakeGoogle, alice: FakeUser, anna: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The log mentions the account that was linked, but not the refresh token."""
    caplog.set_level(logging.DEBUG, "django_google_link")
    credentials = obtain(google, alice)

    account = link_credentials(anna, credentials)

    assert f"The account {account.pk} was linked." in caplog.text
    assert str(credentials.refresh_token) not in caplog.text


def obtain_elsewhere(google: FakeGoogle, who: FakeUser) -> Credentials:
    """Complete a flow of the project's own at a provider without OpenID Connect."""
    return obtain(google, who, scopes=["read", "write"])


def test_provider_that_says_elsewhere_who_it_is(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """Without OpenID Connect, the account is identified by the userinfo endpoint."""
    play_provider(google, settings, speaks_openid=False)

    account = link_credentials(anna, obtain_elsewhere(google, alice))

    assert (account.sub, account.email) == (alice.sub, alice.email)
    assert set(account.granted_scopes) == {"read", "write"}


def test_id_token_of_a_provider_that_is_asked_elsewhere(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """If the settings say that userinfo identifies accounts, an ID token is ignored."""
    play_provider(google, settings, speaks_openid=False)
    id_token = jwt.encode({"sub": "another"}, "a key that has thirty-two bytes.")

    account = link_credentials(anna, copy_of(obtain_elsewhere(google, alice), id_token=id_token))

    assert account.sub == alice.sub


def test_provider_whose_endpoints_are_published(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """If the settings contain only the issuer, discovery provides the token endpoint."""
    play_provider(google, settings)
    without(settings, "AUTHORIZATION_ENDPOINT", "TOKEN_ENDPOINT", "JWKS_URI")

    account = link_credentials(anna, obtain(google, alice, scopes=["openid", "read"]))

    assert account.sub == alice.sub


def test_provider_that_does_not_say_who_it_is(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """If a provider does not identify accounts, each user has one link, which is replaced."""
    play_provider(google, settings, speaks_openid=False, IDENTITY="none")
    without(settings, "USERINFO_ENDPOINT", "SUBJECT_MEMBER")
    bob = google.add_user("bob@example.com")
    first = link_credentials(anna, obtain_elsewhere(google, alice))

    second = link_credentials(anna, obtain_elsewhere(google, bob))

    assert GoogleAccount.objects.get() == first == second
    assert not google.granted_scopes(alice)
    assert google.granted_scopes(bob)


def test_provider_that_gives_no_refresh_tokens(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """Without refresh tokens the access token is stored, and the link expires with it."""
    play_provider(google, settings, speaks_openid=False, gives_refresh_tokens=False)
    credentials = obtain_elsewhere(google, alice)

    account = link_credentials(anna, credentials)

    account.refresh_from_db()
    assert account.sub == alice.sub
    assert access_token(anna) == credentials.token
    assert account.ends_at
    assert abs(account.ends_at - timezone.now()) < timedelta(hours=1)


@pytest.mark.matrix
@pytest.mark.parametrize("has_token", [True, False])
def test_access_token_that_has_expired(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings, has_token: bool
) -> None:
    """Without refresh tokens, an expired or missing access token raises GrantLostError."""
    play_provider(google, settings, speaks_openid=False, gives_refresh_tokens=False)
    credentials = obtain_elsewhere(google, alice)
    if has_token:
        credentials.expiry = timezone.now().replace(tzinfo=None) - timedelta(seconds=1)
    else:
        credentials = copy_of(credentials, token=None)

    with pytest.raises(GrantLostError) as lost:
        link_credentials(anna, credentials)

    assert lost.value.reason == "expired"
    assert not google.requests_to("userinfo")


def test_access_token_that_does_not_say_until_when(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """Without refresh tokens, an access token without an expiry is stored without one."""
    play_provider(google, settings, speaks_openid=False, gives_refresh_tokens=False)
    credentials = obtain_elsewhere(google, alice)
    credentials.expiry = None

    assert link_credentials(anna, credentials).access_token_expires_at is None


def test_refresh_token_that_another_provider_should_have_given(
    google: FakeGoogle, alice: FakeUser, anna: Any, settings: Settings
) -> None:
    """The error for another provider says which setting to change if it issues none."""
    play_provider(google, settings, speaks_openid=False)
    credentials = copy_of(obtain_elsewhere(google, alice), refresh_token=None)

    with pytest.raises(NoRefreshTokenError, match="set REFRESH_TOKENS of 'default' to False"):
        link_credentials(anna, credentials)


@pytest.mark.slow
def test_grant_on_which_a_link_may_live_is_spared(
    google: FakeGoogle, alice: FakeUser, anna: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If the database cannot tell whether a link uses the grant, it is logged, not revoked."""
    linked(anna, google, alice)
    credentials = obtain(google, alice)
    error = OperationalError("read only")

    with (
        refusing(error, "INSERT INTO", "pendingrevocation"),
        refusing(error, "SELECT", "NOT", "sealed_refresh_token", "issuer"),
        pytest.raises(GrantNotStoredError),
    ):
        link_credentials(anna, credentials)

    assert google.granted_scopes(alice)
    assert "is still valid at Google, but is not stored here" in caplog.text
