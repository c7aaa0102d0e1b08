"""Our box in other people's pages: it leaves them as they are, and is dark where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.template.backends.django import DjangoTemplates

import django_google_link
from django_google_link.models import GoogleAccount

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.node]

STATIC = Path(django_google_link.__file__).parent / "static" / "django_google_link"

HOST = """<!doctype html>
<html lang="en" %(attributes)s>
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>A site</title>
  <style>%(styles)s</style>
  <style id="ours">{{ ours|safe }}</style>
</head>
<body>
  <header class="navbar"><nav aria-label="Site"><a class="btn" href="/">Home</a></nav></header>
  <main class="container" %(inner)s>
    <article class="card"><h2>News</h2><p class="text-muted">Nothing is new.</p></article>
    {%% block content %%}{%% endblock %%}
    <form><label for="q">Words</label> <input id="q"> <button class="btn">Find</button></form>
  </main>
  <footer><p>The end</p></footer>
</body>
</html>"""

PLAIN = "body { margin: 1rem; background: %s; color: %s } h1, h2, p, label, code { color: %s }"
LIGHT = PLAIN % ("white", "#222", "#222") + " a { color: #04c }"
DARK = PLAIN % ("#101010", "#eee", "#eee") + " a { color: #9cf }"

WHITE, BLACK = "rgb(255, 255, 255)", "rgb(27, 31, 36)"

# What depends on how much room the box takes.
READ_STYLES = """() => {
    const sizes = /(width|height|size|origin|^(top|bottom|left|right)$|^inset)/;
    const outside = [...document.querySelectorAll("*")].filter(
        element => !element.closest(".google-link") && !element.closest("head"));
    return outside.map(element => [element.tagName, Object.fromEntries(
        [...getComputedStyle(element)].filter(name => !sizes.test(name))
            .map(name => [name, getComputedStyle(element).getPropertyValue(name)]))]);
}"""
SWITCH_OFF = "() => { document.querySelector('#ours').sheet.disabled = true }"
READ_GROUND = "() => getComputedStyle(document.querySelector('.google-link')).backgroundColor"
RUN_AXE = """() => axe.run(".google-link", {resultTypes: ["violations"]}).then(result =>
    result.violations.map(({id, help, nodes}) =>
        `${id}: ${help}: ${nodes.map(node => node.html).join(" ")}`))"""


def render(template: str, context: dict[str, Any], **host: str) -> str:
    """Return a page of ours in a site's base template."""
    base = HOST % {"attributes": "", "inner": "", "styles": LIGHT, **host}
    backend = DjangoTemplates(
        {
            "NAME": "host",
            "DIRS": [],
            "APP_DIRS": False,
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {"django_google_link/base.html": base},
                    ),
                    "django.template.loaders.app_directories.Loader",
                ]
            },
        }
    )
    ours = (STATIC / "google_link.css").read_text(encoding="utf-8")
    page = backend.get_template(f"django_google_link/{template}")
    return page.render({**context, "ours": ours})


def render_pages(**host: str) -> list[str]:
    """Return two of our pages that have nearly everything in them between them."""
    account = GoogleAccount(client="default", sub="1", email="anna@example.com", label="Home")
    scopes = [{"scope": "calendar", "description": "See your calendars and their events"}]
    entry = {"account": account, "is_marked_default": True, "scopes": scopes, "authorize_url": "/"}
    accounts = {"accounts": [entry], "add_url": "/", "choice_required": True, "next": "/"}
    error = {"title": "No", "text": "Not now.", "detail": "server_error", "try_url": "/"}
    return [
        render("accounts.html", {**accounts, "provider": "Google"}, **host),
        render("error.html", {**error, "provider": "Google", "back_url": "/"}, **host),
    ]


