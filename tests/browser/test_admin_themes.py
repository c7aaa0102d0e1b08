"""The app's pages in the admin, in Django's own theme and in others.

With ``SCREENSHOTS`` in the environment, the name of a directory, pictures of them are left there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_project.demo.process import Demo, running_demo
from tests.browser.contact_sheet import write_contact_sheets
from tests.browser.login import log_in
from tests.browser.steps import ANNA, expect, link
from tests.documentation.pages import blocks, text_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

SIZE = {"width": 1200, "height": 800}

# What is wider than what shows it has to be scrolled to.
FIND_CUT = """() => [...document.querySelectorAll("#result_list, #result_list td, #result_list th")]
    .filter(cell => cell.getBoundingClientRect().right > document.documentElement.clientWidth
        || cell.scrollWidth > cell.clientWidth + 1 && getComputedStyle(cell).overflow !== "visible")
    .map(cell => cell.className || cell.id)"""
FIND_HIDDEN = """() => {
    const table = document.querySelector("#result_list");
    for (let box = table.parentElement; box; box = box.parentElement) {
        if (box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible")
            return `${box.className}: ${box.scrollWidth} in ${box.clientWidth}`;
    }
    return "";
}"""


@pytest.fixture(params=["django", "unfold", "jazzmin"], scope="module")
def theme(request: pytest.FixtureRequest) -> str:
    """What the admin looks like."""
    return str(request.param)


@pytest.fixture(scope="module")
def themed(theme: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The example with a theme, and the ``admin.py`` of the guide where that needs one."""
    if theme != "django":
        pytest.importorskip(theme)
    folder = tmp_path_factory.mktemp(theme)
    app = folder / "themed"
    app.mkdir()
    (app / "__init__.py").touch()
    [code] = blocks(text_of("howto/admin-themes"))
    (app / "admin.py").write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ADMIN_THEME", theme)
        with running_demo(folder, settings="tests.browser.themed_settings") as demo:
            yield demo


def assert_whole(page: Page, name: str, folder: Path) -> None:
    """Find no column of a list that is cut, and keep a picture of it."""
    page.goto(f"/admin/google_link/{name}/")
    expect(page.locator("#result_list")).to_be_visible()
    page.screenshot(path=folder / f"{name}.png")
    assert page.evaluate(FIND_CUT) == []
    assert page.evaluate(FIND_HIDDEN) == ""


def test_lists_are_whole_and_their_actions_work(
    themed: Demo, open_browser: Callable[..., BrowserContext], tmp_path: Path
) -> None:
    """No column is cut, and what is chosen for a row can be run."""
    page = open_browser(base_url=themed.site, viewport=SIZE).new_page()
    log_in(page)
    link(page)
    page.get_by_role("button", name="Log out").click()
    log_in(page, "olga")

    for name in ("googleaccount", "historyentry"):
        assert_whole(page, name, tmp_path)
    page.goto("/admin/google_link/googleaccount/")
    page.locator("#result_list tbody input.action-select").first.check()
    page.locator("select[name=action]").first.select_option("check_now")
    page.get_by_role("button", name="Go").or_(page.get_by_role("button", name="Run")).first.click()

    expect(page.get_by_text(f"The grant is still valid ({ANNA})")).to_be_visible()
    page.get_by_role("link", name=ANNA).first.click()
    expect(page.get_by_text("Grant timeline").first).to_be_attached()
    page.screenshot(path=tmp_path / "account.png", full_page=True)


# How the pages look

WIDTHS, SYSTEMS = (390, 1200), ("dark", "light")
DIRECTORY = os.environ.get("SCREENSHOTS")
# The label of Django's search field is a picture; the other is unfold's link to a related row.
RUN_AXE = """() => axe.run(
    {exclude: ["#changelist-search", ".text-link"]}, {resultTypes: ["violations"]})
    .then(result => result.violations.map(
        ({id, nodes}) => [id, nodes.map(node => node.html).join(" ")]))"""
#: Django's own pages of the same kinds, in this theme.
OTHERS = ("auth/user/", "auth/user/1/change/", "auth/user/1/delete/", "auth/user/1/history/")


#: What the demo has not done: the beginning of a revocation, and Google's word of an event.
ROWS = """
from django.utils import timezone
from django_google_link.models import PendingRevocation, SecurityEvent
now = timezone.now()
values = {"account_id": "0" * 32, "owner": "7", "client": "default", "sub": "1" * 21}
PendingRevocation.objects.create(retry_at=now, last_error="HTTP 503", **values)
SecurityEvent.objects.create(digest="x", types="tokens-revoked", sub="1" * 21, issued_at=now)
"""
# Cells that do not show all of their text, or show it a word a line.
FIND_CRAMPED = """() => [...document.querySelectorAll("#result_list td")]
    .filter(cell => cell.scrollHeight > cell.clientHeight + 1 || cell.clientHeight > 150)
    .map(cell => cell.textContent)"""


class Operator:
    """Somebody who looks at pages of the admin, on a phone at night."""

    def __init__(self, page: Page, *, axe: Path, folder: Path | None) -> None:
        self.page, self.axe, self.folder = page, axe, folder
        self.found: dict[str, str] = {}

    def look(self, name: str) -> None:
        """Note what is wrong with the page that is open, by the rule, and take pictures of it."""
        for system in SYSTEMS if self.folder else SYSTEMS[:1]:
            for width in WIDTHS if self.folder else WIDTHS[:1]:
                self.page.set_viewport_size({"width": width, "height": 800})
                if self.folder:  # Some themes look once at what the visitor prefers.
                    self.page.emulate_media(color_scheme=system)
                    self.page.reload()
                self.page.wait_for_load_state("networkidle")  # Scripts of a theme add roles.
                self.page.add_script_tag(path=str(self.axe))
                problems = self.page.evaluate(RUN_AXE)
                problems += [("cramped", cell) for cell in self.page.evaluate(FIND_CRAMPED)]
                for rule, where in problems:
                    self.found.setdefault(rule, f"{name}-{width}-{system}: {where}")
                if self.folder:
                    path = self.folder / f"{name}-{width}-{system}.png"
                    self.page.screenshot(path=path, full_page=True)

    def visit(self, path: str) -> None:
        """Go to a page of the admin, and look at it."""
        self.page.goto(f"/admin/{path}")
        self.look(path.strip("/").replace("/", "_"))


@pytest.mark.node
def test_pages_are_as_readable_as_those_of_the_theme(
    theme: str,
    themed: Demo,
    chromium: Browser,
    open_browser: Callable[..., BrowserContext],
    node_modules: Path,
) -> None:
    """In the dark, on a phone: nothing is wrong with them that is not wrong with its own pages."""
    themed.manage("shell", "--command", ROWS)
    page = open_browser(base_url=themed.site, bypass_csp=True, color_scheme="dark").new_page()
    page.set_viewport_size({"width": WIDTHS[0], "height": 800})
    log_in(page, "ben")
    link(page)
    page.get_by_role("button", name="Log out").click()
    log_in(page, "olga")
    folder = Path(DIRECTORY, f"admin-{theme}") if DIRECTORY else None
    operator = Operator(page, axe=node_modules / "axe-core" / "axe.min.js", folder=folder)

    for path in OTHERS:
        operator.visit(path)
    known, operator.found = operator.found, {}
    for name in ("googleaccount", "pendingrevocation", "historyentry", "securityevent"):
        operator.visit(f"google_link/{name}/")
    page.goto("/admin/google_link/googleaccount/")
    page.get_by_role("link", name=ANNA).first.click()
    page.wait_for_url("**/change/**")
    operator.look("google_link_googleaccount_1")
    page.goto(page.url.replace("/change/", "/delete/"))
    operator.look("google_link_googleaccount_1_delete")
    page.goto("/admin/google_link/pendingrevocation/")
    page.get_by_role("link", name="1" * 21).first.click()
    page.wait_for_url("**/change/**")
    operator.look("google_link_pendingrevocation_1")

    if folder:
        write_contact_sheets(chromium.new_page(), folder)
    assert {rule: where for rule, where in operator.found.items() if rule not in known} == {}
