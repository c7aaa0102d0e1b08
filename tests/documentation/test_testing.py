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
    """The page for when Google is down."""
    templates = {"google_is_down.html": blocks(text_of("howto/outages"), "html")[0]}
    use_templates(settings, templates)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{SITE}.GoogleOutageMiddleware"]
