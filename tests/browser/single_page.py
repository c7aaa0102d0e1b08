"""What a user does in the single-page app, and what the tests ask its API for."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

from example_project.demo.process import Demo
from tests.browser.steps import ANNA, allow, expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


class Api:
    """The API of the example, for one of its users.

    Args:
        demo: that runs.
        name: of the user.
    """

    def __init__(self, demo: Demo, name: str = "anna") -> None:
        self._url = f"{demo.site}/api/"
        self._headers = {"Content-Type": "application/json"}
        tokens = self.send("POST", "token/", {"username": name, "password": "daybook"})
        self._headers["Authorization"] = f"Bearer {tokens['access']}"

    def send(self, method: str, path: str, data: Any = None) -> Any:
        """Return the answer's content."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(
            self._url + path, data=body, headers=self._headers, method=method
        )
        with urllib.request.urlopen(request) as response:
            content = response.read()
        return json.loads(content) if content else None

    def emails(self) -> list[str]:
        """Return what is linked."""
        accounts = self.send("GET", "google/accounts/")["accounts"]
        return sorted(account["email"] for account in accounts)

    def unlink_all(self) -> None:
        """Begin afresh."""
        for account in self.send("GET", "google/accounts/")["accounts"]:
            self.send("DELETE", f"google/accounts/{account['id']}/")


def log_in_to_app(page: Page) -> None:
    """Log in to the app as Anna, and see her accounts."""
    page.goto("/")
    page.get_by_label("Username").fill("anna")
    page.get_by_label("Password").fill("daybook")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Accounts and agenda")).to_be_visible()
    expect(page.get_by_text("needs your permission")).to_be_visible()


def open_popup(page: Page, button: str = "Link a Google account") -> Page:
    """Press a button that opens a popup, and return it with Google's question in it."""
    with page.expect_popup() as opened:
        page.get_by_role("button", name=button).click()
    popup = opened.value
    expect(popup.get_by_role("heading", name="An app wants access")).to_be_visible()
    return popup


def link_in_popup(page: Page, account: str = ANNA) -> None:
    """Link an account."""
    allow(open_popup(page), account=account)
    expect(page.get_by_role("heading", name=account)).to_be_visible()


def expect_notice(page: Page, text: str) -> None:
    """Wait until the app says this."""
    expect(page.get_by_role("status")).to_contain_text(text)
