"""Several authorization servers, one of which attacks the others (RFC 9700 section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from django.contrib.auth import get_user_model
from django.core.checks import run_checks
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.models import GoogleAccount, PendingRevocation
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.testing import FakeGoogle, FakeGoogleError, FakeUser
from tests.support.constants import CALENDAR, CALLBACK
from tests.support.flow import arrive
from tests.support.hostile_provider import HostileProvider, forward_to, hostile_provider
from tests.support.urls import local, query_of

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

OFFICE_CALLBACK = f"{CALLBACK}office/"


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    """A second provider of the site, which is the attacker's."""
    with hostile_provider() as provider:
        yield provider


@pytest.fixture
def add_clients(settings: Settings) -> Callable[..., None]:
    """Configure further clients."""

    def add_clients(**clients: dict[str, Any]) -> None:
        known = {**settings.GOOGLE_LINK["CLIENTS"], **clients}
        settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": known}

    return add_clients


@pytest.fixture
def attacker(db: None) -> Client:
    """The browser of an attacker, who has an account on this site."""
    browser = Client()
    browser.force_login(get_user_model().objects.create_user("mallory", "m@example.com", "pw"))
    return browser


@pytest.fixture
def attacked(
    google: FakeGoogle,
    hostile: HostileProvider,
    add_clients: Callable[..., None],
    attacker: Client,
    user: Any,
    browser: Client,
) -> Callable[..., str]:
    """Carry out the attack up to where Google sends the victim back, and return that address.

    The attacker begins a flow of their own at Google. Its challenge and nonce are what the victim
    is sent to Google with, together with the victim's own ``state``: the code is then one that
    fits the attacker's flow, if only the attacker learns it.
    """

    def attacked(victim: FakeUser, *, redirect_uri: str = CALLBACK, **keys: Any) -> str:
        add_clients(office=hostile.client_settings(**keys))
        own = query_of(attacker.get("/google/authorize/")["Location"])
        own["redirect_uri"] = redirect_uri
        hostile.forward = forward_to(f"{google.url}/o/oauth2/v2/auth", **own)
        to_hostile = browser.get(start_url(user, "office"))["Location"]
        assert to_hostile.startswith(f"{hostile.url}/authorize?")
        to_google = requests.get(to_hostile, allow_redirects=False).headers["Location"]
        return google.consent(to_google, user=victim)

    return attacked


def start_url(user: Any, client: str) -> str:
    """Return the address that starts a link through a client."""
    return AuthorizeRequest(
        user=str(user.pk),
        host="testserver",
        client=client,
        scopes=(*IDENTITY_SCOPES, CALENDAR),
        required=(CALENDAR,),
        return_url="/",
    ).url()


def nothing_came_of_it(google: FakeGoogle, hostile: HostileProvider) -> bool:
    """Return whether no code was sent anywhere, and nothing is stored."""
    asked = [*hostile.received, *google.requests_to("token")]
    return (
        not asked and not GoogleAccount.objects.exists() and not PendingRevocation.objects.exists()
    )


@pytest.mark.parametrize("iss", ["missing", "Google's", "the hostile one's", "empty"])
def test_code_of_google_is_never_sent_to_another_provider(
    google: FakeGoogle,
    alice: FakeUser,
    hostile: HostileProvider,
    attacked: Callable[..., str],
    browser: Client,
    iss: str,
) -> None:
    """Google leaves ``iss`` out, as a rule: the address at which the answer arrives tells."""
    back = attacked(alice)
    values = {"Google's": google.url, "the hostile one's": hostile.url, "empty": ""}
    if iss in values:
        back += f"&{urlencode({'iss': values[iss]})}"

    response = arrive(browser, back)

    assert response.status_code == 400
    assert nothing_came_of_it(google, hostile)
    # The state is used up: the right address is of no use to it any more.
    assert arrive(browser, back.replace("/callback/", "/callback/office/")).status_code == 400
    assert nothing_came_of_it(google, hostile)


def test_google_that_names_itself_is_believed(
    google: FakeGoogle,
    alice: FakeUser,
    hostile: HostileProvider,
    attacked: Callable[..., str],
    browser: Client,
) -> None:
    """Were both addresses one, ``iss`` would still tell (RFC 9207)."""
    google.sends_iss = True
    google.client.redirect_uris.append(OFFICE_CALLBACK)

    response = browser.get(local(attacked(alice, redirect_uri=OFFICE_CALLBACK)))

    assert not response.headers.get("Location", "").startswith("/?")
    assert nothing_came_of_it(google, hostile)


def test_google_sends_nobody_to_the_address_of_another_provider(
    google: FakeGoogle, alice: FakeUser, hostile: HostileProvider, attacked: Callable[..., str]
) -> None:
    """It is not registered there."""
    with pytest.raises(FakeGoogleError, match="redirect_uri_mismatch"):
        attacked(alice, redirect_uri=OFFICE_CALLBACK)

    assert nothing_came_of_it(google, hostile)


def test_redirect_uri_that_leads_to_the_callback_of_google(
    google: FakeGoogle,
    alice: FakeUser,
    hostile: HostileProvider,
    attacked: Callable[..., str],
    browser: Client,
) -> None:
    """An operator has set it by mistake: a check says so, and nothing can be linked by it."""
    back = attacked(alice, REDIRECT_URI="https://site.example/google/callback/")

    assert arrive(browser, back).status_code == 400
    assert nothing_came_of_it(google, hostile)
    assert any(str(message.id).endswith("E029") for message in run_checks())


