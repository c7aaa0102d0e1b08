"""A real browser, and the example project as it really runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from example_project.demo.process import Demo, running_demo
from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.browser.login import log_in
from tests.support.node import install

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for a module. Its event loop must not outlive it: Django would notice."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = find_chromium()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``package.json`` asks for, from the npm registry."""
    folder = install(Path(__file__).with_name("package.json"), tmp_path_factory.mktemp("npm"))
    return folder / "node_modules"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The example, with its own Google."""
    with running_demo(tmp_path) as demo:
        yield demo


@pytest.fixture
def open_browser(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Open browser windows that share no cookies, and watch what they do."""
    contexts: list[BrowserContext] = []
    elsewhere: list[str] = []
    complaints: list[str] = []

    def on_request(request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme != "data" and url.hostname not in {"127.0.0.1", "localhost"}:
            elsewhere.append(request.url)

    def on_console(message: Any) -> None:
        # The browser reports every status from 400 on, and some of our pages have one.
        if not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    def open_browser(**options: Any) -> BrowserContext:
        context = chromium.new_context(**options)
        context.set_default_timeout(10_000)
        context.on("request", on_request)
        context.on("console", on_console)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        contexts.append(context)
        return context

    yield open_browser

    for context in contexts:
        context.close()
    assert elsewhere == []
    assert complaints == []


@pytest.fixture
def page(demo: Demo, open_browser: Callable[..., BrowserContext]) -> Page:
    """A tab in which Anna is logged in to the example."""
    page = open_browser(base_url=demo.site).new_page()
    log_in(page)
    return page
