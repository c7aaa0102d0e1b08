"""Make the pictures of the documentation from the running example: ``docs/images/*.png``.

Needs Playwright and Chromium::

    python example_project/screenshots.py
"""

import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from demo.process import Demo, running_demo
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
ANNA = "anna@example.com"
WORK = "anna.work@example.org"


def main() -> None:
    """Take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with TemporaryDirectory() as directory, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        with running_demo(Path(directory)) as demo:
            take_pictures(browser, demo)
        browser.close()


def take_pictures(browser: Browser, demo: Demo) -> None:
    """Walk through the site as Anna."""
    page = browser.new_page(base_url=demo.site, device_scale_factor=2)
    log_in(page)

    page.goto("/files/")
    allow(page, without="drive.metadata.readonly")
    save(page, "permission", width=800, height=500)

    page.goto("/agenda/")
    save(page, "agenda", width=800, height=640)

    page.goto("/google/")
    page.get_by_role("link", name="Link another").click()
    allow(page, account=WORK)
    save(page, "accounts", width=800, height=800, scheme="dark")

    page.goto("/agenda/")
    save(page, "agenda-phone", width=390, height=720, scheme="dark")


def log_in(page: Page) -> None:
    """Log in with the demo's user."""
    page.goto("/login/")
    page.get_by_label("Username").fill("anna")
    page.get_by_label("Password").fill("daybook")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/")


def allow(page: Page, *, account: str = ANNA, without: str | None = None) -> None:
    """Answer the question of the demo's Google."""
    page.get_by_role("radio", name=re.compile(re.escape(account))).check()
    if without:
        page.get_by_role("checkbox", name=without).uncheck()
    page.get_by_role("button", name="Allow").click()


def save(page: Page, name: str, *, width: int, height: int, scheme: str = "light") -> None:
    """Write one picture."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
