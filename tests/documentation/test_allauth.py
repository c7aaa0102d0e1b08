"""The page on living beside django-allauth, with allauth itself, at one client of one Google."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialToken
from allauth.socialaccount.providers.google import views as google_login
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import include, path, reverse
from pytest_django import Settings

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.documentation.pages import block_with, blocks, run, text_of, use_templates
from tests.support.constants import CALENDAR, DRIVE
from tests.support.urls import local, query_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

PAGE = "howto/allauth"
FIND = run(PAGE, "def find_google_account")["find_google_account"]

urlpatterns = [
    path("accounts/", include("allauth.account.urls")),
    path("accounts/", include("allauth.socialaccount.providers.google.urls")),
    path("accounts/social/", include("allauth.socialaccount.urls")),
    path("google/", include("django_google_link.urls")),
]


def find_google_account(user: Any) -> Any:
    """Stand in for the page's function, where a dotted path leads to."""
    return FIND(user)


@pytest.fixture
def shared_client(
    google: FakeGoogle, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The settings of the page, at a client of the fake Google's."""
    client = google.client_settings()
    monkeypatch.setenv("GOOGLE_CLIENT_ID", client["CLIENT_ID"])
    monkeypatch.setenv("GOOGLE_CLIENT_SECRET", client["CLIENT_SECRET"])
    (tmp_path / "encryption.key").write_text(settings.GOOGLE_LINK["ENCRYPTION_KEYS"][0])
    names: dict[str, Any] = {"BASE_DIR": tmp_path}
    exec(block_with(PAGE, "LOGIN_HINT"), names)
    ours = names["GOOGLE_LINK"]
    default = {**ours["CLIENTS"]["default"], **client}
    settings.GOOGLE_LINK = {
        **ours,
        "CLIENTS": {"default": default},
        "LOGIN_HINT": f"{__name__}.find_google_account",
    }
    settings.SOCIALACCOUNT_PROVIDERS = names["SOCIALACCOUNT_PROVIDERS"]
    settings.SOCIALACCOUNT_STORE_TOKENS = names["SOCIALACCOUNT_STORE_TOKENS"]
    settings.AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
    settings.SOCIALACCOUNT_LOGIN_ON_GET = True
    settings.LOGIN_REDIRECT_URL = "/google/"
    use_templates(settings, {})
    # allauth takes other addresses when its module is imported, and at no other time.
    monkeypatch.setattr(google_login, "ID_TOKEN_ISSUER", google.url)
    adapter = google_login.GoogleOAuth2Adapter
    monkeypatch.setattr(adapter, "access_token_url", client["TOKEN_ENDPOINT"])
    monkeypatch.setattr(adapter, "authorize_url", client["AUTHORIZATION_ENDPOINT"])
    google.client.any_host = False
    google.client.redirect_uris[:] = addresses("testserver")


def addresses(host: str) -> list[str]:
    """Return what the page says to register, for another host and without TLS."""
    [block] = blocks(text_of(PAGE), "text")
    return block.replace("https://example.com", f"http://{host}").split()


def log_in(browser: Client, google: FakeGoogle, user: FakeUser) -> dict[str, str]:
    """Log in by allauth, and return what Google was asked."""
    sent = browser.get("/accounts/google/login/")["Location"]
    response = browser.get(local(google.consent(sent, user=user)))
    assert response["Location"] == "/google/"
    return query_of(sent)


def link(browser: Client, google: FakeGoogle) -> dict[str, str]:
    """Link the account that Google preselects, and return what Google was asked."""
    sent = browser.get("/google/authorize/")["Location"]
    browser.get(local(google.consent(sent)))
    return query_of(sent)


def test_addresses_of_the_page() -> None:
    """They are those that its URLs have."""
    wanted = [reverse("google_callback"), reverse("google_link:callback")]

    assert [urlsplit(address).path for address in addresses("example.com")] == wanted
    mounted = block_with(PAGE, "allauth.urls")
    assert 'path("accounts/", include("allauth.urls"))' in mounted


@pytest.mark.usefixtures("shared_client")
def test_user_who_logs_in_with_google_is_not_asked_which_account(
    client: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """The one with which they have logged in is preselected, though there are others."""
    google.add_user("bob@gmail.com")
    asked = log_in(client, google, alice)
    assert asked["access_type"] == "online"
    assert "include_granted_scopes" not in asked
    assert asked["code_challenge"]
    assert not GoogleAccount.objects.exists()
    assert not SocialToken.objects.exists()

    asked = link(client, google)

    assert asked["login_hint"] == alice.sub
    account = GoogleAccount.objects.get()
    assert account.sub == alice.sub
    assert account.user == SocialAccount.objects.get().user


@pytest.mark.usefixtures("shared_client")
def test_hint(client: Client, user: Any) -> None:
    """The account of the last login, else an address that is known to be theirs, else nothing."""
    client.force_login(user)

    def hint() -> str | None:
        return query_of(client.get("/google/authorize/")["Location"]).get("login_hint")

    assert hint() is None
    address = EmailAddress.objects.create(user=user, email="anna@example.org", primary=True)
    assert hint() is None
    address.set_verified()
    assert hint() == "anna@example.org"
    for sub in ("10", "9"):
        SocialAccount.objects.create(user=user, provider="google", uid=sub)
    SocialAccount.objects.create(user=user, provider="github", uid="8")
    assert hint() == "9"
    SocialAccount.objects.get(uid="10").save()  # As at a login.
    assert hint() == "10"


def is_accepted(google: FakeGoogle, token: str) -> bool:
    """Return whether Google's APIs take an access token."""
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{google.url}/v1/userinfo", headers=headers, timeout=5).ok


@pytest.mark.usefixtures("shared_database", "shared_client")
def test_unlinking_ends_the_tokens_of_logins(
    client: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """They live on the same grant; whoever is asked once more logs in as the same user."""
    settings.SOCIALACCOUNT_STORE_TOKENS = True
    log_in(client, google, alice)
    link(client, google)
    token = SocialToken.objects.get().token
    assert is_accepted(google, token)

    client.post(f"/google/{GoogleAccount.objects.get().pk}/unlink/")

    assert not GoogleAccount.objects.exists()
    assert not is_accepted(google, token)
    client.logout()
    log_in(client, google, alice)
    assert get_user_model().objects.count() == 1


@pytest.mark.usefixtures("shared_client")
def test_disconnecting_a_login_leaves_the_link(
    client: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """allauth revokes nothing."""
    log_in(client, google, alice)
    link(client, google)
    account = GoogleAccount.objects.get()
    account.user.set_password("pw")
    account.user.save()
    client.force_login(account.user)

    response = client.post(
        reverse("socialaccount_connections"), {"account": SocialAccount.objects.get().pk}
    )

    assert response.status_code == 302
    assert not SocialAccount.objects.exists()
    assert google.requests_to("revoke") == []
    assert GoogleAccount.objects.get().is_active


@pytest.mark.usefixtures("shared_client")
def test_scopes_of_logins_come_along(
    client: Client, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """What the project was granted is granted to the link, unless its settings do not want it."""
    providers = settings.SOCIALACCOUNT_PROVIDERS
    scope = [*providers["google"]["SCOPE"], DRIVE]
    settings.SOCIALACCOUNT_PROVIDERS = {"google": {**providers["google"], "SCOPE": scope}}
    log_in(client, google, alice)

    link(client, google)

    granted = GoogleAccount.objects.get().granted_scopes
    assert {CALENDAR, DRIVE} <= set(granted)
