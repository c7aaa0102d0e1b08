"""What Django reports of an error in the callback: its code is as good as a token until used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from django_google_link.testing import FakeGoogle, FakeUser
from tests.support.urls import local, query_of

pytestmark = pytest.mark.django_db


class Reports(logging.Handler):
    """Reports each error as Django's page and mail do, when it is logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.requests: list[HttpRequest] = []
        self.texts: list[str] = []

    def emit(self, record: Any) -> None:
        """Write the reports."""
        reporter = ExceptionReporter(record.request, *record.exc_info, is_email=True)
        self.requests.append(record.request)
        self.texts.append(reporter.get_traceback_html() + reporter.get_traceback_text())


@pytest.fixture
def reports() -> Any:
    """What is reported of the requests in this test."""
    handler = Reports()
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def forget_client(settings: Any) -> None:
    """Take the client out of the settings, while the user is at Google."""
    settings["CLIENTS"] = {"other": {}}


def forget_keys(settings: Any) -> None:
    """Take the keys out of the settings: then the answer cannot be stored."""
    settings["ENCRYPTION_KEYS"] = []


@pytest.mark.matrix
@pytest.mark.parametrize("forget", [forget_client, forget_keys])
@pytest.mark.parametrize("debug", [True, False])
def test_error_in_the_callback_is_reported_without_the_code(
    user: Any,
    google: FakeGoogle,
    alice: FakeUser,
    settings: Settings,
    reports: Reports,
    forget: Callable[[Any], None],
    debug: bool,
) -> None:
    """Neither in the address, nor in the parameters, nor in a frame of ours."""
    browser = Client(raise_request_exception=False)
    browser.force_login(user)
    back = google.consent(browser.get("/google/authorize/")["Location"], user=alice)
    broken = dict(settings.GOOGLE_LINK)
    forget(broken)
    settings.GOOGLE_LINK = broken
    settings.DEBUG = debug

    page: Any = browser.get(local(back))

    assert page.status_code == 500
    [report] = reports.texts
    assert "SettingsError" in report
    assert query_of(back)["code"] not in report
    assert query_of(back)["code"] not in page.content.decode()
    [request] = reports.requests
    assert dict(request.GET) == {}
    assert request.get_full_path() == "/google/callback/"


def test_error_elsewhere_is_reported_as_ever(
    user: Any, settings: Settings, reports: Reports
) -> None:
    """What is taken out at the callback is looked for in the right places."""
    browser = Client(raise_request_exception=False)
    browser.force_login(user)
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"other": {}}}

    browser.get("/google/authorize/?code=4/not-a-code")

    assert "4/not-a-code" in reports.texts[0]
