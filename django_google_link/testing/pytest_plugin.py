"""Fixtures that pytest finds automatically; see ``FakeGoogle`` for what they can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..models import GoogleAccount
    from .fake import FakeGoogle


@pytest.fixture
def fake_google() -> Iterator[FakeGoogle]:
    """A fake Google for this test, to which all of ``GOOGLE_LINK`` leads."""
    from . import running_google

    with running_google() as google:
        yield google


@pytest.fixture
def link_google_account(fake_google: FakeGoogle, db: None) -> Callable[..., GoogleAccount]:
    """A function that links a user to an account at ``fake_google``.

    ``link_google_account(user, scopes=[CALENDAR], email="anna@gmail.com")``: see
    ``django_google_link.testing.link_google_account``.
    """
    from . import link_google_account

    return partial[Any](link_google_account, fake_google)
