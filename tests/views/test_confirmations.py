"""What the pages tell users besides their matter: what was done, and the way back to the site."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import set_script_prefix
from pytest_django import Settings

from django_google_link.conf import clock
from django_google_link.models import GoogleAccount, Status
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR, DRIVE
from tests.support.flow import link
from tests.support.providers import play_provider
from tests.support.signals import heard

pytestmark = pytest.mark.django_db

MORE = "has been linked, and this site has the additional permissions."


def read_messages(response: Any) -> list[str]:
    """Return what the next page would say."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_linking_is_confirmed(browser: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """The first time, with more scopes, and once more with the same."""
    first = read_messages(link(browser, google, alice))
    GoogleAccount.objects.update(label="Home")
    same = read_messages(link(browser, google, alice, browser.get("/google/").context["add_url"]))

    assert first == ["alice@gmail.com has been linked."]
    assert same == ["Home (alice@gmail.com) has been linked again."]


def test_more_scopes_are_confirmed(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Also where a lost link is made to work again."""
    make_google_account(user, sub=alice.sub, scopes=[DRIVE], status=Status.NEEDS_REAUTHORIZATION)
    url = browser.get("/google/").context["accounts"][0]["authorize_url"]

    messages = read_messages(link(browser, google, alice, url))

    assert messages == [f"alice@gmail.com {MORE}"]
    assert not GoogleAccount.objects.get().missing_scopes(CALENDAR)


def test_message_is_shown_once(browser: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """On the page that comes next."""
    link(browser, google, alice)

    assert "alice@gmail.com has been linked." in browser.get("/google/").content.decode()
    assert "has been linked." not in browser.get("/google/").content.decode()


def test_refusal_is_no_news(browser: Client, google: FakeGoogle, alice: FakeUser) -> None:
    """Nothing was done."""
    assert read_messages(link(browser, google, alice, deny=True)) == []


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("unlink", "<b>Home</b> (anna@gmail.com) has been unlinked."),
        ("make-default", "<b>Home</b> (anna@gmail.com) is now your default account."),
    ],
)
def test_actions_are_confirmed(
    browser: Client, google: FakeGoogle, user: Any, action: str, message: str
) -> None:
    """With the label and the address of the account, and no markup in them counts."""
    account = make_google_account(user, email="anna@gmail.com")
    GoogleAccount.objects.update(label="<b>Home</b>")

    response = browser.post(f"/google/{account.pk}/{action}/")

    assert read_messages(response) == [message]
    assert "<b>Home" not in browser.get("/google/").content.decode()


@pytest.mark.parametrize(
    ("before", "typed", "messages"),
    [
        ("", "Home", ["anna@gmail.com is now called “Home”."]),
        ("Work", " Home\n", ["anna@gmail.com is now called “Home”."]),
        ("Work", "", ["The label of anna@gmail.com has been removed."]),
        ("Home", "Home", []),
        ("", " ", []),
    ],
)
def test_label_is_confirmed(
    browser: Client, google: FakeGoogle, user: Any, before: str, typed: str, messages: list[str]
) -> None:
    """Where it is another than before."""
    account = make_google_account(user, email="anna@gmail.com")
    GoogleAccount.objects.update(label=before)

    response = browser.post(f"/google/{account.pk}/label/", {"label": typed})

    assert read_messages(response) == messages


@pytest.mark.parametrize("missing", ["app", "middleware", "both", "processor"])
def test_site_without_messages(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    settings: Settings,
    missing: str,
) -> None:
    """Nothing is confirmed, and all the rest works."""
    if missing in {"app", "both"}:
        settings.INSTALLED_APPS = [
            name for name in settings.INSTALLED_APPS if name != "django.contrib.messages"
        ]
    if missing in {"middleware", "both"}:
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "messages" not in name]
    if missing == "processor":
        [templates] = settings.TEMPLATES
        settings.TEMPLATES = [{**templates, "OPTIONS": {}}]
    linked = link(browser, google, alice)
    account = GoogleAccount.objects.get()
    assert linked["Location"] == "/google/"

    assert browser.post(f"/google/{account.pk}/label/", {"label": "Home"}).status_code == 302
    assert browser.post(f"/google/{account.pk}/make-default/").status_code == 302
    assert browser.post(f"/google/{account.pk}/unlink/").status_code == 302
    page = browser.get("/google/")
    assert page.status_code == 200
    assert "google-link-messages" not in page.content.decode()
    if missing != "processor":
        assert read_messages(page) == []


@pytest.mark.parametrize("action", ["label", "unlink", "make-default"])
def test_page_of_an_account_that_is_gone(
    browser: Client, google: FakeGoogle, user: Any, other_user: Any, action: str
) -> None:
    """It says so, and says the same of what never was and of what is somebody else's."""
    account = make_google_account(user)
    theirs = make_google_account(other_user)
    browser.post(f"/google/{account.pk}/unlink/")
    browser.get("/google/")  # which says that it was unlinked

    with heard() as news:
        pages = [browser.post(f"/google/{pk}/{action}/") for pk in (account.pk, theirs.pk, uuid4())]

    [page] = {page.content for page in pages}
    assert {page.status_code for page in pages} == {404}
    assert b"This account is not linked" in page
    assert b"no-store" in pages[0].headers["Cache-Control"].encode()
    assert news == []


