"""A code that nobody has used stays in no address, log or report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import django
import pytest
import requests
import uvicorn
from django.core.asgi import get_asgi_application
from django.test import Client
from django.utils.module_loading import import_string
from pytest_django import Settings

from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.databases import new_user
from tests.support.urls import local, query_of

pytestmark = pytest.mark.slow

CODE = "4/live-code-of-google"
BACK = f"/google/callback/?state=nobody-knows-it&code={CODE}&scope=openid"

FAILED = [
    BACK,
    f"/google/callback/?code={CODE}",
    f"/google/callback/office/?state=x&code={CODE}",
    f"/google/callback/?state=&code={CODE}&error=access_denied",
]


@pytest.fixture
def asgi_server() -> Iterator[str]:
    """The site under uvicorn, with all that it logs."""
    config = uvicorn.Config(
        get_asgi_application(), port=0, lifespan="off", log_level="debug", log_config=None
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("logged_in", [True, False])
@pytest.mark.parametrize("back", FAILED)
@pytest.mark.usefixtures("shared_database")
def test_asgi_server_does_not_log_the_code(
    asgi_server: str, caplog: pytest.LogCaptureFixture, back: str, logged_in: bool
) -> None:
    """uvicorn writes the address of each request when it is answered."""
    caplog.set_level(logging.DEBUG)
    cookies = {}
    if logged_in:
        browser = Client()
        browser.force_login(new_user())
        cookies = {name: morsel.value for name, morsel in browser.cookies.items()}

    with requests.Session() as session:
        response = session.get(f"{asgi_server}{back}", cookies=cookies, allow_redirects=False)

    assert response.status_code == 302
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert CODE not in response.headers["Location"]
    ours = [record for record in caplog.records if not record.name.startswith("urllib3")]
    [accessed] = [record.getMessage() for record in ours if record.name == "uvicorn.access"]
    assert urlsplit(back).path in accessed
    assert CODE not in "".join(f"{record.getMessage()} {vars(record)}" for record in ours)


@pytest.mark.django_db
@pytest.mark.parametrize("back", FAILED)
def test_failed_answer_leads_to_a_clean_address(browser: Client, back: str) -> None:
    """There it stays in the history, in screenshots, and in what the page's scripts see."""
    response: Any = browser.get(back)
    assert response["Location"] == "/google/failed/"

    page = browser.get("/google/failed/")

    assert page.status_code == 400
    assert page["Referrer-Policy"] == "no-referrer"
    assert "no-store" in page["Cache-Control"]


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [True, False])
def test_error_reports_have_no_code(
    browser: Client,
    google: FakeGoogle,
    alice: FakeUser,
    settings: Settings,
    mailoutbox: list[Any],
    debug: bool,
) -> None:
    """The page that developers see, and the mail that operators get, with all frames."""
    back = local(google.consent(browser.get("/google/authorize/")["Location"], user=alice))
    code = query_of(back)["code"].partition("/")[2]  # What is escaped nowhere.
    assert code.replace("-", "").replace("_", "").isalnum()
    settings.DEBUG = debug
    # Django 6 warns of names beside addresses, and 6.1 of a default mailer.
    olga = "olga@example.com"
    settings.ADMINS = [olga if django.VERSION >= (6, 0) else ("Olga", olga)]
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"other": {}}}
    browser.raise_request_exception = False

    handler = logging.getLogger("django").handlers
    mailer = import_string("django.utils.log.AdminEmailHandler")(include_html=True)
    handler.append(mailer)
    try:
        response = browser.get(back)
    finally:
        handler.remove(mailer)

    assert response.status_code == 500
    shown = response.content.decode()
    shown += "".join(f"{mail.body} {mail.alternatives}" for mail in mailoutbox)
    assert "SettingsError" in shown
    assert code not in shown
