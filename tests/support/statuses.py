"""States in which a user has to act first, and the responses that say so."""

from __future__ import annotations

from typing import Any

from django.test import Client

from django_google_link.models import GoogleAccount, Status
from django_google_link.testing.accounts import make_google_account
from tests.support.callers import HTML
from tests.support.constants import CALENDAR, TASKS
from tests.support.urls import authorize_request_of, query_of


def anonymous(user: Any) -> None:
    """The user is not logged in."""


def not_linked(user: Any) -> None:
    """No account is linked."""


def scopes_missing(user: Any) -> None:
    """The linked account lacks scopes."""
    make_google_account(user, scopes=[TASKS], sub="42")


def grant_lost(user: Any) -> None:
    """Google has revoked the grant."""
    make_google_account(
        user,
        scopes=[CALENDAR],
        sub="42",
        status=Status.NEEDS_REAUTHORIZATION,
        status_reason="revoked",
    )


def choice_required(user: Any) -> None:
    """Two accounts would do, and neither is the default."""
    for _ in range(2):
        make_google_account(user, scopes=[CALENDAR])
    GoogleAccount.objects.update(is_default=False)


STATUSES = {
    "anonymous": (anonymous, [CALENDAR]),
    "not_linked": (not_linked, [CALENDAR]),
    "missing_scopes": (scopes_missing, [CALENDAR]),
    "needs_reauthorization": (grant_lost, []),
    "account_choice_required": (choice_required, [CALENDAR]),
}


def visitor(client: Client, status: str, user: Any) -> list[str]:
    """Bring the user into this state; return the scopes that are missing then."""
    arrange, missing = STATUSES[status]
    arrange(user)
    if status != "anonymous":
        client.force_login(user)
    return missing


def assert_leads_on(url: str, status: str, user: Any, *, back_to: str) -> None:
    """Check that a URL starts what this user has to do, and returns to the page."""
    url = url.removeprefix("http://testserver")
    if status == "anonymous":
        assert url.startswith("/login/?")
        assert query_of(url) == {"next": back_to}
    elif status == "account_choice_required":
        assert url.startswith("/google/?")
        assert query_of(url) == {"next": back_to}
    else:
        wanted = authorize_request_of(url, user)
        assert wanted.return_url == back_to
        assert list(wanted.required) == [CALENDAR]
        assert wanted.account == ("" if status == "not_linked" else "42")


def assert_is_private(response: Any) -> None:
    """Check that no cache may store this response, and that ``Vary`` is complete."""
    assert "no-store" in response["Cache-Control"]
    assert "private" in response["Cache-Control"]
    vary = {name.strip() for name in response["Vary"].split(",")}
    assert vary >= {"Accept", "HX-Current-URL", "HX-Request", "Sec-Fetch-Mode", "X-Requested-With"}


def assert_stays_here(browser: Client, url: str, *missing: str) -> Any:
    """Check that this page says what is missing, however often it is visited; return it."""
    for _ in range(3):
        page = browser.get(url, headers={"accept": HTML})
        assert page.status_code == 403
        assert page.context["declined"]
        assert [scope["scope"] for scope in page.context["missing_scopes"]] == list(missing)
        assert "You declined this, or cancelled" in page.content.decode()
    return page
