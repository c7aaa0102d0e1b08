"""Each journey through each provider that is not ours, over HTTP and through its own pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from google_auth_oauthlib.flow import Flow

from django_google_link.conf.clients import get_client
from django_google_link.exceptions import ConsentRequiredError, GrantLostError
from django_google_link.models import GoogleAccount, PendingRevocation, Status
from django_google_link.services import access_token, link_credentials
from tests.providers.providers import KINDS, Provider
from tests.providers.table import JOURNEYS, PAGE
from tests.support.accounts import token_of
from tests.support.constants import CALLBACK
from tests.support.databases import new_user
from tests.support.urls import local

pytestmark = [
    pytest.mark.providers,
    pytest.mark.django_db,
    pytest.mark.usefixtures("shared_database"),
]


@dataclass
class Traveller:
    """A user of this site, who has an account at a provider."""

    provider: Provider
    client: Client
    user: Any
    name: str

    def link(self, *, name: str = "", path: str = "/google/authorize/", deny: bool = False) -> Any:
        """Go to the provider and come back, twice if need be; return the callback's response.

        Where no refresh token comes at first, the user is sent there once more, for consent.
        """
        response: Any = self.client.get(path)
        for _ in range(2):
            assert response.status_code == 302, response.content.decode()
            to_provider = response["Location"]
            assert to_provider.startswith(self.provider.url), to_provider
            back = self.provider.consent(to_provider, name or self.name, deny=deny)
            response = self.client.get(local(back))
            if not response.headers.get("Location", "").startswith(self.provider.url):
                break
        return response

    def linked(self, **how: Any) -> GoogleAccount:
        """Link, and return the account."""
        response = self.link(**how)
        assert response.status_code == 302, response.content.decode()
        assert response["Location"] == "/google/", response["Location"]
        return GoogleAccount.objects.latest("linked_at")

    def is_known_there(self, token: str, name: str = "") -> bool:
        """Return whether the provider takes an access token, for this user's."""
        answer = self.provider.use(token)
        known = str(answer.json()[self.provider.kind.member]) if answer.ok else ""
        return known.partition("@")[0] == (name or self.name)

    def let_expire(self, account: GoogleAccount) -> None:
        """Let the access token end."""
        time.sleep(self.provider.kind.pause)
        past = timezone.now() - timedelta(minutes=1)
        GoogleAccount.objects.filter(pk=account.pk).update(access_token_expires_at=past)


@pytest.fixture
def traveller(provider: Provider, client: Client) -> Traveller:
    """Somebody who is logged in here."""
    user = new_user()
    client.force_login(user)
    return Traveller(provider, client, user, provider.new_user())


@pytest.fixture(autouse=True)
def _oauthlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the flows of a project's own speak http, and bear with scopes that were not granted."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")


def go_linked(traveller: Traveller) -> str:
    """PKCE, ``state``, and an identity of whatever kind there is."""
    account = traveller.linked()

    assert account.is_active
    page = traveller.client.get("/google/").content.decode()
    assert "Diary" in page
    assert "Google" not in page
    if traveller.provider.kind.settings.get("IDENTITY") == "none":
        assert account.sub and not account.email
        return "yes, without a name"
    assert (account.email or account.sub) in page
    return "yes"


def go_used(traveller: Traveller) -> str:
    """The access token is one of this very user's."""
    traveller.linked()

    assert traveller.is_known_there(access_token(traveller.user))
    return "yes"


def go_refreshed(traveller: Traveller) -> str:
    """Twice, since a refresh token that was replaced is dead from then on."""
    account = traveller.linked()
    if traveller.provider.kind.settings.get("REFRESH_TOKENS") is False:
        return link_after_an_hour(traveller, account)
    seen = {(access_token(traveller.user), token_of(account, "refresh_token"))}

    for _ in range(2):
        traveller.let_expire(account)
        seen.add((access_token(traveller.user), token_of(account, "refresh_token")))

    assert len(seen) == 3
    assert traveller.is_known_there(access_token(traveller.user))
    is_replaced = len({refresh_token for _, refresh_token in seen}) == 3
    assert is_replaced == traveller.provider.kind.replaces_refresh_tokens
    return "yes, token replaced" if is_replaced else "yes, token kept"


def link_after_an_hour(traveller: Traveller, account: GoogleAccount) -> str:
    """Without a refresh token the link ends with its access token, and is asked for again."""
    traveller.let_expire(account)
    with pytest.raises(ConsentRequiredError):
        access_token(traveller.user)

    traveller.linked()

    assert traveller.is_known_there(access_token(traveller.user))
    return "no: linked again"


def go_refused(traveller: Traveller) -> str:
    """Refused on the provider's page: the page says so, and nothing is linked."""
    response = traveller.link(deny=True)

    assert response.status_code == 403, response.content.decode()
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()
    return "yes"


