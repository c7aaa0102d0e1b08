"""What the guides for front ends have to copy, in a real browser, with Django's sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from django.views.decorators.csrf import ensure_csrf_cookie
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

import django_google_link
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, travel
from tests.browser.steps import allow, expect, wait_until_closed
from tests.documentation.pages import block_with

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.urls(__name__),
    pytest.mark.django_db(transaction=True),
]

MODULE = Path(django_google_link.__file__).parent / "static/django_google_link/google_link.js"
GUIDE = "howto/single-page-apps"

HEAD = '<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,">'
BUTTONS = "".join(
    f'<button id="{name}">{name}</button>'
    for name in ("link", "link-page", "link-patiently", "cancel", "script", "go-on")
)
APP = f"""{HEAD}<h1>App</h1><p id="notice" role="status"></p>{BUTTONS}
<script src="GOOGLE/gsi/client"></script><script type="module" src="/main.js"></script>"""
LINKED = f"""{HEAD}<h1>Back</h1><p id="progress" role="status">One moment</p>
<script type="module" src="/linked.js"></script>"""
MAIN = """
import "./popup.js";
import "./page.js";
import "./patient.js";
import { prepare } from "./script.js";
import { goOn } from "./go-on.js";
const notice = document.querySelector("#notice");
const tell = (text) => { notice.textContent = text; };
prepare(document.querySelector("#script"), ({ account }) => tell(`${account.email} is linked.`),
    (error) => {
        tell(error.error ?? error.message);
        goOn(document.querySelector("#go-on"), error);
    });
"""


def read_script(name: str) -> str:
    """Return a script of the app: what the guides say."""
    if name == "main":
        return MAIN
    guide, text = {
        "google": (GUIDE, "csrfHeaders() });"),
        "popup": (GUIDE, 'querySelector("#notice")'),
        "page": (GUIDE, 'querySelector("#link-page")'),
        "patient": (GUIDE, "AbortController"),
        "linked": (GUIDE, "complete();"),
        "script": ("howto/google-script", "initCodeClient"),
        "go-on": ("howto/google-script", "goOn"),
    }[name]
    return block_with(guide, text, language="js")


@ensure_csrf_cookie
def serve_app(request: HttpRequest) -> HttpResponse:
    """The app's page, which lets scripts in from here and from Google alone."""
    from django.conf import settings

    google = settings.GOOGLE_LINK["CLIENTS"]["default"]["ISSUER"]
    response = HttpResponse(APP.replace("GOOGLE", google))
    response["Content-Security-Policy"] = (
        f"default-src 'self'; script-src 'self' {google}; img-src data:"
    )
    response["Cross-Origin-Opener-Policy"] = "same-origin-allow-popups"
    return response


def serve_linked(request: HttpRequest) -> HttpResponse:
    """The page to which Google comes back."""
    response = HttpResponse(LINKED)
    response["Content-Security-Policy"] = "default-src 'self'; img-src data:"
    response["Cross-Origin-Opener-Policy"] = "unsafe-none"
    return response


def serve_script(request: HttpRequest, name: str) -> HttpResponse:
    """A script of the guides."""
    return HttpResponse(read_script(name), "text/javascript")


def serve_module(request: HttpRequest) -> HttpResponse:
    """The one that is shipped."""
    return HttpResponse(MODULE.read_text(), "text/javascript")


urlpatterns = [
    path("", serve_app),
    path("linked/", serve_linked),
    path("static/django_google_link/google_link.js", serve_module),
    path("<slug:name>.js", serve_script),
    path("google/api/", include("django_google_link.headless.urls")),
    path("google/", include("django_google_link.urls")),
]


@pytest.fixture(scope="module", autouse=True)
def unsafe() -> Iterator[None]:
    """The browser's event loop runs in this thread, and Django would notice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture
def page(
    live_server: LiveServer,
    open_browser: Callable[..., BrowserContext],
    google: FakeGoogle,
    alice: FakeUser,
    configure: Callable[..., None],
    user: Any,
    settings: Settings,
) -> Page:
    """The app, in which a user is logged in with a Django session."""
    back = f"{live_server.url}/linked/"
    google.client.redirect_uris.append(back)
    google.client.javascript_origins.append(live_server.url)
    configure(
        FRONT_END_REDIRECT_URIS=[back],
        FRONT_END_MODES=["identity_services"],
        FRONT_END_ORIGINS=[live_server.url],
    )
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    context = open_browser(base_url=live_server.url)
    context.add_cookies(
        [{"name": name, "value": client.cookies[name].value, "url": live_server.url}]
    )
    page = context.new_page()
    page.goto("/")
    return page


def press(page: Page, name: str) -> Page:
    """Press a button that opens a popup, and return that."""
    with page.expect_popup() as opened:
        page.get_by_role("button", name=name, exact=True).click()
    popup: Page = opened.value
    return popup


def serve_instead(page: Page, name: str, body: str) -> None:
    """Let the app have this script."""
    page.route(
        f"**/{name}.js", lambda route: route.fulfill(body=body, content_type="text/javascript")
    )


def grant_elsewhere(google: FakeGoogle, user: FakeUser) -> None:
    """Let this user have granted all before: only a further consent brings a refresh token."""
    client = google.client
    google.server_auth_code(user, ["openid", "email", "profile"], client=client)


def test_popup(page: Page, user: Any) -> None:
    """The guide's app links by a session and its CSRF token."""
    allow(press(page, "link"), account="alice@gmail.com")

    expect(page.get_by_role("status")).to_have_text("alice@gmail.com is linked.")
    assert GoogleAccount.objects.get().user == user