@pytest.fixture
def open_page(open_browser: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """Open a page for a visitor whose system is light or dark."""

    def open_page(html: str, *, system: str) -> Page:
        page = open_browser(color_scheme=system).new_page()
        page.set_content(html)
        return page

    return open_page


def assert_readable(page: Page, node_modules: Path) -> None:
    """Find nothing to complain about in our box."""
    page.add_script_tag(path=str(node_modules / "axe-core" / "axe.min.js"))
    assert page.evaluate(RUN_AXE) == []


def read_framework(node_modules: Path, name: str) -> str:
    """Return the stylesheet of a CSS framework."""
    paths = {"bootstrap": "bootstrap/dist/css/bootstrap.css", "pico": "@picocss/pico/css/pico.css"}
    return (node_modules / paths[name]).read_text(encoding="utf-8")


@pytest.mark.parametrize("framework", ["bootstrap", "pico", ""])
def test_host_page_stays_as_it_is(
    open_page: Callable[..., Page], node_modules: Path, framework: str
) -> None:
    """A light one for a visitor whose system is dark: each element outside looks as before."""
    styles = read_framework(node_modules, framework) if framework else LIGHT
    # Pico alone is dark by itself.
    attributes = 'data-theme="light"' if framework == "pico" else ""
    for html in render_pages(styles=styles, attributes=attributes):
        page = open_page(html, system="dark")

        with_ours, ground = page.evaluate(READ_STYLES), page.evaluate(READ_GROUND)
        assert_readable(page, node_modules)
        page.evaluate(SWITCH_OFF)
        without = page.evaluate(READ_STYLES)

        assert with_ours == without
        assert len(without) > 10
        assert ground == WHITE


AUTO = "color-scheme: light dark;"


@pytest.mark.parametrize(
    ("host", "system", "ground"),
    [
        ({}, "dark", WHITE),
        ({"styles": DARK, "attributes": 'data-theme="dark"'}, "light", BLACK),
        ({"styles": DARK, "attributes": 'data-bs-theme="dark"'}, "light", BLACK),
        ({"attributes": 'data-theme="light"'}, "dark", WHITE),
        ({"attributes": 'data-bs-theme="auto"'}, "dark", BLACK),
        ({"attributes": 'data-theme="auto"'}, "light", WHITE),
        ({"styles": f":root {{ {AUTO} }}"}, "dark", BLACK),
        ({"styles": f":root {{ {AUTO} }}"}, "light", WHITE),
        ({"styles": ":root { color-scheme: dark }"}, "light", BLACK),
        ({"styles": DARK, "attributes": 'style="color-scheme: dark"'}, "light", BLACK),
        # An island in the page.
        ({"attributes": 'data-bs-theme="dark"', "inner": 'data-bs-theme="light"'}, "dark", WHITE),
        ({"attributes": 'data-theme="light"', "inner": 'data-bs-theme="dark"'}, "light", BLACK),
        # The property comes before all of them.
        ({"styles": f":root {{ {AUTO} --google-link-color-scheme: light }}"}, "dark", WHITE),
        ({"styles": ":root { --google-link-color-scheme: light dark }"}, "dark", BLACK),
        (
            {
                "styles": ".dark { --google-link-color-scheme: dark }",
                "attributes": 'class="dark" data-theme="light"',
            },
            "light",
            BLACK,
        ),
        ({"styles": DARK}, "dark", WHITE),
    ],
)
def test_box_is_dark_where_the_page_is(
    open_page: Callable[..., Page], host: dict[str, str], system: str, ground: str
) -> None:
    """As an attribute, the colour scheme or a property of the page says."""
    [html, _] = render_pages(**host)

    assert open_page(html, system=system).evaluate(READ_GROUND) == ground


@pytest.mark.parametrize("attributes", ['data-theme="dark"', ""])
def test_box_can_be_read_in_a_dark_page(
    open_page: Callable[..., Page], node_modules: Path, attributes: str
) -> None:
    """Also in one that says by nothing that it is dark: its light headings are not for the box."""
    [html, _] = render_pages(styles=DARK, attributes=attributes)

    assert_readable(open_page(html, system="light"), node_modules)


def test_colours_of_the_site_are_taken(open_page: Callable[..., Page]) -> None:
    """From any element around the box, whichever stylesheet comes first."""
    [html, _] = render_pages(styles=":root { --google-link-surface: rgb(1, 2, 3) }")

    assert open_page(html, system="dark").evaluate(READ_GROUND) == "rgb(1, 2, 3)"


def test_page_of_our_own_follows_the_system(
    open_page: Callable[..., Page], node_modules: Path
) -> None:
    """Without a base template of the site's, the page and the box are both light or both dark."""
    html = f"""<!doctype html><html lang="en"><head><meta name="color-scheme" content="light dark">
    <title>x</title><style>{(STATIC / "google_link_page.css").read_text(encoding="utf-8")}
    {(STATIC / "google_link.css").read_text(encoding="utf-8")}</style></head>
    <body class="google-link-page"><main><div class="google-link"><h1>x</h1></div></main></body>"""

    for system, ground, around in (
        ("light", WHITE, "rgb(244, 245, 247)"),
        ("dark", BLACK, "rgb(17, 20, 24)"),
    ):
        page = open_page(html, system=system)
        assert page.evaluate(READ_GROUND) == ground
        body = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert body == around
        assert_readable(page, node_modules)