def test_unlinking_twice_says_so(browser: Client, google: FakeGoogle, user: Any) -> None:
    """As by a double click, or in two tabs."""
    account = make_google_account(user)

    first = browser.post(f"/google/{account.pk}/unlink/")
    second = browser.post(f"/google/{account.pk}/unlink/")

    assert first.status_code == 302
    assert b"It has already been unlinked" in second.content
    assert second.context["back_url"] == "/google/"


def test_unlinking_names_the_address(browser: Client, google: FakeGoogle, user: Any) -> None:
    """A label alone does not say which account it is."""
    account = make_google_account(user, email="anna@gmail.com")
    GoogleAccount.objects.update(label="Home")

    page = browser.get(f"/google/{account.pk}/unlink/").content.decode()

    assert "Unlink Home (anna@gmail.com)?" in page


def test_choosing_another_account_names_both_addresses(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """So does the page that tells two accounts apart."""
    make_google_account(
        user, sub="1", email="home@gmail.com", scopes=[DRIVE], status=Status.NEEDS_REAUTHORIZATION
    )
    GoogleAccount.objects.update(label="Home")
    url = browser.get("/google/").context["accounts"][0]["authorize_url"]

    page = link(browser, google, alice, url).content.decode()

    assert "You were asked to choose Home (home@gmail.com), but you chose alice@gmail.com" in page


@pytest.fixture
def mounted() -> Iterator[None]:
    """A site below a path."""
    set_script_prefix("/daybook/")
    yield
    set_script_prefix("/")


@pytest.mark.parametrize(
    ("url", "href"),
    [
        ("/welcome/", "/welcome/"),
        ("google_link:accounts", "/google/"),
        ("https://www.example.com/start", "https://www.example.com/start"),
        ("no-such-name", "/"),
        ("", "/"),
    ],
)
def test_pages_lead_back_to_the_site(
    browser: Client, google: FakeGoogle, user: Any, settings: Settings, url: str, href: str
) -> None:
    """To where those go who log in; each page does."""
    settings.LOGIN_REDIRECT_URL = url
    account = make_google_account(user)

    for path in (
        "",
        "failed/",
        f"{account.pk}/label/",
        f"{account.pk}/unlink/",
        "authorize/?request=x",
    ):
        page = browser.get(f"/google/{path}")
        assert f'<a href="{href}">Back to the site</a>' in page.content.decode(), path


def test_pages_lead_to_the_root_by_default(browser: Client, google: FakeGoogle) -> None:
    """Django's default is a page that few sites have."""
    assert browser.get("/google/").context["home_url"] == "/"


def test_pages_of_a_mounted_site_lead_to_its_root(
    browser: Client, google: FakeGoogle, mounted: None
) -> None:
    """And not to that of the server."""
    page = browser.get("/google/", SCRIPT_NAME="/daybook")

    assert page.context["home_url"] == "/daybook/"


def test_accounts_page_has_dates(browser: Client, google: FakeGoogle, user: Any) -> None:
    """When each was linked, and last used, if it was."""
    make_google_account(user)
    GoogleAccount.objects.update(linked_at=clock.now().replace(2026, 2, 3, 12), last_used_at=None)
    unused = browser.get("/google/").content.decode()
    GoogleAccount.objects.update(last_used_at=clock.now().replace(2026, 4, 5, 12))

    used = browser.get("/google/").content.decode()

    assert f"Linked: {spell(2026, 2, 3)}" in unused
    assert "Last used" not in unused
    assert f"Last used: {spell(2026, 4, 5)}" in used


def spell(*date: int) -> str:
    """Return a date as English pages have it."""
    return datetime(*date).strftime("%b. %-d, %Y").replace("Apr.", "April")  # type: ignore[arg-type]


def test_accounts_page_leads_to_googles(browser: Client, google: FakeGoogle, user: Any) -> None:
    """Where users see what they have given to sites, and take it back."""
    nobody = browser.get("/google/").content.decode()
    make_google_account(user)

    page = browser.get("/google/").content.decode()

    assert "myaccount.google.com" not in nobody
    assert 'href="https://myaccount.google.com/connections" rel="noreferrer"' in page


def test_accounts_page_of_another_provider_does_not_lead_to_google(
    browser: Client, google: FakeGoogle, user: Any, settings: Settings
) -> None:
    """Google knows nothing of accounts that are not its own."""
    play_provider(google, settings, name="video")
    make_google_account(user, client="video")

    assert "myaccount" not in browser.get("/google/").content.decode()

    make_google_account(user)
    assert "myaccount" in browser.get("/google/").content.decode()
