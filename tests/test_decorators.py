"""``@google_required`` and ``@google_aware``, as visitors meet them."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from django_google_link.accounts.access_tokens import check_grant
from django_google_link.decorators import google_aware, google_required
from django_google_link.exceptions import (
    AccountChoiceRequiredError,
    ConsentRequiredError,
    GrantLostError,
    MissingScopesError,
    RefreshUnavailableError,
)
from django_google_link.models import GoogleAccount, Status
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.services import access_token
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from django_google_link.web.access import Requirement
from tests.support import views
from tests.support.accounts import linked
from tests.support.apis import link_account, serve_apis
from tests.support.callers import FORMS, PROGRAMS, ask
from tests.support.constants import CALENDAR, CALLBACK, DRIVE, EVENTS, TASKS
from tests.support.flow import visit
from tests.support.statuses import assert_is_private, assert_stays_here
from tests.support.tables import queries_of_ours
from tests.support.times import in_seconds
from tests.support.urls import authorize_request_of, local, query_of

pytestmark = pytest.mark.django_db


def test_required_ready_runs_the_view(
    browser: Client, alice: FakeUser, google: FakeGoogle, user: Any
) -> None:
    """The view runs with its arguments, and calls Google."""
    link_account(google, user, alice, CALENDAR)

    response = browser.get("/agenda/today/")

    assert response.json() == {"day": "today", "events": EVENTS}


def test_required_bare_needs_the_scopes_of_the_client(
    browser: Client, user: Any, google: FakeGoogle, configure: Callable[..., None]
) -> None:
    """Bare, the client's SCOPES as they are at this request."""
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")

    before = browser.get("/bare/")
    configure(SCOPES=[CALENDAR, DRIVE])
    after = browser.get("/bare/")

    assert before.content == b"a@gmail.com"
    assert list(authorize_request_of(after["Location"], user).required) == [CALENDAR, DRIVE]


def test_required_with_scopes_needs_these_and_no_others(browser: Client, user: Any) -> None:
    """The client's SCOPES are asked for, but not required."""
    make_google_account(user, scopes=[DRIVE])

    assert browser.get("/files/").content == b"files"
    assert browser.get("/bare/").status_code == 302


def test_required_asks_for_everything_at_once(browser: Client, user: Any) -> None:
    """ASVS 10.2.3: required, optional and the client's scopes; nothing else."""
    wanted = authorize_request_of(browser.get("/files/")["Location"], user)

    assert list(wanted.scopes) == [*IDENTITY_SCOPES, DRIVE, TASKS, CALENDAR]
    assert list(wanted.required) == [DRIVE]


@pytest.mark.parametrize("scopes", [[CALENDAR], [DRIVE]])
def test_required_some_of_the_scopes_are_not_enough(
    browser: Client, user: Any, scopes: list[str]
) -> None:
    """All are needed; and a string of scopes is words, not letters."""
    make_google_account(user, scopes=scopes)

    response = browser.get("/words/")

    assert list(authorize_request_of(response["Location"], user).required) == [CALENDAR, DRIVE]


def test_required_knows_the_aliases_of_scopes(browser: Client, user: Any) -> None:
    """The scope email is userinfo.email."""
    make_google_account(user)

    assert browser.get("/aliased/").content == b"aliased"


def test_required_without_any_scope_needs_an_account(browser: Client, user: Any) -> None:
    """An empty list is not the same as none given."""
    without = browser.get("/any-account/")
    make_google_account(user, email="a@gmail.com")

    assert list(authorize_request_of(without["Location"], user).required) == []
    assert browser.get("/any-account/").content == b"a@gmail.com"


def test_required_with_an_expired_token_refreshes_it(
    browser: Client, alice: FakeUser, google: FakeGoogle, user: Any
) -> None:
    """The refresh token is what counts."""
    link_account(
        google, user, alice, CALENDAR, access_token_expires_at=timezone.now() - timedelta(hours=1)
    )

    assert browser.get("/agenda/").json()["events"] == EVENTS


@pytest.mark.parametrize("hours", [-1, 1])
def test_required_without_a_refresh_token_asks_again(
    browser: Client, user: Any, hours: int
) -> None:
    """Without one it is no link."""
    expires_at = timezone.now() + timedelta(hours=hours)
    make_google_account(
        user, scopes=[CALENDAR], refresh_token="", access_token_expires_at=expires_at
    )

    assert browser.get("/agenda/")["Location"].startswith("/google/authorize/")


