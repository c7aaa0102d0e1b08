"""The example's single-page app, on an origin of its own: linked by popup and by the whole page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from example_project.demo.process import Demo, running_demo
from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.browser.single_page import (
    Api,
    expect_notice,
    link_in_popup,
    log_in_to_app,
    open_popup,
)
from tests.browser.steps import ANNA, WORK, allow, expect, wait_until_closed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

CALENDAR = "calendar.readonly"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One for all of them: each begins with nothing linked."""
    with running_demo(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture
def api(demo: Demo) -> Api:
    """The API, for Anna, who has linked nothing."""
    api = Api(demo)
    api.unlink_all()
    return api


@pytest.fixture
def page(demo: Demo, api: Api, open_browser: Callable[..., BrowserContext]) -> Page:
    """A tab in which Anna is logged in to the app."""
    page = open_browser(base_url=demo.app).new_page()
    log_in_to_app(page)
    return page


def test_popup(page: Page, api: Api) -> None:
    """It closes, and the app shows the account and its agenda."""
    popup = open_popup(page)

    allow(popup)

    expect_notice(page, f"{ANNA} is linked.")
    expect(page.get_by_role("heading", name=ANNA)).to_be_visible()
    expect(page.get_by_text("Dentist")).to_be_visible()
    wait_until_closed(popup)
    assert api.emails() == [ANNA]


def test_whole_page(page: Page, api: Api, demo: Demo) -> None:
    """Google comes back to the app's own page, which completes and goes on."""
    page.get_by_role("button", name="Link in this window").click()
    allow(page)

    expect_notice(page, f"{ANNA} is linked.")
    assert page.url == f"{demo.app}/"
    expect(page.get_by_text("Dentist")).to_be_visible()
    assert api.emails() == [ANNA]


def test_whole_page_that_was_refused(page: Page, api: Api, demo: Demo) -> None:
    """The page says so, with no code or state in its address, and leads back."""
    page.get_by_role("button", name="Link in this window").click()
    page.get_by_role("button", name="Cancel").click()

    expect_notice(page, "Nothing was linked, and nothing has changed.")
    assert page.url == f"{demo.app}/linked/"
    page.get_by_role("link", name="Back to the app").click()
    expect(page.get_by_role("heading", name="Accounts and agenda")).to_be_visible()
    assert api.emails() == []


def test_page_without_an_answer(page: Page, demo: Demo) -> None:
    """Whoever opens it, or loads it again, is told that nothing has come back."""
    page.goto("/linked/")

    expect_notice(page, "This page was opened without a response from Google.")


CLICK_WITHOUT_A_USER = """
const [{ type }] = performance.getEntriesByType("navigation");
const looking = type === "reload" && setInterval(() => {
    const button = document.querySelector("#link-popup");
    if (!button) return;
    clearInterval(looking);
    button.click();
}, 50);"""


def test_popup_that_is_blocked(chromium: Browser, demo: Demo, api: Api) -> None:
    """The app is told at once, and links in its own window."""
    # Playwright lets all popups through, and counts what it does itself as a click.
    blocking = chromium.browser_type.launch(
        executable_path=find_chromium(),
        args=ARGUMENTS,
        ignore_default_args=["--disable-popup-blocking"],
    )
    page = blocking.new_page(base_url=demo.app)
    log_in_to_app(page)
    page.add_init_script(CLICK_WITHOUT_A_USER)

    page.reload()
    # Each look at the page would count as a click of its user.
    page.wait_for_timeout(4000)

    expect_notice(page, "Your browser has blocked the window.")
    page.get_by_role("button", name="Link in this window").click()
    allow(page)
    expect_notice(page, f"{ANNA} is linked.")
    blocking.close()


def test_return_by_the_back_button(chromium: Browser, demo: Demo, api: Api) -> None:
    """The app, which the browser has kept, is told that there is no answer."""
    # Playwright has browsers keep no pages.
    keeping = chromium.browser_type.launch(
        executable_path=find_chromium(),
        args=ARGUMENTS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    page = keeping.new_page(base_url=demo.app)
    log_in_to_app(page)
    page.get_by_role("button", name="Link in this window").click()
    expect(page.get_by_role("heading", name="An app wants access")).to_be_visible()

    page.evaluate("history.back()")

    expect_notice(page, "You returned from Google without an answer.")
    keeping.close()


def test_session_that_has_ended(page: Page) -> None:
    """Who cannot get another token logs in again."""
    page.evaluate("sessionStorage.setItem('refresh', 'too old')")

    page.reload()

    expect_notice(page, "You have been logged out")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_popup_that_is_closed(page: Page, api: Api) -> None:
    """The app is told, and can start again."""
    popup = open_popup(page)
    # Nobody is as quick as a script: the app has to see for a while that its popup is elsewhere.
    page.wait_for_timeout(3000)
    popup.close()

    expect_notice(page, "The window was closed before Google had responded.")
    link_in_popup(page)
    assert api.emails() == [ANNA]


def test_two_popups_at_once(page: Page, api: Api) -> None:
    """Each of them gets the answer to its own, in whatever order."""
    first, second = open_popup(page), open_popup(page)

    allow(second, account=WORK)
    expect(page.get_by_role("heading", name=WORK)).to_be_visible()
    assert not first.is_closed()
    allow(first)

    expect(page.get_by_role("heading", name=ANNA)).to_be_visible()
    assert api.emails() == [WORK, ANNA]


def test_refusal(page: Page, api: Api) -> None:
    """It is told, and the same can be tried again."""
    popup = open_popup(page)
    popup.get_by_role("button", name="Cancel").click()

    expect_notice(page, "Nothing was linked, and nothing has changed.")
    wait_until_closed(popup)
    allow(open_popup(page, "Try again"))
    expect(page.get_by_role("heading", name=ANNA)).to_be_visible()


def test_box_that_is_unticked(page: Page) -> None:
    """The account is linked with less, and what is missing can be allowed later."""
    allow(open_popup(page), without=CALENDAR)

    expect_notice(page, f"{ANNA} is linked, but not all requested permissions were granted.")
    allow(open_popup(page, "Allow access at Google"))
    expect_notice(page, f"{ANNA} is linked.")
    expect(page.get_by_text("Dentist")).to_be_visible()


def test_another_account(page: Page, api: Api) -> None:
    """Who chooses another one than was asked for may link it as well, or choose again."""
    link_in_popup(page)

    allow(open_popup(page, f"Link again {ANNA}"), account=WORK)

    expect_notice(page, f"You chose {WORK}, but {ANNA} was requested.")
    assert api.emails() == [ANNA]
    allow(open_popup(page, f"Link {WORK} as well"), account=WORK)
    expect(page.get_by_role("heading", name=WORK)).to_be_visible()
    assert api.emails() == [WORK, ANNA]


def test_label_default_and_end(page: Page, api: Api) -> None:
    """What the user does with their accounts."""
    link_in_popup(page)
    link_in_popup(page, WORK)

    page.get_by_role("button", name=f"Label {WORK}").click()
    page.get_by_role("dialog").get_by_label("Label").fill("Work")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Make default Work").click()
    expect(page.get_by_role("heading", name="Work default")).to_be_visible()
    expect(page.get_by_text("All hands")).to_be_visible()
    page.get_by_role("button", name="Unlink Work").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert api.emails() == [WORK, ANNA]
    page.get_by_role("button", name="Unlink Work").click()
    page.get_by_role("dialog").get_by_role("button", name="Unlink").click()

    expect_notice(page, f"{WORK} is no longer linked.")
    assert api.emails() == [ANNA]


ATTACK = """<!doctype html><title>Attack</title><script>
window.got = [];
const listen = event => window.got.push(JSON.stringify(event.data));
addEventListener("message", listen);
new BroadcastChannel("django-google-link").onmessage = listen;
window.attack = (url, state) => {
    const opened = window.opened = window.open(url);
    const evil = { state, then: "go", url: location.origin + "/evil" };
    setInterval(() => opened.postMessage(evil, "*"), 50);
};
</script>"""


EVIL = "http://localhost:9"


@pytest.fixture
def lure(page: Page) -> Page:
    """An attacker's page on another origin, in the browser in which Anna uses the app."""
    page.context.route(
        f"{EVIL}/**", lambda route: route.fulfill(body=ATTACK, content_type="text/html")
    )
    lure = page.context.new_page()
    lure.goto(f"{EVIL}/")
    return lure


def lead_on(lure: Page, url: str, state: str) -> Page:
    """Let the attacker's page open an address, and return the window."""
    with lure.expect_popup() as opened:
        lure.evaluate("([url, state]) => attack(url, state)", [url, state])
    window: Page = opened.value
    return window


def test_opener_of_another_origin_gets_nothing(
    page: Page, lure: Page, api: Api, demo: Demo
) -> None:
    """Whose page opens its own authorization link, and waits for the victim's code.

    The victim has a popup of their own open meanwhile, which gets its own answer.
    """
    attacker = Api(demo, "ben")
    attacker.unlink_all()
    link = attacker.send("POST", "google/links/", {})
    own = open_popup(page)

    opened = lead_on(lure, link["authorization_url"], link["state"])
    # The grant has no link that ends it: the account is one that no other test uses.
    allow(opened, account="ben@example.com")

    expect_notice(opened, "No page is waiting for this response")
    assert opened.url == f"{demo.app}/linked/"
    assert lure.evaluate("got") == []
    assert api.emails() == attacker.emails() == []
    allow(own, account=WORK)
    expect(page.get_by_role("heading", name=WORK)).to_be_visible()
    assert lure.evaluate("got") == []
    assert api.emails() == [WORK]


def test_opener_of_another_origin_moves_nobody(lure: Page, demo: Demo) -> None:
    """Nor does one that opens the page at the redirect URI itself."""
    opened = lead_on(lure, f"{demo.app}/linked/?state=made-up&code=stolen", "made-up")

    expect_notice(opened, "No page is waiting for this response")
    assert opened.url == f"{demo.app}/linked/"
    assert lure.evaluate("got") == []


def test_answer_that_was_made_up(page: Page, api: Api) -> None:
    """An answer to nothing, in a tab or from another page of the app, links nothing."""
    popup = open_popup(page)
    stranger = page.context.new_page()

    stranger.goto("/linked/?state=made-up&code=stolen")

    expect_notice(stranger, "No page is waiting for this response")
    allow(popup)
    expect_notice(page, f"{ANNA} is linked.")


def test_answer_from_another_origin(lure: Page, demo: Demo) -> None:
    """Whoever has opened the app, and knows the state, answers nothing in the popup's place."""
    app = lead_on(lure, f"{demo.app}/", "")
    log_in_to_app(app)
    popup = open_popup(app)
    [state] = parse_qs(urlsplit(popup.url).query)["state"]

    lure.evaluate(
        """state => opened.postMessage(
            { state, returned: { state, code: "stolen" }, redirectUri: "" }, "*"
        )""",
        state,
    )

    allow(popup)
    expect_notice(app, f"{ANNA} is linked.")


def test_answer_to_another_link_in_the_whole_page(page: Page, demo: Demo) -> None:
    """It is not completed with the ticket of the one that was begun, which stays good."""
    page.get_by_role("button", name="Link in this window").click()
    expect(page.get_by_role("heading", name="An app wants access")).to_be_visible()
    google = page.url

    page.goto(f"{demo.app}/linked/?state=made-up&code=stolen")
    expect_notice(page, "No page is waiting for this response")

    page.goto(google)
    allow(page)
    expect(page.get_by_role("heading", name=ANNA)).to_be_visible()


@pytest.fixture(params=["cut_settings", "cut_later_settings"])
def cut_off(
    request: pytest.FixtureRequest, tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> Iterator[Page]:
    """A tab of an app that a Cross-Origin-Opener-Policy cuts off from its popups, now or later."""
    with running_demo(tmp_path, settings=f"tests.browser.{request.param}") as demo:
        page = open_browser(base_url=demo.app).new_page()
        log_in_to_app(page)
        yield page


SLEEP = """setTimeout(() => {
    const end = Date.now() + 5000;
    while (Date.now() < end);
}, 100)"""


def test_opener_policy(cut_off: Page) -> None:
    """Popups find their app by BroadcastChannel, also two of them; the user can stop waiting."""
    page = cut_off
    first, second = open_popup(page), open_popup(page)

    allow(second, account=WORK)
    expect(page.get_by_role("heading", name=WORK)).to_be_visible()
    allow(first)
    expect(page.get_by_role("heading", name=ANNA)).to_be_visible()
    wait_until_closed(first)
    wait_until_closed(second)

    popup = open_popup(page)
    page.wait_for_timeout(4000)  # Longer than a popup that was closed is waited for.
    expect_notice(page, "Continue in Google’s window.")
    page.get_by_role("button", name="Stop waiting for Google").click()
    expect_notice(page, "Nothing was linked.")
    page.wait_for_timeout(1000)  # It may be closing.
    if not popup.is_closed():
        popup.get_by_role("button", name="Cancel").click()
        expect_notice(popup, "No page is waiting for this response")

    # An app that sleeps, as on a phone, takes the answer when it wakes up.
    popup = open_popup(page)
    page.evaluate(SLEEP)
    allow(popup, account="ben@example.com")
    expect(page.get_by_role("heading", name="ben@example.com")).to_be_visible()
    wait_until_closed(popup)


def test_access_token_that_expires(
    tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> None:
    """While the user looks at Google's page: the app gets another one."""
    with running_demo(tmp_path, settings="tests.browser.short_settings") as demo:
        page = open_browser(base_url=demo.app).new_page()
        log_in_to_app(page)
        popup = open_popup(page)
        page.wait_for_timeout(5500)

        allow(popup)

        expect_notice(page, f"{ANNA} is linked.")


def test_ticket_that_expires(page: Page, api: Api) -> None:
    """Nobody waits for the popup any longer, and it closes."""
    page.clock.install()
    popup = open_popup(page)

    page.clock.fast_forward(601_000)

    expect_notice(page, "The link was not completed in time")
    wait_until_closed(popup)
    assert api.emails() == []
