"""What becomes of a link, and what is remembered of it, as with the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import translation
from pytest_django import Settings

from django_google_link.accounts.retirement import retire_grant
from django_google_link.accounts.spent_states import (
    delete_old_states,
    finish_state,
    read_declined,
    spend_state,
)
from django_google_link.models import GoogleAccount, Reason
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account, travel
from tests.support.constants import CALENDAR, DRIVE
from tests.support.front_ends import PAGE, FrontEnd, refusal
from tests.support.key_services import use_keys, wrap
from tests.support.urls import query_of

pytestmark = pytest.mark.django_db

PROGRAM = {"accept": "application/json"}


def complete(
    front_end: FrontEnd, google: FakeGoogle, started: dict[str, Any], user: FakeUser, **how: Any
) -> Any:
    """Go to Google, and return the response to what came back."""
    answer = google.answer_link(started, user=user, **how)
    return front_end.send("POST", "links/complete/", answer)


def ask(front_end: FrontEnd, url: str = "/agenda/") -> dict[str, Any]:
    """Return what a view says to whoever has to link first."""
    response = front_end.client.get(url, headers=front_end.headers)
    assert response.status_code == 403
    content: dict[str, Any] = response.json()
    return content


def test_scopes_are_those_of_the_view(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """They come in the signed request of its 403."""
    refused = ask(front_end, "/files/")

    started = front_end.start(link_request=refused["link_request"])

    assert DRIVE in started["scope"].split()
    assert complete(front_end, google, started, alice).status_code == 200
    assert front_end.client.get("/files/", headers=PROGRAM).status_code == 200


def test_denial_is_remembered(
    front_end: FrontEnd,
    others_front_end: FrontEnd,
    google: FakeGoogle,
    alice: FakeUser,
) -> None:
    """By user and client: the app is told, and so does not ask in a loop; a link ends that."""
    refused = ask(front_end)
    assert refused["declined"] is False
    started = front_end.start(link_request=refused["link_request"])
    assert refusal(complete(front_end, google, started, alice, deny=True)) == (403, "access_denied")

    assert ask(front_end)["declined"] is True
    assert ask(others_front_end)["declined"] is False
    with travel(seconds=1300):
        assert delete_old_states() == 1
        assert ask(front_end)["declined"] is False
    started = front_end.start(link_request=refused["link_request"])
    complete(front_end, google, started, alice)
    GoogleAccount.objects.get().unlink()
    assert ask(front_end)["declined"] is False


def test_front_end_whose_settings_are_broken(
    front_end: FrontEnd, configure: Callable[..., None]
) -> None:
    """A view says who has to link all the same."""
    configure(FRONT_END_REDIRECT_URIS=PAGE)

    assert ask(front_end)["declined"] is False


def test_denial_in_a_front_end_is_none_in_the_pages(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """A browser of the same user is not sent on by itself, either."""
    started = front_end.start()
    complete(front_end, google, started, alice, deny=True)

    assert front_end.client.get("/agenda/", headers={"accept": "text/html"}).status_code == 403


@pytest.mark.slow
def test_partial_consent_is_remembered(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """What was left out is declined; what is granted later is not."""
    refused = ask(front_end, "/files/")
    started = front_end.start(link_request=refused["link_request"])
    less = complete(front_end, google, started, alice, grant=[CALENDAR])
    assert DRIVE in less.json()["missing_scopes"]

    assert ask(front_end, "/files/")["declined"] is True
    # Another attempt that comes to nothing changes nothing about that.
    started = front_end.start(link_request=ask(front_end, "/files/")["link_request"])
    answer = google.answer_link(started, user=alice)
    google.error_next("invalid_grant")
    assert refusal(front_end.send("POST", "links/complete/", answer)) == (400, "google_refused")
    assert ask(front_end, "/files/")["declined"] is True
    started = front_end.start(link_request=ask(front_end, "/files/")["link_request"])
    assert complete(front_end, google, started, alice).status_code == 200
    assert front_end.client.get("/files/", headers=PROGRAM).status_code == 200


def test_users_and_clients_are_told_apart_to_the_letter(user: Any) -> None:
    """Not every database does by itself."""
    spend_state("a", owner="Anna", client="Default")
    finish_state("a", location="", declined=[CALENDAR])

    assert read_declined(owner="Anna", client="Default") == {CALENDAR}
    assert read_declined(owner="anna", client="Default") == frozenset()
    assert read_declined(owner="Anna", client="default") == frozenset()


def test_error_of_google_is_no_denial(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser
) -> None:
    """It is told as what it is."""
    google.fail_next_authorization("server_error")

    response = complete(front_end, google, front_end.start(), alice)

    assert refusal(response) == (400, "provider_error")
    assert response.json()["provider_error"] == "server_error"
    assert ask(front_end)["declined"] is False


def test_lost_grant_is_linked_again(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The list says why, and the account is named."""
    account = make_google_account(
        user,
        scopes=[CALENDAR, DRIVE],
        sub=alice.sub,
        email=alice.email,
        status="needs_reauthorization",
        status_reason=Reason.REVOKED,
    )
    [listed] = front_end.send("GET", "accounts/").json()["accounts"]
    assert (listed["status"], listed["reason"]) == ("needs_reauthorization", "revoked")

    started = front_end.start(account=str(account.pk))

    assert set(started["scope"].split()) >= {CALENDAR, DRIVE}
    assert started["login_hint"] == alice.sub
    linked = complete(front_end, google, started, alice).json()["account"]
    assert (linked["id"], linked["status"], linked["reason"]) == (str(account.pk), "active", "")


