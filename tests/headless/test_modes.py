"""Google's script and its SDKs for phones: the ways without PKCE and nonce, at Google alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from django_google_link.headless import start_link
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeGoogleError, FakeUser
from tests.support.constants import CALENDAR, DRIVE
from tests.support.front_ends import ORIGIN, PAGE, FrontEnd, refusal
from tests.support.urls import query_of

pytestmark = pytest.mark.django_db

SCRIPT = {"mode": "identity_services"}
PHONE = {"mode": "mobile"}


@pytest.fixture
def allow_modes(
    front_end: FrontEnd, google: FakeGoogle, configure: Callable[..., None]
) -> Callable[..., None]:
    """Allow Google's script on the app's pages, and its SDKs."""
    google.client.javascript_origins.append(ORIGIN)

    def allow(**keys: Any) -> None:
        configure(
            FRONT_END_MODES=["identity_services", "mobile"], FRONT_END_ORIGINS=[ORIGIN], **keys
        )

    allow()
    return allow


def complete(
    front_end: FrontEnd, google: FakeGoogle, started: dict[str, Any], user: FakeUser, **how: Any
) -> Any:
    """Go to Google in whatever mode, and return the response to what came back."""
    answer = google.answer_link(started, user=user, **how)
    return front_end.send("POST", "links/complete/", answer)


@pytest.mark.matrix
@pytest.mark.parametrize("mode", [SCRIPT, PHONE])
def test_mode_is_off_unless_it_is_named(front_end: FrontEnd, mode: dict[str, str]) -> None:
    """The redirect is the only one that is always there."""
    response = front_end.send("POST", "links/", mode)

    assert refusal(response) == (400, "mode_not_allowed")


@pytest.mark.matrix
@pytest.mark.parametrize("exchanged_with", ["origin", "postmessage"])
def test_script(
    allow_modes: Callable[..., None],
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    exchanged_with: str,
) -> None:
    """The code is exchanged with what the settings say, and no verifier."""
    allow_modes(IDENTITY_SERVICES_REDIRECT_URI=exchanged_with)
    started = front_end.start(**SCRIPT)
    assert started["authorization_url"] is None
    assert started["state"]

    response = complete(front_end, google, started, alice)

    assert response.status_code == 200, response.content
    [sent] = google.requests_to("token")
    assert sent.form["redirect_uri"] == (ORIGIN if exchanged_with == "origin" else "postmessage")
    assert "code_verifier" not in sent.form
    assert GoogleAccount.objects.get().email == "alice@gmail.com"


def test_script_with_postmessage_and_without_origins(
    allow_modes: Callable[..., None],
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
) -> None:
    """Google knows the origins itself."""
    configure(FRONT_END_ORIGINS=[], IDENTITY_SERVICES_REDIRECT_URI="postmessage")

    response = complete(front_end, google, front_end.start(**SCRIPT), alice)

    assert response.status_code == 200


def test_origin_is_one_of_the_settings_exactly(
    allow_modes: Callable[..., None], front_end: FrontEnd, configure: Callable[..., None]
) -> None:
    """It is what the code is exchanged with: no word of the front end's own."""
    configure(FRONT_END_ORIGINS=[ORIGIN, "http://localhost:5173"])
    for origin in ("https://evil.example", f"{ORIGIN}/", ORIGIN.upper(), "postmessage", ""):
        response = front_end.send("POST", "links/", {**SCRIPT, "origin": origin})
        assert refusal(response) == (400, "origin_unknown")
    assert front_end.start(**SCRIPT, origin=ORIGIN)["redirect_uri"] == ORIGIN


def test_addresses_belong_to_their_modes(
    allow_modes: Callable[..., None], front_end: FrontEnd
) -> None:
    """One that means nothing in a mode is refused."""
    for wrong in ({**PHONE, "redirect_uri": PAGE}, {**PHONE, "origin": ORIGIN}, {"origin": ORIGIN}):
        assert refusal(front_end.send("POST", "links/", wrong)) == (400, "invalid_request")


