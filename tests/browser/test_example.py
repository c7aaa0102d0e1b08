"""What people do on the example site, in a real browser and against its own Google."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from django_google_link.testing import FakeGoogle, FakeUser
from example_project.demo.client import client_settings
from example_project.demo.google_answers import add_routes
from example_project.demo.process import PROJECT, Demo, running_demo
from example_project.demo.youtube import YouTube
from tests.browser.login import log_in
from tests.browser.steps import ANNA, WORK, allow, button, choose_video, expect, link, video

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser

DRIVE = "drive.metadata.readonly"

PRINT_TOKEN = """
from django.contrib.auth import get_user_model
from django_google_link.services import access_token
print(access_token(get_user_model().objects.get(username="anna")))
"""


def test_agenda_after_consent(page: Page) -> None:
    """From the home page through Google's question to the events."""
    page.goto("/")
    page.get_by_role("navigation").get_by_role("link", name="Agenda").click()
    expect(page.get_by_role("heading", name="An app wants access")).to_be_visible()
    allow(page)

    page.wait_for_url("**/agenda/")
    expect(page.get_by_text(f"From {ANNA}")).to_be_visible()
    expect(page.get_by_text("Dentist")).to_be_visible()

    button(page, "Later events")
    expect(page.get_by_text("Choir concert")).to_be_visible()


def test_login_on_the_way_to_google(
    demo: Demo, open_browser: Callable[..., BrowserContext]
) -> None:
    """The redirects after the login form go as far as Google, whatever form-action says."""
    page = open_browser(base_url=demo.site).new_page()
    page.goto("/agenda/")
    page.get_by_label("Username").fill("anna")
    page.get_by_label("Password").fill("daybook")
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_role("heading", name="An app wants access")).to_be_visible()
    allow(page)
    expect(page.get_by_role("heading", name="Agenda")).to_be_visible()


def test_one_scope_more(page: Page) -> None:
    """A scope left out is explained, asked for again on request, and kept beside the others."""
    link(page)
    page.goto("/files/")
    allow(page, without=DRIVE)

    page.wait_for_url("**/files/")
    expect(page.get_by_role("heading", name="Your permission is needed")).to_be_visible()
    expect(page.get_by_text("See the names and details of your files")).to_be_visible()
    assert page.goto("/files/").status == 403

    button(page, "Continue to Google")
    allow(page)
    expect(page.get_by_text("Household budget")).to_be_visible()

    page.get_by_label("Name").fill("choir")
    button(page, "Find")
    expect(page.get_by_text("Choir: address list")).to_be_visible()
    expect(page.get_by_text("Household budget")).to_have_count(0)

    page.goto("/agenda/")
    expect(page.get_by_text("Dentist")).to_be_visible()


def test_cancel(page: Page) -> None:
    """Whoever cancels is not sent to Google again until they say so."""
    page.goto("/agenda/")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="You cancelled")).to_be_visible()

    page.goto("/agenda/")
    expect(page.get_by_role("heading", name="Your permission is needed")).to_be_visible()

    button(page, "Continue to Google")
    allow(page)
    expect(page.get_by_text("Dentist")).to_be_visible()


def test_second_account(page: Page) -> None:
    """Two accounts: choose one on a page, make one the default, unlink one."""
    link(page)
    link(page, WORK)

    page.goto("/agenda/")
    page.get_by_role("link", name=WORK).click()
    expect(page.get_by_text("All hands")).to_be_visible()

    page.goto("/google/")
    button(page, "Make default")
    expect(page.get_by_role("heading", name=f"{WORK} default")).to_be_visible()
    page.goto("/agenda/")
    expect(page.get_by_text("All hands")).to_be_visible()

    page.goto("/google/")
    page.get_by_role("listitem").filter(has_text=WORK).get_by_role("link", name="Unlink").click()
    expect(page.get_by_role("heading", name=f"Unlink {WORK}?")).to_be_visible()
    button(page, "Unlink")
    expect(page.get_by_role("heading", name=ANNA)).to_be_visible()
    expect(page.get_by_role("heading", name=WORK)).to_have_count(0)


def test_unlink_revokes_at_google(page: Page, demo: Demo) -> None:
    """An access token that works stops working when its account is unlinked."""
    link(page)
    token = demo.manage("shell", "--no-imports", "-c", PRINT_TOKEN).strip()
    assert userinfo_status(demo, token) == 200

    page.goto("/google/")
    button(page, "Unlink")
    button(page, "Unlink")

    expect(page.get_by_text("You have not linked any Google account yet.")).to_be_visible()
    assert userinfo_status(demo, token) == 401