def test_account_without_a_refresh_token(front_end: FrontEnd, user: Any) -> None:
    """It says so."""
    make_google_account(user, refresh_token="")

    [listed] = front_end.send("GET", "accounts/").json()["accounts"]

    assert (listed["status"], listed["reason"]) == ("needs_reauthorization", "no_refresh_token")


def test_nothing_is_missing(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """The account is named; a further one, and the same anew, can be asked for."""
    linked = complete(front_end, google, front_end.start(), alice).json()["account"]

    response = front_end.send("POST", "links/", {})
    assert refusal(response) == (409, "already_linked")
    assert response.json()["account"] == linked
    assert "select_account" in front_end.start(add=True)["prompt"]
    assert front_end.start(account=linked["id"])["prompt"] == "consent"


def test_one_wish_at_a_time(front_end: FrontEnd) -> None:
    """Two of them would contradict one another."""
    response = front_end.send("POST", "links/", {"add": True, "link_request": "x"})

    assert refusal(response) == (400, "invalid_request")


def test_client_that_is_gone(front_end: FrontEnd, user: Any) -> None:
    """Its accounts are listed and unlinked, and not linked again."""
    account = make_google_account(user, client="gone")
    assert len(front_end.send("GET", "accounts/").json()["accounts"]) == 1

    response = front_end.send("POST", "links/", {"account": str(account.pk)})

    assert refusal(response) == (409, "client_gone")


def test_link_request_of_a_client_that_is_gone(front_end: FrontEnd, settings: Settings) -> None:
    """It was signed before."""
    signed = ask(front_end)["link_request"]
    clients = settings.GOOGLE_LINK["CLIENTS"]
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"new": clients["default"]}}

    response = front_end.send("POST", "links/", {"link_request": signed})

    assert refusal(response) == (400, "link_request_invalid")


def test_google_is_away(front_end: FrontEnd, google: FakeGoogle, alice: FakeUser) -> None:
    """It is told from a refusal, and the same can be tried again."""
    started = front_end.start()
    answer = google.answer_link(started, user=alice)
    with google.failing(status=503):
        response = front_end.send("POST", "links/complete/", answer)

    assert refusal(response) == (503, "google_unavailable")
    again = front_end.start(link_request=response.json()["link_request"])
    assert complete(front_end, google, again, alice).status_code == 200


def test_retired_grant_that_cannot_be_revoked_yet(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """It has to be revoked before the same account is asked anew."""
    linked = complete(front_end, google, front_end.start(), alice).json()["account"]
    retire_grant(GoogleAccount.objects.get(pk=linked["id"]), CALENDAR, needed=[])
    with google.failing(endpoint="revoke", status=503):
        response = front_end.send("POST", "links/", {})

    assert refusal(response) == (503, "google_unavailable")


def test_domain_of_an_organization(
    front_end: FrontEnd, google: FakeGoogle, configure: Callable[..., None]
) -> None:
    """It is asked for, and checked."""
    configure(HOSTED_DOMAIN="work.example")
    worker = google.add_user("w@work.example", hosted_domain="work.example")
    started = front_end.start()
    assert started["hd"] == query_of(started["authorization_url"])["hd"] == "work.example"
    answer = google.answer_link(started, user=worker)
    google.tamper_next_id_token(claims={"hd": "other.example"})

    assert refusal(front_end.send("POST", "links/complete/", answer)) == (403, "hosted_domain")


def hint(user: Any) -> Any:
    """Return what the site knows of a user at Google."""
    return {"anna": "anna@gmail.com", "ben": 7}.get(user.username)


def test_login_hint(
    front_end: FrontEnd,
    others_front_end: FrontEnd,
    google: FakeGoogle,
    settings: Settings,
    user: Any,
) -> None:
    """The account that the user is likely to choose, but where another one is meant."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "LOGIN_HINT": "tests.headless.test_outcomes.hint",
    }
    started = front_end.start()
    assert started["login_hint"] == "anna@gmail.com"
    assert query_of(started["authorization_url"])["login_hint"] == "anna@gmail.com"
    page = front_end.client.get("/agenda/", headers={"accept": "text/html"}, follow=True)
    assert page.redirect_chain
    assert "login_hint" not in query_of(front_end.start(add=True)["authorization_url"])
    account = make_google_account(user, sub="42")
    assert front_end.start(account=str(account.pk))["login_hint"] == "42"
    with pytest.raises(Exception, match="did not return text"):
        others_front_end.start()


def test_words_are_in_the_language_of_the_request(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Those that users see."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    front_end.headers["accept-language"] = "de"

    with translation.override("en"):  # Afterwards it is as before, whatever the request has set.
        response = complete(front_end, google, front_end.start(), alice, deny=True)

    assert (
        response.json()["detail"] == "Es wurde nichts verknüpft, und es hat sich nichts geändert."
    )


def test_head(front_end: FrontEnd) -> None:
    """Whoever may ask may ask for the headers alone."""
    response = front_end.send("HEAD", "accounts/")

    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.usefixtures("key_service")
def test_ticket_stays_good_while_it_cannot_be_read(
    front_end: FrontEnd, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """Its key cannot be had: nothing is spent, and nobody is asked."""
    key = wrap()
    use_keys(settings, key)
    answer = google.answer_link(front_end.start(), user=alice)
    use_keys(settings, key, ENCRYPTION_SITE="there")

    for data, path in (({}, "links/"), (answer, "links/complete/")):
        refused = front_end.send("POST", path, data)
        assert refusal(refused) == (503, "not_stored")
        assert "cannot encrypt" in refused.json()["detail"]
    assert google.requests_to("token") == []
    use_keys(settings, key, ENCRYPTION_SITE="here")
    assert front_end.send("POST", "links/complete/", answer).status_code == 200