def test_required_after_the_row_is_gone_asks_again(browser: Client, user: Any) -> None:
    """Nothing is remembered from the request before."""
    account = make_google_account(user, scopes=[CALENDAR])
    before = browser.get("/bare/")
    account.delete()

    after = browser.get("/bare/")

    assert (before.status_code, after.status_code) == (200, 302)
    assert authorize_request_of(after["Location"], user).account == ""


# The whole way


def test_required_from_anonymous_to_the_page(
    client: Client, user: Any, google: FakeGoogle, alice: FakeUser
) -> None:
    """Log in, consent, and be where one wanted to be, to the letter."""
    serve_apis(google)
    page = "/agenda/m%C3%BCnchen%20%E2%98%BA/?q=%C3%A9&next=%2Ffiles%2F%3Fa%3D1%26b%3D2&q=2"

    to_login = client.get(page)
    logged_in = client.post(to_login["Location"], {"username": "anna", "password": "pw"})
    to_us = client.get(logged_in["Location"])
    to_google = client.get(to_us["Location"])
    back = client.get(local(google.consent(to_google["Location"], user=alice)))
    arrived = client.get(back["Location"])

    assert logged_in["Location"] == page
    assert back["Location"] == page
    assert arrived.json() == {"day": "münchen ☺", "events": EVENTS}