def userinfo_status(demo: Demo, token: str) -> int:
    """Return what Google thinks of an access token."""
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{demo.google}/v1/userinfo", headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("first", [0, 1])
def test_two_tabs(page: Page, first: int) -> None:
    """Two flows that were started in parallel both come to their end, in any order."""
    tabs = [page, page.context.new_page()]
    tabs[0].goto("/agenda/")
    tabs[1].goto("/files/")
    texts = ["Dentist", "Household budget"]

    for tab, text in sorted(zip(tabs, texts, strict=True), key=lambda pair: pair[0] != tabs[first]):
        allow(tab)
        expect(tab.get_by_text(text)).to_be_visible()


def test_keyboard_only(page: Page) -> None:
    """Tab reaches the link button, which shows its focus, and Enter presses it."""
    page.goto("/")
    tab_to(page, "Link a Google account")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="An app wants access")).to_be_visible()

    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    tab_to(page, "Allow")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Linked with Google")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until something of this name has the focus."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").strip() == name:
            return
    pytest.fail(f"Tab does not reach {name!r}.")


def test_link_that_died_between_two_runs(
    tmp_path: Path, open_browser: Callable[..., BrowserContext]
) -> None:
    """With --keep the links are still there, and the new Google has never heard of them.

    It stands where the last one stood: at another address it would be another provider.
    """
    with running_demo(tmp_path) as demo:
        page = open_browser(base_url=demo.site).new_page()
        log_in(page)
        link(page)
        port = demo.google.rpartition(":")[2]

    with running_demo(tmp_path, "--keep", f"--google-port={port}") as demo:
        page = open_browser(base_url=demo.site).new_page()
        log_in(page)
        page.goto("/agenda/")
        expect(page.get_by_role("heading", name="An app wants access")).to_be_visible()
        allow(page)
        expect(page.get_by_text("Dentist")).to_be_visible()


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    """The demo's Google in this process, where it can be made to fail."""
    with FakeGoogle() as google:
        client = client_settings(google.url)
        google.client = google.add_client(
            client_id=client["CLIENT_ID"], client_secret=client["CLIENT_SECRET"]
        )
        add_routes(google)
        YouTube(google)
        yield google


@pytest.fixture
def anna(google: FakeGoogle) -> FakeUser:
    """Her account at that Google."""
    return google.add_user(ANNA)


