"""``google_link_import``, from the real tables and files of other packages."""

from __future__ import annotations

import base64
import io
import json
import pickle
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonpickle
import pytest
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from google.oauth2.credentials import Credentials
from oauth2client.client import OAuth2Credentials
from oauth2client.file import Storage
from pytest_django import Settings
from social_django.models import UserSocialAuth

from django_google_link.encryption.keyring import make_key
from django_google_link.management import outcomes
from django_google_link.models import GoogleAccount, PendingRevocation, Reason, Status
from django_google_link.operations import import_sources, import_tokens
from django_google_link.secret import Secret
from django_google_link.services import access_token
from django_google_link.signals import account_linked
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from tests.legacy.models import CredentialsModel, OtherCredentials
from tests.support.chunks import use_small_chunks
from tests.support.constants import CALENDAR, DRIVE
from tests.support.databases import new_user
from tests.support.signals import connected

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database")]

OPENID = ["openid", "email"]
GOOD = "were skipped permanently"
LEGACY = ("oauth2client", "legacy.CredentialsModel")


@pytest.fixture
def anna(shared_database: None) -> Any:
    """A user of this site."""
    return new_user("anna")


@pytest.fixture
def refresh_token(google: FakeGoogle, alice: FakeUser) -> str:
    """A token from an earlier grant to this site's client."""
    return google.grant(alice, [*OPENID, CALENDAR]).refresh_token


@pytest.fixture
def other_source(
    google: FakeGoogle, configure: Callable[..., None], refresh_token: str, tmp_path: Path
) -> tuple[Any, ...]:
    """A file with the token of a provider other than Google, as arguments of the command."""
    configure(PROVIDER=None)
    path = tmp_path / "token.json"
    path.write_text(oauth2client_credentials(google, refresh_token).to_json())
    return ("files", "--user", "anna", path)


def run(*arguments: Any, **options: Any) -> str:
    """Run the command; return its output."""
    out = io.StringIO()
    call_command("google_link_import", *map(str, arguments), stdout=out, **options)
    return out.getvalue()


def failed(match: str, *arguments: Any, **options: Any) -> str:
    """Run the command, and check that it fails with this error; return its output."""
    out = io.StringIO()
    with pytest.raises(CommandError, match=match):
        call_command("google_link_import", *map(str, arguments), stdout=out, **options)
    return out.getvalue()


def in_allauth(user: Any, sub: str, refresh_token: str, **changes: Any) -> SocialToken:
    """Store a refresh token in django-allauth's table, as a login with ``offline`` does."""
    account = SocialAccount.objects.create(user=user, provider="google", uid=sub)
    values = {"account": account, "token": "ya29.old", "token_secret": refresh_token, **changes}
    return SocialToken.objects.create(**values)


def in_social_auth(user: Any, uid: str, **extra_data: Any) -> UserSocialAuth:
    """Store a refresh token in social-auth's table."""
    values = {"access_token": "ya29.old", "token_type": "Bearer", **extra_data}
    return UserSocialAuth.objects.create(
        user=user, provider="google-oauth2", uid=uid, extra_data=values
    )


def oauth2client_credentials(
    google: FakeGoogle, refresh_token: str | None, **changes: Any
) -> OAuth2Credentials:
    """Return credentials as oauth2client holds them in memory."""
    values = {
        "access_token": "ya29.old",
        "client_id": google.client.client_id,
        "client_secret": google.client.client_secret,
        "refresh_token": refresh_token,
        "token_expiry": None,
        "token_uri": f"{google.url}/token",
        "user_agent": "daybook",
        "scopes": [CALENDAR, DRIVE],
        **changes,
    }
    return OAuth2Credentials(**values)


def in_credentials_field(user: Any, value: bytes) -> CredentialsModel:
    """Write the column as oauth2client's field does."""
    return CredentialsModel.objects.create(pk=user.pk, credential=value)


def encoded(credentials: OAuth2Credentials) -> bytes:
    """Encode as oauth2client's ``CredentialsField.get_prep_value`` does."""
    return base64.b64encode(jsonpickle.encode(credentials, keys=True).encode())