def test_required_goes_to_google_once(browser: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """Link, ask for more where more is needed, and lose nothing by it."""
    serve_apis(google)
    first = visit(browser, google, "/agenda/", user=alice)
    second = visit(browser, google, "/words/", user=alice)
    again = visit(browser, google, "/agenda/", user=alice)

    assert (first[0].status_code, first[1]) == (200, 1)
    assert (second[0].content, second[1]) == (b"words", 1)
    assert (again[0].status_code, again[1]) == (200, 0)


# Errors inside the view


def test_grant_lost_inside_the_view_restarts_consent(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser
) -> None:
    """The grant died this minute; the user is sent to consent, and it heals."""
    account = link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    response = browser.get("/agenda/today/?q=1")

    account.refresh_from_db()
    wanted = authorize_request_of(response["Location"], user)
    healed, visits = visit(browser, google, response["Location"], user=alice)
    assert account.status == Status.NEEDS_REAUTHORIZATION
    assert (wanted.return_url, wanted.account) == ("/agenda/today/?q=1", alice.sub)
    assert (healed.json()["day"], visits) == ("today", 1)
    assert_is_private(response)


def test_grant_lost_inside_the_view_on_post_shows_a_page(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A form is not sent away silently."""
    link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    response = ask(browser, FORMS["form"])

    assert response.status_code == 403
    assert response.context["reason"] == "needs_reauthorization"
    assert "no longer works" in response.content.decode()


def test_grant_lost_by_session_policy_says_so(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Google Cloud session control is named, at the first request and at the next."""
    link_account(google, user, alice, CALENDAR)
    google.expire_access_tokens()
    google.error_next("invalid_grant", subtype="invalid_rapt")

    pages = [ask(browser, FORMS["form"]).content.decode() for _ in range(2)]

    assert all("Google Cloud (session control)" in page for page in pages)


@pytest.mark.parametrize("reason", ["account_disabled", "account_hijacked", "account_bulk"])
def test_account_that_google_has_disabled_says_so(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any, reason: str
) -> None:
    """To link it again would not help at present."""
    lost = {"status": Status.NEEDS_REAUTHORIZATION, "status_reason": reason}
    linked(user, google, alice, **lost)

    page = ask(browser, FORMS["form"]).content.decode()

    assert "Google has disabled this account." in page


def test_grant_lost_inside_the_view_tells_a_program(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The same words as when it was known beforehand."""
    link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    first, second = (ask(browser, PROGRAMS["fetch"]).json() for _ in range(2))

    assert first["reason"] == second["reason"] == "needs_reauthorization"
    assert first["missing_scopes"] == []


def test_grant_lost_under_atomic_requests_stays_lost(
    browser: Client, google: FakeGoogle, alice: FakeUser, monkeypatch: pytest.MonkeyPatch, user: Any
) -> None:
    """The answer is no exception, so the loss is committed with it."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    response = browser.get("/agenda/")

    assert response["Location"].startswith("/google/authorize/")
    assert GoogleAccount.objects.get().status == Status.NEEDS_REAUTHORIZATION


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_grant_lost_in_a_transaction_of_the_view_stays_lost(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    monkeypatch: pytest.MonkeyPatch,
    atomic_requests: bool,
    user: Any,
) -> None:
    """The view's transaction is rolled back, and the loss is known all the same."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)
    link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    response, visits = visit(browser, google, "/ledger/", user=alice)

    assert (response.status_code, visits) == (200, 1)
    assert Group.objects.count() == 1


def test_tampered_token_asks_for_a_new_link(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A row whose tokens were swapped needs a new link, in a transaction too."""
    account = link_account(google, user, alice, CALENDAR)
    foreign = make_google_account(account.user)
    GoogleAccount.objects.filter(pk=account.pk).update(
        sealed_refresh_token=foreign.sealed_refresh_token, access_token_expires_at=timezone.now()
    )

    response = browser.get("/ledger/")

    account.refresh_from_db()
    assert response["Location"].startswith("/google/authorize/")
    assert account.status_reason == "undecryptable"


def test_lost_default_is_renewed_though_another_account_is_ready(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser
) -> None:
    """The account that died is meant, not one that happens to live."""
    link_account(google, user, alice, CALENDAR)
    link_account(google, user, google.add_user("bob@gmail.com"), CALENDAR)
    google.revoke(alice)

    response = browser.get("/agenda/")

    assert authorize_request_of(response["Location"], user).account == alice.sub


def test_missing_scopes_inside_the_view_are_asked_for(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser
) -> None:
    """For this account, and all that the view required as well."""
    serve_apis(google)
    visit(browser, google, "/bare/", user=alice)

    response = browser.get("/greedy/")

    wanted = authorize_request_of(response["Location"], user)
    program = ask(browser, PROGRAMS["fetch"], "/greedy/").json()
    assert list(wanted.required) == [CALENDAR, DRIVE]
    assert wanted.account == alice.sub
    assert (program["reason"], program["missing_scopes"]) == ("missing_scopes", [DRIVE])


def test_error_of_another_account_of_ones_own_asks_for_that_one(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser
) -> None:
    """Consent is asked for the account in trouble, not for the default one."""
    link_account(google, user, alice, CALENDAR)
    bob = google.add_user("bob@gmail.com")
    url = f"/agenda-of/{link_account(google, user, bob, CALENDAR).pk}/?scope={DRIVE}"

    wanted = authorize_request_of(browser.get(url)["Location"], user)
    response, visits = visit(browser, google, url, user=bob)

    assert (wanted.account, list(wanted.required)) == (bob.sub, [DRIVE])
    assert TASKS not in wanted.scopes
    assert (response.json()["events"], visits) == (EVENTS, 1)


def test_error_of_an_account_of_another_client_asks_there(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser, settings: Settings
) -> None:
    """The client of the account in trouble is the one to ask."""
    clients = settings.GOOGLE_LINK["CLIENTS"]
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {**clients, "second": {**clients["default"], "SCOPES": [DRIVE]}},
    }
    link_account(google, user, alice, CALENDAR)
    account = link_account(google, user, alice, TASKS, client="second")

    response = browser.get(f"/agenda-of/{account.pk}/?scope={CALENDAR}")

    wanted = authorize_request_of(response["Location"], user)
    assert (wanted.client, wanted.account, list(wanted.required)) == (
        "second",
        alice.sub,
        [CALENDAR],
    )


def test_error_of_an_account_that_is_gone_by_now_starts_afresh(
    browser: Client, user: Any, rf: RequestFactory
) -> None:
    """Unlinked in another tab while the view ran."""
    account = make_google_account(user, scopes=[CALENDAR])

    @google_required(scopes=[CALENDAR])
    def view(request: Any) -> HttpResponse:
        GoogleAccount.objects.all().delete()
        raise MissingScopesError(missing_scopes=[DRIVE], account=account)

    request = rf.get("/here/")
    request.user = user
    response = view(request)

    wanted = authorize_request_of(response["Location"], user)
    assert (wanted.account, list(wanted.required)) == ("", [CALENDAR, DRIVE])


def test_error_of_somebody_elses_account_is_not_this_users(
    browser: Client, other_user: Any, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Consent of this user would not help, so it is not asked for."""
    link_account(google, user, alice, CALENDAR)
    bob = google.add_user("bob@gmail.com")
    url = f"/agenda-of/{link_account(google, other_user, bob, CALENDAR).pk}/"

    with pytest.raises(MissingScopesError):
        browser.get(f"{url}?scope={DRIVE}")
    google.revoke(bob)
    with pytest.raises(GrantLostError):
        browser.get(url)


@pytest.mark.parametrize("damage", [None, "damaged"])
def test_somebody_elses_grant_that_is_lost_now_is_not_this_users(
    browser: Client, other_user: Any, google: FakeGoogle, alice: FakeUser, damage: str | None
) -> None:
    """A visitor without any link is not asked for one, when that call or a later one finds it."""
    account = link_account(
        google, other_user, alice, CALENDAR, access_token_expires_at=in_seconds(-60)
    )
    if damage:
        GoogleAccount.objects.update(sealed_refresh_token=damage)
    google.revoke(alice)

    for _ in range(2):
        with pytest.raises(ConsentRequiredError) as caught:
            browser.get(f"/shared-agenda/{account.pk}/")
        assert caught.value.user_id == other_user.pk
        assert caught.value.account == account


def test_ones_own_grant_that_is_lost_now_is_asked_for_on_the_same_page(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser
) -> None:
    """Whose account it is decides, not the page."""
    account = link_account(google, user, alice, CALENDAR)
    google.revoke(alice)

    response = browser.get(f"/shared-agenda/{account.pk}/")

    assert authorize_request_of(response["Location"], user).account == alice.sub


@pytest.mark.parametrize("helper", [access_token, check_grant])
def test_task_is_told_whose_grant_is_lost(
    user: Any, google: FakeGoogle, alice: FakeUser, helper: Any
) -> None:
    """By the very call that finds it, and after a queue has carried the error elsewhere."""
    account = link_account(google, user, alice, CALENDAR, access_token_expires_at=in_seconds(-60))
    google.revoke(alice)

    with pytest.raises(GrantLostError) as caught:
        helper(account)

    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert (error.account, error.user_id, error.client) == (account, user.pk, "default")


def test_error_that_consent_does_not_help_is_raised(
    browser: Client, user: Any, google: FakeGoogle
) -> None:
    """A view that is never content does not send its users in a circle."""
    make_google_account(user, scopes=[CALENDAR])

    with pytest.raises(ConsentRequiredError, match="No consent is ever enough"):
        browser.get("/stubborn/")


def test_error_of_an_account_in_an_open_view_is_not_a_visitors(
    user: Any, rf: RequestFactory
) -> None:
    """Nor is it, where nobody is logged in."""
    account = make_google_account(user)

    @google_aware
    def view(request: Any) -> HttpResponse:
        raise MissingScopesError(missing_scopes=[DRIVE], account=account)

    with pytest.raises(MissingScopesError):
        view(rf.get("/"))


def test_error_of_the_projects_own_where_more_is_missing_is_answered(
    user: Any, rf: RequestFactory
) -> None:
    """As long as the user can do something, they are told."""
    make_google_account(user)

    @google_aware(scopes=[CALENDAR])
    def view(request: Any) -> HttpResponse:
        raise ConsentRequiredError

    request = rf.get("/here/")
    request.user = user
    response = view(request)

    assert list(authorize_request_of(response["Location"], user).required) == [CALENDAR]


def test_row_without_a_token_is_not_lost_again(
    browser: Client, user: Any, google: FakeGoogle
) -> None:
    """A grant is lost when Google says so, not when a row holds none."""
    make_google_account(user, scopes=[CALENDAR], refresh_token="")

    response = browser.get("/careless/")

    assert response["Location"].startswith("/google/authorize/")
    assert GoogleAccount.objects.get().status == Status.ACTIVE


def test_choice_required_inside_the_view_is_offered(
    browser: Client, user: Any, google: FakeGoogle
) -> None:
    """A service helper met two accounts where the decorator met one."""
    make_google_account(user, scopes=[CALENDAR])
    make_google_account(user)
    GoogleAccount.objects.update(is_default=False)

    response = browser.get("/mine/")
    program = ask(browser, PROGRAMS["fetch"], "/mine/").json()

    assert response["Location"] == "/google/?next=%2Fmine%2F"
    assert program["reason"] == "account_choice_required"


def test_choice_required_of_somebody_else_is_raised(user: Any, rf: RequestFactory) -> None:
    """Whoever has nothing to choose from cannot choose."""
    make_google_account(user, scopes=[CALENDAR])

    @google_required(scopes=[CALENDAR])
    def view(request: Any) -> HttpResponse:
        raise AccountChoiceRequiredError

    request = rf.get("/")
    request.user = user
    with pytest.raises(AccountChoiceRequiredError):
        view(request)


def test_choice_for_a_scope_that_the_default_account_lacks(
    browser: Client, user: Any, google: FakeGoogle
) -> None:
    """The view is content with the default one, and a call in it needs more than that has."""
    make_google_account(user, scopes=[CALENDAR])
    others = [make_google_account(user, scopes=[DRIVE]) for _ in range(2)]

    response = browser.get("/drive-of-mine/?x=1")
    program = ask(browser, PROGRAMS["fetch"], "/drive-of-mine/")
    page = ask(browser, FORMS["form"], "/drive-of-mine/")

    assert response["Location"].startswith("/google/?")
    assert query_of(response["Location"]) == {"next": "/drive-of-mine/?x=1"}
    assert program.json()["reason"] == "account_choice_required"
    assert program.json()["authorize_url"].startswith("http://testserver/google/?")
    assert "link_request" not in program.json()
    assert not page.context["declined"]
    others[1].make_default()
    assert browser.get("/drive-of-mine/").content == str(others[1].pk).encode()


def test_other_errors_pass(browser: Client, user: Any) -> None:
    """They are not ours."""
    make_google_account(user, scopes=[CALENDAR])

    with pytest.raises(ZeroDivisionError):
        browser.get("/broken/")


def test_google_out_of_reach_passes(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A failure that passes by itself is no reason to ask the user."""
    link_account(google, user, alice, CALENDAR, access_token_expires_at=timezone.now())
    google.fail_next(status=503)

    with pytest.raises(RefreshUnavailableError):
        browser.get("/agenda/")
    assert GoogleAccount.objects.get().status == Status.ACTIVE


# Where to come back to


def test_return_url_holds_for_every_request(browser: Client, user: Any) -> None:
    """The forerunner's held for the first one only."""
    wishes = [authorize_request_of(browser.get("/elsewhere/")["Location"], user) for _ in range(3)]
    posted = ask(browser, FORMS["form"], "/elsewhere/")

    assert {wanted.return_url for wanted in wishes} == {"/bare/?from=elsewhere"}
    assert (
        authorize_request_of(posted.context["authorize_url"], user).return_url
        == "/bare/?from=elsewhere"
    )


@pytest.mark.slow
def test_return_url_holds_under_threads(client: Client) -> None:
    """Each request has its own, whatever the others do."""
    together = Barrier(8)

    def anonymous(number: int) -> bool:
        own = f"/bare/?n={number}"
        url, expected = [(own, own), ("/elsewhere/", "/bare/?from=elsewhere")][number % 2]
        together.wait()
        answers = [Client().get(url)["Location"] for _ in range(20)]
        return {query_of(answer)["next"] for answer in answers} == {expected}

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(anonymous, range(8)))


def test_return_url_may_be_lazy(browser: Client, user: Any) -> None:
    """A decorator runs before the URLconf is there, so reverse_lazy is what one writes."""
    response = browser.get("/lazily/")

    assert authorize_request_of(response["Location"], user).return_url == "/agenda/today/"


def test_return_url_off_site_is_not_used(browser: Client, user: Any) -> None:
    """Not even where the project's own code says so."""
    response = browser.get("/astray/?x=1")

    assert authorize_request_of(response["Location"], user).return_url == "/astray/?x=1"


@pytest.mark.parametrize("name", ["elsewhere", "lazily", "astray"])
def test_return_url_does_not_matter_once_linked(browser: Client, user: Any, name: str) -> None:
    """It is for the way back from Google, not for the view."""
    make_google_account(user, scopes=[CALENDAR])

    assert browser.get(f"/{name}/").content == name.encode()


def test_path_that_looks_like_a_host_is_not_come_back_to(client: Client, user: Any) -> None:
    """A server sees a path in "//evil.example/", and a browser a host."""
    hostile = "http://testserver//evil.example/"

    anonymous = client.get(hostile)
    client.force_login(user)
    linking = client.get(hostile)

    assert query_of(anonymous["Location"]) == {"next": "/google/"}
    assert authorize_request_of(linking["Location"], user).return_url == "/google/"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_referer_is_never_used(browser: Client, user: Any, method: str) -> None:
    """Neither another site's nor our own."""
    for referer in ("https://evil.example/x", "http://testserver/referring/"):
        response = ask(browser, (method, {"accept": "application/json", "referer": referer}))
        wanted = authorize_request_of(response.json()["authorize_url"], user)
        assert wanted.return_url in {"/agenda/?day=1", "/google/"}


# Clients, names, and the kinds of views


@pytest.fixture
def second_client(google: FakeGoogle, settings: Settings) -> str:
    """Another OAuth client at the same Google; returns its id."""
    client = google.add_client(redirect_uris=[CALLBACK])
    clients = settings.GOOGLE_LINK["CLIENTS"]
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENTS": {**clients, "second": {**google.client_settings(client), "SCOPES": [DRIVE]}},
    }
    return client.client_id


def test_client_keyword_links_through_that_client(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    user: Any,
    settings: Settings,
    second_client: str,
) -> None:
    """Each client has its own links, scopes and refusals."""
    settings.ROOT_URLCONF = "tests.support.second_client_urls"
    visit(browser, google, "/agenda/", user=alice, deny=True)

    start = browser.get("/second/")["Location"]
    wanted = authorize_request_of(start, user)
    asked = query_of(browser.get(start)["Location"])["client_id"]
    response, visits = visit(browser, google, "/second/", user=alice)

    [account] = GoogleAccount.objects.all()
    assert (wanted.client, list(wanted.required)) == ("second", [DRIVE])
    assert (response.content, visits) == (b"alice@gmail.com", 1)
    assert account.client == "second"
    assert asked == second_client
    assert_stays_here(browser, "/bare/", CALENDAR)


def test_client_resolver_is_asked_at_each_request(
    browser: Client, user: Any, second_client: str, settings: Settings
) -> None:
    """Several tenants, several clients."""
    settings.GOOGLE_LINK = {
        **settings.GOOGLE_LINK,
        "CLIENT_RESOLVER": "tests.support.views.client_of",
    }
    make_google_account(user, scopes=[DRIVE], client="second", email="b@gmail.com")

    first, second = (browser.get(f"/home/?client={name}") for name in ("default", "second"))
    required = browser.get("/bare/?client=second")
    elsewhere = browser.get("/bare/")

    assert (first.json()["status"], second.json()["status"]) == ("not_linked", "ready")
    assert first.json()["emails"] == []
    assert required.content == b"b@gmail.com"
    assert authorize_request_of(elsewhere["Location"], user).client == "default"


def test_request_attribute_is_configurable(client: Client, settings: Settings) -> None:
    """Read at each request."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REQUEST_ATTRIBUTE": "linked"}

    assert client.get("/renamed/").content == b"anonymous"


@pytest.mark.matrix
@pytest.mark.parametrize(
    "path", ["/dispatched/", "/gotten/", "/async/dispatched/", "/async/gotten/", "/async/in-urls/"]
)
def test_class_based_view(client: Client, user: Any, path: str) -> None:
    """Decorated as a whole or in part, sync or async."""
    anonymous = client.get(path)
    client.force_login(user)
    before = client.get(path)
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")
    after = client.get(path)

    assert anonymous["Location"].startswith("/login/")
    assert authorize_request_of(before["Location"], user).return_url == path
    assert after.content == b"a@gmail.com"


def test_class_based_view_of_which_one_method_is_decorated(client: Client) -> None:
    """The other methods are open."""
    assert client.post("/gotten/").content == b"posted"
    assert client.put("/gotten/").status_code == 405


@pytest.mark.parametrize("decorator", [google_required, google_aware])
@pytest.mark.parametrize("called", [False, True])
def test_name_and_docstring_stay(decorator: Any, called: bool) -> None:
    """Bare or called."""

    def page(request: Any) -> None:
        """The page."""

    page.login_required = False  # type: ignore[attr-defined]
    view = (decorator(scopes=[CALENDAR]) if called else decorator)(page)

    assert (view.__name__, view.__doc__) == ("page", "The page.")
    assert view.__wrapped__ is page
    assert view.login_required is False


def test_request_without_a_user_or_session_is_anonymous(rf: RequestFactory) -> None:
    """Where no middleware has set one."""
    required, aware = (view(rf.get("/here/?x=1")) for view in (views.bare, views.home))

    assert query_of(required["Location"]) == {"next": "/here/?x=1"}
    assert b'"anonymous"' in aware.content


def test_request_without_a_session_has_declined_nothing(rf: RequestFactory, user: Any) -> None:
    """A user without a session, as of a token, is asked."""
    request = rf.get("/here/")
    request.user = user

    response = views.bare(request)

    assert authorize_request_of(response["Location"], user).return_url == "/here/"


def test_decorated_view_calls_another(browser: Client, user: Any) -> None:
    """Each has a request.google of its own."""
    make_google_account(user, scopes=[CALENDAR])
    missing = browser.get("/twice/")
    GoogleAccount.objects.update(granted_scopes=[CALENDAR, DRIVE])

    assert list(authorize_request_of(missing["Location"], user).required) == [DRIVE]
    assert browser.get("/twice/").content == b"files"


# Nothing stays behind


def test_nothing_leaks_from_one_request_to_the_next(
    client: Client, user: Any, other_user: Any
) -> None:
    """Also after an exception."""
    make_google_account(user, scopes=[CALENDAR], email="a@gmail.com")
    client.force_login(user)
    first = client.get("/home/").json()
    with pytest.raises(ZeroDivisionError):
        client.get("/broken/")

    client.force_login(other_user)
    second = client.get("/home/?x=2").json()
    client.logout()
    third = client.get("/home/").json()

    assert first["emails"] == ["a@gmail.com"]
    assert (second["emails"], second["status"]) == ([], "not_linked")
    assert authorize_request_of(second["authorize_url"], other_user).return_url == "/home/?x=2"
    assert (third["emails"], third["status"]) == ([], "anonymous")


@pytest.mark.parametrize(
    "view", [views.bare, views.elsewhere, views.chosen, views.home, views.async_bare]
)
def test_nothing_that_changes_is_in_the_closure(view: Any) -> None:
    """What all requests share is constant."""
    cells = [cell.cell_contents for cell in view.__closure__]
    requirements = [content for content in cells if isinstance(content, Requirement)]

    assert len(requirements) == 1
    assert hash(requirements[0])
    assert all(callable(cell) or isinstance(cell, bool | Requirement) for cell in cells)


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("url", "status", "queries"),
    [
        ("/bare/", 200, 1),
        ("/agenda/", 200, 1),
        ("/files/", 302, 1),
        ("/insisting/", 200, 1),
        ("/other/", 200, 1),
        ("/silent/", 200, 0),
        ("/twice/", 302, 2),
    ],
)
def test_accounts_are_looked_up_once(
    browser: Client,
    alice: FakeUser,
    url: str,
    status: int,
    queries: int,
    google: FakeGoogle,
    user: Any,
) -> None:
    """However often request.google is asked, and not at all if it is not."""
    link_account(google, user, alice, CALENDAR)

    with CaptureQueriesContext(connection) as captured:
        response = browser.get(url)

    assert response.status_code == status
    assert len(queries_of_ours(captured)) == queries
    assert len(captured) <= queries + 2  # Session and user are Django's.


@pytest.mark.parametrize("url", ["/bare/", "/home/", "/insisting/", "/silent/", "/chosen/"])
def test_accounts_are_not_looked_up_for_nobody(client: Client, url: str) -> None:
    """An anonymous visitor costs nothing."""
    with CaptureQueriesContext(connection) as captured:
        client.get(url)

    assert len(captured) == 0


@pytest.mark.parametrize("decorator", [google_required, google_aware])
def test_scopes_without_their_name_are_refused(decorator: Any) -> None:
    """As ``permission_required`` takes them: it is told at import."""
    with pytest.raises(TypeError, match="Pass options by name: scopes="):
        decorator([CALENDAR])


@pytest.mark.parametrize("decorator", [google_required, google_aware])
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"scope": [CALENDAR]}, r"google_\w+\(\) got an unexpected keyword argument 'scope'"),
        ({"account": "x"}, "a function"),
    ],
)
def test_options_that_cannot_be_meant(
    decorator: Any, options: dict[str, Any], problem: str
) -> None:
    """They are told where they are written, and not at the first request."""
    with pytest.raises(TypeError, match=problem):
        decorator(**options)


@pytest.mark.parametrize("decorator", [google_required, google_aware])
def test_signature_shows_the_options(decorator: Any) -> None:
    """To an editor, to help() and to whoever wraps it."""
    view, *options = inspect.signature(decorator).parameters.values()

    assert view.kind is view.POSITIONAL_ONLY
    assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}
    assert {option.name for option in options} == set(inspect.signature(Requirement.of).parameters)
    assert inspect.getdoc(decorator)
    assert decorator.__module__ == "django_google_link.decorators"