def go_ended_there(traveller: Traveller) -> str:
    """The user has removed the application there, and the next refresh tells."""
    account = traveller.linked()
    token = access_token(traveller.user)

    traveller.provider.end_grant(account, traveller.name)

    traveller.let_expire(account)
    if traveller.provider.kind.settings.get("REFRESH_TOKENS") is False:
        assert not traveller.provider.use(token).ok
        return "by the API only"
    with pytest.raises(GrantLostError):
        access_token(traveller.user)
    account.refresh_from_db()
    assert account.status == Status.NEEDS_REAUTHORIZATION
    return "noticed"


def go_linked_again(traveller: Traveller) -> str:
    """After that, the same row works again."""
    account = traveller.linked()
    traveller.provider.end_grant(account, traveller.name)
    traveller.let_expire(account)
    with pytest.raises(ConsentRequiredError):
        access_token(traveller.user)

    again = traveller.linked()

    assert GoogleAccount.objects.get() == again == account
    assert again.is_active and traveller.is_known_there(access_token(traveller.user))
    return "yes"


def go_second_account(traveller: Traveller) -> str:
    """Another account of the same person, beside the first."""
    first = traveller.linked()
    other = traveller.provider.new_user()
    add = traveller.client.get("/google/").context["add_url"]
    if traveller.provider.kind.settings.get("IDENTITY") == "none":
        assert not add
        return replace_account(traveller, first, other)

    second = traveller.linked(name=other, path=add)

    assert GoogleAccount.objects.count() == 2
    assert traveller.is_known_there(access_token(first))
    assert traveller.is_known_there(access_token(second), other)
    return "yes"


def replace_account(traveller: Traveller, first: GoogleAccount, other: str) -> str:
    """Where nobody tells accounts apart the next one takes the place of the first."""
    traveller.provider.end_grant(first, traveller.name)
    traveller.let_expire(first)
    with pytest.raises(GrantLostError):
        access_token(traveller.user)

    second = traveller.linked(name=other)

    assert GoogleAccount.objects.get() == second == first
    assert traveller.is_known_there(access_token(traveller.user), other)
    return "no: in its place"


def go_unlinked(traveller: Traveller) -> str:
    """The provider is told, and knows neither token any more."""
    account = traveller.linked()
    token = access_token(traveller.user)
    copy = token_of(account, "refresh_token")

    account.unlink()

    assert not PendingRevocation.objects.exists()
    if copy is None:
        assert not traveller.provider.use(token).ok
        return "yes, the access token"
    assert traveller.provider.refuses(copy)
    return "yes"


def go_own_flow(traveller: Traveller) -> str:
    """A flow of the project's own, made with google-auth-oauthlib, whose end is handed over."""
    provider, client = traveller.provider, get_client()
    config = {
        "client_id": client.client_id,
        "client_secret": client.client_secret.reveal(),
        "auth_uri": f"{provider.url}{provider.kind.authorize}",
        "token_uri": f"{provider.url}{provider.kind.token}",
    }
    scopes = [*client.identity_scopes, *client.scopes]
    callback = f"{CALLBACK}default/"
    flow = Flow.from_client_config({"web": config}, scopes, redirect_uri=callback)
    params = {"nonce": "a-nonce", "prompt": "consent"} if "openid" in scopes else {}
    url, _ = flow.authorization_url(access_type="", **params)
    flow.fetch_token(authorization_response=provider.consent(url, traveller.name))
    flow.oauth2session.close()
    time.sleep(provider.kind.pause)

    account = link_credentials(traveller.user, flow.credentials, label="Mine")

    assert GoogleAccount.objects.get() == account
    assert traveller.is_known_there(access_token(traveller.user))
    assert not PendingRevocation.objects.exists()
    return "yes"


GO: dict[str, Callable[[Traveller], str]] = {
    "linked": go_linked,
    "used": go_used,
    "refreshed": go_refreshed,
    "refused": go_refused,
    "ended there": go_ended_there,
    "linked again": go_linked_again,
    "second account": go_second_account,
    "unlinked": go_unlinked,
    "own flow": go_own_flow,
}


@pytest.mark.parametrize("journey", JOURNEYS)
@pytest.mark.parametrize("name", KINDS)
def test_journey(
    name: str, journey: str, traveller: Traveller, note_outcome: Callable[[str, str, str], None]
) -> None:
    """It ends as the documentation says."""
    note_outcome(name, journey, "failed")

    outcome = GO[journey](traveller)

    note_outcome(name, journey, outcome)
    [row] = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} |")]
    cells = dict(zip(("provider", *JOURNEYS), row.strip("| ").split(" | "), strict=True))
    assert outcome == cells[journey]