def stored_credential() -> Any:
    """Return the raw column."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT credential FROM legacy_credentialsmodel")
        [[value]] = cursor.fetchall()
    return value


def assert_linked(user: Any, alice: FakeUser) -> None:
    """Check that Alice's account is linked as by the web flow, with what Google returned."""
    account = GoogleAccount.objects.get()
    assert (account.user_id, account.sub, account.email) == (user.pk, alice.sub, alice.email)
    assert set(account.granted_scopes) == {"openid", "email", CALENDAR}
    assert account.is_default and account.status == Status.ACTIVE
    assert access_token(user, scopes=[CALENDAR])


def test_allauth(google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str) -> None:
    """The row becomes a link, and stays unchanged."""
    row = in_allauth(anna, alice.sub, refresh_token)

    said = run("allauth")

    row.refresh_from_db()
    assert said.split() == ["1", "imported"]
    assert_linked(anna, alice)
    assert row.token_secret == refresh_token


def test_token_that_the_provider_has_replaced(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """Some providers rotate the refresh token at each use, and invalidate the old one."""
    in_allauth(anna, alice.sub, refresh_token)
    rotated = {"access_token": "ya29.next", "expires_in": 3599, "refresh_token": "1//rotated"}
    google.fail_next(status=200, body={**rotated, "scope": CALENDAR})

    assert "1 imported" in run("allauth")

    assert GoogleAccount.objects.get().unseal_token("refresh_token") == Secret("1//rotated")


def test_token_that_was_replaced_outlives_a_worker_that_dies(
    google: FakeGoogle,
    alice: FakeUser,
    anna: Any,
    refresh_token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rotated token is in the outbox until it is stored."""
    in_allauth(anna, alice.sub, refresh_token)
    rotated = {"access_token": "ya29.next", "expires_in": 3599, "refresh_token": "1//rotated"}
    google.fail_next(status=200, body={**rotated, "scope": CALENDAR})
    save, waiting = import_tokens.save_grant, []

    def look_first(*args: Any, **options: Any) -> Any:
        waiting.extend(row.unseal_token("refresh_token") for row in PendingRevocation.objects.all())
        return save(*args, **options)

    monkeypatch.setattr(import_tokens, "save_grant", look_first)

    assert "1 imported" in run("allauth")

    assert waiting == [Secret("1//rotated")]
    assert not PendingRevocation.objects.exists()


def test_token_that_was_replaced_by_an_answer_of_no_other_use(
    google: FakeGoogle, alice: FakeUser, anna: Any, other_source: tuple[Any, ...]
) -> None:
    """The new token is revoked: nothing is known about it."""
    google.rotates_refresh_tokens = True
    google.tamper_next_response(fields={"token_type": "mac"})

    assert "1 postponed" in failed("1 were not imported", *other_source)

    assert google.granted_scopes(alice) is None
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()


def test_token_that_is_repeated_by_an_answer_of_no_other_use(
    google: FakeGoogle, anna: Any, refresh_token: str, other_source: tuple[Any, ...]
) -> None:
    """Some providers send the token that was used: it can be imported later."""
    google.tamper_next_response(fields={"token_type": "mac", "refresh_token": refresh_token})
    failed("1 were not imported", *other_source)

    assert "1 imported" in run(*other_source)

    assert not google.requests_to("revoke")


def test_allauth_knows_its_client(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, settings: Settings
) -> None:
    """The app's client id selects the client."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    other = {**clients["default"], "CLIENT_ID": "other", "CLIENT_SECRET": "x"}
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {"default": other, "daybook": clients["default"]},
    }
    app = SocialApp.objects.create(provider="google", client_id=google.client.client_id)
    in_allauth(anna, alice.sub, refresh_token, app=app)

    run("allauth")

    assert GoogleAccount.objects.get().client == "daybook"


def test_social_auth(google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str) -> None:
    """Whether it stores the e-mail address or the subject."""
    in_social_auth(anna, alice.email, refresh_token=refresh_token)
    ben = new_user("ben")
    in_social_auth(ben, alice.sub, refresh_token=refresh_token)

    run("social-auth")

    assert set(GoogleAccount.objects.values_list("user", "sub")) == {
        (anna.pk, alice.sub),
        (ben.pk, alice.sub),
    }


@pytest.mark.parametrize("form", ["pickle of JSON", "JSON"])
def test_oauth2client(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, form: str
) -> None:
    """A ``CredentialsField`` is parsed by its keys, and never unpickled."""
    credentials = oauth2client_credentials(google, refresh_token)
    value = encoded(credentials) if form == "pickle of JSON" else credentials.to_json().encode()
    in_credentials_field(anna, value)

    run(*LEGACY)

    assert_linked(anna, alice)


def test_oauth2client_pickles_are_never_read(
    google: FakeGoogle, anna: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Pickles written by oauth2client before version 4 can run arbitrary code."""
    in_credentials_field(anna, base64.b64encode(pickle.dumps({"refresh_token": "x"})))

    said = failed(GOOD, *LEGACY)

    assert "1 skipped: cannot be read" in said
    assert "it is a pickle, which is never loaded" in caplog.text
    with pytest.raises(AssertionError, match="unpickled"):
        CredentialsModel.objects.get()


@pytest.mark.matrix
@pytest.mark.parametrize("write", ["google_auth", "gcloud", "oauth2client"])
def test_files(
    google: FakeGoogle,
    alice: FakeUser,
    anna: Any,
    refresh_token: str,
    tmp_path: Path,
    write: str,
) -> None:
    """Files of the quickstarts, gcloud's authorized_user, and oauth2client's storage."""
    path = tmp_path / "token.json"
    client = google.client_settings()
    known = {"client_id": client["CLIENT_ID"], "client_secret": client["CLIENT_SECRET"]}
    if write == "google_auth":
        path.write_text(Credentials("ya29.old", refresh_token=refresh_token, **known).to_json())
    elif write == "gcloud":
        known |= {"type": "authorized_user", "refresh_token": refresh_token}
        path.write_text(json.dumps(known))
    else:
        path.touch()
        Storage(str(path)).put(oauth2client_credentials(google, refresh_token))

    run("files", "--user", "anna", path)

    assert_linked(anna, alice)


def test_again_changes_nothing(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """Existing links are unchanged; Google is asked only if the source states no subject."""
    in_allauth(anna, alice.sub, refresh_token)
    in_social_auth(anna, alice.email, refresh_token=refresh_token)
    run("allauth")
    before = GoogleAccount.objects.values().get()
    google.clear_requests()

    assert "1 already linked here" in run("allauth")
    assert not google.requests
    assert "1 already linked here" in run("social-auth")
    assert GoogleAccount.objects.values().get() == before


def test_newer_link_is_kept(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """A link made since then takes precedence."""
    newer = google.grant(alice, [DRIVE]).refresh_token
    account = make_google_account(anna, sub=alice.sub, email="", refresh_token=newer)
    in_social_auth(anna, alice.email, refresh_token=refresh_token)

    assert "1 already linked here" in run("social-auth")

    account.refresh_from_db()
    token = account.unseal_token("refresh_token")
    assert token and token.reveal() == newer


def test_link_of_a_former_client_is_made_anew(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """Its token is useless; the imported one is stored before the source is wiped."""
    in_allauth(anna, alice.sub, refresh_token)
    account = make_google_account(anna, sub=alice.sub)
    account.client_id = "former"
    account.seal_token("refresh_token", Secret("1//former"))
    account.save()

    run("allauth", "--wipe-source")

    account.refresh_from_db()
    assert account.unseal_token("refresh_token") == Secret(refresh_token)
    assert not SocialToken.objects.get().token_secret


def test_link_that_was_lost_is_mended(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """A valid token replaces an invalid one."""
    make_google_account(anna, sub=alice.sub, status=Status.NEEDS_REAUTHORIZATION)
    in_allauth(anna, alice.sub, refresh_token)

    run("allauth")

    assert_linked(anna, alice)


def test_dry_run_asks_nobody_and_writes_nothing(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """It prints what would be done."""
    row = in_allauth(anna, alice.sub, refresh_token)

    said = run("allauth", "--dry-run", "--wipe-source")

    row.refresh_from_db()
    assert "1 would be imported" in said
    assert row.token_secret == refresh_token
    assert not GoogleAccount.objects.exists()
    assert not google.requests


@pytest.mark.slow
def test_wipe_leaves_no_plain_text(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, tmp_path: Path
) -> None:
    """Tokens are removed from rows, and files deleted, if they were linked."""
    row = in_allauth(anna, alice.sub, refresh_token)
    social = in_social_auth(anna, alice.email, refresh_token=refresh_token, id=7)
    other = in_social_auth(new_user("ben"), "ben@gmail.com", refresh_token="1//dead")
    in_credentials_field(anna, encoded(oauth2client_credentials(google, refresh_token)))
    path = tmp_path / "token.json"
    path.write_text(oauth2client_credentials(google, refresh_token).to_json())

    for arguments in (("allauth",), LEGACY, ("files", "--user", "anna", path)):
        run(*arguments, "--wipe-source")
    failed(GOOD, "social-auth", "--wipe-source")

    for each in (row, social, other):
        each.refresh_from_db()
    assert (row.token, row.token_secret) == ("", "")
    assert social.extra_data == {"token_type": "Bearer", "id": 7}
    assert other.extra_data["refresh_token"] == "1//dead"
    assert stored_credential() is None
    assert not path.exists()
    assert_linked(anna, alice)


@pytest.mark.matrix
@pytest.mark.parametrize("source", ["allauth", "social-auth", "oauth2client"])
def test_wipe_spares_what_has_changed_since(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, source: str
) -> None:
    """A token of a login during the import is kept."""
    in_allauth(anna, alice.sub, refresh_token)
    in_social_auth(anna, alice.sub, refresh_token=refresh_token)
    in_credentials_field(anna, encoded(oauth2client_credentials(google, refresh_token)))
    newer = encoded(oauth2client_credentials(google, "1//newer"))

    def log_in(**kwargs: Any) -> None:
        SocialToken.objects.update(token_secret="1//newer")
        UserSocialAuth.objects.update(extra_data={"refresh_token": "1//newer"})
        CredentialsModel.objects.update(credential=newer)

    with connected(account_linked, log_in):
        run(*(LEGACY if source == "oauth2client" else (source,)), "--wipe-source")

    assert SocialToken.objects.get().token_secret == "1//newer"
    assert UserSocialAuth.objects.get().extra_data == {"refresh_token": "1//newer"}
    assert bytes(stored_credential()) == newer


def test_file_that_cannot_be_removed(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, tmp_path: Path
) -> None:
    """The link is made, and the failure reported."""
    path = tmp_path / "token.json"
    path.write_text(oauth2client_credentials(google, refresh_token).to_json())

    def replace(**kwargs: Any) -> None:
        path.unlink()
        path.mkdir()

    with connected(account_linked, replace):
        said = failed("1 were not imported", "files", "--user", "anna", path, "--wipe-source")

    assert "1 linked here, but" in said
    assert_linked(anna, alice)


def test_tokens_that_are_dead_are_left_out(
    google: FakeGoogle, alice: FakeUser, anna: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Their users have to link again; no part of the token is shown."""
    row = in_allauth(anna, alice.sub, "1//dead-for-long")

    said = failed(GOOD, "allauth", "--wipe-source")

    assert "1 skipped: no longer valid at the provider" in said
    assert f"SocialToken {row.pk} was not imported" in caplog.text
    assert "dead-for-long" not in caplog.text + said
    assert alice.email not in caplog.text
    assert SocialToken.objects.get().token_secret


def test_rows_without_a_refresh_token_are_left_out(google: FakeGoogle, anna: Any) -> None:
    """Most rows of logins have none."""
    in_allauth(anna, "1", "")
    in_social_auth(anna, "1")
    in_credentials_field(anna, encoded(oauth2client_credentials(google, None)))

    for arguments in (("allauth",), ("social-auth",), LEGACY):
        assert "1 skipped: no refresh token" in run(*arguments)


def test_rows_of_others_are_not_touched(google: FakeGoogle, anna: Any, refresh_token: str) -> None:
    """Tokens of other providers are ignored."""
    account = SocialAccount.objects.create(user=anna, provider="github", uid="1")
    SocialToken.objects.create(account=account, token="x", token_secret="y")
    UserSocialAuth.objects.create(user=anna, provider="github", uid="1")
    CredentialsModel.objects.create(pk=anna.pk)

    for arguments in (("allauth",), ("social-auth",), LEGACY):
        assert run(*arguments).startswith("Nothing was found")


def test_token_of_another_client_is_no_use(
    google: FakeGoogle, anna: Any, refresh_token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported without asking Google, which would refuse our client."""
    credentials = oauth2client_credentials(google, refresh_token, client_id="of-old")
    in_credentials_field(anna, encoded(credentials))

    for arguments in (LEGACY, (*LEGACY, "--client", "default")):
        assert "1 skipped: issued to a client" in failed("1 were not imported", *arguments)

    assert "of-old" in caplog.text
    assert not google.requests


def test_account_that_google_contradicts(
    google: FakeGoogle, anna: Any, refresh_token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Google's response takes precedence over the source."""
    in_allauth(anna, "12345", refresh_token)

    assert "1 skipped: the account they belong to" in failed(GOOD, "allauth")
    assert "another account" in caplog.text
    assert not GoogleAccount.objects.exists()


def test_account_that_only_its_place_knows(
    google: FakeGoogle, alice: FakeUser, anna: Any, configure: Callable[..., None]
) -> None:
    """Without the scope openid the source is trusted, unless a domain is required."""
    token = google.grant(alice, [CALENDAR]).refresh_token
    in_allauth(anna, alice.sub, token)
    in_social_auth(anna, alice.email, refresh_token=token)

    assert "1 skipped: the account they belong to" in failed(GOOD, "social-auth")
    configure(HOSTED_DOMAIN="example.com")
    assert "1 skipped: the account they belong to" in failed(GOOD, "allauth")
    configure(HOSTED_DOMAIN=None)
    assert "1 imported" in run("allauth")

    account = GoogleAccount.objects.get()
    assert (account.sub, account.granted_scopes) == (alice.sub, [CALENDAR])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 503}, "1 postponed: the provider could not be reached"),
        ({"status": 401, "body": {"error": "invalid_client"}}, "1 postponed: the provider refuses"),
    ],
)
def test_what_may_go_better_is_postponed(
    google: FakeGoogle,
    alice: FakeUser,
    anna: Any,
    refresh_token: str,
    fault: dict[str, Any],
    said: str,
) -> None:
    """The exit code says to run the command again."""
    in_allauth(anna, alice.sub, refresh_token)
    google.fail_next(**fault)

    assert said in failed("1 were not imported", "allauth", "--wipe-source")

    run("allauth")
    assert_linked(anna, alice)


