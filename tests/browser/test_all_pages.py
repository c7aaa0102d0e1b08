"""Each page of the app, in each of its forms, in other people's sites: it fits, and can be read.

With ``SCREENSHOTS`` in the environment, the name of a directory, pictures are left there of each
page at both widths, for visitors whose system is light and for those whose system is dark.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles.finders import find
from pytest_django import Settings

from django_google_link.testing import FakeGoogle
from tests.browser.all_pages import Walk
from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.browser.contact_sheet import write_contact_sheets

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.node, pytest.mark.django_db]

#: Sites, by their base template. The one without has ours.
HOSTS = {
    "bare": "",
    "light": """<!doctype html><html lang="en"><head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}{% endblock %}</title>
<style>body { margin: 1rem auto; padding: 0 1rem; max-width: 60rem; background: white; color: #222;
font-family: Georgia, serif } a { color: #04c }</style>
<link rel="stylesheet" href="/static/django_google_link/google_link.css"></head>
<body><header><nav aria-label="Site"><a href="/">Home</a></nav></header>
{% for message in messages %}<p role="status">{{ message }}</p>{% endfor %}
<main>{% block content %}{% endblock %}</main><footer><p>The end</p></footer></body></html>""",
    "bootstrap": """<!doctype html><html lang="en"><head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}{% endblock %}</title>
<link rel="stylesheet" href="/bootstrap.css">
<link rel="stylesheet" href="/static/django_google_link/google_link.css"></head>
<body><nav class="navbar bg-body-tertiary mb-4"><div class="container">
<a class="navbar-brand" href="/">A site</a></div></nav>
<main class="container">
{% for message in messages %}<div class="alert alert-success" role="alert">{{ message }}</div>
{% endfor %}
{% block content %}{% endblock %}</main>
<footer class="container py-4 text-body-secondary">The end</footer></body></html>""",
}
WIDTHS, SYSTEMS = (390, 1200), ("dark", "light")
RUN_AXE = """where => axe.run(where, {resultTypes: ["violations"]}).then(result =>
    result.violations.map(({id, help, nodes}) =>
        `${id}: ${help}: ${nodes.map(node => node.html).join(" ")}`))"""
DIRECTORY = os.environ.get("SCREENSHOTS")


@pytest.fixture(params=HOSTS if DIRECTORY else ["bare", "bootstrap"])
def host(request: pytest.FixtureRequest, settings: Settings) -> str:
    """A site with a base template of its own, if any."""
    if base := HOSTS[request.param]:
        [backend] = settings.TEMPLATES
        loaders = [
            ("django.template.loaders.locmem.Loader", {"django_google_link/base.html": base}),
            "django.template.loaders.app_directories.Loader",
        ]
        options = {**backend["OPTIONS"], "loaders": loaders}
        settings.TEMPLATES = [{**backend, "APP_DIRS": False, "OPTIONS": options}]
    return str(request.param)


@pytest.fixture
def pages(
    host: str, google: FakeGoogle, user: Any, settings: Settings, configure: Callable[..., None]
) -> dict[str, str]:
    """What the site shows. Chromium comes after it: where it runs, Django has no database."""
    return Walk(google=google, user=user, settings=settings, configure=configure).collect()


def open_site(chromium: Browser, pages: dict[str, str], node_modules: Path) -> Page:
    """Open a tab on the site, which has each page at ``/its-name``."""
    bootstrap = node_modules / "bootstrap" / "dist" / "css" / "bootstrap.css"

    def answer(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path.startswith("/static/"):
            route.fulfill(path=str(find(path.removeprefix("/static/"))))
        elif path == "/bootstrap.css":
            route.fulfill(path=bootstrap)
        else:
            route.fulfill(body=pages.get(path[1:], ""), content_type="text/html; charset=utf-8")

    page = chromium.new_page()
    page.route("http://testserver/**", answer)
    return page


def test_pages_can_be_read(host: str, pages: dict[str, str], node_modules: Path) -> None:
    """By anybody, on a phone at night, and nothing has to be scrolled to at its side."""
    playwright = pytest.importorskip("playwright.sync_api")
    where = "html" if host == "bare" else ".google-link"
    shown = [(w, s) for w in WIDTHS for s in SYSTEMS] if DIRECTORY else [(WIDTHS[0], SYSTEMS[0])]
    problems = []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium(), args=ARGUMENTS)
        page = open_site(chromium, pages, node_modules)
        for name in pages:
            page.goto(f"http://testserver/{name}")
            page.add_script_tag(path=str(node_modules / "axe-core" / "axe.min.js"))
            for width, system in shown:
                page.set_viewport_size({"width": width, "height": 800})
                page.emulate_media(color_scheme=system)
                found = page.evaluate(RUN_AXE, where)
                if page.evaluate("document.documentElement.scrollWidth") > width:
                    found.append("is wider than the window")
                problems += [(name, width, system, problem) for problem in found]
                if DIRECTORY:
                    path = Path(DIRECTORY, host, f"{name}-{width}-{system}.png")
                    page.screenshot(path=path, full_page=True)
        if DIRECTORY:
            write_contact_sheets(page, Path(DIRECTORY, host))
        chromium.close()

    assert problems == []
    assert len(pages) > 25
