"""Linking by redirect, whole page or popup: started and completed by a front end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.constants import CALENDAR, DRIVE
from tests.support.front_ends import PAGE, FrontEnd, refusal
from tests.support.urls import query_of

pytestmark = pytest.mark.django_db


def link(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, **how: Any) -> Any:
    """Go the whole way, and return the last response."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice, **how)
    return front_end.complete(started["ticket"], back)


def test_link(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, user: Any) -> None:
    """There, back, and the account is the answer."""
    started = front_end.start()
    query = query_of(started["authorization_url"])
    assert query["redirect_uri"] == started["redirect_uri"] == PAGE
    assert query["state"] == started["state"]
    assert query["code_challenge_method"] == "S256"
    assert query["nonce"]
    assert started["expires_in"] == 600
    assert started["scope"] == query["scope"]

    back = google.consent(started["authorization_url"], user=alice)
    response = front_end.complete(started["ticket"], back)

    assert response.status_code == 200, response.content
    assert "no-store" in response["Cache-Control"]
    account = GoogleAccount.objects.get()
    assert account.user == user
    content = response.json()
    assert content["account"]["id"] == str(account.pk)
    assert content["account"]["email"] == "alice@gmail.com"
    assert content["missing_scopes"] == []
    assert front_end.send("GET", "accounts/").json()["accounts"] == [content["account"]]


def test_partial_consent_is_a_success_with_less(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """What was not granted is said."""
    response = link(front_end, google, alice, grant=[])

    assert response.status_code == 200
    assert response.json()["missing_scopes"] == [CALENDAR]


def test_ticket_is_used_once(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """Who brings it again is told what came of it, and nothing is exchanged."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    first = front_end.complete(started["ticket"], back)

    again = front_end.complete(started["ticket"], back)

    assert refusal(again) == (409, "ticket_used")
    assert again.json()["account"] == first.json()["account"]
    assert len(google.requests_to("token")) == 1


def test_many_scopes(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, configure: Callable[..., None]
) -> None:
    """However long the ticket and the signed requests grow, they are taken back."""
    scopes = [f"https://www.googleapis.com/auth/product{n}.readonly" for n in range(100)]
    configure(SCOPES=scopes)
    started = front_end.start()
    denied = front_end.complete(
        started["ticket"], google.consent(started["authorization_url"], user=alice, deny=True)
    )
    assert refusal(denied) == (403, "access_denied")

    again = front_end.start(link_request=denied.json()["link_request"])
    back = google.consent(again["authorization_url"], user=alice)
    response = front_end.complete(again["ticket"], back)

    assert response.status_code == 200, response.content
    assert set(GoogleAccount.objects.get().granted_scopes) >= set(scopes)


def test_denial(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """It is told, and the same can be tried again by a request of ours."""
    response = link(front_end, google, alice, deny=True)

    assert refusal(response) == (403, "access_denied")
    again = front_end.start(link_request=response.json()["link_request"])
    back = google.consent(again["authorization_url"], user=alice)
    assert front_end.complete(again["ticket"], back).status_code == 200


def test_scopes_never_come_from_the_front_end(front_end: FrontEnd) -> None:
    """However they are called."""
    for name in ("scopes", "scope", "client", "optional_scopes"):
        response = front_end.send("POST", "links/", {name: DRIVE})
        assert refusal(response) == (400, "invalid_request")


def test_nobody_is_logged_in(front_end: FrontEnd, client: Client) -> None:
    """JSON, and no login page."""
    nobody = FrontEnd(Client())

    assert refusal(nobody.send("GET", "accounts/")) == (401, "login_required")
    assert refusal(nobody.send("POST", "links/", {})) == (401, "login_required")
    assert refusal(nobody.send("POST", "links/complete/", {})) == (401, "login_required")


def test_redirect_uri_is_one_of_the_settings_exactly(
    front_end: FrontEnd, configure: Callable[..., None]
) -> None:
    """Neither a prefix nor a variant; where there are several, it has to be named."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE, "http://localhost:5173/back"])
    for uri in (PAGE[:-1], f"{PAGE}?x=1", PAGE.upper(), "https://evil.example/", ""):
        response = front_end.send("POST", "links/", {"redirect_uri": uri})
        assert refusal(response) == (400, "redirect_uri_unknown")

    chosen = front_end.start(redirect_uri="http://localhost:5173/back")

    assert query_of(chosen["authorization_url"])["redirect_uri"] == "http://localhost:5173/back"
