"""``google_link_import`` with several providers: tokens are sent only to their issuer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.core.management import CommandError, call_command
from pytest_django import Settings
from social_django.models import UserSocialAuth

from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle
from tests.support.databases import new_user
from tests.support.hostile_provider import HostileProvider, hostile_provider
from tests.support.providers import play_provider, without

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database"), pytest.mark.slow]

TOKEN = "1//found-somewhere"


@pytest.fixture
def office(google: FakeGoogle, settings: Settings) -> Iterator[HostileProvider]:
    """Another provider, whose default client has the same id as Google's."""
    with hostile_provider() as provider:
        google_client = settings.GOOGLE_LINK["CLIENTS"]["default"]
        office = provider.client_settings(CLIENT_ID=google_client["CLIENT_ID"])
        settings.GOOGLE_LINK = {
            **settings.GOOGLE_LINK,
            "CLIENTS": {"default": office, "google": google_client},
        }
        yield provider


@pytest.fixture
def anna(shared_database: None) -> Any:
    """A user of this site."""
    return new_user("anna")


@pytest.fixture
def in_allauth(anna: Any, google: FakeGoogle) -> Callable[..., None]:
    """Store a token in django-allauth's table, with or without its app."""

    def in_allauth(provider: str = "google", *, with_app: bool) -> None:
        client_id = google.client.client_id
        app = SocialApp.objects.create(provider=provider, client_id=client_id) if with_app else None
        account = SocialAccount.objects.create(user=anna, provider=provider, uid="42")
        SocialToken.objects.create(account=account, token="", token_secret=TOKEN, app=app)

    return in_allauth


@pytest.fixture
def in_file(anna: Any, google: FakeGoogle, tmp_path: Path) -> Callable[..., Path]:
    """Write a file with a token and other keys."""

    def in_file(**content: Any) -> Path:
        path = tmp_path / "token.json"
        known = {"client_id": google.client.client_id, "refresh_token": TOKEN}
        path.write_text(json.dumps({**known, **content}))
        return path

    return in_file


def run(*arguments: Any) -> str:
    """Run the command; return its output, even if it fails."""
    out = io.StringIO()
    try:
        call_command("google_link_import", *map(str, arguments), stdout=out)
    except CommandError as error:
        return f"{out.getvalue()}{error}"
    return out.getvalue()


def asked(google: FakeGoogle, office: HostileProvider) -> tuple[bool, bool]:
    """Return whether Google, and whether the other provider received the token."""
    at_google = repr([dict(request.form) for request in google.requests_to("token")])
    return TOKEN in at_google, TOKEN in repr(office.received)


@pytest.mark.parametrize("with_app", [True, False])
@pytest.mark.parametrize("named", [(), ("--client", "default")])
def test_token_of_googles_in_allauth(
    google: FakeGoogle,
    office: HostileProvider,
    in_allauth: Callable[..., None],
    named: tuple[str, ...],
    with_app: bool,
) -> None:
    """The default client may be another provider's, with the same client id."""
    in_allauth(with_app=with_app)

    said = run("allauth", *named)

    # Its app says which of our clients it is.
    assert asked(google, office) == (with_app and not named, False)
    assert ("issued to a client that is not configured" in said) is not (with_app and not named)
    assert not GoogleAccount.objects.exists()


@pytest.mark.parametrize("named", [(), ("--client", "default")])
def test_token_of_googles_in_social_auth(
    google: FakeGoogle, office: HostileProvider, anna: Any, named: tuple[str, ...]
) -> None:
    """It states no client; one of another provider does not match."""
    extra_data = {"refresh_token": TOKEN}
    UserSocialAuth.objects.create(
        user=anna, provider="google-oauth2", uid="42", extra_data=extra_data
    )

    run("social-auth", *named)

    assert asked(google, office) == (False, False)


@pytest.mark.parametrize("provider", ["office", "google-workspace", "googlers", "Google"])
@pytest.mark.parametrize("with_app", [True, False])
def test_token_of_a_provider_that_nobody_knows(
    google: FakeGoogle,
    office: HostileProvider,
    in_allauth: Callable[..., None],
    provider: str,
    with_app: bool,
) -> None:
    """The operator must name the client, whatever the provider is called."""
    in_allauth(provider, with_app=with_app)
    run("allauth", "--provider", provider)
    assert asked(google, office) == (False, False)

    run("allauth", "--provider", provider, "--client", "default")

    assert asked(google, office) == (False, True)


@pytest.mark.parametrize("named", [(), ("--client", "default"), ("--client", "google")])
@pytest.mark.parametrize("issued_by", ["Google", "Google, which is not named", "office", "nobody"])
def test_token_in_a_file(
    google: FakeGoogle,
    office: HostileProvider,
    in_file: Callable[..., Path],
    named: tuple[str, ...],
    issued_by: str,
) -> None:
    """Its ``token_uri`` states the issuer; the default is Google."""
    addresses = {
        "Google": "https://accounts.google.com/o/oauth2/token",
        "office": f"{office.url}/token",
        "nobody": "https://elsewhere.example/token",
    }
    uri = addresses.get(issued_by)
    path = in_file(**({"token_uri": uri} if uri else {}))

    run("files", "--user", "anna", path, *named)

    assert asked(google, office) == (
        issued_by.startswith("Google") and named != ("--client", "default"),
        issued_by == "office" and named != ("--client", "google"),
    )


def test_provider_without_openid_is_asked_whose_a_token_is(
    google: FakeGoogle, settings: Settings, in_file: Callable[..., Path]
) -> None:
    """Its userinfo endpoint identifies the account."""
    fake = play_provider(google, settings, speaks_openid=False)
    alice = google.add_user("alice@example.com")
    tokens = google.grant(alice, ["read"], client=fake)
    path = in_file(refresh_token=tokens.refresh_token, token_uri=f"{google.url}/token")

    said = run("files", "--user", "anna", path, "--client", "default")

    assert "1 imported" in said, said
    account = GoogleAccount.objects.get()
    assert (account.sub, account.email) == (alice.sub, "alice@example.com")


def test_source_that_says_otherwise_is_not_believed(
    google: FakeGoogle,
    settings: Settings,
    in_allauth: Callable[..., None],
) -> None:
    """If the provider reports another account, nothing is stored."""
    play_provider(google, settings, speaks_openid=False)
    in_allauth("office", with_app=True)
    alice = google.add_user("alice@example.com")
    tokens = google.grant(alice, ["read"], client=google.client)
    SocialToken.objects.update(token_secret=tokens.refresh_token)

    said = run("allauth", "--provider", "office", "--client", "default")

    assert "the account they belong to" in said, said
    assert not GoogleAccount.objects.exists()


def test_provider_of_which_nothing_is_known(
    google: FakeGoogle, settings: Settings, in_file: Callable[..., Path]
) -> None:
    """Its token becomes the user's only link, however often it is imported."""
    fake = play_provider(google, settings, speaks_openid=False, IDENTITY="none")
    without(settings, "USERINFO_ENDPOINT", "SUBJECT_MEMBER")
    tokens = google.grant(google.add_user("alice@example.com"), ["read"], client=fake)
    path = in_file(refresh_token=tokens.refresh_token, token_uri=f"{google.url}/token")

    for _ in range(2):
        run("files", "--user", "anna", path, "--client", "default")

    account = GoogleAccount.objects.get()
    assert account.unseal_token("refresh_token") == Secret(tokens.refresh_token)
    assert not PendingRevocation.objects.exists()
