"""What each caller gets whose user has to act first, and that nobody goes in a circle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.models import GoogleAccount
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.apis import link_account, serve_apis
from tests.support.callers import FORMS, NAVIGATIONS, PROGRAMS, ask
from tests.support.constants import CALENDAR, DRIVE, EVENTS, TASKS
from tests.support.flow import visit
from tests.support.statuses import (
    STATUSES,
    assert_is_private,
    assert_leads_on,
    assert_stays_here,
    choice_required,
    visitor,
)
from tests.support.urls import authorize_request_of, query_of

pytestmark = pytest.mark.django_db


# What the caller gets while the user is not ready


@pytest.mark.matrix
@pytest.mark.parametrize("caller", NAVIGATIONS)
@pytest.mark.parametrize("status", STATUSES)
def test_required_navigation_is_redirected(
    client: Client, user: Any, status: str, caller: str
) -> None:
    """To our own page first, and back to the same full path."""
    visitor(client, status, user)

    response = ask(client, NAVIGATIONS[caller])

    assert response.status_code == 302
    assert_leads_on(response["Location"], status, user, back_to="/agenda/?day=1")
    assert_is_private(response)


@pytest.mark.matrix
@pytest.mark.parametrize("caller", FORMS)
@pytest.mark.parametrize("status", STATUSES)
def test_required_form_gets_a_page(client: Client, user: Any, status: str, caller: str) -> None:
    """No redirect turns a POST into a GET, and its URL is no return URL."""
    missing = visitor(client, status, user)

    response = ask(client, FORMS[caller])

    if status == "anonymous":
        assert response.status_code == 302
        url = response["Location"]
    else:
        assert response.status_code == 403
        assert [scope["scope"] for scope in response.context["missing_scopes"]] == missing
        assert response.context["reason"] == status
        url = response.context["authorize_url"]
        assert f'href="{url.replace("&", "&amp;")}"' in response.content.decode()
    assert_leads_on(url, status, user, back_to="/google/")
    assert_is_private(response)


@pytest.mark.matrix
@pytest.mark.parametrize("caller", PROGRAMS)
@pytest.mark.parametrize("status", STATUSES)
def test_required_program_gets_json(client: Client, user: Any, status: str, caller: str) -> None:
    """What a script can read, and for htmx the header that it follows."""
    missing = visitor(client, status, user)
    method, headers = PROGRAMS[caller]

    response = ask(client, PROGRAMS[caller])

    content = response.json()
    url = content.pop("authorize_url")
    assert response.status_code == 403
    assert response["Content-Type"] == "application/json"
    assert content.pop("detail")
    is_startable = status not in {"anonymous", "account_choice_required"}
    assert bool(content.pop("link_request", None)) is is_startable
    assert content.pop("declined") is False
    assert content == {
        "error": "google_authorization_required",
        "reason": status,
        "missing_scopes": missing,
    }
    back_to = "/agenda/?day=1" if method == "GET" else "/google/"
    assert url.startswith("http://testserver/")  # It may be read at another origin.
    assert_leads_on(url, status, user, back_to=back_to)
    # A page of this site follows it, perhaps behind a proxy that speaks https.
    local_url = url.removeprefix("http://testserver") if "hx-request" in headers else None
    assert response.get("HX-Redirect") == local_url
    assert_is_private(response)


@pytest.mark.matrix
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("current", "back_to"),
    [
        ("http://testserver/home/?day=1", "http://testserver/home/?day=1"),
        ("http://evil.example/", None),
        ("javascript:alert(1)", None),
    ],
)
def test_htmx_comes_back_to_the_whole_page(
    browser: Client, user: Any, method: str, current: str, back_to: str | None
) -> None:
    """Not to the part of it that was asked for; and not to another site."""
    headers = {"accept": "*/*", "hx-request": "true", "hx-current-url": current}

    response = ask(browser, (method, headers))

    own = "/agenda/?day=1" if method == "GET" else "/google/"
    assert authorize_request_of(response["HX-Redirect"], user).return_url == (back_to or own)


# No circles


@pytest.mark.slow
def test_declined_in_part_shows_a_page_and_try_again_works(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Never Google by itself; the button leads there."""
    page, visits = visit(browser, google, "/words/", user=alice, grant=[CALENDAR])

    stays = assert_stays_here(browser, "/words/", DRIVE)
    again, more = visit(browser, google, stays.context["authorize_url"], user=alice)
    assert (page.status_code, visits) == (403, 1)
    assert stays.context["reason"] == "missing_scopes"
    assert (again.content, more) == (b"words", 1)
    assert browser.get("/bare/").content == b"alice@gmail.com"


