"""Whoever is not meant, or brings what does not belong together, links nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.spent_states import delete_old_states
from django_google_link.encryption.format import Binding
from django_google_link.encryption.keyring import make_key, seal
from django_google_link.headless import FrontEndError, complete_link, start_link
from django_google_link.models import GoogleAccount, PendingRevocation, SpentState
from django_google_link.secret import Secret
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.support.constants import CALLBACK
from tests.support.databases import at_once, new_user
from tests.support.front_ends import PAGE, FrontEnd, refusal
from tests.support.hostile_provider import HostileProvider, forward_to, hostile_provider
from tests.support.urls import query_of
from tests.support.workers import during_refresh

pytestmark = pytest.mark.django_db

OTHER_PAGE = "https://app.example.com/office/"


@pytest.fixture
def hostile() -> Iterator[HostileProvider]:
    """A second provider of the site, which is the attacker's."""
    with hostile_provider() as provider:
        yield provider


def nothing_came_of_it(google: FakeGoogle) -> bool:
    """Return whether no code was sent to Google, and nothing is stored."""
    return (
        google.requests_to("token") == []
        and not GoogleAccount.objects.exists()
        and not PendingRevocation.objects.exists()
    )


def test_authorization_link_that_is_sent_to_somebody_else(
    front_end: FrontEnd, others_front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """The victim consents on the attacker's link: neither of them gets a link out of it."""
    attacker, victim = others_front_end, front_end
    trap = attacker.start()

    back = google.consent(trap["authorization_url"], user=alice)

    # The app in the victim's browser has no ticket for this state; the one of its own is another.
    own = victim.start()
    assert refusal(victim.complete(own["ticket"], back)) == (400, "state_mismatch")
    # Nor does the attacker's ticket open for the victim.
    assert refusal(victim.complete(trap["ticket"], back)) == (400, "ticket_invalid")
    assert nothing_came_of_it(google)
    # The attacker never learns the code: Google has sent it to the victim's browser.
    assert (
        refusal(attacker.complete(trap["ticket"], f"{PAGE}?code=guess&state={trap['state']}"))[1]
        == "google_refused"
    )
    assert not GoogleAccount.objects.exists()


def test_own_ticket_after_an_answer_to_another(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """It is not spent by an answer that was not its own: two popups do not break each other."""
    first, second = front_end.start(), front_end.start()
    back = google.consent(second["authorization_url"], user=alice)
    assert refusal(front_end.complete(first["ticket"], back)) == (400, "state_mismatch")

    assert front_end.complete(second["ticket"], back).status_code == 200
    own = google.consent(first["authorization_url"], user=alice)
    assert front_end.complete(first["ticket"], own).status_code == 200


@pytest.mark.matrix
@pytest.mark.parametrize("state", [None, "", "x", "\\"])
def test_state_that_is_not_the_tickets(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, state: str | None
) -> None:
    """Nor is it left out."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)

    response = front_end.complete(started["ticket"], back, state=state)

    assert refusal(response) == (400, "state_mismatch")
    assert nothing_came_of_it(google)


def test_answer_that_is_malformed_spends_nothing(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """The front end has made a mistake, which it can mend."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    malformed: list[dict[str, Any]] = [
        {"redirect_uri": 1},
        {"code": ""},
        {"code": None, "error": ""},
        {"code": "\ud800"},
        {"code": "4/0A\0"},
        {"code": "4/0\u00c4"},
        {"iss": []},
    ]
    for wrong in malformed:
        response = front_end.complete(started["ticket"], back, **wrong)
        assert refusal(response) == (400, "invalid_request")

    assert front_end.complete(started["ticket"], back, error="").status_code == 200


@pytest.mark.slow
def test_altered_ticket(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """Wherever a character is changed, cut off or added."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    ticket = started["ticket"]
    changed = [
        ticket[:at] + ("A" if ticket[at] != "A" else "B") + ticket[at + 1 :]
        for at in range(0, len(ticket) - 1, 37)
    ]
    others = [ticket[1:], ticket[:-4], f"{ticket}AAAA", f"{ticket}.", ticket.partition(".")[2], "x"]
    for other in [*changed, *others, ticket.replace(".", ""), "." * 5, ""]:
        response = front_end.complete(other, back)
        assert refusal(response) == (400, "ticket_invalid"), other
    assert nothing_came_of_it(google)
    assert not SpentState.objects.exists()

    assert front_end.complete(ticket, back).status_code == 200


def test_ticket_of_another_version(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What it says is not known any more, or not yet: the user starts again."""
    back = google.consent(front_end.start()["authorization_url"], user=alice)
    binding = Binding(
        purpose="front_end.ticket", row_id="id", owner=str(user.pk), sub="", issuer="", client_id=""
    )
    for content in ({}, {"mode": "redirect", "pending": {"new": 1}}):
        ticket = f"id.{seal(Secret(json.dumps(content)), binding)}"
        assert refusal(front_end.complete(ticket, back)) == (400, "ticket_invalid")


def test_expired_ticket(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """It lives as long as a state does."""
    started = front_end.start()
    with travel(seconds=601):
        back = google.consent(started["authorization_url"], user=alice)
        assert refusal(front_end.complete(started["ticket"], back)) == (400, "ticket_expired")
    assert nothing_came_of_it(google)


def test_used_ticket_is_remembered_until_it_would_have_expired(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """Also where the commands forget what is old."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    front_end.complete(started["ticket"], back)

    with travel(seconds=540):
        delete_old_states()
        assert refusal(front_end.complete(started["ticket"], back)) == (409, "ticket_used")
    with travel(seconds=1300):
        assert delete_old_states() == 1
        assert refusal(front_end.complete(started["ticket"], back)) == (400, "ticket_expired")


@pytest.mark.matrix
@pytest.mark.parametrize("keeps_old_key", [True, False])
def test_ticket_from_before_a_rotation(
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    settings: Settings,
    keeps_old_key: bool,
) -> None:
    """It opens while its key is configured; without it the user starts again."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    old = settings.GOOGLE_LINK["ENCRYPTION_KEYS"] if keeps_old_key else []
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "ENCRYPTION_KEYS": [make_key(), *old]}

    response = front_end.complete(started["ticket"], back)

    if keeps_old_key:
        assert response.status_code == 200
    else:
        assert refusal(response) == (400, "ticket_invalid")


def test_client_that_has_changed(
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    settings: Settings,
    configure: Callable[..., None],
) -> None:
    """The code is nobody's then but the former client's."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    configure(CLIENT_ID=google.add_client().client_id)
    assert refusal(front_end.complete(started["ticket"], back)) == (400, "ticket_invalid")

    clients = settings.GOOGLE_LINK["CLIENTS"]
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"other": clients["default"]}}
    assert refusal(front_end.complete(started["ticket"], back)) == (400, "ticket_invalid")
    assert nothing_came_of_it(google)


def test_code_of_another_ticket(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """PKCE tells: the code was given for another challenge."""
    first, second = front_end.start(), front_end.start()
    back = google.consent(first["authorization_url"], user=alice)

    response = front_end.complete(second["ticket"], back, state=second["state"])

    assert refusal(response) == (400, "google_refused")
    assert not GoogleAccount.objects.exists()
    assert response.json()["link_request"]


def test_code_of_another_client(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, settings: Settings, user: Any
) -> None:
    """Google gives it to that one alone."""
    other = google.add_client(redirect_uris=[PAGE])
    second = {**google.client_settings(other), "FRONT_END_REDIRECT_URIS": [PAGE]}
    clients = {**settings.GOOGLE_LINK["CLIENTS"], "second": second}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    started = start_link(user, {}, host="testserver", client="second")
    back = google.consent(started["authorization_url"], user=alice)
    own = front_end.start()

    response = front_end.complete(own["ticket"], back, state=own["state"])

    assert refusal(response) == (400, "google_refused")
    assert not GoogleAccount.objects.exists()


def test_answer_with_the_nonce_of_another(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """The ID token is one to another request."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    google.tamper_next_id_token(claims={"nonce": "another"})

    assert refusal(front_end.complete(started["ticket"], back)) == (400, "google_refused")
    assert not GoogleAccount.objects.exists()


@pytest.mark.matrix
@pytest.mark.parametrize(
    "address",
    ["", PAGE[:-1], f"{PAGE}x", "https://evil.example/", OTHER_PAGE, f"{PAGE}?x=1", CALLBACK],
)
def test_answer_at_another_address(
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    caplog: pytest.LogCaptureFixture,
    address: str,
) -> None:
    """It was sent by another one than was asked (RFC 9700 section 4.4); the log says which."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)

    response = front_end.complete(started["ticket"], back, redirect_uri=address)

    assert refusal(response) == (400, "redirect_uri_mismatch")
    assert f"arrived at {address!r} instead of {PAGE!r}." in caplog.text
    assert nothing_came_of_it(google)
    # Whoever knew the state has used it up.
    assert refusal(front_end.complete(started["ticket"], back)) == (409, "ticket_used")


def test_other_issuer(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """It says itself that it is another one (RFC 9207); Google may name itself."""
    for iss in ("https://evil.example", "", f"{google.url}/"):
        started = front_end.start()
        back = google.consent(started["authorization_url"], user=alice)
        response = front_end.complete(started["ticket"], back, iss=iss)
        assert refusal(response) == (400, "issuer_mismatch")
    assert nothing_came_of_it(google)

    google.sends_iss = True
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)
    assert query_of(back)["iss"] == google.url
    assert front_end.complete(started["ticket"], back).status_code == 200


def test_mix_up(
    front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
    hostile: HostileProvider,
    settings: Settings,
    user: Any,
) -> None:
    """A hostile second provider sends the user on to Google: its code goes nowhere."""
    clients = {
        **settings.GOOGLE_LINK["CLIENTS"],
        "office": hostile.client_settings(FRONT_END_REDIRECT_URIS=[OTHER_PAGE]),
    }
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    attackers = query_of(front_end.start()["authorization_url"])
    hostile.forward = forward_to(f"{google.url}/o/oauth2/v2/auth", **attackers)

    started = start_link(user, {}, host="testserver", client="office")
    to_google = hostile.forward(query_of(started["authorization_url"]))
    back = google.consent(to_google, user=alice)

    assert back.startswith(PAGE)
    response = front_end.complete(started["ticket"], back)
    assert refusal(response) == (400, "redirect_uri_mismatch")
    assert hostile.received == []
    assert nothing_came_of_it(google)


def test_address_that_two_issuers_share(
    front_end: FrontEnd, hostile: HostileProvider, settings: Settings, user: Any
) -> None:
    """No link is started by either: where an answer arrives would tell nothing."""
    clients = {
        **settings.GOOGLE_LINK["CLIENTS"],
        "office": hostile.client_settings(FRONT_END_REDIRECT_URIS=[PAGE]),
        "broken": {"CLIENT_ID": 1},
    }
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}

    for client in ("default", "office"):
        with pytest.raises(ImproperlyConfigured, match="several issuers"):
            start_link(user, {}, host="testserver", client=client)


def test_link_request_of_another(
    front_end: FrontEnd, others_front_end: FrontEnd, browser: Client, user: Any
) -> None:
    """It is signed for one user and one host, and nothing else is."""
    program = {"accept": "application/json"}
    signed = browser.get("/bare/", headers=program).json()["link_request"]

    response = others_front_end.send("POST", "links/", {"link_request": signed})
    assert refusal(response) == (400, "link_request_invalid")
    for other in (signed[:-1], f"{signed}x", "x:y:z", ":::"):
        response = front_end.send("POST", "links/", {"link_request": other})
        assert refusal(response) == (400, "link_request_invalid")
    with pytest.raises(FrontEndError) as refused:
        start_link(user, {"link_request": signed}, host="other.example")
    assert refused.value.error == "link_request_invalid"


def test_user_who_is_deleted_before_they_are_back(
    mounted: FrontEnd, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Their session or token is nobody's by then."""
    started = mounted.start()
    back = google.consent(started["authorization_url"], user=alice)

    user.delete()

    assert refusal(mounted.complete(started["ticket"], back)) == (401, "login_required")
    assert nothing_came_of_it(google)


def test_user_who_is_deactivated_before_they_are_back(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A session of theirs is nobody's, as Django has it."""
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)

    type(user).objects.filter(pk=user.pk).update(is_active=False)

    assert refusal(front_end.complete(started["ticket"], back)) == (401, "login_required")
    assert nothing_came_of_it(google)


def test_user_who_is_deleted_while_google_is_asked(
    shared_database: None, google: FakeGoogle, configure: Callable[..., None], alice: FakeUser
) -> None:
    """There is nobody to have the grant: it is ended, and no error of the server's."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE])
    google.client.redirect_uris.append(PAGE)
    user, client = new_user(), Client()
    client.force_login(user)
    front_end = FrontEnd(client)
    started = front_end.start()
    back = google.consent(started["authorization_url"], user=alice)

    with during_refresh(google, type(user).objects.get(pk=user.pk).delete):
        response = front_end.complete(started["ticket"], back)

    assert refusal(response) == (400, "ticket_invalid")
    assert not GoogleAccount.objects.exists()
    assert not PendingRevocation.objects.exists()
    assert len(google.requests_to("revoke")) == 1


def test_inside_a_transaction_nothing_is_spent(
    google: FakeGoogle, alice: FakeUser, allow_front_end: None, user: Any, transactional_db: None
) -> None:
    """It could be taken back: a clear error, and the ticket is as good as before."""
    started = start_link(user, {}, host="testserver")
    answer = google.answer_link(started, user=alice)

    with pytest.raises(RuntimeError, match="outside atomic"), transaction.atomic():
        complete_link(user, answer, host="testserver")

    assert nothing_came_of_it(google)
    assert not SpentState.objects.exists()
    assert complete_link(user, answer, host="testserver")["account"]["email"] == "alice@gmail.com"


def test_without_autocommit_nothing_is_spent(
    google: FakeGoogle, alice: FakeUser, allow_front_end: None, user: Any, transactional_db: None
) -> None:
    """It would not be committed."""
    started = start_link(user, {}, host="testserver")
    answer = google.answer_link(started, user=alice)
    transaction.set_autocommit(False)
    try:
        with pytest.raises(RuntimeError, match="outside atomic"):
            complete_link(user, answer, host="testserver")
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)

    assert nothing_came_of_it(google)


def test_at_the_same_instant(
    shared_database: None, google: FakeGoogle, configure: Callable[..., None], alice: FakeUser
) -> None:
    """One of several workers exchanges; the others are told what came of it."""
    configure(FRONT_END_REDIRECT_URIS=[PAGE])
    google.client.redirect_uris.append(PAGE)
    user = new_user()
    started = start_link(user, {}, host="testserver")
    answer = google.answer_link(started, user=alice)

    def complete() -> tuple[str, Any]:
        try:
            return "linked", complete_link(user, answer, host="testserver")["account"]
        except FrontEndError as error:
            return error.error, error.more["account"]

    outcomes = at_once(*[complete] * 4)

    assert sorted(word for word, _ in outcomes) == ["linked"] + ["ticket_used"] * 3
    assert len(google.requests_to("token")) == 1
    accounts = [account["id"] for _, account in outcomes]
    assert accounts == [str(GoogleAccount.objects.get().pk)] * 4


def test_no_answer_holds_a_token(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """Neither Google's tokens, nor the verifier and the nonce, whatever is asked."""
    started = front_end.send("POST", "links/", {})
    link = started.json()
    back = google.consent(link["authorization_url"], user=alice)
    answers = [
        started,
        front_end.complete(link["ticket"], back),
        front_end.complete(link["ticket"], back),
        front_end.send("GET", "accounts/"),
        front_end.send("POST", "links/", {"add": True}),
    ]
    sent = google.requests_to("token")[0].form

    for answer in answers:
        text = answer.content.decode()
        for secret in ("ya29.", "1//", sent["code_verifier"], sent["client_secret"], "gl1"):
            assert secret not in text.replace(link["ticket"], "").replace(
                answer.json().get("ticket", "-"), ""
            )
