"""The app's pages in the admin, in Django's own theme and in others, on a small desk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from example_project.demo.process import Demo, running_demo
from tests.browser.login import log_in
from tests.browser.steps import ANNA, expect, link
from tests.documentation.pages import blocks, text_of

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

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


@pytest.fixture(params=["django", "unfold", "jazzmin"])
def themed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Demo]:
    """The example with a theme, and the ``admin.py`` of the guide where that needs one."""
    if request.param != "django":
        pytest.importorskip(request.param)
    monkeypatch.setenv("ADMIN_THEME", request.param)
    app = tmp_path / "themed"
    app.mkdir()
    (app / "__init__.py").touch()
    [code] = blocks(text_of("howto/admin-themes"))
    (app / "admin.py").write_text(code, encoding="utf-8")
    with running_demo(tmp_path, settings="tests.browser.themed_settings") as demo:
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
