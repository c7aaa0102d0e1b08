"""Every page of the example, of the app and of its admin, on a small phone and on a desk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_project.demo.process import Demo
from tests.browser.login import log_in
from tests.browser.single_page import expect_notice, link_in_popup, open_popup
from tests.browser.steps import ANNA, WORK, allow, button, choose_video, expect, link

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.node]

PHONE = {"width": 360, "height": 640}
DESK = {"width": 1100, "height": 800}

# WCAG 2.2 up to AA, and what axe calls best practice.
RUN_AXE = """exclude => axe.run({exclude}, {resultTypes: ["violations"]}).then(result =>
    result.violations.map(({id, impact, help, nodes}) =>
        `${id} (${impact}): ${help}: ${nodes.map(node => node.html).join(" ")}`))"""

# The label of the admin's search field is a picture, and a link beside it has no line.
DJANGOS_OWN = ["#changelist-search"]


@pytest.fixture(scope="module")
def axe(node_modules: Path) -> Path:
    """The checker."""
    return node_modules / "axe-core" / "axe.min.js"


class Visitor:
    """Somebody who looks closely at each page."""

    def __init__(self, page: Page, axe: Path) -> None:
        self.page = page
        self.axe = axe
        self.seen: list[str] = []

    def look(self, heading: str, *, is_ours: bool = True) -> None:
        """Look at the page that has this heading; Django's own admin pages may be wide."""
        expect(self.page.get_by_role("heading", name=heading).first).to_be_visible()
        self.page.add_script_tag(path=str(self.axe))
        assert self.page.evaluate(RUN_AXE, [] if is_ours else DJANGOS_OWN) == [], heading
        width = self.page.viewport_size["width"]
        assert not is_ours or self.page.evaluate("document.documentElement.scrollWidth") <= width
        self.seen.append(heading)


@pytest.fixture(params=["light on a desk", "dark on a phone", "dark on a desk"])
def visitor(
    request: pytest.FixtureRequest,
    demo: Demo,
    open_browser: Callable[..., BrowserContext],
    axe: Path,
) -> Visitor:
    """One for each of these."""
    scheme, _, place = request.param.split(" ", 2)
    context = open_browser(
        base_url=demo.site,
        bypass_csp=True,  # for axe; the other tests keep to it
        color_scheme=scheme,
        viewport=PHONE if "phone" in place else DESK,
    )
    return Visitor(context.new_page(), axe)


def test_pages_of_users(visitor: Visitor) -> None:
    """From the first visit to the end of a link, with all that may go wrong in between."""
    page, look = visitor.page, visitor.look

    page.goto("/")
    look("Your days and your files")
    page.goto("/login/")
    look("Log in")
    page.get_by_label("Username").fill("anna")
    page.get_by_role("button", name="Log in").click()
    log_in(page)
    look("First, link a Google account")
    page.goto("/google/")
    look("Linked Google accounts")
    page.goto("/agenda/")
    look("An app wants access to your account")
    page.get_by_role("button", name="Cancel").click()
    look("You cancelled")
    page.goto("/agenda/")
    look("Your permission is needed")
    button(page, "Continue to Google")
    allow(page)
    look("Agenda")
    link(page, WORK)
    look("Linked Google accounts")
    page.get_by_role("link", name="Label").first.click()
    look("Label ")
    page.get_by_label("Label").fill("Home")
    button(page, "Save")
    page.get_by_role("link", name="Unlink").first.click()
    look("Unlink")
    page.goto("/")
    look("Linked with Google")
    page.goto("/files/")
    allow(page)
    look("Files")
    page.goto("/files/?page=nonsense")
    look("Google refused the request")
    page.goto("/videos/")
    allow(page)
    look("Videos")
    choose_video(page)
    look("Holiday")
    page.goto("/google/callback/?state=nonsense")
    look("Your account was not linked")
    page.goto("/nowhere/")
    look("Page not found")

    assert len(visitor.seen) == 18


def test_single_page_app(visitor: Visitor, demo: Demo) -> None:
    """Its screens and dialogs, and what it says of what has gone wrong."""
    page, look = visitor.page, visitor.look

    page.goto(demo.app)
    look("Log in")
    page.get_by_label("Username").fill("anna")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect_notice(page, "No active account")
    look("Log in")
    page.get_by_label("Password").fill("daybook")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("needs your permission")).to_be_visible()
    look("Accounts and agenda")
    popup = open_popup(page)
    look("Accounts and agenda")
    allow(popup)
    expect(page.get_by_text("Dentist")).to_be_visible()
    look("Accounts and agenda")
    link_in_popup(page, WORK)
    page.get_by_role("button", name=f"Label {WORK}").click()
    look("Label this account")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name=f"Unlink {WORK}").click()
    look(f"Unlink {WORK}?")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    allow(open_popup(page, f"Link again {ANNA}"), account=WORK)
    expect_notice(page, f"You chose {WORK}")
    look("Accounts and agenda")
    page.goto(f"{demo.app}/linked/")
    expect_notice(page, "without a response from Google")
    look("Back from Google")

    assert len(visitor.seen) == 9


def test_page_of_another_account(visitor: Visitor) -> None:
    """Who chooses another account than the one that was asked for is asked what to do."""
    page = visitor.page
    log_in(page)
    link(page)
    page.goto("/files/")

    allow(page, account=WORK)

    visitor.look("You chose another account")


def test_pages_of_operators(visitor: Visitor) -> None:
    """The admin, with a link of Anna's in it and a revocation that waits."""
    page = visitor.page
    log_in(page)
    link(page)
    page.get_by_role("button", name="Log out").click()
    log_in(page, "olga")

    page.goto("/admin/google_link/googleaccount/")
    visitor.look("Select Google account to view", is_ours=False)
    page.get_by_role("link", name="anna@example.com").first.click()
    visitor.look("View Google account", is_ours=False)
    page.locator("a.deletelink").click()
    visitor.look("Summary", is_ours=False)
    page.goto("/admin/google_link/googleaccount/")
    page.get_by_role("row").last.get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option("delete_selected")
    page.get_by_role("button", name="Go").or_(page.get_by_role("button", name="Run")).click()
    visitor.look("Summary", is_ours=False)
    page.goto("/admin/google_link/pendingrevocation/")
    visitor.look("pending revocation", is_ours=False)
    page.goto("/admin/google_link/historyentry/")
    visitor.look("link history entry", is_ours=False)