@pytest.mark.parametrize("address", ["/google/callback/default/", "/google/callback/office/"])
def test_answer_to_google_at_another_address(
    google: FakeGoogle,
    alice: FakeUser,
    hostile: HostileProvider,
    add_clients: Callable[..., None],
    browser: Client,
    address: str,
) -> None:
    """Google has one address, without a name in it, whatever its client is called."""
    add_clients(office=hostile.client_settings())
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)

    response = arrive(browser, back.replace("/google/callback/", address))

    assert response.status_code == 400
    assert nothing_came_of_it(google, hostile)


@pytest.mark.parametrize("address", ["", "other/", "nobody/", "OFFICE/", "office%2F/"])
def test_two_hostile_providers_do_not_meet(
    google: FakeGoogle,
    hostile: HostileProvider,
    add_clients: Callable[..., None],
    browser: Client,
    user: Any,
    address: str,
) -> None:
    """What the one has sent back is not taken at the address of the other."""
    with hostile_provider() as other:
        add_clients(office=hostile.client_settings(), other=other.client_settings())
        query = query_of(browser.get(start_url(user, "office"))["Location"])

        response = arrive(browser, f"{CALLBACK}{address}?code=x&state={query['state']}")

        assert response.status_code in {400, 404} or response.content == b"bare"
        assert other.received == []
    assert nothing_came_of_it(google, hostile)


def friendly(google: FakeGoogle, **keys: Any) -> dict[str, Any]:
    """Return a client of another provider, whose part the fake plays."""
    client = google.add_client(redirect_uris=[keys.get("REDIRECT_URI", OFFICE_CALLBACK)])
    client.is_googles = False
    return {**google.client_settings(client), **keys}


@pytest.mark.parametrize("sends_iss", [True, False])
def test_other_provider_is_linked_at_its_own_address(
    google: FakeGoogle,
    alice: FakeUser,
    add_clients: Callable[..., None],
    browser: Client,
    user: Any,
    sends_iss: bool,
) -> None:
    """All of this is in nobody's way."""
    google.sends_iss = sends_iss
    add_clients(office=friendly(google))
    to_office = browser.get(start_url(user, "office"))["Location"]
    assert query_of(to_office)["redirect_uri"] == OFFICE_CALLBACK

    response = browser.get(local(google.consent(to_office, user=alice)))

    assert response["Location"] == "/"
    assert GoogleAccount.objects.get().client == "office"


@pytest.mark.parametrize(
    ("arrives_at", "linked"), [("/google/callback/office/", True), ("/google/callback/", False)]
)
def test_route_counts_behind_a_rewriting_proxy(
    google: FakeGoogle,
    alice: FakeUser,
    add_clients: Callable[..., None],
    browser: Client,
    user: Any,
    arrives_at: str,
    linked: bool,
) -> None:
    """The public address may be any: the proxy leads it to the route of the client."""
    public = "https://public.example/sso/back/"
    add_clients(office=friendly(google, REDIRECT_URI=public))
    to_office = browser.get(start_url(user, "office"))["Location"]
    back = google.consent(to_office, user=alice)
    assert back.startswith(f"{public}?")

    headers = {"x-original-url": "/google/callback/office/", "x-forwarded-prefix": "/office"}
    arrive(browser, back.replace(public, f"http://testserver{arrives_at}"))
    browser.get(f"{arrives_at}?{urlencode(query_of(back))}", headers=headers)

    assert GoogleAccount.objects.exists() is linked
    assert bool(google.requests_to("token")) is linked


@pytest.mark.parametrize("name", ["büro", "our office", "a?b", "a#b", "100%", "a+b", "x" * 100])
def test_names_of_clients_stand_in_addresses(
    google: FakeGoogle,
    alice: FakeUser,
    add_clients: Callable[..., None],
    browser: Client,
    user: Any,
    name: str,
) -> None:
    """Whatever the operator calls them, all the way there and back."""
    office = friendly(google)
    add_clients(**{name: office})
    to_office = browser.get(start_url(user, name))["Location"]
    client = google.client_with(office["CLIENT_ID"])
    client.redirect_uris.append(query_of(to_office)["redirect_uri"])

    browser.get(local(google.consent(to_office, user=alice)))

    assert GoogleAccount.objects.get().client == name


@pytest.mark.parametrize("array", ["code", "state", "iss"])
def test_parameters_in_arrays_are_no_parameters(
    google: FakeGoogle, alice: FakeUser, browser: Client, array: str
) -> None:
    """``code[]`` is not ``code``."""
    query = query_of(google.consent(browser.get("/google/authorize/")["Location"], user=alice))
    query["iss"] = "https://evil.example" if array != "iss" else google.url
    query[f"{array}[]"] = query.pop(array)

    response = arrive(browser, f"{CALLBACK}?{urlencode(query)}")

    assert GoogleAccount.objects.exists() is (array == "iss")
    assert (response.status_code == 302) is (array == "iss")


def test_answer_in_a_form_is_not_taken(
    google: FakeGoogle, alice: FakeUser, browser: Client
) -> None:
    """``response_mode=form_post`` was not asked for, and a form can be sent by any page."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)

    response = browser.post("/google/callback/", query_of(back))

    assert response.status_code == 405
    assert google.requests_to("token") == []
    assert browser.get(local(back)).status_code == 302
    assert GoogleAccount.objects.count() == 1