def in_allauth_for_each(google: FakeGoogle, count: int) -> list[FakeUser]:
    """Store a refresh token for each of some users, and return their Google accounts."""
    users = [google.add_user(f"user{number}@gmail.com") for number in range(count)]
    for user in users:
        in_allauth(new_user(user.email), user.sub, google.grant(user, OPENID).refresh_token)
    return users


@pytest.mark.slow
def test_provider_that_does_not_respond_is_not_asked_for_each(google: FakeGoogle) -> None:
    """After three failures in a row the others are postponed, because each might time out."""
    in_allauth_for_each(google, 8)

    with google.failing(drop=True):
        said = failed("8 were not imported", "allauth", "--workers", 1)

    assert "8 postponed: the provider could not be reached" in said
    assert len(google.requests_to("token")) == 3
    assert "8 imported" in run("allauth")


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 500])
def test_provider_that_responds_in_between_is_asked_for_all(
    google: FakeGoogle, status: int
) -> None:
    """Only failures in a row say something about the provider; an error is a response as well."""
    users = in_allauth_for_each(google, 8)

    with ExitStack() as faults:
        for number, user in enumerate(users):
            is_last_of_three = number % 3 == 2
            if not is_last_of_three:
                faults.enter_context(google.failing(user=user, drop=True))
            elif status == 500:
                faults.enter_context(google.failing(user=user, status=500))
        failed("were not imported", "allauth", "--workers", 1)

    assert len(google.requests_to("token")) == 8


