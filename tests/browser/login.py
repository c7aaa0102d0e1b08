"""How a user logs in to the example site."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def log_in(page: Page, name: str = "anna") -> None:
    """Log in as one of the demo's users."""
    page.goto("/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill("daybook")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/")
