"""The guide to testing is run by pytest itself: its tests are tests of this module."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests.documentation.pages import blocks, text_of, use_templates

SITE = "tests.documentation.site"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(SITE)]

for _block in blocks(text_of("howto/testing")):
    exec(_block)


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    """A page for when Google is down, and a front end with a page of its own."""
    default = settings.GOOGLE_LINK["CLIENTS"]["default"]
    allowed = {**default, "FRONT_END_REDIRECT_URIS": ["https://app.example.com/linked/"]}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": {"default": allowed}}
    templates = {"google_is_down.html": blocks(text_of("howto/outages"), "html")[0]}
    use_templates(settings, templates)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{SITE}.GoogleOutageMiddleware"]