def test_whole_page(page: Page, live_server: LiveServer) -> None:
    """The guide's page at the redirect URI completes, and goes on to the app."""
    page.get_by_role("button", name="link-page").click()
    allow(page, account="alice@gmail.com")

    page.wait_for_url(f"{live_server.url}/?linked=*")
    assert GoogleAccount.objects.get().email == "alice@gmail.com"


def test_popup_that_is_closed_at_once(page: Page) -> None:
    """Before there is an address to send it to."""
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/google/api/links/", hold)
    with page.expect_request("**/google/api/links/"):
        popup = press(page, "link")

    popup.close()
    held[0].continue_()

    expect(page.get_by_role("status")).to_have_text("The popup was closed.")


def test_completed_twice(page: Page, google: FakeGoogle) -> None:
    """An effect of React's may run twice: the code is sent once."""
    twice = """import { googleLink } from "./google.js";
        const [first, second] = await Promise.all([googleLink.complete(), googleLink.complete()]);
        document.querySelector("#progress").textContent = String(first === second);"""
    serve_instead(page, "linked", twice)
    page.get_by_role("button", name="link-page").click()

    allow(page, account="alice@gmail.com")

    expect(page.get_by_role("status")).to_have_text("true")
    assert len(google.requests_to("token")) == 1


BAD_CALLS = """async () => {
    const { GoogleLink } = await import("/static/django_google_link/google_link.js");
    const { googleLink } = await import("/google.js");
    const said = [];
    for (const call of [
        () => googleLink.link({ way: "pop-up" }),
        () => googleLink.start({ scopes: ["https://www.googleapis.com/auth/drive"] }),
        () => googleLink.start({ redirectUri: "https://evil.example/" }),
        () => googleLink.change("../links", { label: "x" }),
        () => googleLink.link({ signal: AbortSignal.abort() }),
        () => new GoogleLink({ api: "/down/" }).accounts(),
        () => new GoogleLink({ api: "/" }).accounts(),
        () => new GoogleLink({ api: "/google/api/" }).start(),
    ]) {
        try { said.push(await call()); } catch (error) { said.push(error.error ?? error.name); }
    }
    return said;
}"""


def test_calls_that_cannot_be(page: Page) -> None:
    """Each is told by its word, and nobody is sent anywhere."""
    page.route("**/down/**", lambda route: route.abort())

    said = page.evaluate(BAD_CALLS)

    assert said == [
        "TypeError",
        "invalid_request",
        "redirect_uri_unknown",
        "no_json",
        "AbortError",
        "no_connection",
        "no_json",
        "csrf_failed",
    ]


REACT = """
import { html, render } from "/standalone.js";
import { useGoogleLink } from "/hook.js";
function Button() {
    const { busy, account, error, link } = useGoogleLink();
    const text = busy ? "busy" : (account?.email ?? error?.error ?? "nothing yet");
    return html`<button onClick=${() => link({ add: true })}>react</button>
        <output>${text}</output>`;
}
render(html`<${Button} />`, document.body.appendChild(document.createElement("div")));
"""


@pytest.mark.node
def test_hook(page: Page, node_modules: Path) -> None:
    """The guide's hook, under a small React: busy, refused, and linked."""
    standalone = node_modules / "htm" / "preact" / "standalone.module.js"
    hook = block_with(GUIDE, "useState", language="js").replace('"react"', '"/standalone.js"')
    for name, body in {"standalone": standalone.read_text(), "hook": hook, "main": REACT}.items():
        serve_instead(page, name, body)
    page.reload()

    popup = press(page, "react")
    expect(page.locator("output")).to_have_text("busy")
    popup.get_by_role("button", name="Cancel").click()
    expect(page.locator("output")).to_have_text("access_denied")
    allow(press(page, "react"), account="alice@gmail.com")
    expect(page.locator("output")).to_have_text("alice@gmail.com")


def test_end_of_patience(page: Page) -> None:
    """The guide's button closes the popup."""
    popup = press(page, "link-patiently")

    page.get_by_role("button", name="cancel").click()

    wait_until_closed(popup)