@pytest.fixture
def site(tmp_path: Path, google: FakeGoogle, anna: FakeUser) -> Iterator[str]:
    """The example under Django's own server, with that Google."""
    with running_demo(tmp_path) as demo:
        environment = {**demo.environment, "DEMO_GOOGLE_PORT": google.url.rpartition(":")[2]}
    command = [sys.executable, "-u", str(PROJECT / "manage.py"), "runserver", "--noreload"]
    process = subprocess.Popen(
        [*command, "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        url = next(filter(None, (re.search(r"http://[\d.:]+", s) for s in process.stdout)))[0]
        google.client.redirect_uris.append(f"{url}/google/callback/")
        yield url
    finally:
        process.terminate()
        process.communicate()


def test_google_fails(
    site: str, google: FakeGoogle, open_browser: Callable[..., BrowserContext]
) -> None:
    """While Google's API or its token endpoint is down there is a page, and then all is well."""
    page = open_browser(base_url=site).new_page()
    log_in(page)
    link(page)

    google.fail_next(endpoint="/calendar/v3/calendars/primary/events", status=503)
    assert page.goto("/agenda/").status == 503
    expect(page.get_by_role("heading", name="Google cannot be reached")).to_be_visible()

    google.stop()
    assert page.goto("/agenda/").status == 503
    expect(page.get_by_role("heading", name="Google cannot be reached")).to_be_visible()

    google.start()
    button(page, "Try again")
    expect(page.get_by_text("Dentist")).to_be_visible()

    google.expire_access_tokens()
    google.fail_next(endpoint="token", status=500)
    for _ in range(3):  # For half a minute Google is left alone; nothing is lost.
        assert page.goto("/agenda/").status == 503
        expect(page.get_by_role("heading", name="Google cannot be reached")).to_be_visible()
    assert google.requests_to("token")[-1].form["grant_type"] == "refresh_token"
    page.goto("/google/")
    expect(page.get_by_role("heading", name=ANNA, exact=True)).to_be_visible()


def test_video(page: Page) -> None:
    """Uploaded while its user looks on; what is no video is refused."""
    page.goto("/videos/")
    allow(page)
    page.get_by_label("Title").fill("Letter")
    page.get_by_label("File").set_input_files(
        {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear Ben"}
    )
    button(page, "Upload")
    expect(page.get_by_text("Choose a video.")).to_be_visible()

    choose_video(page)

    expect(page.get_by_role("heading", name="Holiday")).to_be_visible()
    expect(page.get_by_text("uploaded", exact=True)).to_be_visible()


def test_videos_leave_the_form_alone(page: Page) -> None:
    """What is typed stays while a video comes on, and the page says to whose channel it goes."""
    page.goto("/videos/")
    allow(page)
    expect(page.get_by_text(f"To the channel of {ANNA}.")).to_be_visible()
    choose_video(page)
    expect(page.get_by_role("heading", name="Holiday")).to_be_visible()
    page.get_by_label("Title").fill("The next one")

    expect(page.get_by_text("Watch it on YouTube")).to_be_visible()

    expect(page.get_by_label("Title")).to_have_value("The next one")


@pytest.mark.parametrize(
    ("language", "heading"),
    [("Deutsch", "Verknüpfte Google-Konten"), ("日本語", "連携済みの Google アカウント")],
)
def test_language(page: Page, language: str, heading: str) -> None:
    """The pages of the app speak the language that is chosen below; the others stay English."""
    page.goto("/google/")
    page.get_by_label("Accounts pages in").select_option(label=language)
    page.get_by_role("button", name="Change").click()

    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    page.goto("/")
    expect(page.get_by_role("heading", name="Hello, Anna")).to_be_visible()


def test_login_page_names_the_users(
    demo: Demo, open_browser: Callable[..., BrowserContext]
) -> None:
    """With their password, in the demo."""
    page = open_browser(base_url=demo.site).new_page()

    page.goto("/login/")

    expect(page.get_by_text("anna or ben")).to_be_visible()


def test_video_whose_user_has_taken_the_grant_back(
    site: str, google: FakeGoogle, anna: FakeUser, open_browser: Callable[..., BrowserContext]
) -> None:
    """It stops, they are asked again, and it goes on once they say so."""
    page = open_browser(base_url=site).new_page()
    log_in(page)
    page.goto("/videos/")
    allow(page)
    google.revoke(anna)
    choose_video(page)
    allow(page)
    expect(page.get_by_text("no longer lets this site upload")).to_be_visible()

    button(page, "Resume")

    expect(page.get_by_text("uploaded", exact=True)).to_be_visible()


def test_video_from_the_terminal(demo: Demo, page: Page, tmp_path: Path) -> None:
    """The command does without a page."""
    path = tmp_path / "holiday.mp4"
    path.write_bytes(video()["buffer"])
    command = [sys.executable, str(PROJECT / "manage.py"), "upload_video", "anna", str(path)]
    page.goto("/videos/")
    allow(page)

    done = subprocess.run(command, env=demo.environment, check=True, capture_output=True, text=True)

    assert done.stdout.startswith("https://www.youtube.com/watch?v=")


def test_report_of_the_site_itself(demo: Demo) -> None:
    """The command uses the service account whose key the demo has downloaded."""
    assert demo.manage("report", "numbers").endswith(": 0 linked accounts\n")


def test_tests_of_the_example(tmp_path: Path) -> None:
    """They are written to be copied, too."""
    environment = {**os.environ, "DEMO_DIR": str(tmp_path), "PYTHONPATH": str(PROJECT.parent)}
    environment["DJANGO_SETTINGS_MODULE"] = "daybook.settings"
    command = [sys.executable, str(PROJECT / "manage.py"), "test", "pages"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert "Ran 8 tests" in done.stderr
    assert done.returncode == 0, done.stderr


def test_strict_cookies(tmp_path: Path, open_browser: Callable[..., BrowserContext]) -> None:
    """Google is another site here, and the user arrives all the same."""
    with running_demo(tmp_path, settings="tests.browser.strict_settings") as demo:
        site = demo.site.replace("127.0.0.1", "localhost")
        page = open_browser(base_url=site).new_page()
        log_in(page)
        page.goto("/agenda/")
        assert page.url.startswith(demo.google)

        allow(page)

        expect(page.get_by_text("Dentist")).to_be_visible()
        assert page.url == f"{site}/agenda/"