def test_grants_that_make_a_provider_fail_stop_no_others(google: FakeGoogle) -> None:
    """The first ones may do so each time: the rest would never be imported."""
    users = in_allauth_for_each(google, 5)

    with ExitStack() as faults:
        for user in users[:4]:
            faults.enter_context(google.failing(user=user, status=500))
        assert "1 imported" in failed("4 were not imported", "allauth", "--workers", 1)


def test_provider_that_refuses_others_in_between_is_asked_for_all(google: FakeGoogle) -> None:
    """A refusal is a response as well."""
    users = in_allauth_for_each(google, 5)
    google.revoke(users[2])

    with ExitStack() as faults:
        for user in (*users[:2], *users[3:]):
            faults.enter_context(google.failing(user=user, drop=True))
        failed("4 were not imported", "allauth", "--workers", 1)

    assert len(google.requests_to("token")) == 5


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\xff\xfe", "it is empty"),
        (b"\xff\xfe\xff", "it is not text"),
        (b"{", "not JSON"),
        (b"{}", "no user credentials"),
        (b'{"type": "service_account", "client_id": 3}', "the key of a service account"),
        (b"W10=", "no user credentials"),
    ],
)
def test_files_that_cannot_be_read(
    google: FakeGoogle,
    anna: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
    problem: str,
) -> None:
    """Each is reported with the reason."""
    path = tmp_path / "token.json"
    path.write_bytes(content)

    said = failed(GOOD, "files", "--user", "anna", path, "--wipe-source")

    assert "1 skipped: cannot be read" in said
    assert problem in caplog.text
    assert path.exists()


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("files", "--user", "nobody", "x"), "no user 'nobody'"),
        (("oauth2client", "legacy.Nothing"), "Nothing"),
        (("oauth2client", "legacy"), "app_label.Model"),
        ((*LEGACY, "--field", "nothing"), "nothing"),
        ((*LEGACY, "--user-field", "nothing"), "The model has: id"),
        ((*LEGACY, "--user-field", "credential"), "The model has: id"),
        (
            ("files", "--user", "anna", "nothing.json"),
            "The file nothing.json cannot be read: it does not exist",
        ),
        ((*LEGACY, "--field", "kept"), "does not allow NULL"),
        (("allauth", "--workers", "0"), "--workers"),
    ],
)
def test_arguments_that_cannot_work(
    google: FakeGoogle, anna: Any, arguments: Any, problem: str
) -> None:
    """They are reported."""
    failed(problem, *arguments)


