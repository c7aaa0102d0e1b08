"""What comes back from Google more than once, or as an error."""

from __future__ import annotations

import logging
from urllib.parse import urlencode

import pytest
from django.test import Client

from django_google_link.accounts.spent_states import spend_state
from django_google_link.models import GoogleAccount, SpentState
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.web.pending import DECLINED_SESSION_KEY
from tests.support.constants import CALENDAR, OPENID
from tests.support.databases import at_once, new_user
from tests.support.flow import arrive, visit
from tests.support.signals import heard
from tests.support.times import skip_pauses
from tests.support.urls import local, query_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("shared_database"), pytest.mark.slow]


@pytest.fixture
def browser(client: Client, shared_database: None) -> Client:
    """A browser in which a user is logged in."""
    client.force_login(new_user())
    return client


def copy_of(browser: Client) -> Client:
    """Return a browser with the same cookies, for a thread of its own."""
    copy = Client()
    copy.cookies.update(browser.cookies)
    return copy


def test_parallel_callbacks_exchange_once(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """All of them end where the first one does."""
    back = local(google.consent(browser.get("/google/authorize/")["Location"], user=alice))
    google.delay = 0.3

    answers = at_once(*[lambda: copy_of(browser).get(back)["Location"]] * 6)

    assert answers == ["/google/"] * 6
    assert len(google.requests_to("token")) == 1
    assert GoogleAccount.objects.count() == 1


def test_repeats_leave_a_second_attempt_alone(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """The first one has written it into the session: a repeat must not take it out again."""
    google.grant(alice, [*OPENID])
    google.prompt_consent_sends_refresh_token = False
    back = local(google.consent(browser.get("/google/authorize/")["Location"], user=alice))
    google.delay = 0.3

    answers = at_once(*[lambda: copy_of(browser).get(back)["Location"]] * 4)

    assert len(set(answers)) == 1
    google.delay = 0
    google.prompt_consent_sends_refresh_token = True
    done = browser.get(local(google.consent(answers[0], user=alice)))
    assert done["Location"] == "/google/"
    assert GoogleAccount.objects.get().is_ready(CALENDAR)


def test_repeat_after_a_crash_is_answered(
    browser: Client, google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker was killed after it had spent the state: nothing is exchanged, and nobody hangs."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    user = browser.session["_auth_user_id"]
    spend_state(query_of(back)["state"], owner=user)
    pauses = skip_pauses(monkeypatch)

    response = arrive(browser, back)

    assert response.status_code == 400
    assert google.requests_to("token") == []
    assert sum(pauses) < 16


def test_unusable_state_is_told_to_each_repeat_at_once(
    browser: Client, google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was spent, and led nowhere."""
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    session = browser.session
    [entry] = session["google_link_pending"].values()
    entry["created_at"] = 0.0
    session.save()
    pauses = skip_pauses(monkeypatch)

    statuses = [arrive(copy_of(browser), back).status_code for _ in range(3)]

    assert statuses == [400, 400, 400]
    assert pauses == []


def test_visitors_cannot_fill_the_table(browser: Client, google: FakeGoogle) -> None:
    """A state that was never given out is not remembered."""
    for n in range(3):
        browser.get(f"/google/callback/?{urlencode({'state': f'made-up-{n}', 'code': 'x'})}")

    assert not SpentState.objects.exists()


# Errors in place of a code


ERRORS = [
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "interaction_required",
    "admin_policy_enforced",
    "made_up",
    "ACCESS_DENIED",
    "access_denied ",
    "access_denied\n",
    "not access_denied",
    "\x1b[31maccess_denied\x00",
    "\u202eaccess_denied",
    "x" * 10_000,
    "",
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: repr(error[:20]))
def test_error_that_is_no_refusal_is_not_remembered(
    browser: Client, google: FakeGoogle, alice: FakeUser, error: str
) -> None:
    """The next visit goes to Google again, and works."""
    google.fail_next_authorization("access_denied")
    to_google = browser.get(browser.get("/bare/")["Location"])["Location"]
    query = {**query_of(google.consent(to_google, user=alice)), "error": error}

    with heard() as news:
        response = browser.get(f"/google/callback/?{urlencode(query)}")

    assert response.status_code == 400
    assert len(response.content) < 10_000
    assert DECLINED_SESSION_KEY not in browser.session
    [(name, arguments)] = news
    assert name == "authorization_denied"
    assert arguments["error"].isprintable() and len(arguments["error"]) <= 100
    page, asked = visit(browser, google, "/bare/", user=alice)
    assert (page.status_code, asked) == (200, 1)


def test_refusal_is_remembered(
    browser: Client, google: FakeGoogle, alice: FakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the user's own word, and they are not asked again by themselves."""
    caplog.set_level(logging.INFO, "django_google_link")

    page, asked = visit(browser, google, "/bare/", deny=True)
    again, asked_again = visit(browser, google, "/bare/")

    assert (page.status_code, asked) == (403, 1)
    assert (again.status_code, asked_again) == (403, 0)
    assert "A user declined" in caplog.text


def test_error_beside_a_code_wins(browser: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """Nothing is exchanged."""
    to_google = browser.get("/google/authorize/")["Location"]
    back = local(google.consent(to_google, user=alice))

    response = browser.get(f"{back}&error=server_error")

    assert response.status_code == 400
    assert google.requests_to("token") == []


@pytest.mark.parametrize(
    "twice", ["error=access_denied&error=server_error", "error=server_error&error=access_denied"]
)
def test_two_errors_are_no_refusal(browser: Client, google: FakeGoogle, twice: str) -> None:
    """RFC 6749 section 3.1: a parameter must not be given more than once."""
    state = query_of(browser.get("/google/authorize/")["Location"])["state"]

    response = browser.get(f"/google/callback/?state={state}&{twice}")

    assert response.status_code == 400
    assert DECLINED_SESSION_KEY not in browser.session
