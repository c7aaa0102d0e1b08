"""The README says what the code does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from django_google_link.testing import FakeGoogle
from tests.documentation.pages import ROOT, block_with, text_of


@pytest.mark.django_db
@pytest.mark.urls("tests.documentation.site")
def test_test_of_a_view_works(
    client: Client, django_user_model: Any, fake_google: FakeGoogle, link_google_account: Any
) -> None:
    """The view and its test do together what the README says of them."""
    names: dict[str, Any] = {}
    exec(block_with("README", "def test_agenda"), names)

    names["test_agenda"](client, django_user_model, fake_google, link_google_account)


def test_pictures_exist() -> None:
    """No broken picture on the front page."""
    for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text_of("README")):
        assert (ROOT / picture).is_file()


def test_two_commands_set_all_up() -> None:
    """One shows the example, and the other runs the tests, as CI does."""
    commands = re.findall(r"^make (\w+)", block_with("README", "make demo", "sh"), re.MULTILINE)

    assert commands == ["demo", "test"]
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