def test_declined_altogether_shows_a_page(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """Who cancels is left alone, on every page that needs the same."""
    serve_apis(google)
    page, visits = visit(browser, google, "/agenda/", user=alice, deny=True)

    stays = assert_stays_here(browser, "/agenda/", CALENDAR)
    assert_stays_here(browser, "/any-account/")
    again, _ = visit(browser, google, stays.context["authorize_url"], user=alice)
    assert (page.status_code, visits) == (403, 1)
    assert stays.context["reason"] == "not_linked"
    assert again.json()["events"] == EVENTS


def test_declined_does_not_bar_other_pages(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """One scope left out is no reason not to ask for another."""
    visit(browser, google, "/words/", user=alice, grant=[CALENDAR])
    account = GoogleAccount.objects.get()
    account.granted_scopes = [*IDENTITY_SCOPES]
    account.save()

    response = browser.get("/agenda/")

    assert response.status_code == 302


def test_declined_optional_scope_changes_nothing(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """An optional scope may be left out: the view runs, and nobody is asked again."""
    response, visits = visit(browser, google, "/files/", user=alice, grant=[DRIVE])

    assert (response.content, visits) == (b"files", 1)


@pytest.mark.slow
def test_declined_inside_the_view_shows_a_page(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """What the view itself found missing counts as well."""
    serve_apis(google)
    visit(browser, google, "/bare/", user=alice)

    page, visits = visit(browser, google, "/greedy/", user=alice, grant=[CALENDAR])

    stays = assert_stays_here(browser, "/greedy/", DRIVE)
    again, _ = visit(browser, google, stays.context["authorize_url"], user=alice)
    assert (page.status_code, visits) == (403, 1)
    assert again.json() == {"user": {"emailAddress": "alice@gmail.com"}}


def test_declined_is_still_told_to_programs(
    browser: Client, google: FakeGoogle, alice: FakeUser
) -> None:
    """A script gets its JSON in any case: it decides itself what to do."""
    visit(browser, google, "/agenda/", user=alice, deny=True)

    response = ask(browser, PROGRAMS["fetch"])

    assert response.json()["reason"] == "not_linked"


def test_declined_and_then_anonymous_is_asked_to_log_in(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What one user refused is nothing to the next one in the same browser."""
    visit(browser, google, "/agenda/", user=alice, deny=True)
    browser.logout()

    anonymous = browser.get("/agenda/")
    browser.force_login(user)

    assert anonymous["Location"].startswith("/login/")
    assert browser.get("/agenda/")["Location"].startswith("/google/authorize/")


def test_shrunk_by_a_refresh_asks_once(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """What an administrator took away is asked for, once: the API says so in the same request."""
    link_account(google, user, alice, CALENDAR)
    google.set_scopes(alice, IDENTITY_SCOPES)
    google.expire_access_tokens()

    page, visits = visit(browser, google, "/agenda/", user=alice, grant=[])

    assert (page.status_code, visits) == (403, 1)
    assert_stays_here(browser, "/agenda/", CALENDAR)


def test_wrong_account_chosen_does_not_go_in_a_circle(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """A page offers the choice, and the view does not go to Google again."""
    bob = google.add_user("bob@gmail.com")
    link_account(google, user, alice)

    offer, visits = visit(browser, google, "/agenda/", user=bob)

    assert (offer.status_code, visits) == (409, 1)
    assert_stays_here(browser, "/agenda/", CALENDAR)
    added, _ = visit(browser, google, offer.context["add_url"], user=bob)
    assert added.json()["events"] == EVENTS


@pytest.mark.slow
def test_wrong_account_for_a_chosen_one_does_not_go_in_a_circle(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The account that a view insists on stays the one that is asked for."""
    bob = google.add_user("bob@gmail.com")
    account = link_account(google, user, alice)
    url = f"/chosen/{account.pk}/"

    offer, _ = visit(browser, google, url, user=bob)
    added, visits = visit(browser, google, offer.context["add_url"], user=bob)

    # Bob's account is linked, Alice's is asked for once more, and then there is a page.
    assert (added.status_code, visits) == (409, 2)
    assert set(GoogleAccount.objects.values_list("sub", flat=True)) == {alice.sub, bob.sub}
    assert_stays_here(browser, url, CALENDAR)


def test_unlinked_in_another_tab_starts_afresh(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The link in a page that lay open still leads to the end."""
    account = link_account(google, user, alice)
    start = browser.get("/agenda/")["Location"]
    account.unlink()

    response, visits = visit(browser, google, start, user=alice)

    assert (response.json()["events"], visits) == (EVENTS, 1)


def test_choice_of_account_leads_back_to_the_page(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """The user chooses the default account, and the page works."""
    link_account(google, user, google.add_user("bob@gmail.com"), CALENDAR)
    account = link_account(google, user, alice, CALENDAR)
    GoogleAccount.objects.update(is_default=False)

    page, visits = visit(browser, google, "/bare/?x=1")
    chosen = browser.post(f"/google/{account.pk}/make-default/", {"next": page.context["next"]})

    assert (page.status_code, visits) == (200, 0)
    assert chosen["Location"] == "/bare/?x=1"
    assert browser.get("/bare/?x=1").content == b"alice@gmail.com"


def test_choice_of_account_after_declining_is_still_offered(
    browser: Client, user: Any, google: FakeGoogle, alice: FakeUser
) -> None:
    """Our own page is not Google: who once cancelled may well choose."""
    visit(browser, google, "/agenda/", user=alice, deny=True)
    choice_required(user)

    assert browser.get("/agenda/")["Location"].startswith("/google/?next=")
    assert not ask(browser, FORMS["form"]).context["declined"]


# The page itself


def page_of(browser: Client, url: str = "/agenda/") -> str:
    """Return the page that a form gets."""
    response = ask(browser, FORMS["form"], url)
    assert response.status_code == 403
    page: str = response.content.decode()
    return page


@pytest.mark.matrix
@pytest.mark.parametrize("status", sorted(set(STATUSES) - {"anonymous"}))
def test_page_is_well_made(client: Client, user: Any, status: str) -> None:
    """A language, a title, one heading, a main landmark; nothing that a strict CSP forbids."""
    visitor(client, status, user)

    page = page_of(client)

    assert '<html lang="en-us"' in page
    assert "<title>Your permission is needed</title>" in page
    assert page.count("<h1>") == page.count("</h1>") == 1
    assert page.count("<main>") == page.count("</main>") == 1
    assert "<script" not in page
    assert "<style" not in page
    assert "style=" not in page
    assert " on" not in page[page.index("<body") : page.index("<h1")]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("status", "words", "button"),
    [
        ("not_linked", "This page uses your Google account.", "Continue to Google"),
        ("missing_scopes", "needs permissions that you have not granted", "Continue to Google"),
        ("needs_reauthorization", "no longer works", "Continue to Google"),
        ("account_choice_required", "You have linked several accounts.", "Choose an account"),
    ],
)
def test_page_says_what_is_the_matter(
    client: Client, user: Any, status: str, words: str, button: str
) -> None:
    """What is missing, why, and what the button does; no blame where nothing was declined."""
    missing = visitor(client, status, user)

    page = page_of(client)

    assert words in page
    assert f">{button}</a>" in page
    # Who has to choose an account may have granted all of it.
    is_asked_for = bool(missing) and status != "account_choice_required"
    assert ("See your calendars and their events" in page) is is_asked_for
    assert "You declined this" not in page


def test_page_escapes_what_comes_from_outside(browser: Client, user: Any) -> None:
    """Names of accounts are Google's; they are shown, and are no markup."""
    make_google_account(user, email="")
    GoogleAccount.objects.update(name="<script>alert('x')</script>")

    page = page_of(browser)

    assert "<script" not in page
    assert "Google account &lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;, and" in page


def test_page_escapes_scopes(browser: Client, user: Any, configure: Callable[..., None]) -> None:
    """A scope without a description is shown as it is, and is no markup."""
    configure(SCOPES=['"><b>scope</b>'])

    page = page_of(browser, "/bare/")

    assert "<b>" not in page
    assert "&quot;&gt;&lt;b&gt;scope&lt;/b&gt;" in page


def test_page_leads_back(browser: Client, settings: Settings) -> None:
    """Who does not want to can go where REDIRECT_URL says."""
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "REDIRECT_URL": "login"}

    page = page_of(browser)

    assert '<a class="google-link-button" href="/login/">Not now</a>' in page


def test_json_tells_no_secret(browser: Client, user: Any) -> None:
    """ASVS 10.1.1: tokens never reach the browser, not even sealed or signed."""
    account = make_google_account(
        user, scopes=[TASKS], refresh_token="1//secret", access_token="ya29.secret"
    )

    response = ask(browser, PROGRAMS["fetch"])

    signed = AuthorizeRequest.unsign(
        query_of(response.json()["authorize_url"])["request"], user=str(user.pk), host="testserver"
    )
    seen = response.content.decode() + repr(signed)
    assert "secret" not in seen
    assert account.sealed_refresh_token not in seen
    assert account.sealed_access_token not in seen


@pytest.mark.matrix
@pytest.mark.parametrize("caller", ["browser", "form", "fetch"])
@pytest.mark.parametrize("status", STATUSES)
def test_aware_view_that_does_not_ask_gets_the_same_answer(
    client: Client, user: Any, status: str, caller: str
) -> None:
    """What the view raises is answered in the same words."""
    visitor(client, status, user)
    callers = {**NAVIGATIONS, **FORMS, **PROGRAMS}

    response = ask(client, callers[caller], "/careless/?day=1")

    back_to = "/google/" if caller == "form" else "/careless/?day=1"
    if caller == "fetch":
        assert response.json()["reason"] == status
        url = response.json()["authorize_url"]
    elif caller == "form" and status != "anonymous":
        assert response.context["reason"] == status
        url = response.context["authorize_url"]
    else:
        url = response["Location"]
    assert_leads_on(url, status, user, back_to=back_to)
