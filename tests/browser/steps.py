"""What a user does on the example site again and again."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=10_000)

ANNA = "anna@example.com"
WORK = "anna.work@example.org"


def button(page: Page, name: str | re.Pattern[str]) -> None:
    """Press a button, or a link that looks like one."""
    main = page.get_by_role("main")
    main.get_by_role("link", name=name).or_(main.get_by_role("button", name=name)).click()


def allow(page: Page, *, account: str = ANNA, without: str | None = None) -> None:
    """Answer the question of the demo's Google."""
    page.get_by_role("radio", name=re.compile(re.escape(account))).check()
    if without:
        page.get_by_role("checkbox", name=without).uncheck()
    page.get_by_role("button", name="Allow").click()


def wait_until_closed(popup: Page) -> None:
    """Wait for a popup to close. Its event may come before one waits for it: it is asked."""
    app = popup.context.pages[0]
    for _ in range(100):
        if popup.is_closed():
            return
        app.wait_for_timeout(100)
    raise AssertionError(f"The popup is still open: {popup.url}")


def link(page: Page, account: str = ANNA) -> None:
    """Link a Google account on the connections page."""
    page.goto("/google/")
    button(page, re.compile("^Link .* Google account$"))
    allow(page, account=account)
    expect(page.get_by_role("heading", name=account, exact=True)).to_be_visible()


def video(size: int = 3_000_000) -> dict[str, Any]:
    """Return a file as a user chooses it."""
    return {"name": "holiday.mp4", "mimeType": "video/mp4", "buffer": os.urandom(size)}


def choose_video(page: Page) -> None:
    """Fill in the form, and send it."""
    page.get_by_label("Title").fill("Holiday")
    page.get_by_label("File").set_input_files(video())
    button(page, "Upload")