STOP_WAITING = """async () => {
    const { googleLink } = await import("/google.js");
    const stopAfter = async (delay) => {
        const signal = AbortSignal.timeout(delay);
        return googleLink.link({ way: "popup", signal }).catch((error) => error.name);
    };
    const said = [];
    for (let delay = 5; delay <= 150; delay += 5) said.push(await stopAfter(delay));
    return said;
}"""


def test_end_of_patience_while_the_popup_is_on_its_way(page: Page) -> None:
    """The popup closes whenever the wait ends: also at the moment when it reaches Google."""
    assert set(page.evaluate(STOP_WAITING)) == {"TimeoutError"}

    for popup in page.context.pages[1:]:
        wait_until_closed(popup)


LINK_ANOTHER = """async () => {
    const { googleLink } = await import("/google.js");
    globalThis.waiting = new AbortController();
    googleLink.link({ way: "popup", add: true, signal: waiting.signal }).catch((error) => {
        document.querySelector("#notice").textContent = error.name;
    });
}"""


def test_end_of_patience_while_the_link_is_completed(page: Page, google: FakeGoogle) -> None:
    """Google would have to ask once more: the popup closes instead."""
    allow(press(page, "link"), account="alice@gmail.com")
    expect(page.get_by_role("status")).to_have_text("alice@gmail.com is linked.")
    grant_elsewhere(google, google.add_user("bob@gmail.com"))

    def stop_waiting(route: Any) -> None:
        page.evaluate("waiting.abort()")
        route.continue_()

    page.route("**/links/complete/", stop_waiting)
    with page.expect_popup() as opened:
        page.evaluate(LINK_ANOTHER)
    allow(opened.value, account="bob@gmail.com")

    wait_until_closed(opened.value)
    expect(page.get_by_role("status")).to_have_text("AbortError")
    assert GoogleAccount.objects.get().email == "alice@gmail.com"


def test_ticket_that_has_expired(page: Page) -> None:
    """The page at the redirect URI says so, and nothing is linked."""
    page.get_by_role("button", name="link-page").click()
    expect(page.get_by_role("heading", name="An app wants access")).to_be_visible()

    with travel(seconds=601):
        # The page of the fake has the same age: it is asked again, as a user would.
        page.reload()
        allow(page, account="alice@gmail.com")

        expect(page.get_by_role("status")).to_contain_text("This request has expired")
    assert not GoogleAccount.objects.exists()


def test_google_asks_once_more_in_the_popup(page: Page, google: FakeGoogle) -> None:
    """It goes there by itself, and comes back with an account."""
    allow(press(page, "link"), account="alice@gmail.com")
    expect(page.get_by_role("status")).to_have_text("alice@gmail.com is linked.")
    grant_elsewhere(google, google.add_user("bob@gmail.com"))

    popup = press(page, "link")
    allow(popup, account="bob@gmail.com")
    popup.wait_for_url("**/auth?*prompt=consent*")
    allow(popup, account="bob@gmail.com")

    expect(page.get_by_role("status")).to_have_text("bob@gmail.com is linked.")
    assert GoogleAccount.objects.count() == 2


def test_google_asks_once_more_in_the_whole_page(page: Page, google: FakeGoogle) -> None:
    """The same there."""
    allow(press(page, "link"), account="alice@gmail.com")
    expect(page.get_by_role("status")).to_have_text("alice@gmail.com is linked.")
    grant_elsewhere(google, google.add_user("bob@gmail.com"))

    page.evaluate(
        """async () => {
            const { googleLink } = await import("/google.js");
            googleLink.link({ add: true });
        }"""
    )
    allow(page, account="bob@gmail.com")
    page.wait_for_url("**/auth?*prompt=consent*")
    allow(page, account="bob@gmail.com")

    page.wait_for_url("**/?linked=*")
    assert GoogleAccount.objects.count() == 2


def test_script_of_google(page: Page, google: FakeGoogle) -> None:
    """The guide's code gets a code from it, and links."""
    popup = press(page, "script")
    assert "code_challenge" not in popup.url

    allow(popup, account="alice@gmail.com")

    expect(page.get_by_role("status")).to_have_text("alice@gmail.com is linked.")
    assert google.requests_to("token")[0].form["redirect_uri"].startswith("http://localhost")


def test_script_of_google_that_is_closed(page: Page) -> None:
    """Its error arrives."""
    press(page, "script").close()

    expect(page.get_by_role("status")).to_have_text("popup_closed")


def test_script_of_google_without_refresh_token(
    page: Page, google: FakeGoogle, alice: FakeUser
) -> None:
    """The user is asked once more, by the whole page."""
    grant_elsewhere(google, alice)
    allow(press(page, "script"), account="alice@gmail.com")
    expect(page.get_by_role("status")).to_have_text("consent_required")
    assert not GoogleAccount.objects.exists()

    page.get_by_role("button", name="go-on").click()
    allow(page, account="alice@gmail.com")

    page.wait_for_url("**/?linked=*")
    assert GoogleAccount.objects.get().email == "alice@gmail.com"
