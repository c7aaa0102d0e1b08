"""The page for another account than was expected: which came, and which was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from django_google_link.accounts.authorize_links import AuthorizeRequest
from django_google_link.models import GoogleAccount
from django_google_link.scopes import IDENTITY_SCOPES
from django_google_link.testing import FakeGoogle, FakeUser
from django_google_link.testing.accounts import make_google_account
from tests.support.constants import CALENDAR
from tests.support.urls import authorize_request_of, local

pytestmark = pytest.mark.django_db


def come_as(browser: Client, google: FakeGoogle, who: FakeUser, *, instead_of: str) -> Any:
    """Start to link one account, and come back with another."""
    start = AuthorizeRequest(
        user=browser.session["_auth_user_id"],
        host="testserver",
        client="default",
        scopes=(*IDENTITY_SCOPES, CALENDAR),
        required=(CALENDAR,),
        return_url="/agenda/",
        account=instead_of,
    ).url()
    to_google = browser.get(start)["Location"].replace(f"login_hint={instead_of}", "")
    return browser.get(local(google.consent(to_google, user=who)))


def test_page_names_both_accounts_in_their_places(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """To go on with the one, or to link the other as well: each button starts what it says."""
    make_google_account(user, sub="42", email="expected@gmail.com")

    response = come_as(browser, google, alice, instead_of="42")
    text = response.content.decode()

    assert response.status_code == 409
    assert "asked to choose expected@gmail.com, but you chose alice@gmail.com" in text
    assert "Continue with expected@gmail.com" in text
    assert "Link alice@gmail.com as well" in text
    assert authorize_request_of(response.context["try_url"], user).account == "42"
    assert authorize_request_of(response.context["add_url"], user).account == alice.sub


def test_page_names_the_other_where_the_one_is_gone(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """Nobody knows the address of what was unlinked."""
    text = come_as(browser, google, alice, instead_of="42").content.decode()

    assert (
        "You chose alice@gmail.com, which is not the account that you were asked to choose" in text
    )
    assert "Try again" in text
    assert "Link alice@gmail.com as well" in text
    assert not GoogleAccount.objects.exists()


def test_page_tells_accounts_of_one_address_apart(
    browser: Client, google: FakeGoogle, alice: FakeUser, user: Any
) -> None:
    """It may have been deleted at Google, and made again."""
    make_google_account(user, sub="42", email=alice.email)

    text = come_as(browser, google, alice, instead_of="42").content.decode()

    assert f"another Google account with the address {alice.email}" in text
    assert "has the same address, but it is a different account" in text