def test_state_of_the_script_is_compared(
    allow_modes: Callable[..., None], front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """Without PKCE and nonce it is all there is."""
    first, second = front_end.start(**SCRIPT), front_end.start(**SCRIPT)
    answer = google.answer_link(first, user=alice)

    response = front_end.send("POST", "links/complete/", {**answer, "ticket": second["ticket"]})

    assert refusal(response) == (400, "state_mismatch")
    assert google.requests_to("token") == []


@pytest.mark.matrix
@pytest.mark.parametrize("address", ["https://evil.example", PAGE])
def test_script_at_another_origin(
    allow_modes: Callable[..., None],
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    address: str,
) -> None:
    """It may be left out; where it is said it has to be the one."""
    answer = google.answer_link(front_end.start(**SCRIPT), user=alice)

    response = front_end.send("POST", "links/complete/", {**answer, "redirect_uri": address})

    assert refusal(response) == (400, "redirect_uri_mismatch")
    assert google.requests_to("token") == []


def test_phone(
    allow_modes: Callable[..., None], front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """A server auth code is exchanged with an empty redirect URI."""
    started = front_end.start(**PHONE)
    assert (started["authorization_url"], started["state"], started["redirect_uri"]) == (
        None,
        None,
        None,
    )

    response = complete(front_end, google, started, alice)

    assert response.status_code == 200, response.content
    [sent] = google.requests_to("token")
    assert sent.form["redirect_uri"] == ""
    assert "code_verifier" not in sent.form


def test_code_of_a_redirect_in_a_ticket_for_the_script(
    allow_modes: Callable[..., None], front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """The weaker way takes no code that was given for a page, whose challenge it cannot meet."""
    allow_modes(FRONT_END_REDIRECT_URIS=[ORIGIN])
    google.client.redirect_uris.append(ORIGIN)
    page = google.answer_link(front_end.start(), user=alice)
    started = front_end.start(**SCRIPT)
    assert started["redirect_uri"] == page["redirect_uri"]

    answer = {"code": page["code"], "state": started["state"], "ticket": started["ticket"]}
    response = front_end.send("POST", "links/complete/", answer)

    assert refusal(response) == (400, "google_refused")
    assert not GoogleAccount.objects.exists()


def test_phone_that_is_asked_again_with_forced_consent(
    allow_modes: Callable[..., None],
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
) -> None:
    """Only the first code brings a refresh token: half a link is never stored."""
    configure(FRONT_END_REDIRECT_URIS=[])
    google.grant(alice, ["openid", CALENDAR])
    started = front_end.start(**PHONE)
    code = google.server_auth_code(alice, started["scope"].split())
    answer = {"ticket": started["ticket"], "code": code}

    response = front_end.send("POST", "links/complete/", answer)

    assert refusal(response) == (409, "consent_required")
    assert not GoogleAccount.objects.exists()
    again = response.json()["link"]
    assert (again["mode"], again["prompt"]) == ("mobile", "consent")
    assert complete(front_end, google, again, alice).status_code == 200
    assert GoogleAccount.objects.get().is_active


@pytest.mark.matrix
@pytest.mark.parametrize("mode", [SCRIPT, PHONE])
def test_lacking_refresh_token_leads_to_a_redirect_with_consent(
    allow_modes: Callable[..., None],
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
    mode: dict[str, str],
) -> None:
    """To the page of the same origin, where there are several."""
    other = "https://other.example.com/linked/"
    pages = [other, PAGE] if mode is SCRIPT else [PAGE]
    configure(FRONT_END_REDIRECT_URIS=pages)
    google.grant(alice, ["openid", CALENDAR])
    started = front_end.start(**mode)
    answer = google.answer_link({**started, "prompt": ""}, user=alice)

    response = front_end.send("POST", "links/complete/", answer)

    assert refusal(response) == (409, "consent_required")
    assert not GoogleAccount.objects.exists()
    again = response.json()["link"]
    query = query_of(again["authorization_url"])
    assert (again["mode"], query["prompt"]) == ("redirect", "consent")
    assert (query["redirect_uri"], query["login_hint"]) == (PAGE, alice.sub)
    assert query["code_challenge"]
    assert complete(front_end, google, again, alice).status_code == 200
    assert GoogleAccount.objects.get().is_active


def test_script_without_a_page_to_fall_back_on(
    allow_modes: Callable[..., None],
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
) -> None:
    """It says that not grant lasting access came."""
    configure(FRONT_END_REDIRECT_URIS=[])
    google.grant(alice, ["openid", CALENDAR])

    response = complete(front_end, google, front_end.start(**SCRIPT), alice)

    assert refusal(response) == (400, "no_refresh_token")
    assert not GoogleAccount.objects.exists()


def test_no_refresh_token_twice(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """Nothing loops: the second time it is said."""
    google.prompt_consent_sends_refresh_token = False
    google.grant(alice, ["openid", CALENDAR])

    first = complete(front_end, google, front_end.start(), alice)
    assert refusal(first) == (409, "consent_required")
    second = complete(front_end, google, first.json()["link"], alice)

    assert refusal(second) == (400, "no_refresh_token")


@pytest.mark.slow
def test_other_account_by_script(
    allow_modes: Callable[..., None], front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """The one who was expected is looked for in every mode; the other is offered."""
    bob = google.add_user("bob@gmail.com")
    linked = complete(front_end, google, front_end.start(), alice).json()["account"]

    started = front_end.start(account=linked["id"], **SCRIPT)
    response = complete(front_end, google, {**started, "login_hint": bob.email}, bob)

    assert refusal(response) == (409, "other_account")
    content = response.json()
    assert (content["expected"], content["chosen"]) == ("alice@gmail.com", "bob@gmail.com")
    again = front_end.start(link_request=content["link_request"])
    assert again["login_hint"] == alice.sub
    added = front_end.start(link_request=content["add_link_request"])
    assert complete(front_end, google, added, bob).status_code == 200
    assert GoogleAccount.objects.count() == 2


@pytest.mark.matrix
@pytest.mark.parametrize("mode", [SCRIPT, PHONE])
def test_other_providers_have_no_such_modes(
    allow_modes: Callable[..., None], google: FakeGoogle, settings: Settings, user: Any, mode: Any
) -> None:
    """They are Google's own, whatever the settings say."""
    office = {**google.client_settings(google.add_client())}
    del office["PROVIDER"]
    office |= {"FRONT_END_MODES": ["identity_services", "mobile"], "FRONT_END_ORIGINS": [ORIGIN]}
    clients = {**settings.GOOGLE_LINK["CLIENTS"], "office": office}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}

    with pytest.raises(Exception, match="do not allow"):
        start_link(user, mode, host="testserver", client="office")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("keys", "id"),
    [
        ({"FRONT_END_REDIRECT_URIS": PAGE}, "E044"),
        ({"FRONT_END_REDIRECT_URIS": [1]}, "E044"),
        ({"FRONT_END_ORIGINS": [PAGE]}, "E045"),
        ({"FRONT_END_ORIGINS": ["app.example.com"]}, "E045"),
        ({"FRONT_END_ORIGINS": {ORIGIN}}, "E045"),
        ({"FRONT_END_MODES": ["popup"]}, "E046"),
        ({"FRONT_END_MODES": "mobile"}, "E046"),
        ({"IDENTITY_SERVICES_REDIRECT_URI": "https://x.example"}, "E046"),
    ],
)
def test_settings_that_cannot_work(
    front_end: FrontEnd, configure: Callable[..., None], user: Any, keys: Any, id: str
) -> None:
    """They say so, at once and in a check."""
    configure(**keys)

    with pytest.raises(ImproperlyConfigured):
        start_link(user, {}, host="testserver")
    assert any(str(message.id).endswith(id) for message in run_checks())


def test_google_is_as_strict(google: FakeGoogle, alice: FakeUser) -> None:
    """The fake takes of Google's script what Google documents, from registered origins."""
    google.client.javascript_origins.append(ORIGIN)
    params = f"client_id={google.client.client_id}&gsiwebsdk=3&scope=openid"
    base = f"{google.url}/o/oauth2/v2/auth?{params}"

    for wrong in ("", "&origin=https://evil.example", f"&origin={ORIGIN}&prompt=consent"):
        with pytest.raises(FakeGoogleError):
            google.consent(base + wrong, user=alice)
    right = f"{base}&origin={ORIGIN}&state=s&login_hint={alice.sub}"
    # The second time nothing is left to be asked.
    for _ in range(2):
        assert google.consent(right, user=alice).startswith(f"{ORIGIN}?")


def test_script_of_google_has_a_stand_in(google: FakeGoogle) -> None:
    """It is served where a page can load it, and so is what its popup runs."""
    for path, word in (("/gsi/client", "initCodeClient"), ("/gsi/relay.js", "postMessage")):
        response = requests.get(google.url + path)
        assert response.headers["Content-Type"].startswith("text/javascript")
        assert word in response.text


def test_user_of_a_phone_has_to_be_named(
    allow_modes: Callable[..., None], front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """Where there are several; one who declines is told as such, and may untick."""
    started = front_end.start(**PHONE)
    google.add_user("bob@gmail.com")
    with pytest.raises(FakeGoogleError, match="user="):
        google.answer_link(started)

    declined = front_end.send("POST", "links/complete/", google.answer_link(started, deny=True))
    assert refusal(declined) == (403, "access_denied")
    less = complete(front_end, google, front_end.start(**PHONE), alice, grant=[DRIVE])
    assert less.json()["missing_scopes"] == [CALENDAR]