def test_settings_that_cannot_work(
    google: FakeGoogle, anna: Any, refresh_token: str, settings: Settings
) -> None:
    """A missing client, and a missing key."""
    in_allauth(anna, "1", refresh_token)
    failed("no client 'nothing'", "allauth", "--client", "nothing")
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": []}
    failed("ENCRYPTION_KEYS", "allauth")


def test_packages_that_are_not_installed(google: FakeGoogle, settings: Settings) -> None:
    """The error names the app."""
    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if not name.startswith(("allauth", "social"))
    ]

    failed("socialaccount", "allauth")
    failed("social_django", "social-auth")


def test_options_of_django_may_come_last(google: FakeGoogle) -> None:
    """Django's options are accepted after the source."""
    assert run("allauth", "--dry-run", "--verbosity", "0", "--traceback", "--no-color")


@pytest.mark.slow
def test_thousands(google: FakeGoogle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read in chunks by several threads, each row once."""
    users = [new_user(f"user{number}") for number in range(9)]
    for user in users:
        at_google = google.add_user(f"{user.username}@gmail.com")
        token = google.grant(at_google, [*OPENID, CALENDAR]).refresh_token
        in_social_auth(user, at_google.sub, refresh_token=token)
    use_small_chunks(monkeypatch, import_sources, 2)
    together, first_three = threading.Barrier(3), iter(range(3))

    def meet() -> float:
        if next(first_three, None) is not None:
            together.wait(timeout=5)
        return time.time()

    google.now = meet

    assert "9 imported" in run("social-auth", "--workers", "3")
    assert len(google.requests_to("token")) == 9
    assert {account.user for account in GoogleAccount.objects.all()} == set(users)

    candidates = import_sources.read_social_auth().candidates
    next(candidates)
    UserSocialAuth.objects.all().delete()
    assert len(list(candidates)) == 1  # What was read with the first one.


def test_stopped_by_the_operator(
    google: FakeGoogle, anna: Any, refresh_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary is printed."""
    in_allauth(anna, "1", refresh_token)

    def interrupt(things: Any, total: int) -> Any:
        yield next(things)
        raise KeyboardInterrupt

    monkeypatch.setattr(outcomes, "show_progress", interrupt)

    assert "1 would be" in failed("Stopped", "allauth", "--dry-run")


def test_row_is_not_mistaken_for_its_user(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """The relation to the user is used, not the row's primary key."""
    ben = new_user("ben")
    other = OtherCredentials.objects.create(
        user=anna, secret=oauth2client_credentials(google, refresh_token).to_json()
    )
    # Where users have a UUID no row's id can be one of theirs.
    number = ben.pk if isinstance(ben.pk, int) else 4711
    OtherCredentials.objects.filter(pk=other.pk).update(id=number)

    run("oauth2client", "legacy.OtherCredentials", "--field", "secret")

    assert_linked(anna, alice)


def test_column_of_another_kind(google: FakeGoogle, anna: Any) -> None:
    """A column that is neither text nor bytes is reported."""
    OtherCredentials.objects.create(user=anna, number=3)

    said = failed(GOOD, "oauth2client", "legacy.OtherCredentials", "--field", "number")

    assert "1 skipped: cannot be read" in said


def test_rows_of_nobody(
    google: FakeGoogle, refresh_token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows without a user are skipped."""
    credentials = oauth2client_credentials(google, refresh_token).to_json()
    OtherCredentials.objects.create(secret=credentials)

    failed(GOOD, "oauth2client", "legacy.OtherCredentials", "--field", "secret")

    assert "it belongs to no user" in caplog.text
    assert not GoogleAccount.objects.exists()


def test_link_whose_token_cannot_be_read_is_mended(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """A damaged stored token is replaced by the imported one."""
    make_google_account(anna, sub=alice.sub)
    other = make_google_account(anna, sub="2")
    GoogleAccount.objects.filter(sub=alice.sub).update(
        sealed_refresh_token=other.sealed_refresh_token
    )
    other.delete()
    in_allauth(anna, alice.sub, refresh_token)

    assert "1 imported" in run("allauth", "--wipe-source")

    assert_linked(anna, alice)


def test_link_whose_key_is_missing_keeps_its_source(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, settings: Settings
) -> None:
    """The source is not wiped, since it has the only usable token at present."""
    make_google_account(anna, sub=alice.sub)
    row = in_allauth(anna, alice.sub, refresh_token)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [make_key()]}

    said = failed("1 were not imported", "allauth", "--wipe-source")

    row.refresh_from_db()
    assert "1 postponed: the encryption key" in said
    assert row.token_secret == refresh_token


def test_address_that_is_somebody_elses_by_now(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """E-mail addresses may be reassigned: only the subject identifies an account."""
    make_google_account(anna, sub="another", email=alice.email)
    in_social_auth(anna, alice.email, refresh_token=refresh_token)

    assert "1 imported" in run("social-auth", "--wipe-source")
    assert GoogleAccount.objects.filter(sub=alice.sub).exists()


def test_what_was_unlinked_here_is_not_linked_again(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """While its revocation is pending, it is skipped, and the revocation kept."""
    in_allauth(anna, alice.sub, refresh_token)
    run("allauth")
    google.fail_next(endpoint="revoke", status=503)
    GoogleAccount.objects.get().unlink()

    assert "1 skipped: unlinked here since" in run("allauth")
    assert not GoogleAccount.objects.exists()
    assert PendingRevocation.objects.exists()


def test_what_an_operator_wants_linked_again_waits_for_its_user(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """A requested consent cannot be given by a command."""
    make_google_account(
        anna, sub=alice.sub, status=Status.NEEDS_REAUTHORIZATION, status_reason=Reason.REQUESTED
    )
    in_allauth(anna, alice.sub, refresh_token)

    assert "1 skipped: unlinked here since" in run("allauth")
    assert not GoogleAccount.objects.get().is_active


@pytest.mark.matrix
@pytest.mark.parametrize("had_a_row", [True, False])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_user_who_links_in_that_second(
    google: FakeGoogle,
    alice: FakeUser,
    anna: Any,
    refresh_token: str,
    monkeypatch: pytest.MonkeyPatch,
    had_a_row: bool,
    is_replaced: bool,
) -> None:
    """A concurrent link is kept, and not revoked with the imported token."""
    newer = google.grant(alice, [DRIVE]).refresh_token
    if is_replaced:
        late = google.grant(alice, [CALENDAR]).refresh_token
        body = {"access_token": "ya29.next", "expires_in": 3599, "refresh_token": late}
        google.fail_next(status=200, body={**body, "scope": CALENDAR})
    if had_a_row:
        make_google_account(anna, sub=alice.sub, status=Status.NEEDS_REAUTHORIZATION)
    in_allauth(anna, alice.sub, refresh_token)
    save = import_tokens.save_grant

    def link_first(user: Any, client: Any, identity: Any, response: Any, **options: Any) -> Any:
        theirs = replace(response, refresh_token=Secret(newer))
        save(user, client, identity, theirs, requested_scopes=())
        return save(user, client, identity, response, **options)

    monkeypatch.setattr(import_tokens, "save_grant", link_first)

    assert "1 already linked here" in run("allauth")
    token = GoogleAccount.objects.get().unseal_token("refresh_token")
    assert token == Secret(newer)
    assert google.granted_scopes(alice) is not None


def test_file_that_has_changed_since_is_kept(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str, tmp_path: Path
) -> None:
    """For a symbolic link, its target is deleted."""
    real, link, changed = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "new.json"
    for path in (real, changed):
        path.write_text(oauth2client_credentials(google, refresh_token).to_json())
    link.symlink_to(real)

    def rewrite(**kwargs: Any) -> None:
        changed.write_text(oauth2client_credentials(google, "1//newer").to_json())

    with connected(account_linked, rewrite):
        run("files", "--user", "anna", changed, link, "--wipe-source", "--workers", "1")

    assert "1//newer" in changed.read_text()
    assert not real.exists()


def test_wiping_shows_no_token_to_the_log_of_statements(
    google: FakeGoogle, alice: FakeUser, anna: Any, refresh_token: str
) -> None:
    """No SQL statement has a token as a parameter."""
    in_allauth(anna, alice.sub, refresh_token)
    [candidate] = import_sources.read_allauth().candidates

    with CaptureQueriesContext(connection) as queries:
        candidate.wipe()

    assert queries.captured_queries
    assert refresh_token not in str(queries.captured_queries)


def test_file_that_goes_before_it_is_read(tmp_path: Path) -> None:
    """It is reported."""
    [candidate] = import_sources.read_files([tmp_path / "token.json"], user_id=1).candidates

    assert candidate.problem == "No such file or directory"
